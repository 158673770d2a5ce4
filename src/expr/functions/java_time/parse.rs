//! A text as fields.

use super::fields::Fields;
use super::format::{DAYS, ERAS, MONTHS, QUARTERS};
use super::pattern::{Field, Item, OffsetStyle, Pattern, Sign, Style, Word};
use super::zone::{Zone, starts_with};

impl Pattern {
    /// Reads the whole text, upper and lower case alike.
    ///
    /// # Errors
    /// Saying where the text and the pattern part.
    pub(in super::super) fn parse(&self, text: &str) -> Result<Fields, String> {
        let mut fields = Fields::default();
        let end = items(&self.items, text, 0, &mut fields)?;
        if end < text.len() {
            return Err(format!("'{}' is left behind position {end}", &text[end..]));
        }
        Ok(fields)
    }
}

type End = Result<usize, String>;

fn items(items: &[Item], text: &str, mut at: usize, fields: &mut Fields) -> End {
    for item in items {
        at = one(item, text, at, fields)?;
    }
    Ok(at)
}

fn one(item: &Item, text: &str, at: usize, fields: &mut Fields) -> End {
    let rest = text.get(at..).unwrap_or_default();
    let wrong = |what: &str| format!("'{text}' has no {what} at position {at}");
    match item {
        Item::Literal(literal) => {
            let mut chars = rest.chars();
            let same = literal.chars().all(|c| {
                chars
                    .next()
                    .is_some_and(|d| c == d || c.to_lowercase().eq(d.to_lowercase()))
            });
            if !same {
                return Err(wrong(&format!("'{literal}'")));
            }
            Ok(text.len() - chars.as_str().len())
        }
        Item::Number {
            field,
            min,
            max,
            sign,
            reserved,
        } => {
            let (value, size) =
                number(rest, *min, *max, *sign, *reserved).ok_or_else(|| wrong(&format!("{field:?}")))?;
            fields.set(*field, value)?;
            Ok(at + size)
        }
        Item::Reduced(field) => {
            let (value, size) = number(rest, 2, 2, Sign::Never, 0).ok_or_else(|| wrong(&format!("{field:?}")))?;
            fields.set(*field, 2000 + value)?;
            Ok(at + size)
        }
        Item::Word(word, style) => {
            let (value, size) = self::word(rest, *word, *style).ok_or_else(|| wrong(&format!("{word:?}")))?;
            match word {
                Word::Month => fields.set(Field::MonthOfYear, value)?,
                Word::Quarter => fields.set(Field::QuarterOfYear, value)?,
                Word::DayOfWeek => fields.set_weekday(value)?,
                Word::AmPm => fields.set_am_pm(value)?,
                Word::Era => fields.set_era(value)?,
            }
            Ok(at + size)
        }
        Item::Fraction(digits) => {
            let (value, size) =
                number(rest, *digits, *digits, Sign::Never, 0).ok_or_else(|| wrong("fraction of a second"))?;
            fields.set(Field::NanoOfSecond, value * 10i64.pow(9 - *digits as u32))?;
            Ok(at + size)
        }
        Item::Offset(style) => {
            let (seconds, size) = offset(rest, *style).ok_or_else(|| wrong("offset"))?;
            fields.set_offset(seconds)?;
            Ok(at + size)
        }
        Item::LocalizedOffset(_) => {
            let named = starts_with(rest, "GMT").then_some(3).ok_or_else(|| wrong("GMT"))?;
            let loose = OffsetStyle {
                minutes: false,
                colon: true,
                seconds: true,
                zero: "",
            };
            let (seconds, size) = offset(&rest[named..], loose).ok_or_else(|| wrong("offset"))?;
            fields.set_offset(seconds)?;
            Ok(at + named + size)
        }
        Item::ZoneId | Item::ZoneName(_) => {
            let (zone, size) = Zone::at_start(rest).ok_or_else(|| wrong("time zone"))?;
            fields.zone = Some(zone);
            Ok(at + size)
        }
        Item::Pad(width, inner) => {
            let (end, _) = rest.char_indices().nth(*width).unwrap_or((rest.len(), ' '));
            let padded = &rest[..end];
            if padded.chars().count() < *width {
                return Err(wrong(&format!("{width} characters")));
            }
            let blanks = padded.len() - padded.trim_start_matches(' ').len();
            let read = one(inner, &text[..at + end], at + blanks, fields)?;
            if read != at + end {
                return Err(wrong("padded value"));
            }
            Ok(read)
        }
        Item::Optional(inner) => {
            let mut tried = fields.clone();
            match items(inner, text, at, &mut tried) {
                Ok(end) => {
                    *fields = tried;
                    Ok(end)
                }
                Err(_) => Ok(at),
            }
        }
    }
}

/// A number with as many digits as it may have, less those that the numbers behind it need; and how long it is.
fn number(text: &str, min: usize, max: usize, sign: Sign, reserved: usize) -> Option<(i64, usize)> {
    let signed = match (text.as_bytes().first()?, sign) {
        (b'-', Sign::Normal | Sign::ExceedsPad) => Some(-1),
        (b'+', Sign::ExceedsPad) => Some(1),
        _ => None,
    };
    let start = usize::from(signed.is_some());
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    let mut count = digits.min(max.saturating_add(reserved));
    if reserved > 0 {
        count = count.saturating_sub(reserved).max(min);
    }
    let count = count.min(max);
    if count < min || count > digits || count == 0 {
        return None;
    }
    // a plus means more digits than the pattern has letters, and the other way round
    let more = count > min;
    if sign == Sign::ExceedsPad && signed != Some(-1) && reserved == 0 && more != (signed == Some(1)) {
        return None;
    }
    let value: i64 = text[start..start + count].parse().ok()?;
    Some((value * signed.unwrap_or(1), start + count))
}

/// The longest word that the text begins with, its number, and how long it is.
fn word(text: &str, word: Word, style: Style) -> Option<(i64, usize)> {
    let cut = |name: &'static str| match style {
        Style::Short => &name[..3],
        Style::Full => name,
        Style::Narrow => &name[..1],
    };
    let all: Vec<(String, i64)> = match word {
        Word::Month => MONTHS.iter().zip(1..).map(|(m, i)| (cut(m).into(), i)).collect(),
        Word::DayOfWeek => DAYS.iter().zip(1..).map(|(d, i)| (cut(d).into(), i)).collect(),
        Word::AmPm => vec![("AM".into(), 0), ("PM".into(), 1)],
        Word::Era => ERAS
            .iter()
            .zip(0..)
            .map(|((short, full), i)| {
                let name = match style {
                    Style::Short => short,
                    Style::Full => full,
                    Style::Narrow => &short[..1],
                };
                (name.to_string(), i)
            })
            .collect(),
        Word::Quarter => (1..=4)
            .map(|i: i64| {
                let name = match style {
                    Style::Short => format!("Q{i}"),
                    Style::Full => QUARTERS[i as usize - 1].to_string(),
                    Style::Narrow => i.to_string(),
                };
                (name, i)
            })
            .collect(),
    };
    let found = all.into_iter().filter(|(name, _)| starts_with(text, name));
    found
        .max_by_key(|(name, _)| name.len())
        .map(|(name, i)| (i, name.len()))
}

/// Seconds of an offset in a style, and how long it is.
fn offset(text: &str, style: OffsetStyle) -> Option<(i32, usize)> {
    if starts_with(text, style.zero) && !style.zero.is_empty() && !style.zero.starts_with('+') {
        return Some((0, style.zero.len()));
    }
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ if style.zero.is_empty() => return Some((0, 0)),
        _ => return None,
    };
    let bytes = text.as_bytes();
    let two = |at: usize| {
        let pair = bytes.get(at..at + 2)?;
        let digits = pair.iter().all(u8::is_ascii_digit);
        digits.then(|| i32::from(pair[0] - b'0') * 10 + i32::from(pair[1] - b'0'))
    };
    let colon = usize::from(style.colon);
    let part = |at: usize| {
        let found = colon == 0 || bytes.get(at) == Some(&b':');
        found.then(|| two(at + colon)).flatten()
    };
    let (hours, mut at) = match two(1) {
        Some(hours) => (hours, 3),
        // `GMT+8`
        None if style.zero.is_empty() => (i32::from(bytes.get(1)?.checked_sub(b'0').filter(|d| *d < 10)?), 2),
        None => return None,
    };
    let minutes = match part(at) {
        Some(minutes) => {
            at += 2 + colon;
            minutes
        }
        None if style.minutes => return None,
        None => 0,
    };
    let seconds = match part(at).filter(|_| style.seconds) {
        Some(seconds) => {
            at += 2 + colon;
            seconds
        }
        None => 0,
    };
    let fits = hours <= 18 && minutes < 60 && seconds < 60;
    fits.then_some((sign * (hours * 3600 + minutes * 60 + seconds), at))
}
