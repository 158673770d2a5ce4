//! Time zones by the ids that Java takes. The rules come with the program, so that a result does not depend on the machine.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

/// A zone or an offset.
#[derive(Clone, Debug)]
pub(in super::super) struct Zone {
    /// As it was named.
    pub(super) id: String,
    rules: TimeZone,
}

thread_local! {
    static DATABASE: TimeZoneDatabase = TimeZoneDatabase::bundled();
}

/// Abbreviations with the region that is meant and their full names.
const NAMES: &[(&str, &str, &str)] = &[
    ("ACDT", "Australia/Adelaide", "Australian Central Daylight Time"),
    ("ACST", "Australia/Adelaide", "Australian Central Standard Time"),
    ("AEDT", "Australia/Sydney", "Australian Eastern Daylight Time"),
    ("AEST", "Australia/Sydney", "Australian Eastern Standard Time"),
    ("AKDT", "America/Anchorage", "Alaska Daylight Time"),
    ("AKST", "America/Anchorage", "Alaska Standard Time"),
    ("BST", "Europe/London", "British Summer Time"),
    ("CDT", "America/Chicago", "Central Daylight Time"),
    ("CEST", "Europe/Paris", "Central European Summer Time"),
    ("CET", "Europe/Paris", "Central European Standard Time"),
    ("CST", "America/Chicago", "Central Standard Time"),
    ("EDT", "America/New_York", "Eastern Daylight Time"),
    ("EEST", "Europe/Athens", "Eastern European Summer Time"),
    ("EET", "Europe/Athens", "Eastern European Standard Time"),
    ("EST", "America/New_York", "Eastern Standard Time"),
    ("GMT", "GMT", "Greenwich Mean Time"),
    ("HST", "Pacific/Honolulu", "Hawaii-Aleutian Standard Time"),
    ("IST", "Asia/Kolkata", "India Standard Time"),
    ("JST", "Asia/Tokyo", "Japan Standard Time"),
    ("MDT", "America/Denver", "Mountain Daylight Time"),
    ("MSK", "Europe/Moscow", "Moscow Standard Time"),
    ("MST", "America/Denver", "Mountain Standard Time"),
    ("NZDT", "Pacific/Auckland", "New Zealand Daylight Time"),
    ("NZST", "Pacific/Auckland", "New Zealand Standard Time"),
    ("PDT", "America/Los_Angeles", "Pacific Daylight Time"),
    ("PST", "America/Los_Angeles", "Pacific Standard Time"),
    ("UTC", "UTC", "Coordinated Universal Time"),
    ("WEST", "Europe/Lisbon", "Western European Summer Time"),
    ("WET", "Europe/Lisbon", "Western European Standard Time"),
];

impl Zone {
    /// UTC.
    pub(in super::super) fn utc() -> Self {
        Self {
            id: "UTC".into(),
            rules: TimeZone::UTC,
        }
    }

    /// `Europe/London`, `UTC`, `+01:00`, `UTC+1`, `Z`, or an abbreviation as `PST`.
    pub(super) fn new(id: &str) -> Option<Self> {
        let rules = rules(id)?;
        Some(Self { id: id.into(), rules })
    }

    /// A fixed offset.
    pub(super) fn fixed(seconds: i32) -> Option<Self> {
        let id = match seconds {
            0 => "Z".to_string(),
            _ => offset_text(seconds, true, true, true),
        };
        Some(Self {
            id,
            rules: TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
        })
    }

    /// The zone of a name as it prints, with how long it is in the text.
    pub(super) fn at_start(text: &str) -> Option<(Self, usize)> {
        let inner = |c: char| c.is_ascii_alphanumeric() || "/_+-:~.".contains(c);
        let full = NAMES.iter().find(|(_, _, name)| starts_with(text, name));
        if let Some((_, region, name)) = full {
            return Some((Self::new(region)?, name.len()));
        }
        let mut end = text.find(|c| !inner(c)).unwrap_or(text.len());
        // the longest beginning that is a zone
        while end > 0 {
            if let Some(zone) = Self::new(&text[..end]) {
                return Some((zone, end));
            }
            end -= 1;
        }
        None
    }

    /// Seconds east of UTC at an instant.
    pub(in super::super) fn offset_at(&self, ms: i64) -> Option<i32> {
        let instant = Timestamp::from_millisecond(ms).ok()?;
        Some(self.rules.to_offset(instant).seconds())
    }

    /// The abbreviation at an instant, and its full name where we know it.
    pub(super) fn name_at(&self, ms: i64) -> Option<(String, Option<&'static str>)> {
        let instant = Timestamp::from_millisecond(ms).ok()?;
        if self.id == "Z" || self.rules.iana_name().is_none() {
            return Some((self.id.clone(), None));
        }
        let short = self.rules.to_offset_info(instant).abbreviation().to_string();
        let full = NAMES
            .iter()
            .find(|(known, ..)| *known == short)
            .map(|(_, _, full)| *full);
        Some((short, full))
    }

    /// The instant of a local time; in a gap the time is moved on, in an overlap it is the earlier one, as in Java.
    pub(super) fn instant(&self, local: DateTime) -> Option<i64> {
        let zoned = self.rules.to_ambiguous_zoned(local).compatible().ok()?;
        Some(zoned.timestamp().as_millisecond())
    }
}

pub(super) fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn rules(id: &str) -> Option<TimeZone> {
    let fixed = |text: &str| Some(TimeZone::fixed(Offset::from_seconds(offset(text)?).ok()?));
    if id == "Z" || id == "z" {
        return Some(TimeZone::UTC);
    }
    if id.starts_with(['+', '-']) {
        return fixed(id);
    }
    for prefix in ["UTC", "GMT", "UT"] {
        if let Some(rest) = id.strip_prefix(prefix)
            && rest.starts_with(['+', '-'])
        {
            return fixed(rest);
        }
    }
    if let Some((_, region, _)) = NAMES.iter().find(|(short, ..)| short.eq_ignore_ascii_case(id)) {
        return DATABASE.with(|zones| zones.get(region)).ok();
    }
    // ids with digits or a slash are regions; the rest are old names that the database has as well
    DATABASE.with(|zones| zones.get(id)).ok()
}

/// Seconds of `+1`, `+01`, `+0130`, `+01:30` or with seconds.
fn offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits: String = rest.split(':').collect();
    if !digits.bytes().all(|c| c.is_ascii_digit()) || !matches!(digits.len(), 1 | 2 | 4 | 6) {
        return None;
    }
    let digits = format!("{digits:0>2}");
    let part = |range: std::ops::Range<usize>| digits.get(range).map_or(Some(0), |d| d.parse::<i32>().ok());
    let (hours, minutes, seconds) = (part(0..2)?, part(2..4)?, part(4..6)?);
    let fits = hours <= 18 && minutes < 60 && seconds < 60;
    fits.then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// `+01:30`; seconds only if there are any.
pub(super) fn offset_text(seconds: i32, minutes: bool, colon: bool, with_seconds: bool) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let all = seconds.unsigned_abs();
    let (h, m, s) = (all / 3600, all / 60 % 60, all % 60);
    let colon = if colon { ":" } else { "" };
    let mut text = format!("{sign}{h:02}");
    if minutes || m > 0 {
        text.push_str(&format!("{colon}{m:02}"));
    }
    if with_seconds && s > 0 {
        text.push_str(&format!("{colon}{s:02}"));
    }
    text
}
