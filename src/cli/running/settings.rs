//! The settings of the rooms, from the settings of the command line.

use std::net::SocketAddr;

use crate::cli::settings::Settings;
use crate::engine::{BadRecord, Emit, EngineSettings};
use crate::http::HttpSettings;
use crate::log::kafka::KafkaSettings;
use crate::state::rocks::RocksSettings;
use crate::views::QueryLimits;

/// Settings of the engine.
pub fn engine_settings(settings: &Settings) -> EngineSettings {
    let replicas = settings.integer("internal-replication");
    let min_isr = settings.integer("internal-min-isr");
    EngineSettings {
        app_id: settings.text("application-id").to_owned(),
        workers: settings.integer("workers").unsigned_abs() as usize,
        commit_interval: settings.duration("commit-interval"),
        store_flush_interval: settings.duration("flush-interval"),
        buffer_bytes: size(settings, "buffer-bytes"),
        cache_bytes: size(settings, "cache-bytes"),
        fetch_bytes: size(settings, "fetch-bytes"),
        // The table bounds both numbers.
        replication_factor: i16::try_from(replicas).unwrap_or(-1),
        min_insync_replicas: i32::try_from(min_isr).ok().filter(|n| *n > 0),
        bad_record: match settings.text("on-bad-record") {
            "stop" => BadRecord::Stop,
            _ => BadRecord::DeadLetter,
        },
        emit: match settings.text("emit") {
            "every-change" => Emit::EveryChange,
            _ => Emit::HoldUntilCommit,
        },
        standbys: settings.integer("standbys").unsigned_abs() as usize,
        warm_up_timeout: settings.duration("warm-up-timeout"),
        ..EngineSettings::default()
    }
}

/// Where other instances reach this one: as was said, else the address where it listens, unless that means something else, or nothing, to others.
pub fn advertised_url(settings: &Settings, address: SocketAddr) -> Option<String> {
    let said = settings.optional_text("advertised-url").map(str::to_owned);
    let reachable = !address.ip().is_loopback() && !address.ip().is_unspecified();
    said.or_else(|| reachable.then(|| format!("http://{address}")))
}

/// Settings of the Kafka client. `servers`: its addresses.
pub fn kafka_settings(settings: &Settings, servers: &str) -> KafkaSettings {
    let mut properties: Vec<(String, String)> = Vec::new();
    if settings.text("group-protocol") == "consumer" {
        properties.push(("group.protocol".to_owned(), "consumer".to_owned()));
    }
    properties.extend(
        settings
            .kafka_properties
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    KafkaSettings {
        bootstrap_servers: servers.to_owned(),
        client_id: settings.text("application-id").to_owned(),
        properties,
    }
}

/// Settings of RocksDB.
pub fn rocks(settings: &Settings) -> RocksSettings {
    RocksSettings {
        memory_bytes: size(settings, "rocksdb-memory"),
        write_buffer_bytes: size(settings, "rocksdb-write-buffer"),
        ..RocksSettings::default()
    }
}

/// Settings of HTTP. An address of this machine only answers requests that name this machine.
pub fn http(settings: &Settings, address: SocketAddr) -> HttpSettings {
    HttpSettings {
        limits: QueryLimits {
            scanned_rows: settings.integer("query-max-rows").unsigned_abs(),
            result_bytes: settings.bytes("query-max-bytes"),
            time: settings.duration("query-timeout"),
        },
        concurrent_queries: settings.integer("query-max-concurrent").unsigned_abs() as usize,
        local_only: address.ip().is_loopback(),
        ..HttpSettings::default()
    }
}

fn size(settings: &Settings, name: &str) -> usize {
    usize::try_from(settings.bytes(name)).unwrap_or(usize::MAX)
}
