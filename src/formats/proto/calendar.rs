//! Days since 1970-01-01 and the Gregorian calendar (proleptic), after Howard Hinnant's `chrono`-compatible algorithms.

/// The day of a date; `None` when there is no such date, or none that 32 bits can count.
pub(super) fn days(year: i64, month: i64, day: i64) -> Option<i32> {
    if !(-5_000_000..=5_000_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // years begin in March, so that the leap day is the last
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = i32::try_from(era * 146_097 + day_of_era - 719_468).ok()?;
    (date(days) == (year, month, day)).then_some(days)
}

/// Year, month and day.
pub(super) fn date(days: i32) -> (i64, i64, i64) {
    let z = i64::from(days) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * m + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2024, 2, 29), Some(19_782));
        assert_eq!(days(2023, 2, 29), None);
        assert_eq!(days(1969, 12, 31), Some(-1));
        assert_eq!(days(i64::MAX, 1, 1), None);
        for day in (-800_000..800_000).step_by(777).chain([i32::MIN, i32::MAX]) {
            let (y, m, d) = date(day);
            assert!(days(y, m, d).is_none_or(|back| back == day), "{day}");
        }
    }
}
