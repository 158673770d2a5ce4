//! Settings of topics and of the broker.

use super::admin::{code, message};
use super::metadata::text;
use super::{NODE_ID, Server};
use crate::log::core::{ConfigChange, ErrorCode, Result, TOPIC_CONFIGS, ValueKind};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_response;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use std::collections::BTreeMap;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;
const FROM_DEFAULT: i8 = 5;

/// Kafka's number for a type of value.
fn type_number(kind: ValueKind) -> i8 {
    match kind {
        ValueKind::Bool => 1,
        ValueKind::Text | ValueKind::OneOf(_) => 2,
        ValueKind::Int(_) => 3,
        ValueKind::Long(_) => 5,
        ValueKind::Ratio => 6,
        ValueKind::ListOf(_) => 7,
    }
}

/// One setting as it is described.
struct Described {
    name: String,
    value: String,
    source: i8,
    kind: ValueKind,
    doc: &'static str,
}

/// A setting of the broker.
enum BrokerValue {
    Text(String),
    Switch(bool),
    Number(i64),
}

impl Server {
    fn describe_topic(&self, name: &str) -> Result<Vec<Described>> {
        let config = self.log.with(|core| core.topic(name).map(|t| t.config.clone()))?;
        let describe = |def: &crate::log::core::TopicConfigDef| Described {
            name: def.name.to_string(),
            value: config.get(def.name).map_or(def.default, String::as_str).to_string(),
            source: if config.contains_key(def.name) {
                FROM_TOPIC
            } else {
                FROM_DEFAULT
            },
            kind: def.kind,
            doc: def.doc,
        };
        Ok(TOPIC_CONFIGS.iter().map(describe).collect())
    }

    fn describe_broker(&self, id: &str) -> Result<Vec<Described>> {
        use BrokerValue::{Number, Switch, Text};
        if !id.is_empty() && id != NODE_ID.to_string() {
            return Err(ErrorCode::InvalidRequest);
        }
        let config = self.log.with(|core| core.config().clone());
        let listeners = format!("PLAINTEXT://{}:{}", self.host, self.port);
        let heartbeat_ms = i64::from(config.consumer_heartbeat_ms);
        let partitions = i64::from(self.auto_create_partitions);
        let settings = [
            (
                "advertised.listeners",
                Text(listeners),
                "Where clients reach the broker.",
            ),
            (
                "auto.create.topics.enable",
                Switch(true),
                "Topics are made when a client asks for them.",
            ),
            ("broker.id", Number(i64::from(NODE_ID)), "The only node."),
            ("default.replication.factor", Number(1), "One copy of everything."),
            (
                "group.consumer.heartbeat.interval.ms",
                Number(heartbeat_ms),
                "Heartbeats of consumer groups (KIP-848).",
            ),
            (
                "group.consumer.session.timeout.ms",
                Number(config.consumer_session_ms),
                "Sessions of consumer groups (KIP-848).",
            ),
            (
                "group.initial.rebalance.delay.ms",
                Number(config.initial_rebalance_delay_ms),
                "How long a new classic group waits for members.",
            ),
            (
                "log.segment.bytes",
                Number(config.journal.segment_bytes as i64),
                "Size of a segment of the broker's journal.",
            ),
            (
                "num.partitions",
                Number(partitions),
                "Partitions of topics made automatically.",
            ),
            (
                "offsets.retention.minutes",
                Number(-1),
                "Committed offsets do not expire here.",
            ),
            (
                "transaction.max.timeout.ms",
                Number(config.max_transaction_timeout_ms),
                "Largest time-out of a transaction.",
            ),
            (
                "transactional.id.expiration.ms",
                Number(config.transactional_id_expiry_ms),
                "Idle transactional ids are forgotten after this.",
            ),
        ];
        let described = settings.into_iter().map(|(name, value, doc)| {
            let (value, kind) = match value {
                Text(value) => (value, ValueKind::Text),
                Switch(value) => (value.to_string(), ValueKind::Bool),
                Number(value) => (value.to_string(), ValueKind::Long(-1)),
            };
            Described {
                name: name.to_string(),
                value,
                source: FROM_BROKER,
                kind,
                doc,
            }
        });
        Ok(described.collect())
    }

    pub(super) fn describe_configs(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| {
            let name = resource.resource_name.as_str();
            let found = match resource.resource_type {
                TOPIC => self.describe_topic(name),
                BROKER => self.describe_broker(name),
                _ => Err(ErrorCode::InvalidRequest),
            };
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code(&found))
                .with_error_message(message(&found));
            let wanted = found
                .unwrap_or_default()
                .into_iter()
                .filter(|d| is_wanted(resource, &d.name));
            result.with_configs(wanted.map(|d| to_wire(d, request)).collect())
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    pub(super) fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| {
            let changes = resource.configs.iter().map(|config| {
                let name = config.name.to_string();
                let value = || {
                    config
                        .value
                        .as_ref()
                        .map(|v| v.to_string())
                        .ok_or(ErrorCode::InvalidConfig)
                };
                Ok(match config.config_operation {
                    0 => ConfigChange::Set(name, value()?),
                    1 => ConfigChange::Remove(name),
                    2 => ConfigChange::Append(name, value()?),
                    3 => ConfigChange::Subtract(name, value()?),
                    _ => return Err(ErrorCode::InvalidRequest),
                })
            });
            let changes: Result<Vec<ConfigChange>> = changes.collect();
            let done = changes.and_then(|changes| {
                topics_only(resource.resource_type)?;
                let name = resource.resource_name.as_str();
                self.log
                    .with(|core| core.alter_topic_config(name, &changes, request.validate_only))
            });
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code(&done))
                .with_error_message(message(&done))
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }

    pub(super) fn alter_configs(&self, request: &AlterConfigsRequest) -> AlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| {
            let value = |c: &kafka_protocol::messages::alter_configs_request::AlterableConfig| {
                Some((c.name.to_string(), c.value.as_ref()?.to_string()))
            };
            let config: BTreeMap<String, String> = resource.configs.iter().filter_map(value).collect();
            let done = topics_only(resource.resource_type).and_then(|()| {
                let name = resource.resource_name.as_str();
                self.log
                    .with(|core| core.replace_topic_config(name, config, request.validate_only))
            });
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code(&done))
                .with_error_message(message(&done))
        });
        AlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn topics_only(resource_type: i8) -> Result<()> {
    if resource_type == TOPIC {
        Ok(())
    } else {
        Err(ErrorCode::InvalidRequest)
    }
}

fn is_wanted(resource: &DescribeConfigsResource, name: &str) -> bool {
    resource
        .configuration_keys
        .as_ref()
        .is_none_or(|keys| keys.iter().any(|k| k.as_str() == name))
}

fn to_wire(described: Described, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonym = || {
        DescribeConfigsSynonym::default()
            .with_name(text(&described.name))
            .with_value(Some(text(&described.value)))
            .with_source(described.source)
    };
    DescribeConfigsResourceResult::default()
        .with_name(text(&described.name))
        .with_value(Some(text(&described.value)))
        .with_read_only(described.source == FROM_BROKER)
        .with_config_source(described.source)
        .with_config_type(type_number(described.kind))
        .with_synonyms(if request.include_synonyms {
            vec![synonym()]
        } else {
            Vec::new()
        })
        .with_documentation(request.include_documentation.then(|| text(described.doc)))
}
