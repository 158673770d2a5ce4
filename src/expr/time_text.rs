//! DATE, TIME and TIMESTAMP from and to text, as ksqlDB's CAST and implicit conversions do: ISO 8601, parts from the right may be missing, UTC
//! unless the text has an offset.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

const EPOCH: Date = jiff::civil::date(1970, 1, 1);
const DAY_MS: i64 = 86_400_000;

/// The date of so many days since 1970; `None` beyond the calendar.
pub(super) fn day(days: i32) -> Option<Date> {
    EPOCH.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// `2020-02-29`.
pub fn date_to_string(days: i32) -> String {
    match day(days) {
        Some(date) => date.to_string(),
        None => format!("{days} days"),
    }
}

/// `23:59:59.999`, milliseconds only when there are any.
pub fn time_to_string(ms: i32) -> String {
    let (seconds, millis) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if millis == 0 {
        text
    } else {
        format!("{text}.{millis:03}")
    }
}

/// As CAST prints a TIME: `23:59` where there are no seconds.
pub(super) fn short_time(ms: i32) -> String {
    let text = time_to_string(ms);
    match text.strip_suffix(":00") {
        Some(short) if short.len() == 5 => short.into(),
        _ => text,
    }
}

/// `2020-02-29T23:59:59.999`.
pub fn timestamp_to_string(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let date = i32::try_from(days).map_or_else(|_| format!("{days} days"), date_to_string);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{date}T{h:02}:{m:02}:{s:02}.{millis:03}")
}

/// Days since the epoch from `2020-02-29`, `2020-02` or `2020`.
pub fn parse_date(text: &str) -> Option<i32> {
    let date = civil_date(text)?;
    Some((date - EPOCH).get_days())
}

/// Milliseconds of the day from `23:59:59.999`, `23:59` or `23`.
pub fn parse_time(text: &str) -> Option<i32> {
    let time = civil_time(text)?;
    let seconds = i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60 + i32::from(time.second());
    Some(seconds * 1000 + i32::from(time.millisecond()))
}

/// Milliseconds since the epoch from `2020-02-29T23:59:59.999+01:00`, with a blank for the `T`, or with parts missing.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let Some(at) = text.find(['T', 't', ' ']) else {
        return Some(i64::from(parse_date(text)?) * DAY_MS);
    };
    let (date, rest) = (civil_date(&text[..at])?, &text[at + 1..]);
    let zone_at = rest.find(['Z', 'z', '+', '-']);
    let (clock, zone) = rest.split_at(zone_at.unwrap_or(rest.len()));
    let time = if clock.is_empty() {
        Time::midnight()
    } else {
        civil_time(clock)?
    };
    let local: Timestamp = DateTime::from_parts(date, time)
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp();
    Some(local.as_millisecond() - i64::from(offset(zone)?.seconds()) * 1000)
}

/// `Z`, `+01:00`, `+0100`, `+01` or nothing.
fn offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first() {
        None | Some(b'Z' | b'z') => return (text.len() <= 1).then_some(Offset::UTC),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    let number = |part: Option<&str>| part.map_or(Some(0), |p| p.parse::<i32>().ok());
    if !digits.bytes().all(|c| c.is_ascii_digit()) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let seconds = number(digits.get(..2))? * 3600 + number(digits.get(2..).filter(|m| !m.is_empty()))? * 60;
    Offset::from_seconds(sign * seconds).ok()
}

fn civil_date(text: &str) -> Option<Date> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let number = |i: usize| parts.get(i).map_or(Some(1), |p| digits(p, 2));
    if parts.len() > 3 {
        return None;
    }
    let year = i16::try_from(digits(parts.first()?, 4)?).ok()?;
    Date::new(year, i8::try_from(number(1)?).ok()?, i8::try_from(number(2)?).ok()?).ok()
}

fn civil_time(text: &str) -> Option<Time> {
    let (clock, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let number = |i: usize| parts.get(i).map_or(Some(0), |p| digits(p, 2));
    if parts.len() > 3 || fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let part = |i: usize| i8::try_from(number(i)?).ok();
    Time::new(part(0)?, part(1)?, part(2)?, nanos).ok()
}

fn digits(text: &str, most: usize) -> Option<i32> {
    let plain = !text.is_empty() && text.len() <= most && text.bytes().all(|c| c.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}
