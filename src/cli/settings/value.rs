//! Kinds of settings and the reading of their texts.

use std::time::Duration;

/// What the text of a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Any text; never printed.
    Secret,
    /// A file or directory.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number with ms, s, m, h or d.
    Duration {
        /// The shortest, in milliseconds.
        min_ms: u64,
        /// The longest, in milliseconds.
        max_ms: u64,
    },
    /// A number of bytes, or one with kB, KiB, MB, MiB, GB or GiB.
    Bytes {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// `HOST:PORT`.
    Address,
    /// Texts separated by commas.
    List,
    /// http or https addresses separated by commas.
    Urls,
    /// One http address at which other instances reach this one.
    PeerUrl,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `NAME=VALUE`, many times.
    Property,
}

/// A valid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`], [`Kind::Secret`], [`Kind::Path`], [`Kind::Address`], [`Kind::PeerUrl`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Integer`].
    Integer(i64),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Bytes`].
    Bytes(u64),
    /// Of [`Kind::List`] and [`Kind::Urls`].
    List(Vec<String>),
}

impl Kind {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it and what would be right, as a sentence part that follows the setting's place.
    pub fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text | Self::Secret => Ok(Value::Text(text.to_owned())),
            Self::Path => match text {
                "" => Err("the path is empty".to_owned()),
                path => Ok(Value::Text(path.to_owned())),
            },
            Self::Flag => match text {
                "true" | "1" | "yes" => Ok(Value::Flag(true)),
                "false" | "0" | "no" => Ok(Value::Flag(false)),
                other => Err(format!("`{other}` is neither true nor false")),
            },
            Self::Integer { min, max } => read_integer(text, min, max).map(Value::Integer),
            Self::Duration { min_ms, max_ms } => read_duration(text, min_ms, max_ms).map(Value::Duration),
            Self::Bytes { min, max } => read_bytes(text, min, max).map(Value::Bytes),
            Self::Address => read_address(text).map(|()| Value::Text(text.to_owned())),
            Self::List => read_list(text).map(Value::List),
            Self::Urls => read_urls(text).map(Value::List),
            Self::PeerUrl => read_peer_url(text).map(Value::Text),
            Self::Choice(words) => match words.contains(&text) {
                true => Ok(Value::Text(text.to_owned())),
                false => Err(format!("`{text}` is none of {}", words.join(", "))),
            },
            Self::Property => match text.split_once('=') {
                Some((name, _)) if !name.trim().is_empty() => Ok(Value::Text(text.to_owned())),
                _ => Err(format!("`{text}` is not NAME=VALUE")),
            },
        }
    }

    /// How the documentation calls it.
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Secret => "secret text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Integer { min, max } => format!("{min} to {max}"),
            Self::Duration { min_ms, max_ms } => {
                format!("time, {} to {}", show_duration(min_ms), show_duration(max_ms))
            }
            Self::Bytes { .. } => "size".to_owned(),
            Self::Address => "HOST:PORT".to_owned(),
            Self::List => "list".to_owned(),
            Self::Urls => "list of URLs".to_owned(),
            Self::PeerUrl => "http URL".to_owned(),
            Self::Choice(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
            Self::Property => "NAME=VALUE".to_owned(),
        }
    }
}

fn read_integer(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let n: i64 = text
        .replace('_', "")
        .parse()
        .map_err(|_| format!("`{text}` is not a whole number"))?;
    if (min..=max).contains(&n) {
        Ok(n)
    } else {
        Err(format!("{n} is outside {min} to {max}"))
    }
}

/// Splits `64MiB` into 64 and the unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.replace('_', "").parse().ok()?, unit.trim_start()))
}

fn read_duration(text: &str, min_ms: u64, max_ms: u64) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a length of time such as 100ms, 10s, 5m, 1h or 7d");
    let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let ms = number.checked_mul(unit_ms).ok_or_else(bad)?;
    if (min_ms..=max_ms).contains(&ms) {
        Ok(Duration::from_millis(ms))
    } else {
        Err(format!(
            "{text} is outside {} to {}",
            show_duration(min_ms),
            show_duration(max_ms)
        ))
    }
}

/// A time in the largest unit that is exact.
pub fn show_duration(ms: u64) -> String {
    for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms >= unit_ms && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

fn read_bytes(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size such as 1000000, 64MiB or 1GB");
    let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    let bytes = number.checked_mul(factor).ok_or_else(bad)?;
    if (min..=max).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{text} is outside {min} to {max} bytes"))
    }
}

/// `HOST:PORT`; a bare IPv6 address stands in brackets.
fn read_address(text: &str) -> Result<(), String> {
    let bad = || format!("`{text}` is not HOST:PORT, such as 127.0.0.1:8080");
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) || host.contains(['/', ' ']) {
        return Err(bad());
    }
    port.parse::<u16>().map(|_| ()).map_err(|_| bad())
}

fn read_list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect();
    if items.is_empty() {
        Err("the list is empty".to_owned())
    } else {
        Ok(items)
    }
}

fn read_urls(text: &str) -> Result<Vec<String>, String> {
    let mut urls = read_list(text)?;
    for url in &mut urls {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(format!("`{url}` is not an address such as http://localhost:8081"));
        }
        while url.ends_with('/') {
            url.pop();
        }
    }
    Ok(urls)
}

/// What instances can open: they speak plain HTTP, to one address each.
fn read_peer_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.starts_with("https://") {
        return Err(format!(
            "`{text}` cannot be used: instances speak plain http to each other; give the http address under which the others reach this one directly"
        ));
    }
    if text.contains(',') {
        return Err(format!(
            "`{text}` is a list; give one address, under which the others reach this instance and no other"
        ));
    }
    let bad = || format!("`{text}` is not an address such as http://10.0.0.7:8080");
    let authority = text.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '@', '?', '#', ' ', '\t']) {
        return Err(bad());
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let known = port.parse::<u16>().is_ok_and(|port| port != 0);
            known
                .then_some(host)
                .ok_or_else(|| format!("`{port}` is not a port of an address such as http://10.0.0.7:8080"))?
        }
        _ => authority,
    };
    let ip: Option<std::net::IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match ip {
        _ if host.is_empty() => Err(bad()),
        Some(ip) if ip.is_unspecified() => Err(format!(
            "`{text}` means another machine at each: give the address of this one, such as http://10.0.0.7:8080"
        )),
        _ => Ok(format!("http://{authority}")),
    }
}
