//! The settings of a topic: one table, from which validation, defaults and `DescribeConfigs` come.

use super::error::{ErrorCode, Result};
use std::collections::BTreeMap;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueKind {
    /// A whole number of at least this.
    Long(i64),
    /// A 32-bit whole number of at least this.
    Int(i64),
    /// A number from 0 to 1.
    Ratio,
    /// `true` or `false`.
    Bool,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these.
    ListOf(&'static [&'static str]),
    /// Any text.
    Text,
}

/// One setting of a topic.
#[derive(Debug)]
pub struct TopicConfigDef {
    /// Kafka's name of it.
    pub name: &'static str,
    /// Its value where the topic does not say.
    pub default: &'static str,
    /// What values it takes.
    pub kind: ValueKind,
    /// What it does here.
    pub doc: &'static str,
}

const fn def(name: &'static str, default: &'static str, kind: ValueKind, doc: &'static str) -> TopicConfigDef {
    TopicConfigDef {
        name,
        default,
        kind,
        doc,
    }
}

const NO_EFFECT: &str = "Accepted for compatibility; no effect on a single broker with one journal.";
use ValueKind::{Bool, Int, ListOf, Long, OneOf, Ratio, Text};

/// Every setting that a topic can have, by name.
pub const TOPIC_CONFIGS: &[TopicConfigDef] = &[
    def(
        "cleanup.policy",
        "delete",
        ListOf(&["compact", "delete"]),
        "delete: drop old records; compact: keep the last record of each key.",
    ),
    def(
        "compression.type",
        "producer",
        OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        "Batches are always kept as the producer sent them.",
    ),
    def(
        "delete.retention.ms",
        "86400000",
        Long(0),
        "How long a tombstone stays after its first compaction.",
    ),
    def("file.delete.delay.ms", "60000", Long(0), NO_EFFECT),
    def("flush.messages", "9223372036854775807", Long(1), NO_EFFECT),
    def("flush.ms", "9223372036854775807", Long(0), NO_EFFECT),
    def("follower.replication.throttled.replicas", "", Text, NO_EFFECT),
    def("index.interval.bytes", "4096", Int(0), NO_EFFECT),
    def("leader.replication.throttled.replicas", "", Text, NO_EFFECT),
    def("local.retention.bytes", "-2", Long(-2), NO_EFFECT),
    def("local.retention.ms", "-2", Long(-2), NO_EFFECT),
    def(
        "max.compaction.lag.ms",
        "9223372036854775807",
        Long(1),
        "A record is compacted at the latest after this time, whatever the dirty ratio.",
    ),
    def(
        "max.message.bytes",
        "1048588",
        Int(0),
        "Largest record batch, as stored.",
    ),
    def("message.downconversion.enable", "true", Bool, NO_EFFECT),
    def(
        "message.timestamp.after.max.ms",
        "9223372036854775807",
        Long(0),
        NO_EFFECT,
    ),
    def(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        Long(0),
        NO_EFFECT,
    ),
    def(
        "message.timestamp.type",
        "CreateTime",
        OneOf(&["CreateTime", "LogAppendTime"]),
        "LogAppendTime: the broker's time replaces the producer's.",
    ),
    def(
        "min.cleanable.dirty.ratio",
        "0.5",
        Ratio,
        "Share of the log that has to be new before it is compacted.",
    ),
    def(
        "min.compaction.lag.ms",
        "0",
        Long(0),
        "A record is not compacted before this age, by its timestamp.",
    ),
    def("min.insync.replicas", "1", Int(1), NO_EFFECT),
    def("preallocate", "false", Bool, NO_EFFECT),
    def("remote.storage.enable", "false", Bool, NO_EFFECT),
    def(
        "retention.bytes",
        "-1",
        Long(-1),
        "Oldest batches beyond this many bytes a partition are dropped; -1: no limit.",
    ),
    def(
        "retention.ms",
        "-1",
        Long(-1),
        "Records older than this, by their timestamp, are dropped; -1 (the default here): never.",
    ),
    def(
        "segment.bytes",
        "1073741824",
        Int(14),
        "Compaction starts at the latest when this much is new (here never more than 4 MB).",
    ),
    def("segment.index.bytes", "10485760", Int(4), NO_EFFECT),
    def("segment.jitter.ms", "0", Long(0), NO_EFFECT),
    def(
        "segment.ms",
        "604800000",
        Long(1),
        "Compaction of a topic that has little new data starts after this time.",
    ),
    def("unclean.leader.election.enable", "false", Bool, NO_EFFECT),
];

fn find(name: &str) -> Option<&'static TopicConfigDef> {
    TOPIC_CONFIGS.iter().find(|d| d.name == name)
}

fn is_valid(kind: ValueKind, value: &str) -> bool {
    match kind {
        Long(min) => value.parse::<i64>().is_ok_and(|v| v >= min),
        Int(min) => value.parse::<i32>().is_ok_and(|v| i64::from(v) >= min),
        Ratio => value.parse::<f64>().is_ok_and(|v| (0.0..=1.0).contains(&v)),
        Bool => value == "true" || value == "false",
        OneOf(values) => values.contains(&value),
        ListOf(values) => value.split(',').all(|v| values.contains(&v.trim())),
        Text => true,
    }
}

/// What the core goes by, parsed once from a topic's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TopicSettings {
    pub(super) compact: bool,
    pub(super) delete: bool,
    pub(super) retention_ms: Option<i64>,
    pub(super) retention_bytes: Option<u64>,
    pub(super) max_message_bytes: usize,
    pub(super) append_time: bool,
    pub(super) delete_retention_ms: i64,
    pub(super) min_dirty_ratio: f64,
    pub(super) min_lag_ms: i64,
    pub(super) max_lag_ms: i64,
    pub(super) segment_bytes: u64,
    pub(super) segment_ms: i64,
}

/// Checks a topic's settings and parses those that matter.
pub(super) fn parse(config: &BTreeMap<String, String>) -> Result<TopicSettings> {
    for (name, value) in config {
        if !find(name).is_some_and(|d| is_valid(d.kind, value)) {
            return Err(ErrorCode::InvalidConfig);
        }
    }
    let text = |name: &str| {
        config
            .get(name)
            .map_or_else(|| find(name).map_or("", |d| d.default), String::as_str)
    };
    let number = |name: &str| text(name).parse::<i64>().unwrap_or_default();
    let limit = |name: &str| Some(number(name)).filter(|v| *v >= 0);
    let has = |policy: &str| text("cleanup.policy").split(',').any(|p| p.trim() == policy);
    Ok(TopicSettings {
        compact: has("compact"),
        delete: has("delete"),
        retention_ms: limit("retention.ms"),
        retention_bytes: limit("retention.bytes").map(|v| v as u64),
        max_message_bytes: number("max.message.bytes").max(0) as usize,
        append_time: text("message.timestamp.type") == "LogAppendTime",
        delete_retention_ms: number("delete.retention.ms"),
        min_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
        min_lag_ms: number("min.compaction.lag.ms"),
        max_lag_ms: number("max.compaction.lag.ms"),
        segment_bytes: number("segment.bytes").max(0) as u64,
        segment_ms: number("segment.ms"),
    })
}

/// One change of a topic's settings (`IncrementalAlterConfigs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set a value.
    Set(String, String),
    /// Back to the default.
    Remove(String),
    /// Add to a list.
    Append(String, String),
    /// Take from a list.
    Subtract(String, String),
}

/// Applies changes to a topic's settings; the result is not checked yet.
pub(super) fn change(config: &mut BTreeMap<String, String>, changes: &[ConfigChange]) -> Result<()> {
    for change in changes {
        match change {
            ConfigChange::Set(name, value) => {
                config.insert(name.clone(), value.clone());
            }
            ConfigChange::Remove(name) => {
                config.remove(name);
            }
            ConfigChange::Append(name, value) | ConfigChange::Subtract(name, value) => {
                let def = find(name)
                    .filter(|d| matches!(d.kind, ListOf(_)))
                    .ok_or(ErrorCode::InvalidConfig)?;
                let now = config.get(name).map_or(def.default, String::as_str);
                let mut list: Vec<&str> = now.split(',').filter(|v| *v != value).collect();
                if matches!(change, ConfigChange::Append(..)) {
                    list.push(value);
                }
                let list = list.join(",");
                config.insert(name.clone(), list);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_the_table_is_sorted() {
        for def in TOPIC_CONFIGS {
            assert!(
                is_valid(def.kind, def.default) || def.default.is_empty(),
                "{}",
                def.name
            );
        }
        assert!(TOPIC_CONFIGS.is_sorted_by_key(|d| d.name));
    }

    #[test]
    fn retention_by_time_only_where_the_topic_says_so() {
        assert_eq!(parse(&BTreeMap::new()).unwrap().retention_ms, None);
        let config = BTreeMap::from([("retention.ms".to_string(), "5".to_string())]);
        assert_eq!(parse(&config).unwrap().retention_ms, Some(5));
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused() {
        for (name, value) in [
            ("no.such", "1"),
            ("retention.ms", "soon"),
            ("cleanup.policy", "shred"),
            ("segment.bytes", "9999999999"),
        ] {
            assert!(
                parse(&BTreeMap::from([(name.to_string(), value.to_string())])).is_err(),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn lists_grow_and_shrink() {
        let mut config = BTreeMap::new();
        let name = || "cleanup.policy".to_string();
        change(&mut config, &[ConfigChange::Append(name(), "compact".into())]).unwrap();
        assert_eq!(config["cleanup.policy"], "delete,compact");
        change(&mut config, &[ConfigChange::Subtract(name(), "delete".into())]).unwrap();
        assert_eq!(config["cleanup.policy"], "compact");
    }
}
