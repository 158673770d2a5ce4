//! A moment as text.

use jiff::civil::Date;

use super::pattern::{Field, Item, OffsetStyle, Pattern, Sign, Style, Word};
use super::zone::{Zone, offset_text};

/// What is written: a date, a time of the day, or both in a zone.
pub(in super::super) struct Moment<'a> {
    pub(in super::super) date: Option<Date>,
    pub(in super::super) nano_of_day: Option<i64>,
    /// The zone with the instant.
    pub(in super::super) zone: Option<(&'a Zone, i64)>,
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
pub(super) const QUARTERS: [&str; 4] = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];
pub(super) const ERAS: [(&str, &str); 2] = [("BC", "Before Christ"), ("AD", "Anno Domini")];

impl Moment<'_> {
    /// The text; the error names the letter's field that the moment does not have.
    pub(in super::super) fn format(&self, pattern: &Pattern) -> Result<String, String> {
        let mut out = String::new();
        self.items(&pattern.items, &mut out)?;
        Ok(out)
    }

    fn items(&self, items: &[Item], out: &mut String) -> Result<(), String> {
        for item in items {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Number {
                    field, min, max, sign, ..
                } => number(self.field(*field)?, *min, *max, *sign, *field, out)?,
                Item::Reduced(field) => out.push_str(&format!("{:02}", self.field(*field)?.rem_euclid(100))),
                Item::Word(word, style) => out.push_str(&self.word(*word, *style)?),
                Item::Fraction(digits) => {
                    let nanos = format!("{:09}", self.field(Field::NanoOfSecond)?);
                    out.push_str(&nanos[..*digits]);
                }
                Item::Offset(style) => out.push_str(&self.offset(*style)?),
                Item::LocalizedOffset(style) => {
                    out.push_str("GMT");
                    match (self.seconds()?, style) {
                        (0, _) => {}
                        (seconds, Style::Full) => out.push_str(&offset_text(seconds, true, true, true)),
                        (seconds, _) => {
                            // the short form has no leading zero
                            let text = offset_text(seconds, false, true, true);
                            let (sign, digits) = text.split_at(1);
                            out.push_str(sign);
                            out.push_str(digits.strip_prefix('0').unwrap_or(digits));
                        }
                    }
                }
                Item::ZoneId => out.push_str(&self.zone()?.0.id),
                Item::ZoneName(style) => {
                    let (zone, ms) = self.zone()?;
                    let (short, full) = zone.name_at(ms).ok_or("the time is beyond the calendar")?;
                    match (style, full) {
                        (Style::Full, Some(full)) => out.push_str(full),
                        (Style::Full, None) => out.push_str(&zone.id),
                        _ => out.push_str(&short),
                    }
                }
                Item::Pad(width, inner) => {
                    let mut text = String::new();
                    self.items(std::slice::from_ref(&**inner), &mut text)?;
                    let size = text.chars().count();
                    if size > *width {
                        return Err(format!("'{text}' is longer than {width} characters"));
                    }
                    out.push_str(&" ".repeat(width - size));
                    out.push_str(&text);
                }
                Item::Optional(inner) => {
                    // a section with something that the moment does not have is left out
                    let before = out.len();
                    if self.items(inner, out).is_err() {
                        out.truncate(before);
                    }
                }
            }
        }
        Ok(())
    }

    fn zone(&self) -> Result<(&Zone, i64), String> {
        self.zone.ok_or_else(|| "there is no zone to write".into())
    }

    fn seconds(&self) -> Result<i32, String> {
        let (zone, ms) = self.zone()?;
        zone.offset_at(ms)
            .ok_or_else(|| "the time is beyond the calendar".into())
    }

    fn offset(&self, style: OffsetStyle) -> Result<String, String> {
        let seconds = self.seconds()?;
        let shown = if style.seconds { seconds } else { seconds / 60 * 60 };
        Ok(match shown {
            0 => style.zero.into(),
            _ => offset_text(seconds, style.minutes, style.colon, style.seconds),
        })
    }

    fn field(&self, field: Field) -> Result<i64, String> {
        use Field as F;
        let date = || self.date.ok_or_else(|| format!("there is no {field:?} without a date"));
        let nanos = || {
            self.nano_of_day
                .ok_or_else(|| format!("there is no {field:?} without a time"))
        };
        let hour = || nanos().map(|n| n / 3_600_000_000_000);
        Ok(match field {
            F::Year => date()?.year().into(),
            F::YearOfEra => match i64::from(date()?.year()) {
                year @ 1.. => year,
                year => 1 - year,
            },
            F::MonthOfYear => date()?.month().into(),
            F::QuarterOfYear => (i64::from(date()?.month()) + 2) / 3,
            F::DayOfMonth => date()?.day().into(),
            F::DayOfYear => date()?.day_of_year().into(),
            F::DayOfWeek => i64::from(date()?.weekday().to_sunday_one_offset()),
            F::AlignedWeekOfMonth => (i64::from(date()?.day()) - 1) / 7 + 1,
            F::WeekBasedYear => week_of(date()?).0,
            F::WeekOfYear => week_of(date()?).1,
            F::WeekOfMonth => {
                let date = date()?;
                let first = i64::from(date.first_of_month().weekday().to_sunday_zero_offset());
                (i64::from(date.day()) - 1 + first) / 7 + 1
            }
            F::HourOfDay => hour()?,
            F::ClockHourOfDay => match hour()? {
                0 => 24,
                hour => hour,
            },
            F::HourOfAmPm => hour()? % 12,
            F::ClockHourOfAmPm => match hour()? % 12 {
                0 => 12,
                hour => hour,
            },
            F::MinuteOfHour => nanos()? / 60_000_000_000 % 60,
            F::SecondOfMinute => nanos()? / 1_000_000_000 % 60,
            F::MilliOfDay => nanos()? / 1_000_000,
            F::NanoOfSecond => nanos()? % 1_000_000_000,
            F::NanoOfDay => nanos()?,
        })
    }

    fn word(&self, word: Word, style: Style) -> Result<String, String> {
        let index = |n: i64| usize::try_from(n).unwrap_or(0);
        let name = match word {
            Word::Month => MONTHS[index(self.field(Field::MonthOfYear)? - 1) % 12],
            Word::DayOfWeek => {
                let date = self.date.ok_or("there is no day of the week without a date")?;
                DAYS[index(date.weekday().to_monday_zero_offset().into()) % 7]
            }
            Word::AmPm => return Ok(if self.field(Field::HourOfDay)? < 12 { "AM" } else { "PM" }.into()),
            Word::Era => {
                let (short, full) = ERAS[usize::from(self.field(Field::Year)? > 0)];
                return Ok(match style {
                    Style::Short => short.into(),
                    Style::Full => full.into(),
                    Style::Narrow => short[..1].into(),
                });
            }
            Word::Quarter => {
                let quarter = self.field(Field::QuarterOfYear)?;
                return Ok(match style {
                    Style::Short => format!("Q{quarter}"),
                    Style::Full => QUARTERS[index(quarter - 1) % 4].into(),
                    Style::Narrow => quarter.to_string(),
                });
            }
        };
        Ok(match style {
            Style::Short => &name[..3],
            Style::Full => name,
            Style::Narrow => &name[..1],
        }
        .into())
    }
}

/// Year and week of a calendar whose weeks begin on Sunday and whose first week has January 1, as Java's for English.
fn week_of(date: Date) -> (i64, i64) {
    let year = i64::from(date.year());
    let sunday = |date: Date| i64::from(date.weekday().to_sunday_zero_offset());
    let week = (i64::from(date.day_of_year()) - 1 + sunday(date.first_of_year())) / 7 + 1;
    // the last days of December are of the week that has the next January 1
    let days_left = i64::from(date.days_in_year()) - i64::from(date.day_of_year());
    if days_left < 6 - sunday(date) {
        return (year + 1, 1);
    }
    (year, week)
}

fn number(value: i64, min: usize, max: usize, sign: Sign, field: Field, out: &mut String) -> Result<(), String> {
    let digits = value.unsigned_abs().to_string();
    if digits.len() > max {
        return Err(format!("{field:?} {value} has more than {max} digits"));
    }
    match sign {
        Sign::Never if value < 0 => return Err(format!("{field:?} {value} is negative")),
        _ if value < 0 => out.push('-'),
        Sign::ExceedsPad if digits.len() > min => out.push('+'),
        _ => {}
    }
    out.push_str(&"0".repeat(min.saturating_sub(digits.len())));
    out.push_str(&digits);
    Ok(())
}
