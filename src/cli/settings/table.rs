//! The table of settings.

use super::Kind;

/// One setting: its name is the flag (`--commit-interval`), the key in `millstream.toml` (`commit-interval`) and, in upper case,
/// the environment variable (`MILLSTREAM_COMMIT_INTERVAL`).
#[derive(Debug)]
pub struct Setting {
    /// Words joined by hyphens.
    pub name: &'static str,
    /// What its texts may be.
    pub kind: Kind,
    /// The text that stands when nobody sets it.
    pub default: Option<&'static str>,
    /// The placeholder of its value in help: `DIR`.
    pub value_name: &'static str,
    /// One or two sentences.
    pub help: &'static str,
    /// The commands that take it as a flag. In the file and in the environment all settings may stand for all commands.
    pub commands: &'static [&'static str],
}

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("MILLSTREAM_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// Commands that run topologies.
const ENGINE: &[&str] = &["dev", "run"];
/// Commands that run topologies on a Kafka of their own.
const RUN: &[&str] = &["run"];
/// Commands that read SQL files.
const SQL: &[&str] = &["dev", "run", "check", "explain", "replay"];
/// Commands that read schemas from files.
const SCHEMAS: &[&str] = &["dev", "run", "check", "explain", "schemas", "replay"];
/// Commands that connect to Kafka.
const KAFKA: &[&str] = &["run", "replay", "undeploy", "pause", "resume"];
/// Commands to which the application's name matters.
const APPLICATION: &[&str] = &["dev", "run", "explain", "replay", "undeploy", "pause", "resume"];
/// Commands that may ask a schema registry.
const REGISTRY: &[&str] = &["run", "check", "explain", "schemas", "replay", "undeploy"];
/// Commands that talk to a running instance.
const CLIENT: &[&str] = &["query", "load", "replay"];
/// Everything but `help`, first those that run until they are stopped.
const ALL: &[&str] = &[
    "dev",
    "run",
    "broker",
    "check",
    "explain",
    "functions",
    "test",
    "query",
    "load",
    "schemas",
    "replay",
    "undeploy",
    "pause",
    "resume",
];
/// Commands with an answer.
const ANSWERS: &[&str] = ALL.split_at(3).1;

/// The setting of that name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// All settings, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "config",
        kind: Kind::Path,
        default: None,
        value_name: "FILE",
        help: "The settings file. Without it, `millstream.toml` of the working directory is read if it is there.",
        commands: ALL,
    },
    Setting {
        name: "topologies",
        kind: Kind::Path,
        default: Some("topologies"),
        value_name: "DIR",
        help: "The directory of SQL files; each file is a topology that is deployed alone.",
        commands: SQL,
    },
    Setting {
        name: "schemas",
        kind: Kind::Path,
        default: Some("schemas"),
        value_name: "DIR",
        help: "The directory of Avro schemas, `SUBJECT.avsc`. `dev` registers them at start, and so does `run` when told so; `check` and \
               `explain` read columns from them.",
        commands: SCHEMAS,
    },
    Setting {
        name: "data-dir",
        kind: Kind::Path,
        default: Some(".millstream"),
        value_name: "DIR",
        help: "Where state is kept; for `dev` also the embedded broker's topics.",
        commands: ENGINE,
    },
    Setting {
        name: "instance-id",
        kind: Kind::Text,
        default: None,
        value_name: "ID",
        help: "Who this instance is, different for each: such as the name of a pod that keeps it. Else one is made and kept in the data directory; with \
               that lost, the tasks are taken over only when Kafka has given the old one up.",
        commands: ENGINE,
    },
    Setting {
        name: "http",
        kind: Kind::Address,
        default: Some("127.0.0.1:8080"),
        value_name: "HOST:PORT",
        help: "Where HTTP listens. Port 0 takes a free one. There is no login: an address that others reach needs a proxy that checks them (docs/http.md).",
        commands: ENGINE,
    },
    Setting {
        name: "advertised-url",
        kind: Kind::PeerUrl,
        default: None,
        value_name: "URL",
        help: "The one http address at which each other instance of the application reaches this one's HTTP directly (no load balancer, no https), such as \
               `http://10.0.0.7:8080`; they send requests there for rows that are here. Without it, the address of --http, unless that is a loopback address or 0.0.0.0: \
               then they cannot reach it, and answers that need its rows are 503. Several on one machine: `http://127.0.0.1:PORT`.",
        commands: ENGINE,
    },
    Setting {
        name: "kafka",
        kind: Kind::Address,
        default: Some("127.0.0.1:9092"),
        value_name: "HOST:PORT",
        help: "Where the embedded broker of `dev` listens. Port 0 takes a free one.",
        commands: &["dev"],
    },
    Setting {
        name: "registry",
        kind: Kind::Address,
        default: Some("127.0.0.1:8081"),
        value_name: "HOST:PORT",
        help: "Where the embedded Schema Registry of `dev` listens. Port 0 takes a free one.",
        commands: &["dev"],
    },
    Setting {
        name: "no-sample",
        kind: Kind::Flag,
        default: Some("false"),
        value_name: "BOOL",
        help: "Do not stream the sample of movies, ratings, customers, orders and payments.",
        commands: &["dev"],
    },
    Setting {
        name: "quiet",
        kind: Kind::Flag,
        default: Some("false"),
        value_name: "BOOL",
        help: "Print neither the live list nor the greeting.",
        commands: ENGINE,
    },
    Setting {
        name: "print-urls",
        kind: Kind::Choice(&["json"]),
        default: None,
        value_name: "FORMAT",
        help: "`json`: once ready, print one line of JSON with all addresses on standard output.",
        commands: ENGINE,
    },
    Setting {
        name: "bootstrap-servers",
        kind: Kind::List,
        default: Some("127.0.0.1:9092"),
        value_name: "HOSTS",
        help: "Kafka's addresses, HOST:PORT separated by commas.",
        commands: KAFKA,
    },
    Setting {
        name: "schema-registry",
        kind: Kind::Urls,
        default: None,
        value_name: "URLS",
        help: "Schema Registry addresses (http or https), separated by commas, tried in turn.",
        commands: REGISTRY,
    },
    Setting {
        name: "schema-registry-user",
        kind: Kind::Text,
        default: None,
        value_name: "NAME",
        help: "User name of the registry's basic authentication.",
        commands: REGISTRY,
    },
    Setting {
        name: "schema-registry-password",
        kind: Kind::Secret,
        default: None,
        value_name: "PASSWORD",
        help: "Password of the registry's basic authentication. Better in MILLSTREAM_SCHEMA_REGISTRY_PASSWORD than on a command line.",
        commands: REGISTRY,
    },
    Setting {
        name: "schema-registry-ca",
        kind: Kind::Path,
        default: None,
        value_name: "FILE",
        help: "PEM file of the certificate authorities that https addresses of the registry are checked with, beside the system's (ssl.ca.location of Confluent's clients).",
        commands: REGISTRY,
    },
    Setting {
        name: "application-id",
        kind: Kind::Text,
        default: Some("millstream"),
        value_name: "NAME",
        help: "The prefix of consumer groups, internal topics and transactional ids. Instances of the same name share the work.",
        commands: APPLICATION,
    },
    Setting {
        name: "workers",
        kind: Kind::Integer { min: 1, max: 256 },
        default: Some("1"),
        value_name: "N",
        help: "Threads a topology. Each has a producer, two consumers and its share of the tasks.",
        commands: ENGINE,
    },
    Setting {
        name: "standbys",
        kind: Kind::Integer { min: 0, max: 16 },
        default: Some("0"),
        value_name: "N",
        help: "Other instances that follow the state of each task, so that one can take it over at once, and answer while its owner is away. Each copy takes as much disk again; \
               the same for all instances. Kafka chooses the next owner: it surely has a copy where all others follow (N instances, N - 1 standbys).",
        commands: ENGINE,
    },
    Setting {
        name: "warm-up-timeout",
        kind: Kind::Duration {
            min_ms: 0,
            max_ms: 86_400_000,
        },
        default: Some("10m"),
        value_name: "TIME",
        help: "How long a new instance, to whose disk the state of a running topology is unknown, follows large state (all of it: which part will be its own nobody knows yet) \
               before it takes tasks over from the others, so that they stop for moments only. 0: it takes them at once, and restores them then.",
        commands: ENGINE,
    },
    Setting {
        name: "commit-interval",
        kind: Kind::Duration {
            min_ms: 1,
            max_ms: 60_000,
        },
        default: Some("100ms"),
        value_name: "TIME",
        help: "How often a worker commits. Results are visible after a commit; a longer interval saves writes of hot keys.",
        commands: ENGINE,
    },
    Setting {
        name: "flush-interval",
        kind: Kind::Duration {
            min_ms: 100,
            max_ms: 3_600_000,
        },
        default: Some("10s"),
        value_name: "TIME",
        help: "How often what is committed is written from memory to the data directory, at the latest: about what a crash leaves to be replayed \
               from Kafka.",
        commands: ENGINE,
    },
    Setting {
        name: "buffer-bytes",
        kind: Kind::Bytes {
            min: 64 * 1024,
            max: 1 << 40,
        },
        default: Some("4MiB"),
        value_name: "SIZE",
        help: "Uncommitted rows of a topology, over its workers. A full buffer commits early.",
        commands: ENGINE,
    },
    Setting {
        name: "cache-bytes",
        kind: Kind::Bytes {
            min: 64 * 1024,
            max: 1 << 40,
        },
        default: Some("4MiB"),
        value_name: "SIZE",
        help: "Rows of a topology's state that are kept ready for use, an equal part of it a task, at least 256 KiB. Worth most where some keys come \
               again and again.",
        commands: ENGINE,
    },
    Setting {
        name: "fetch-bytes",
        kind: Kind::Bytes {
            min: 64 * 1024,
            max: 1 << 40,
        },
        default: Some("2MiB"),
        value_name: "SIZE",
        help: "Records that a worker has fetched and not yet processed.",
        commands: ENGINE,
    },
    Setting {
        name: "emit",
        kind: Kind::Choice(&["commit", "every-change"]),
        default: Some("commit"),
        value_name: "WHEN",
        help: "`commit`: an aggregate gives out each changed key once per commit. `every-change`: each change.",
        commands: ENGINE,
    },
    Setting {
        name: "on-bad-record",
        kind: Kind::Choice(&["dead-letter", "stop"]),
        default: Some("dead-letter"),
        value_name: "ACTION",
        help: "What an undecodable record does: it goes to the topology's dead-letter topic, or it stops the topology.",
        commands: ENGINE,
    },
    Setting {
        name: "group-protocol",
        kind: Kind::Choice(&["classic", "consumer"]),
        default: Some("classic"),
        value_name: "NAME",
        help: "How workers share tasks: `classic` (cooperative-sticky) or `consumer` (KIP-848, Kafka 4.0 and newer). Where coordinators may move, `classic` is exactly once; `consumer` is not always, because of librdkafka: see RELIABILITY.md.",
        commands: RUN,
    },
    Setting {
        name: "internal-replication",
        kind: Kind::Integer { min: -1, max: 100 },
        default: Some("-1"),
        value_name: "N",
        help: "Replicas of the topics that Millstream creates; -1 is the broker's default.",
        commands: RUN,
    },
    Setting {
        name: "internal-min-isr",
        kind: Kind::Integer { min: 0, max: 100 },
        default: Some("0"),
        value_name: "N",
        help: "`min.insync.replicas` of the topics that Millstream creates; 0 is the broker's default.",
        commands: RUN,
    },
    Setting {
        name: "rocksdb-memory",
        kind: Kind::Bytes {
            min: 8 << 20,
            max: 1 << 40,
        },
        default: Some("40MiB"),
        value_name: "SIZE",
        help: "Memory of RocksDB for the whole process: block cache, indexes and filters, and the write buffers.",
        commands: ENGINE,
    },
    Setting {
        name: "rocksdb-write-buffer",
        kind: Kind::Bytes {
            min: 1 << 20,
            max: 1 << 40,
        },
        default: Some("16MiB"),
        value_name: "SIZE",
        help: "The part of rocksdb-memory that write buffers may take; also about what a crash leaves to be replayed.",
        commands: ENGINE,
    },
    Setting {
        name: "snapshots",
        kind: Kind::Text,
        default: None,
        value_name: "URL",
        help: "Where snapshots of state are kept, so that a lost disk is back without a long replay: file:///DIRECTORY or s3://BUCKET/PREFIX (S3 or \
               compatible; region, keys and endpoint from AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and the like). \
               All instances of an application use the same. Without it they still bring snapshots to each other.",
        commands: ENGINE,
    },
    Setting {
        name: "snapshot-interval",
        kind: Kind::Duration {
            min_ms: 1_000,
            max_ms: 7 * 24 * 3_600_000,
        },
        default: None,
        value_name: "TIME",
        help: "How often a snapshot of each task that has changed is put to `snapshots`; without it none is put.",
        commands: ENGINE,
    },
    Setting {
        name: "snapshot-keep",
        kind: Kind::Integer { min: 1, max: 1_000 },
        default: Some("2"),
        value_name: "N",
        help: "Snapshots of a task that are kept; older ones are removed.",
        commands: ENGINE,
    },
    Setting {
        name: "snapshot-min-records",
        kind: Kind::Integer { min: 1, max: i64::MAX },
        default: Some("100000"),
        value_name: "N",
        help: "Changelog records that a task's restore has to go through before a snapshot is looked for instead.",
        commands: ENGINE,
    },
    Setting {
        name: "query-max-rows",
        kind: Kind::Integer {
            min: 1,
            max: 100_000_000,
        },
        default: Some("1000000"),
        value_name: "N",
        help: "Rows that one query may look at; a query that needs more gets an error.",
        commands: ENGINE,
    },
    Setting {
        name: "query-max-concurrent",
        kind: Kind::Integer { min: 1, max: 1024 },
        default: Some("8"),
        value_name: "N",
        help: "Queries and pages that are read at a time at this instance; others wait their turn.",
        commands: ENGINE,
    },
    Setting {
        name: "query-max-bytes",
        kind: Kind::Bytes {
            min: 1024,
            max: 1 << 40,
        },
        default: Some("16MiB"),
        value_name: "SIZE",
        help: "Memory that one query may hold.",
        commands: ENGINE,
    },
    Setting {
        name: "query-timeout",
        kind: Kind::Duration {
            min_ms: 1,
            max_ms: 3_600_000,
        },
        default: Some("10s"),
        value_name: "TIME",
        help: "Time that one query may take, at all instances together. A page ends early instead, and says where it goes on.",
        commands: ENGINE,
    },
    Setting {
        name: "kafka-property",
        kind: Kind::Property,
        default: None,
        value_name: "NAME=VALUE",
        help: "A librdkafka setting that is passed through, such as `security.protocol=SASL_SSL`; may be repeated. In the file: the section \
               [kafka-property]; in the environment: MILLSTREAM_KAFKA_PROPERTY_SECURITY_PROTOCOL.",
        commands: KAFKA,
    },
    Setting {
        name: "url",
        kind: Kind::Urls,
        default: Some("http://127.0.0.1:8080"),
        value_name: "URL",
        help: "The running instance to talk to.",
        commands: CLIENT,
    },
    Setting {
        name: "output",
        kind: Kind::Choice(&["auto", "text", "json"]),
        default: Some("auto"),
        value_name: "FORMAT",
        help: "`text` for people, `json` for programs; `auto` is text on a terminal and JSON when piped.",
        commands: ANSWERS,
    },
    Setting {
        name: "log-level",
        kind: Kind::Text,
        default: Some("info"),
        value_name: "FILTER",
        help: "error, warn, info, debug or trace; also by module, as in `info,millstream::engine=debug`.",
        commands: ALL,
    },
    Setting {
        name: "log-format",
        kind: Kind::Choice(&["text", "json"]),
        default: Some("text"),
        value_name: "FORMAT",
        help: "How log lines are written on standard error.",
        commands: ALL,
    },
];
