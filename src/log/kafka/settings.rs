//! librdkafka's properties: our defaults, the user's, and what correctness does not leave to the user.
//!
//! A user's property goes to all clients, or by the prefix `consumer.`, `producer.` or `admin.` to those only. The later in this list wins:
//! defaults, the user's, the user's with a prefix, what is fixed.

use super::oauth::TokenSource;
use super::raw::Conf;
use crate::log::{LogError, LogResult};

/// How this process speaks to Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port[,host:port...]`.
    pub bootstrap_servers: String,
    /// `client.id`: what brokers show in their logs and quotas.
    pub client_id: String,
    /// librdkafka properties, with or without a prefix. `oauthbearer.token.file` and `oauthbearer.token.command` are ours: where SASL
    /// OAUTHBEARER gets its tokens.
    pub properties: Vec<(String, String)>,
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Membership,
    Fetcher,
    Producer,
    Admin,
}

/// All of them, for checking settings before anything starts.
pub(super) const ROLES: [Role; 4] = [Role::Membership, Role::Fetcher, Role::Producer, Role::Admin];

/// Time-outs of sessions and transactions: a dead instance is replaced in about this time.
pub(super) const SESSION_MS: u32 = 10_000;

const _: () = assert!(
    SESSION_MS >= 6_000,
    "brokers refuse sessions below group.min.session.timeout.ms"
);

/// Properties that only a group's member knows.
const MEMBERSHIP_ONLY: [&str; 8] = [
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "coordinator.query.interval.ms",
    "client.rack",
];

/// Properties that exactly-once or our own bookkeeping depends on.
const FIXED: [&str; 14] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "transactional.id",
];

impl Role {
    fn prefix(self) -> &'static str {
        match self {
            Self::Membership | Self::Fetcher => "consumer.",
            Self::Producer => "producer.",
            Self::Admin => "admin.",
        }
    }

    fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // the tasks topic is empty: nothing but heartbeats happens here
            Self::Membership => &[
                ("session.timeout.ms", "10000"),
                ("heartbeat.interval.ms", "1000"),
                ("queued.max.messages.kbytes", "64"),
            ],
            Self::Fetcher => &[
                // the default of 1,000 makes a fast consumer idle a second a full queue
                ("fetch.queue.backoff.ms", "2"),
                ("fetch.wait.max.ms", "50"),
                ("fetch.error.backoff.ms", "100"),
                // TCP and the broker have their own; ours would cost a tenth of the fetch
                ("check.crcs", "false"),
            ],
            Self::Producer => &[
                ("linger.ms", "2"),
                ("compression.type", "lz4"),
                ("batch.num.messages", "100000"),
                ("batch.size", "1000000"),
                // the topic's own limit decides what is too large
                ("message.max.bytes", "67108864"),
                ("queue.buffering.max.messages", "200000"),
                ("queue.buffering.max.kbytes", "65536"),
                ("transaction.timeout.ms", "10000"),
                ("message.timeout.ms", "10000"),
                ("retry.backoff.ms", "20"),
            ],
            Self::Admin => &[],
        }
    }
}

/// What every client gets: quick reconnects, since a worker's commits wait for them, and no noise about idle connections.
const COMMON: [(&str, &str); 7] = [
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.nagle.disable", "true"),
    ("log.connection.close", "false"),
    ("topic.metadata.refresh.fast.interval.ms", "50"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("allow.auto.create.topics", "false"),
];

impl KafkaSettings {
    /// The properties of one client. `fixed` comes last.
    pub(super) fn for_role(&self, role: Role, fixed: &[(&str, String)]) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        let mut set = |key: &str, value: &str| {
            all.retain(|(known, _)| known != key);
            all.push((key.to_owned(), value.to_owned()));
        };
        for (key, value) in COMMON.iter().chain(role.defaults()) {
            set(key, value);
        }
        set("client.id", &self.client_id);
        let prefixes = [Role::Membership, Role::Producer, Role::Admin].map(Role::prefix);
        let common = |key: &str| !prefixes.iter().any(|prefix| key.starts_with(prefix)) && !is_ours(key);
        let wanted = |key: &str| role == Role::Membership || !MEMBERSHIP_ONLY.contains(&key);
        for (key, value) in self.properties.iter().filter(|(key, _)| common(key) && wanted(key)) {
            set(key, value);
        }
        for (key, value) in &self.properties {
            if let Some(key) = key.strip_prefix(role.prefix())
                && wanted(key)
            {
                set(key, value);
            }
        }
        set("bootstrap.servers", &self.bootstrap_servers);
        for (key, value) in fixed {
            set(key, value);
        }
        if role == Role::Membership {
            finish_membership(&mut all);
        }
        all
    }

    /// Checks every property of every client. Reports all problems at once.
    pub(super) fn check(&self) -> LogResult<()> {
        let mut problems: Vec<String> = Vec::new();
        if self.bootstrap_servers.trim().is_empty() {
            problems.push("bootstrap.servers: no broker is named".into());
        }
        for (key, _) in &self.properties {
            let bare = ROLES
                .iter()
                .find_map(|role| key.strip_prefix(role.prefix()))
                .unwrap_or(key);
            if FIXED.contains(&bare) {
                problems.push(format!("{key}: Millstream sets this itself, remove it"));
            }
        }
        for role in ROLES {
            if let Err(more) = Conf::new(&self.for_role(role, &[])) {
                problems.extend(more);
            }
        }
        problems.extend(TokenSource::of(self).err());
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            return Ok(());
        }
        Err(LogError::Fatal(format!("Kafka settings:\n  {}", problems.join("\n  "))))
    }

    /// The value of one of our own properties.
    pub(super) fn own(&self, key: &str) -> Option<&str> {
        self.properties
            .iter()
            .rev()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }
}

fn is_ours(key: &str) -> bool {
    key.starts_with("oauthbearer.")
}

/// Whether a member's properties ask for KIP-848.
pub(super) fn has_consumer_protocol(all: &[(String, String)]) -> bool {
    all.iter()
        .any(|(key, value)| key == "group.protocol" && value.eq_ignore_ascii_case("consumer"))
}

/// The two group protocols do not share their settings: with KIP-848 the broker owns the session, and librdkafka refuses ours.
fn finish_membership(all: &mut Vec<(String, String)>) {
    if has_consumer_protocol(all) {
        all.retain(|(key, _)| {
            ![
                "session.timeout.ms",
                "heartbeat.interval.ms",
                "group.protocol.type",
                "partition.assignment.strategy",
            ]
            .contains(&key.as_str())
        });
    } else {
        all.push(("partition.assignment.strategy".into(), "cooperative-sticky".into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            bootstrap_servers: "127.0.0.1:9092".into(),
            client_id: "test".into(),
            properties: properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    fn value(all: &[(String, String)], key: &str) -> Option<String> {
        all.iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.clone())
    }

    #[test]
    fn a_prefix_wins_over_the_general_and_that_over_the_default() {
        let s = settings(&[
            ("producer.linger.ms", "7"),
            ("linger.ms", "9"),
            ("compression.type", "zstd"),
            ("consumer.fetch.min.bytes", "5"),
        ]);
        let producer = s.for_role(Role::Producer, &[]);
        assert_eq!(value(&producer, "linger.ms").as_deref(), Some("7"));
        assert_eq!(value(&producer, "compression.type").as_deref(), Some("zstd"));
        assert_eq!(value(&producer, "fetch.min.bytes"), None);
        assert_eq!(
            value(&s.for_role(Role::Fetcher, &[]), "fetch.min.bytes").as_deref(),
            Some("5")
        );
        s.check().expect("all of them are known");
    }

    #[test]
    fn kip_848_takes_the_classic_sessions_settings_away() {
        let s = settings(&[("group.protocol", "consumer")]);
        let membership = s.for_role(Role::Membership, &[]);
        assert_eq!(value(&membership, "session.timeout.ms"), None);
        assert_eq!(value(&membership, "group.protocol").as_deref(), Some("consumer"));
        assert_eq!(value(&s.for_role(Role::Fetcher, &[]), "group.protocol"), None);
        s.check().expect("valid for all roles");
    }

    #[test]
    fn all_problems_are_told_at_once_and_no_value_is_shown() {
        let s = settings(&[
            ("no.such.thing", "secret-1"),
            ("linger.ms", "secret-2"),
            ("consumer.isolation.level", "read_uncommitted"),
        ]);
        let Err(LogError::Fatal(message)) = s.check() else {
            panic!("expected a refusal")
        };
        for expected in [
            "no.such.thing",
            "linger.ms",
            "consumer.isolation.level: Millstream sets this itself",
        ] {
            assert!(message.contains(expected), "{message}");
        }
        assert!(!message.contains("secret-1"), "{message}");
    }
}
