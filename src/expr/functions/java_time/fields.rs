//! What was read, and the date, time or timestamp that follows from it: Java's smart resolver.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, ToSpan};

use super::pattern::Field;
use super::zone::Zone;

const HOUR: i64 = 3_600_000_000_000;
const MINUTE: i64 = 60_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// The fields of a text.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Fields {
    year: Option<i64>,
    year_of_era: Option<i64>,
    era: Option<i64>,
    month: Option<i64>,
    quarter: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    weekday: Option<i64>,
    week_based: Option<(Field, i64)>,
    hour: Option<i64>,
    hour_of_am_pm: Option<i64>,
    am_pm: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    nano: Option<i64>,
    nano_of_day: Option<i64>,
    offset: Option<i32>,
    pub(super) zone: Option<Zone>,
}

/// Puts a value in its place, unless another one is there.
fn put<T: PartialEq + std::fmt::Debug>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot {
        Some(known) if *known != value => Err(format!("{known:?} and {value:?} contradict each other")),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

impl Fields {
    pub(super) fn set(&mut self, field: Field, value: i64) -> Result<(), String> {
        use Field as F;
        let (least, most) = match field {
            F::Year => (-9998, 9998),
            F::YearOfEra => (1, 9999),
            F::MonthOfYear => (1, 12),
            F::QuarterOfYear => (1, 4),
            F::DayOfMonth => (1, 31),
            F::DayOfYear => (1, 366),
            F::DayOfWeek => (1, 7),
            F::WeekBasedYear => (-9998, 9998),
            F::WeekOfYear => (1, 54),
            F::WeekOfMonth | F::AlignedWeekOfMonth => (0, 6),
            F::HourOfDay => (0, 24),
            F::ClockHourOfDay => (1, 24),
            F::HourOfAmPm => (0, 11),
            F::ClockHourOfAmPm => (1, 12),
            F::MinuteOfHour | F::SecondOfMinute => (0, 59),
            F::MilliOfDay => (0, 86_399_999),
            F::NanoOfSecond => (0, SECOND - 1),
            F::NanoOfDay => (0, 24 * HOUR - 1),
        };
        if !(least..=most).contains(&value) {
            return Err(format!("{field:?} is {value}, not from {least} to {most}"));
        }
        match field {
            F::Year => put(&mut self.year, value),
            F::YearOfEra => put(&mut self.year_of_era, value),
            F::MonthOfYear => put(&mut self.month, value),
            F::QuarterOfYear => put(&mut self.quarter, value),
            F::DayOfMonth => put(&mut self.day, value),
            F::DayOfYear => put(&mut self.day_of_year, value),
            // from Sunday to from Monday
            F::DayOfWeek => put(&mut self.weekday, (value + 5) % 7 + 1),
            F::WeekBasedYear | F::WeekOfYear | F::WeekOfMonth | F::AlignedWeekOfMonth => {
                self.week_based = Some((field, value));
                Ok(())
            }
            F::HourOfDay => put(&mut self.hour, value),
            F::ClockHourOfDay => put(&mut self.hour, value % 24),
            F::HourOfAmPm => put(&mut self.hour_of_am_pm, value),
            F::ClockHourOfAmPm => put(&mut self.hour_of_am_pm, value % 12),
            F::MinuteOfHour => put(&mut self.minute, value),
            F::SecondOfMinute => put(&mut self.second, value),
            F::NanoOfSecond => put(&mut self.nano, value),
            F::MilliOfDay => put(&mut self.nano_of_day, value * 1_000_000),
            F::NanoOfDay => put(&mut self.nano_of_day, value),
        }
    }

    pub(super) fn set_weekday(&mut self, from_monday: i64) -> Result<(), String> {
        put(&mut self.weekday, from_monday)
    }

    pub(super) fn set_am_pm(&mut self, pm: i64) -> Result<(), String> {
        put(&mut self.am_pm, pm)
    }

    pub(super) fn set_era(&mut self, era: i64) -> Result<(), String> {
        put(&mut self.era, era)
    }

    pub(super) fn set_offset(&mut self, seconds: i32) -> Result<(), String> {
        put(&mut self.offset, seconds)
    }

    fn has_date(&self) -> bool {
        let numbers = [
            self.year,
            self.year_of_era,
            self.era,
            self.month,
            self.quarter,
            self.day,
            self.day_of_year,
            self.weekday,
        ];
        numbers.iter().any(Option::is_some) || self.week_based.is_some()
    }

    fn has_time(&self) -> bool {
        let numbers = [
            self.hour,
            self.hour_of_am_pm,
            self.am_pm,
            self.minute,
            self.second,
            self.nano,
            self.nano_of_day,
        ];
        numbers.iter().any(Option::is_some)
    }

    /// The year of any era.
    fn proleptic_year(&self) -> Result<Option<i64>, String> {
        let of_era = match (self.year_of_era, self.era) {
            (Some(year), Some(0)) => Some(1 - year),
            (Some(year), _) => Some(year),
            (None, _) => None,
        };
        match (self.year, of_era) {
            (Some(a), Some(b)) if a != b => Err(format!("the years {a} and {b} contradict each other")),
            (a, b) => Ok(a.or(b)),
        }
    }

    /// The date, with these in place of what is missing. A day that the month does not have is its last one.
    fn date_or(&self, year: Option<i64>, month: Option<i64>, day: Option<i64>) -> Result<Date, String> {
        if let Some((field, _)) = self.week_based {
            return Err(format!("no date follows from {field:?}"));
        }
        let missing = |what: &str| format!("there is no {what}");
        let year = self.proleptic_year()?.or(year).ok_or_else(|| missing("year"))?;
        let year = i16::try_from(year).map_err(|_| format!("the year {year} is beyond the calendar"))?;
        let first = Date::new(year, 1, 1).map_err(|e| e.to_string())?;
        let date = match (self.day_of_year, self.month) {
            (Some(n), None) => {
                if n > i64::from(first.days_in_year()) {
                    return Err(format!("{year} has no day {n}"));
                }
                first.checked_add((n - 1).days()).map_err(|e| e.to_string())?
            }
            (_, given) => {
                let month = given.or(month).ok_or_else(|| missing("month"))?;
                let day = self.day.or(day).ok_or_else(|| missing("day"))?;
                let month = i8::try_from(month).map_err(|e| e.to_string())?;
                let first = Date::new(year, month, 1).map_err(|e| e.to_string())?;
                let day = i8::try_from(day).map_err(|e| e.to_string())?.min(first.days_in_month());
                Date::new(year, month, day).map_err(|e| e.to_string())?
            }
        };
        let wrong = |what: &str| Err(format!("{date} has another {what}"));
        if self.day_of_year.is_some_and(|n| n != i64::from(date.day_of_year())) {
            return wrong("day of the year");
        }
        if self.quarter.is_some_and(|q| q != (i64::from(date.month()) + 2) / 3) {
            return wrong("quarter");
        }
        if self
            .weekday
            .is_some_and(|d| d != i64::from(date.weekday().to_monday_one_offset()))
        {
            return wrong("day of the week");
        }
        Ok(date)
    }

    /// Nanoseconds of the day, and whether they are the end of it: 24:00.
    fn nanos(&self) -> Result<(i64, bool), String> {
        if let Some(nanos) = self.nano_of_day {
            return Ok((nanos, false));
        }
        let of_half = self.hour_of_am_pm.map(|h| h + 12 * self.am_pm.unwrap_or(0));
        let hour = match (self.hour, of_half) {
            (Some(a), Some(b)) if a != b => return Err(format!("the hours {a} and {b} contradict each other")),
            (Some(hour), _) if self.am_pm.is_some_and(|pm| pm != i64::from(hour >= 12)) => {
                return Err(format!("the hour {hour} is in the other half of the day"));
            }
            (a, b) => a.or(b).unwrap_or(12 * self.am_pm.unwrap_or(0)),
        };
        let rest = self.minute.unwrap_or(0) * MINUTE + self.second.unwrap_or(0) * SECOND + self.nano.unwrap_or(0);
        match (hour, rest) {
            (24, 0) => Ok((0, true)),
            (24, _) => Err("the hour 24 is the end of the day".into()),
            _ => Ok((hour * HOUR + rest, false)),
        }
    }

    /// Days since 1970 of a text that has a date; `strict` if it must have nothing else.
    pub(in super::super) fn days(&self, strict: bool) -> Result<i32, String> {
        if strict && self.has_time() {
            return Err("it has a time".into());
        }
        let date = self.date_or(None, None, None)?;
        Ok((date - jiff::civil::date(1970, 1, 1)).get_days())
    }

    /// Milliseconds of the day of a text that has a time and nothing else.
    pub(in super::super) fn time_of_day(&self) -> Result<i32, String> {
        if self.has_date() {
            return Err("it has a date".into());
        }
        if self.hour.is_none() && self.nano_of_day.is_none() && (self.hour_of_am_pm.is_none() || self.am_pm.is_none()) {
            return Err("it has no hour".into());
        }
        let (nanos, _) = self.nanos()?;
        i32::try_from(nanos / 1_000_000).map_err(|e| e.to_string())
    }

    /// Milliseconds since 1970; what is missing is that of 1970-01-01, and of the zone the given one.
    pub(in super::super) fn instant(&self, zone: &Zone) -> Result<i64, String> {
        let beyond = || "the time is beyond the calendar".to_string();
        let date = self.date_or(Some(1970), Some(1), Some(1))?;
        let (nanos, next_day) = self.nanos()?;
        let time = Time::midnight() + Span::new().nanoseconds(nanos);
        let mut local = DateTime::from_parts(date, time);
        if next_day {
            local = local.checked_add(1.day()).map_err(|_| beyond())?;
        }
        let fixed;
        let zone = match (&self.zone, self.offset) {
            (_, Some(seconds)) => {
                fixed = Zone::fixed(seconds).ok_or_else(beyond)?;
                &fixed
            }
            (Some(zone), None) => zone,
            (None, None) => zone,
        };
        zone.instant(local).ok_or_else(beyond)
    }
}
