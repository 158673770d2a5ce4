//! The pattern's letters as items.

/// A number that can be written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    YearOfEra,
    MonthOfYear,
    DayOfMonth,
    DayOfYear,
    QuarterOfYear,
    WeekBasedYear,
    WeekOfYear,
    WeekOfMonth,
    DayOfWeek,
    AlignedWeekOfMonth,
    HourOfDay,
    ClockHourOfDay,
    HourOfAmPm,
    ClockHourOfAmPm,
    MinuteOfHour,
    SecondOfMinute,
    MilliOfDay,
    NanoOfSecond,
    NanoOfDay,
}

/// A word that can be written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Month,
    DayOfWeek,
    AmPm,
    Era,
    Quarter,
}

/// How long a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Short,
    Full,
    Narrow,
}

/// What signs a number may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// None: as many digits as there are.
    Never,
    /// Minus.
    Normal,
    /// Minus; plus if there are more digits than the pattern has letters.
    ExceedsPad,
}

/// How an offset is written: `+HH`, `+HHmm`, `+HH:mm`, with seconds or without, and with or without Z for zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetStyle {
    /// Minutes: always, or only if there are any.
    pub minutes: bool,
    pub colon: bool,
    pub seconds: bool,
    pub zero: &'static str,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Literal(String),
    Number {
        field: Field,
        min: usize,
        max: usize,
        sign: Sign,
        /// Digits of the fixed numbers that follow without anything between: they are theirs.
        reserved: usize,
    },
    /// Two digits of a year from 2000 to 2099.
    Reduced(Field),
    Word(Word, Style),
    /// The digits of a second behind the point.
    Fraction(usize),
    Offset(OffsetStyle),
    /// `GMT+1`; in full `GMT+01:00`.
    LocalizedOffset(Style),
    ZoneId,
    ZoneName(Style),
    /// Filled with blanks to a width.
    Pad(usize, Box<Item>),
    Optional(Vec<Item>),
}

/// A compiled pattern.
#[derive(Debug)]
pub(in super::super) struct Pattern {
    pub(super) items: Vec<Item>,
}

/// Sections inside sections; what reads them goes as deep.
const MAX_DEPTH: usize = 32;

/// So many letters in a row are enough for anything.
const MAX_LETTERS: usize = 19;

impl Pattern {
    /// Compiles; the error says what is wrong.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut sections: Vec<Vec<Item>> = vec![Vec::new()];
        let mut rest = text.chars().peekable();
        let mut pad = None;
        while let Some(c) = rest.next() {
            let item = match c {
                '\'' => Item::Literal(quoted(&mut rest)?),
                '[' if sections.len() >= MAX_DEPTH => return Err("too many [ in each other".into()),
                '[' => {
                    sections.push(Vec::new());
                    continue;
                }
                ']' => match sections.pop() {
                    Some(section) if !sections.is_empty() => Item::Optional(section),
                    _ => return Err("a ] has no [".into()),
                },
                '{' | '}' | '#' => return Err(format!("{c} is reserved; put it in quotes")),
                c if c.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while rest.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    if count > MAX_LETTERS {
                        return Err(format!("too many letters {c}"));
                    }
                    if c == 'p' {
                        pad = Some(count);
                        continue;
                    }
                    let item = letters(c, count)?;
                    match pad.take() {
                        Some(width) => Item::Pad(width, item.into()),
                        None => item,
                    }
                }
                c => Item::Literal(c.to_string()),
            };
            if let Some(section) = sections.last_mut() {
                section.push(item);
            }
        }
        if pad.is_some() {
            return Err("p has nothing to fill".into());
        }
        // sections that are still open end with the pattern
        let mut items = sections.pop().unwrap_or_default();
        while let Some(mut outer) = sections.pop() {
            outer.push(Item::Optional(items));
            items = outer;
        }
        reserve(&mut items);
        Ok(Self { items })
    }
}

/// The text up to the closing quote; two quotes are one.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    if rest.next_if_eq(&'\'').is_some() {
        return Ok("'".into());
    }
    let mut text = String::new();
    loop {
        match rest.next() {
            Some('\'') if rest.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') => return Ok(text),
            Some(c) => text.push(c),
            None => return Err("a quote is not closed".into()),
        }
    }
}

fn letters(c: char, count: usize) -> Result<Item, String> {
    use Field as F;
    let too_many = || Err(format!("too many letters {c}"));
    let number = |field, min, max, sign| Item::Number {
        field,
        min,
        max,
        sign,
        reserved: 0,
    };
    // one letter: as many digits as there are; two: two digits
    let one_or_two = |field| match count {
        1 => Ok(number(field, 1, 19, Sign::Normal)),
        2 => Ok(number(field, 2, 2, Sign::Never)),
        _ => too_many(),
    };
    let year = |field| match count {
        2 => Ok(Item::Reduced(field)),
        1..=3 => Ok(number(field, count, 19, Sign::Normal)),
        _ => Ok(number(field, count, 19, Sign::ExceedsPad)),
    };
    let number_or_word = |field, word| match count {
        1 | 2 => one_or_two(field),
        3 => Ok(Item::Word(word, Style::Short)),
        4 => Ok(Item::Word(word, Style::Full)),
        5 => Ok(Item::Word(word, Style::Narrow)),
        _ => too_many(),
    };
    let offset = |minutes, colon, seconds, zero| {
        Ok(Item::Offset(OffsetStyle {
            minutes,
            colon,
            seconds,
            zero,
        }))
    };
    match (c, count) {
        ('u', _) => year(F::Year),
        ('y', _) => year(F::YearOfEra),
        ('Y', _) => year(F::WeekBasedYear),
        ('M' | 'L', _) => number_or_word(F::MonthOfYear, Word::Month),
        ('Q' | 'q', _) => number_or_word(F::QuarterOfYear, Word::Quarter),
        ('E', 1..=3) => Ok(Item::Word(Word::DayOfWeek, Style::Short)),
        ('E' | 'e' | 'c', 4) => Ok(Item::Word(Word::DayOfWeek, Style::Full)),
        ('E' | 'e' | 'c', 5) => Ok(Item::Word(Word::DayOfWeek, Style::Narrow)),
        ('e' | 'c', 3) => Ok(Item::Word(Word::DayOfWeek, Style::Short)),
        ('e' | 'c', 1) => Ok(number(F::DayOfWeek, 1, 19, Sign::Normal)),
        ('e', 2) => Ok(number(F::DayOfWeek, 2, 2, Sign::Never)),
        ('a', 1) => Ok(Item::Word(Word::AmPm, Style::Short)),
        ('G', 1..=3) => Ok(Item::Word(Word::Era, Style::Short)),
        ('G', 4) => Ok(Item::Word(Word::Era, Style::Full)),
        ('G', 5) => Ok(Item::Word(Word::Era, Style::Narrow)),
        ('D', 1) => Ok(number(F::DayOfYear, 1, 19, Sign::Normal)),
        ('D', 2 | 3) => Ok(number(F::DayOfYear, count, 3, Sign::Never)),
        ('d', _) => one_or_two(F::DayOfMonth),
        ('w', _) => one_or_two(F::WeekOfYear),
        ('W', 1) => Ok(number(F::WeekOfMonth, 1, 1, Sign::Never)),
        ('F', 1) => Ok(number(F::AlignedWeekOfMonth, 1, 19, Sign::Normal)),
        ('H', _) => one_or_two(F::HourOfDay),
        ('k', _) => one_or_two(F::ClockHourOfDay),
        ('K', _) => one_or_two(F::HourOfAmPm),
        ('h', _) => one_or_two(F::ClockHourOfAmPm),
        ('m', _) => one_or_two(F::MinuteOfHour),
        ('s', _) => one_or_two(F::SecondOfMinute),
        ('S', 1..=9) => Ok(Item::Fraction(count)),
        ('A', _) => Ok(number(F::MilliOfDay, count, 19, Sign::Never)),
        ('n', _) => Ok(number(F::NanoOfSecond, count, 19, Sign::Never)),
        ('N', _) => Ok(number(F::NanoOfDay, count, 19, Sign::Never)),
        ('V', 2) => Ok(Item::ZoneId),
        ('V', _) => Err("a zone's id is VV".into()),
        ('z', 1..=3) => Ok(Item::ZoneName(Style::Short)),
        ('z', 4) => Ok(Item::ZoneName(Style::Full)),
        ('O', 1) => Ok(Item::LocalizedOffset(Style::Short)),
        ('O', 4) => Ok(Item::LocalizedOffset(Style::Full)),
        ('X', 1) => offset(false, false, false, "Z"),
        ('X', 2) => offset(true, false, false, "Z"),
        ('X', 3) => offset(true, true, false, "Z"),
        ('X', 4) => offset(true, false, true, "Z"),
        ('X', 5) => offset(true, true, true, "Z"),
        ('x', 1) => offset(false, false, false, "+00"),
        ('x', 2) => offset(true, false, false, "+0000"),
        ('x', 3) => offset(true, true, false, "+00:00"),
        ('x', 4) => offset(true, false, true, "+0000"),
        ('x', 5) => offset(true, true, true, "+00:00"),
        ('Z', 1..=3) => offset(true, false, false, "+0000"),
        ('Z', 4) => Ok(Item::LocalizedOffset(Style::Full)),
        ('Z', 5) => offset(true, true, true, "Z"),
        ('a' | 'G' | 'D' | 'E' | 'e' | 'c' | 'W' | 'F' | 'S' | 'z' | 'O' | 'X' | 'x' | 'Z', _) => too_many(),
        _ => Err(format!("there is no letter {c}; put text in quotes")),
    }
}

/// A number that is followed by numbers of fixed width leaves their digits to them: `yyyyMMdd`.
fn reserve(items: &mut [Item]) {
    let width = |item: &Item| match item {
        Item::Number {
            min,
            max,
            sign: Sign::Never,
            ..
        } if min == max => Some(*max),
        Item::Reduced(_) => Some(2),
        Item::Fraction(n) => Some(*n),
        _ => None,
    };
    for i in (0..items.len()).rev() {
        let (before, after) = items.split_at_mut(i + 1);
        match &mut before[i] {
            Item::Number { reserved, .. } => *reserved = after.iter().map_while(width).sum(),
            Item::Optional(inner) => reserve(inner),
            _ => {}
        }
    }
}
