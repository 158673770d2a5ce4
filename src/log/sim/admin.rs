//! Topics, offsets and groups of the simulated cluster.

use std::collections::BTreeMap;

use super::{Access, Call, Part, State, classify, isolation};
use crate::log::core::groups::{GroupKind, GroupMember, OffsetEntry};
use crate::log::core::{ErrorCode, OffsetQuery, Partition, TOPIC_CONFIGS};
use crate::log::{Admin, LogResult, NewTopic, TopicInfo};
use crate::types::{Timestamp, TopicPartition};

fn partition<'a>(state: &'a State, tp: &TopicPartition) -> LogResult<&'a Partition> {
    let found = state
        .core
        .partition_id(&tp.topic, tp.partition)
        .and_then(|id| state.core.partition(id));
    found.map_err(|e| classify(e, &tp.topic))
}

impl Admin for Access {
    fn topics(&self, names: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        self.call(Call::Read, Part::Cluster, ("topics", names.len() as i64), |state| {
            let info = |name: &&str| {
                let topic = state.core.topic(name).ok()?;
                Some(TopicInfo {
                    name: name.to_string(),
                    id: format!("{:032x}", topic.id()),
                    partitions: topic.partition_count(),
                })
            };
            Ok(names.iter().map(info).collect())
        })
    }

    fn list_topics(&self) -> LogResult<Vec<String>> {
        self.call(Call::Read, Part::Cluster, ("list topics", 0), |state| {
            Ok(state.core.topics().map(|(name, _)| name.into()).collect())
        })
    }

    fn topic_setting(&self, topics: &[&str], key: &str) -> LogResult<Vec<Option<String>>> {
        self.call(Call::Read, Part::Cluster, (key, topics.len() as i64), |state| {
            let default = TOPIC_CONFIGS.iter().find(|def| def.name == key);
            let value = |topic: &&str| {
                let config = &state.core.topic(topic).map_err(|e| classify(e, topic))?.config;
                let own = config.get(key).cloned();
                Ok(own.or_else(|| Some(default?.default.to_string())))
            };
            topics.iter().map(value).collect()
        })
    }

    fn add_partitions(&self, topic: &str, total: i32) -> LogResult<()> {
        self.call(Call::Write, Part::Cluster, (topic, i64::from(total)), |state| {
            let made = state.core.create_partitions(topic, total, false);
            made.map_err(|e| classify(e, topic))
        })
    }

    fn create_topics(&self, topics: &[NewTopic]) -> LogResult<()> {
        for topic in topics {
            self.call(
                Call::Write,
                Part::Cluster,
                (&topic.name, i64::from(topic.partitions)),
                |state| {
                    let config: BTreeMap<_, _> = topic.config.iter().cloned().collect();
                    match state.core.create_topic(&topic.name, topic.partitions, config) {
                        Ok(_) | Err(ErrorCode::TopicAlreadyExists) => Ok(()),
                        Err(error) => Err(classify(error, &topic.name)),
                    }
                },
            )?;
        }
        Ok(())
    }

    fn delete_topics(&self, names: &[&str]) -> LogResult<()> {
        for name in names {
            self.call(Call::Write, Part::Cluster, (name, 0), |state| {
                match state.core.delete_topic(name) {
                    Ok(()) | Err(ErrorCode::UnknownTopicOrPartition) => Ok(()),
                    Err(error) => Err(classify(error, name)),
                }
            })?;
        }
        Ok(())
    }

    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> LogResult<()> {
        for (tp, offset) in before {
            self.call(
                Call::Write,
                Part::Partition(&tp.topic, tp.partition),
                (&tp.topic, *offset),
                |state| {
                    state
                        .core
                        .delete_records(&tp.topic, tp.partition, *offset)
                        .map_err(|e| classify(e, &tp.topic))
                },
            )?;
        }
        Ok(())
    }

    fn watermarks(&self, tp: &TopicPartition) -> LogResult<(i64, i64)> {
        self.call(
            Call::Read,
            Part::Partition(&tp.topic, tp.partition),
            (&tp.topic, 1),
            |state| partition(state, tp).map(|p| (p.log_start(), p.high_watermark())),
        )
    }

    fn stable_end(&self, tp: &TopicPartition) -> LogResult<i64> {
        self.call(
            Call::Read,
            Part::Partition(&tp.topic, tp.partition),
            (&tp.topic, 2),
            |state| partition(state, tp).map(Partition::last_stable),
        )
    }

    fn offset_for_time(&self, tp: &TopicPartition, timestamp: Timestamp) -> LogResult<i64> {
        self.call(
            Call::Read,
            Part::Partition(&tp.topic, tp.partition),
            (&tp.topic, 3),
            |state| {
                let end = partition(state, tp)?.high_watermark();
                let id = state
                    .core
                    .partition_id(&tp.topic, tp.partition)
                    .map_err(|e| classify(e, &tp.topic))?;
                let found = state
                    .core
                    .find_offset(id, OffsetQuery::AtOrAfter(timestamp), isolation(false));
                let found = found
                    .and_then(|lookup| lookup.resolve())
                    .map_err(|e| classify(e, &tp.topic))?;
                Ok(found.map_or(end, |(_, offset)| offset))
            },
        )
    }

    fn committed(&self, group: &str, tps: &[TopicPartition]) -> LogResult<Vec<Option<i64>>> {
        self.call(Call::Read, Part::Groups, (group, tps.len() as i64), |state| {
            let offset = |tp: &TopicPartition| {
                let entry = state.core.committed_offset(group, &tp.topic, tp.partition, true);
                entry
                    .map(|entry| entry.map(|e| e.offset))
                    .map_err(|e| classify(e, group))
            };
            tps.iter().map(offset).collect()
        })
    }

    fn set_committed(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.call(Call::Write, Part::Groups, (group, 4), |state| {
            let entry = |(tp, offset): &(TopicPartition, i64)| OffsetEntry::new(&tp.topic, tp.partition, *offset);
            let (now, entries) = (state.now, offsets.iter().map(entry).collect());
            state
                .core
                .commit_offsets(group, &GroupMember::none(), entries, now)
                .map_err(|e| classify(e, group))
        })
    }

    fn delete_group(&self, group: &str) -> LogResult<()> {
        self.call(Call::Write, Part::Groups, (group, 5), |state| {
            match state.core.delete_group(group) {
                Ok(()) | Err(ErrorCode::GroupIdNotFound) => Ok(()),
                Err(error) => Err(classify(error, group)),
            }
        })
    }

    fn group_members(&self, group: &str) -> LogResult<usize> {
        self.call(Call::Read, Part::Groups, (group, 6), |state| {
            Ok(state.core.group(group).map_or(0, |group| match &group.kind {
                GroupKind::Idle => 0,
                GroupKind::Classic(classic) => classic.members.len(),
                GroupKind::Consumer(consumer) => consumer.members.len(),
            }))
        })
    }
}
