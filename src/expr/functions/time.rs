//! Functions of dates and times. The wall clock is the one that the task was given; where no time zone is named, it is UTC.

use super::java_time::{Moment, Zone, pattern, zone};
use super::{CallContext, EvalError, Signature, Ty, UNITS, number, text};
use crate::expr::time_text;
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const DAY_MS: i64 = 86_400_000;

const S: Ty = Ty::String;
const I: Ty = Ty::Integer;
const L: Ty = Ty::Bigint;
const DATE: Ty = Ty::Date;
const TIME: Ty = Ty::Time;
const TIMESTAMP: Ty = Ty::Timestamp;

const ADD: &str = "A number of units (DAYS, HOURS, MINUTES, SECONDS, MILLISECONDS) later.";
const SUB: &str = "A number of units (DAYS, HOURS, MINUTES, SECONDS, MILLISECONDS) earlier.";
const FORMAT: &str = "The value as text by a pattern of Java's DateTimeFormatter.";
const FORMAT_IN: &str = "The same in a time zone: 'Europe/Paris', '+02:00', 'PST'.";
const PARSE: &str =
    "The value of a text by a pattern of Java's DateTimeFormatter; what the pattern lacks is that of 1970-01-01.";
const PARSE_IN: &str = "The same for texts of a time zone, unless the text names another one.";

functions! {
    "CONVERT_TZ"(TIMESTAMP, S, S) -> TIMESTAMP, convert_tz, "The time that clocks of the second zone show when those of the first one show the given time.",
        ["CONVERT_TZ(CAST('2021-08-09T03:00' AS TIMESTAMP), 'UTC', 'America/Los_Angeles')" => "CAST('2021-08-08T20:00' AS TIMESTAMP)"];
    "DATEADD"(Ty::Unit, I, DATE) -> DATE, |a, _| date_plus(a, 1), ADD, ["DATEADD(DAYS, 2, CAST('2021-12-31' AS DATE))" => "CAST('2022-01-02' AS DATE)"];
    "DATESUB"(Ty::Unit, I, DATE) -> DATE, |a, _| date_plus(a, -1), SUB, ["DATESUB(DAY, 1, CAST('2021-03-01' AS DATE))" => "CAST('2021-02-28' AS DATE)"];
    "DATETOSTRING"(I, S) -> S, |a, _| format_days(number(&a[0]), &a[1]), "The text of a number of days since 1970 by a pattern. FORMAT_DATE is the newer one.",
        ["DATETOSTRING(18765, 'yyyy-MM-dd')" => "'2021-05-18'"];
    "FORMAT_DATE"(DATE, S) -> S, format_date, FORMAT, ["FORMAT_DATE(CAST('2021-05-18' AS DATE), 'd MMM yyyy')" => "'18 May 2021'"];
    "FORMAT_TIME"(TIME, S) -> S, format_time, FORMAT, ["FORMAT_TIME(CAST('13:05:00' AS TIME), 'hh:mm a')" => "'01:05 PM'"];
    "FORMAT_TIMESTAMP"(TIMESTAMP, S) -> S, format_timestamp, FORMAT,
        ["FORMAT_TIMESTAMP(FROM_UNIXTIME(1628478245678), 'yyyy-MM-dd''T''HH:mm:ss.SSSX')" => "'2021-08-09T03:04:05.678Z'"];
    "FORMAT_TIMESTAMP"(TIMESTAMP, S, S) -> S, format_timestamp, FORMAT_IN,
        ["FORMAT_TIMESTAMP(FROM_UNIXTIME(1628478245678), 'yyyy-MM-dd HH:mm z', 'America/Los_Angeles')" => "'2021-08-08 20:04 PDT'"];
    "FROM_DAYS"(I) -> DATE, |a, _| Ok(Value::Date(number(&a[0]) as i32)), "The DATE of so many days since 1970.", ["FROM_DAYS(1)" => "CAST('1970-01-02' AS DATE)"];
    "FROM_UNIXTIME"(L) -> TIMESTAMP, |a, _| Ok(Value::Timestamp(number(&a[0]))), "The TIMESTAMP of so many milliseconds since 1970.",
        ["FROM_UNIXTIME(1000)" => "CAST('1970-01-01T00:00:01' AS TIMESTAMP)"];
    "PARSE_DATE"(S, S) -> DATE, parse_date, "The date of a text by a pattern of Java's DateTimeFormatter.",
        ["PARSE_DATE('18 May 2021', 'd MMM yyyy')" => "CAST('2021-05-18' AS DATE)"];
    "PARSE_TIME"(S, S) -> TIME, parse_time, "The time of a text by a pattern of Java's DateTimeFormatter.",
        ["PARSE_TIME('01:05 PM', 'hh:mm a')" => "CAST('13:05' AS TIME)"];
    "PARSE_TIMESTAMP"(S, S) -> TIMESTAMP, |a, _| parse_instant(a).map(Value::Timestamp), PARSE,
        ["PARSE_TIMESTAMP('2021-08-09T03:04:05+02:00', 'yyyy-MM-dd''T''HH:mm:ssXXX')" => "CAST('2021-08-09T01:04:05' AS TIMESTAMP)"];
    "PARSE_TIMESTAMP"(S, S, S) -> TIMESTAMP, |a, _| parse_instant(a).map(Value::Timestamp), PARSE_IN,
        ["PARSE_TIMESTAMP('2021-08-09 03:04', 'yyyy-MM-dd HH:mm', 'Europe/Paris')" => "CAST('2021-08-09T01:04' AS TIMESTAMP)"];
    "STRINGTODATE"(S, S) -> I, string_to_date, "The days since 1970 of a text by a pattern. PARSE_DATE is the newer one.",
        ["STRINGTODATE('2021-05-18', 'yyyy-MM-dd')" => "18765"];
    "STRINGTOTIMESTAMP"(S, S) -> L, |a, _| parse_instant(a).map(Value::Bigint), "The milliseconds since 1970 of a text by a pattern. PARSE_TIMESTAMP is the newer one.",
        ["STRINGTOTIMESTAMP('1970-01-01 00:00:01', 'yyyy-MM-dd HH:mm:ss')" => "1000"];
    "STRINGTOTIMESTAMP"(S, S, S) -> L, |a, _| parse_instant(a).map(Value::Bigint), PARSE_IN, [];
    "TIMEADD"(Ty::Unit, I, TIME) -> TIME, |a, _| time_plus(a, 1), ADD, ["TIMEADD(MINUTES, 10, CAST('23:55' AS TIME))" => "CAST('00:05' AS TIME)"];
    "TIMESTAMPADD"(Ty::Unit, I, TIMESTAMP) -> TIMESTAMP, |a, _| timestamp_plus(a, 1), ADD,
        ["TIMESTAMPADD(HOURS, 1, FROM_UNIXTIME(0))" => "FROM_UNIXTIME(3600000)"];
    "TIMESTAMPSUB"(Ty::Unit, I, TIMESTAMP) -> TIMESTAMP, |a, _| timestamp_plus(a, -1), SUB,
        ["TIMESTAMPSUB(SECONDS, 1, FROM_UNIXTIME(1000))" => "FROM_UNIXTIME(0)"];
    "TIMESTAMPTOSTRING"(L, S) -> S, format_timestamp, "The text of milliseconds since 1970 by a pattern. FORMAT_TIMESTAMP is the newer one.",
        ["TIMESTAMPTOSTRING(1000, 'yyyy-MM-dd HH:mm:ss')" => "'1970-01-01 00:00:01'"];
    "TIMESTAMPTOSTRING"(L, S, S) -> S, format_timestamp, FORMAT_IN, ["TIMESTAMPTOSTRING(0, 'HH:mm', '+05:30')" => "'05:30'"];
    "TIMESUB"(Ty::Unit, I, TIME) -> TIME, |a, _| time_plus(a, -1), SUB, ["TIMESUB(HOURS, 2, CAST('01:00' AS TIME))" => "CAST('23:00' AS TIME)"];
    "UNIX_DATE"() -> I, |_, c| Ok(days(c.now)), "The days from 1970 to now.", [] .computed_anew();
    "UNIX_DATE"(DATE) -> I, unix_date, "The days from 1970 to a date.", ["UNIX_DATE(CAST('1970-01-03' AS DATE))" => "2"];
    "UNIX_TIMESTAMP"() -> L, |_, c| Ok(Value::Bigint(c.now)), "The milliseconds from 1970 to now.", [] .computed_anew();
    "UNIX_TIMESTAMP"(TIMESTAMP) -> L, |a, _| Ok(Value::Bigint(instant(&a[0]))), "The milliseconds from 1970 to a time.",
        ["UNIX_TIMESTAMP(CAST('1970-01-01T00:00:01' AS TIMESTAMP))" => "1000"];
}

fn days(ms: i64) -> Value {
    Value::Integer(i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX))
}

fn unix_date(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match args[0] {
        Value::Date(days) => Value::Integer(days),
        _ => Value::Null,
    })
}

/// The milliseconds of a TIMESTAMP or BIGINT argument.
fn instant(value: &Value) -> i64 {
    match value {
        Value::Timestamp(ms) => *ms,
        other => number(other),
    }
}

fn failed(what: &Value, pattern: &Value, why: &str) -> EvalError {
    let what = crate::expr::display::literal(what);
    EvalError::new(format!("{what} by the pattern '{}': {why}", text(pattern)))
}

/// Milliseconds of a number of units.
fn span(args: &[Value], sign: i64) -> std::result::Result<i64, EvalError> {
    let known = UNITS.iter().find(|(name, _)| *name == text(&args[0]));
    let (_, unit) = known.ok_or_else(|| EvalError::new(format!("there is no unit of time {}", text(&args[0]))))?;
    // an INTEGER of days is far from the end of BIGINT
    Ok(number(&args[1]).saturating_mul(*unit).saturating_mul(sign))
}

fn beyond(args: &[Value]) -> EvalError {
    let at = crate::expr::display::literal(&args[2]);
    EvalError::new(format!(
        "{at} and {} {}S: the result is beyond the calendar",
        number(&args[1]),
        text(&args[0])
    ))
}

fn date_plus(args: &[Value], sign: i64) -> Result {
    let Value::Date(days) = args[2] else {
        return Ok(Value::Null);
    };
    // whole days, cut towards 1970 as in ksqlDB
    let moved = (i64::from(days) * DAY_MS)
        .checked_add(span(args, sign)?)
        .map(|ms| ms / DAY_MS);
    let moved = moved
        .and_then(|days| i32::try_from(days).ok())
        .ok_or_else(|| beyond(args))?;
    Ok(Value::Date(moved))
}

fn time_plus(args: &[Value], sign: i64) -> Result {
    let Value::Time(ms) = args[2] else {
        return Ok(Value::Null);
    };
    let moved = i64::from(ms).saturating_add(span(args, sign)?).rem_euclid(DAY_MS);
    Ok(Value::Time(moved as i32))
}

fn timestamp_plus(args: &[Value], sign: i64) -> Result {
    let moved = instant(&args[2]).checked_add(span(args, sign)?);
    Ok(Value::Timestamp(moved.ok_or_else(|| beyond(args))?))
}

fn civil(days: i64) -> Option<jiff::civil::Date> {
    time_text::day(i32::try_from(days).ok()?)
}

fn format_days(days: i64, by: &Value) -> Result {
    let pattern = pattern(text(by))?;
    let beyond = || EvalError::new(format!("the day {days} is beyond the calendar"));
    let moment = Moment {
        date: Some(civil(days).ok_or_else(beyond)?),
        nano_of_day: None,
        zone: None,
    };
    let written = moment.format(&pattern);
    Ok(Value::string(
        written.map_err(|why| failed(&Value::Bigint(days), by, &why))?,
    ))
}

fn format_date(args: &[Value], _: &CallContext<'_>) -> Result {
    match args[0] {
        Value::Date(days) => format_days(days.into(), &args[1]),
        _ => Ok(Value::Null),
    }
}

fn format_time(args: &[Value], _: &CallContext<'_>) -> Result {
    let Value::Time(ms) = args[0] else {
        return Ok(Value::Null);
    };
    let pattern = pattern(text(&args[1]))?;
    let moment = Moment {
        date: None,
        nano_of_day: Some(i64::from(ms).rem_euclid(DAY_MS) * 1_000_000),
        zone: None,
    };
    let written = moment.format(&pattern);
    Ok(Value::string(written.map_err(|why| failed(&args[0], &args[1], &why))?))
}

/// The zone that an argument names, or UTC.
fn zone_of(arg: Option<&Value>) -> std::result::Result<std::rc::Rc<Zone>, EvalError> {
    match arg {
        Some(id) => zone(text(id)),
        None => Ok(std::rc::Rc::new(Zone::utc())),
    }
}

fn format_timestamp(args: &[Value], _: &CallContext<'_>) -> Result {
    let (ms, zone) = (instant(&args[0]), zone_of(args.get(2))?);
    let pattern = pattern(text(&args[1]))?;
    let beyond = || failed(&args[0], &args[1], "the time is beyond the calendar");
    let offset = zone.offset_at(ms).ok_or_else(beyond)?;
    let local = ms + i64::from(offset) * 1000;
    let moment = Moment {
        date: Some(civil(local.div_euclid(DAY_MS)).ok_or_else(beyond)?),
        nano_of_day: Some(local.rem_euclid(DAY_MS) * 1_000_000),
        zone: Some((&zone, ms)),
    };
    let written = moment.format(&pattern);
    Ok(Value::string(written.map_err(|why| failed(&args[0], &args[1], &why))?))
}

fn parse_date(args: &[Value], _: &CallContext<'_>) -> Result {
    let read = pattern(text(&args[1]))?
        .parse(text(&args[0]))
        .and_then(|f| f.days(true));
    Ok(Value::Date(read.map_err(|why| failed(&args[0], &args[1], &why))?))
}

fn string_to_date(args: &[Value], _: &CallContext<'_>) -> Result {
    let read = pattern(text(&args[1]))?
        .parse(text(&args[0]))
        .and_then(|f| f.days(false));
    Ok(Value::Integer(read.map_err(|why| failed(&args[0], &args[1], &why))?))
}

fn parse_time(args: &[Value], _: &CallContext<'_>) -> Result {
    let read = pattern(text(&args[1]))?
        .parse(text(&args[0]))
        .and_then(|f| f.time_of_day());
    Ok(Value::Time(read.map_err(|why| failed(&args[0], &args[1], &why))?))
}

fn parse_instant(args: &[Value]) -> std::result::Result<i64, EvalError> {
    let zone = zone_of(args.get(2))?;
    let read = pattern(text(&args[1]))?
        .parse(text(&args[0]))
        .and_then(|f| f.instant(&zone));
    read.map_err(|why| failed(&args[0], &args[1], &why))
}

fn convert_tz(args: &[Value], _: &CallContext<'_>) -> Result {
    let ms = instant(&args[0]);
    let (from, to) = (zone(text(&args[1]))?, zone(text(&args[2]))?);
    let beyond = || EvalError::new("CONVERT_TZ: the time is beyond the calendar");
    let (from, to) = (
        from.offset_at(ms).ok_or_else(beyond)?,
        to.offset_at(ms).ok_or_else(beyond)?,
    );
    let moved = ms.checked_add((i64::from(to) - i64::from(from)) * 1000);
    Ok(Value::Timestamp(moved.ok_or_else(beyond)?))
}
