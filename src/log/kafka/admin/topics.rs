//! Topics: what there is, what is set, made and deleted.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::super::deadline::Deadline;
use super::super::errors::{classify, classify_text};
use super::super::raw::{self, Code, NativeError, c_string, millis};
use super::requests::{DeletedTopics, NewPartitions, NewTopics, TopicResources};
use super::{CALL, KafkaAdmin, PAUSE, results};
use crate::log::{LogError, LogResult, NewTopic, TopicInfo};

/// A topic as the broker describes it.
pub(super) struct Described {
    pub(super) info: TopicInfo,
    /// Whether every partition has a leader.
    usable: bool,
}

impl KafkaAdmin {
    pub(super) fn describe(&self, names: &[&str], deadline: Deadline) -> LogResult<Vec<Option<Described>>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let what = format!("asking for {}", names.join(", "));
        let owned: Vec<CString> = names.iter().map(|name| c_string(name)).collect::<LogResult<_>>()?;
        let mut pointers: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, deadline);
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            // SAFETY: the names live during the call, which copies them; the collection is freed after it
            unsafe {
                let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
                sys::rd_kafka_DescribeTopics(rk, topics, options, queue);
                sys::rd_kafka_TopicCollection_destroy(topics);
            }
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.ptr()) };
        let mut described: Vec<Option<Described>> = names.iter().map(|_| None).collect();
        for topic in results!(rd_kafka_DescribeTopics_result_topics, result) {
            if let Some(found) = read_topic(*topic)? {
                // the answer's order is the client's, which sorts and deduplicates
                for (name, place) in names.iter().zip(&mut described) {
                    if *name == found.info.name {
                        *place = Some(Described {
                            info: found.info.clone(),
                            usable: found.usable,
                        });
                    }
                }
            }
        }
        Ok(described)
    }

    /// Describes the topics again and again until `done` is content.
    fn wait_for(&self, names: &[&str], what: &str, done: impl Fn(&Option<Described>) -> bool) -> LogResult<()> {
        let deadline = Deadline::after(CALL);
        loop {
            if self.describe(names, deadline)?.iter().all(&done) {
                return Ok(());
            }
            if deadline.passed() {
                return Err(LogError::Retry(format!(
                    "{what}: not visible on the brokers after {CALL:?}"
                )));
            }
            self.closing.check(what)?;
            deadline.nap(PAUSE);
        }
    }

    pub(super) fn all_topics(&self) -> LogResult<Vec<String>> {
        let mut metadata = std::ptr::null();
        let deadline = Deadline::after(CALL);
        loop {
            self.closing.check("listing topics")?;
            self.client.serve();
            let wait = millis(deadline.remaining().min(Duration::from_secs(1)));
            // SAFETY: a live client; the answer is freed below
            let code =
                unsafe { sys::rd_kafka_metadata(self.client.ptr(), 1, std::ptr::null_mut(), &mut metadata, wait) };
            match classify(code, "listing topics") {
                _ if code == raw::OK => break,
                LogError::Retry(_) if !deadline.passed() => {}
                error => return Err(self.client.explain(error)),
            }
        }
        self.client.complaints().forget();
        // SAFETY: the answer is ours, its names are copied before it is freed
        unsafe {
            let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
            let topics = if count == 0 {
                &[]
            } else {
                std::slice::from_raw_parts((*metadata).topics, count)
            };
            let names = topics.iter().map(|topic| raw::text(topic.topic)).collect();
            sys::rd_kafka_metadata_destroy(metadata);
            Ok(names)
        }
    }

    pub(super) fn setting_of(&self, topics: &[&str], key: &str) -> LogResult<Vec<Option<String>>> {
        let what = match topics {
            [topic] => format!("asking for {key} of topic {topic}"),
            _ => format!("asking for {key} of {} topics", topics.len()),
        };
        let deadline = Deadline::after(CALL);
        // any broker answers, also one that has just started and does not know of a topic for long: who asks again looks whether it is there
        self.patiently(deadline, || {
            let found = self.try_setting_of(topics, key, &what, deadline)?;
            found.map_err(|(code, words)| match code {
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => LogError::Retry(format!("{what}: {words}")),
                code => classify_text(code, &what, &words),
            })
        })
    }

    fn try_setting_of(
        &self,
        topics: &[&str],
        key: &str,
        what: &str,
        deadline: Deadline,
    ) -> LogResult<Result<Vec<Option<String>>, (Code, String)>> {
        let mut resources = TopicResources::default();
        topics.iter().try_for_each(|topic| resources.push(topic))?;
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, deadline);
        let event = self.call(what, &options, deadline, |rk, options, queue| {
            let pointers = resources.pointers();
            // SAFETY: live resources, which the call copies
            unsafe { sys::rd_kafka_DescribeConfigs(rk, pointers.as_mut_ptr(), pointers.len(), options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_DescribeConfigs_result(event.ptr()) };
        let mut found = BTreeMap::new();
        for resource in results!(rd_kafka_DescribeConfigs_result_resources, result) {
            // SAFETY: the resource lives as long as the event, and its words are copied
            let (code, words, topic) = unsafe {
                (
                    sys::rd_kafka_ConfigResource_error(*resource),
                    raw::text(sys::rd_kafka_ConfigResource_error_string(*resource)),
                    raw::text(sys::rd_kafka_ConfigResource_name(*resource)),
                )
            };
            if code != raw::OK {
                return Ok(Err((code, format!("topic {topic}: {words}"))));
            }
            for entry in results!(rd_kafka_ConfigResource_configs, *resource) {
                // SAFETY: the entry lives as long as the event, and is copied
                let (name, value) = unsafe {
                    (
                        raw::text(sys::rd_kafka_ConfigEntry_name(*entry)),
                        raw::text(sys::rd_kafka_ConfigEntry_value(*entry)),
                    )
                };
                if name == key {
                    found.insert(topic.clone(), value);
                }
            }
        }
        Ok(Ok(topics.iter().map(|topic| found.get(*topic).cloned()).collect()))
    }

    pub(super) fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(CALL);
        let mut requests = NewTopics::default();
        for topic in topics {
            requests.push(topic)?;
        }
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_CREATETOPICS, deadline);
        let event = self.call("creating topics", &options, deadline, |rk, options, queue| {
            let requests = requests.pointers();
            // SAFETY: the call copies the requests
            unsafe { sys::rd_kafka_CreateTopics(rk, requests.as_mut_ptr(), requests.len(), options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_CreateTopics_result(event.ptr()) };
        let answers = results!(rd_kafka_CreateTopics_result_topics, result);
        check_topics(answers, "creating", Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)?;
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        self.wait_for(&names, "creating topics", |topic| {
            topic.as_ref().is_some_and(|topic| topic.usable)
        })
    }

    pub(super) fn grow(&self, topic: &str, total: i32) -> LogResult<()> {
        let what = format!("adding partitions to topic {topic}");
        let deadline = Deadline::after(CALL);
        let mut request = NewPartitions::new(topic, total)?;
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, deadline);
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            // SAFETY: the call copies the request
            unsafe { sys::rd_kafka_CreatePartitions(rk, request.pointer(), 1, options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_CreatePartitions_result(event.ptr()) };
        let answers = results!(rd_kafka_CreatePartitions_result_topics, result);
        // another instance may have been faster
        check_topics(
            answers,
            "adding partitions to",
            Code::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS,
        )?;
        self.wait_for(&[topic], &what, |topic| {
            topic
                .as_ref()
                .is_some_and(|topic| topic.usable && topic.info.partitions >= total)
        })
    }

    pub(super) fn delete(&self, names: &[&str]) -> LogResult<()> {
        if names.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(CALL);
        let mut requests = DeletedTopics::default();
        for name in names {
            requests.push(name)?;
        }
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DELETETOPICS, deadline);
        let event = self.call("deleting topics", &options, deadline, |rk, options, queue| {
            let requests = requests.pointers();
            // SAFETY: the call copies the requests
            unsafe { sys::rd_kafka_DeleteTopics(rk, requests.as_mut_ptr(), requests.len(), options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_DeleteTopics_result(event.ptr()) };
        let answers = results!(rd_kafka_DeleteTopics_result_topics, result);
        check_topics(answers, "deleting", Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)?;
        self.wait_for(names, "deleting topics", Option::is_none)
    }
}

/// `None` for a topic that does not exist.
fn read_topic(topic: *const sys::rd_kafka_TopicDescription_t) -> LogResult<Option<Described>> {
    // SAFETY: the description is alive, and what it names is copied
    let (name, error) = unsafe {
        (
            raw::text(sys::rd_kafka_TopicDescription_name(topic)),
            NativeError::read(sys::rd_kafka_TopicDescription_error(topic)),
        )
    };
    match error.code {
        raw::OK => {}
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => return Ok(None),
        // known, and without a leader yet
        Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE => {
            let info = TopicInfo {
                name,
                id: String::new(),
                partitions: 0,
            };
            return Ok(Some(Described { info, usable: false }));
        }
        code => return Err(classify_text(code, &format!("topic {name}"), &error.message)),
    }
    let partitions = results!(rd_kafka_TopicDescription_partitions, topic);
    // SAFETY: the partitions live as long as the description
    let leaderless = |p: &*const sys::rd_kafka_TopicPartitionInfo_t| {
        unsafe { sys::rd_kafka_TopicPartitionInfo_leader(*p) }.is_null()
    };
    let usable = !partitions.is_empty() && !partitions.iter().any(leaderless);
    let info = TopicInfo {
        name,
        id: topic_id(topic),
        partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
    };
    Ok(Some(Described { info, usable }))
}

/// The topic's id in Kafka's base 64; empty where the broker has none (before KIP-516).
fn topic_id(topic: *const sys::rd_kafka_TopicDescription_t) -> String {
    // SAFETY: the description is alive, and the id with it; null means none
    let id = unsafe {
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            String::new()
        } else {
            raw::text(sys::rd_kafka_Uuid_base64str(id))
        }
    };
    if id.bytes().all(|b| b == b'A') {
        String::new()
    } else {
        id
    }
}

/// One answer a topic: all failures together, but for the one that is as good as success.
fn check_topics(answers: &[*const sys::rd_kafka_topic_result_t], doing: &str, harmless: Code) -> LogResult<()> {
    let mut failed: Option<(Code, Vec<String>)> = None;
    for answer in answers {
        // SAFETY: the answers live as long as their event, and are copied
        let (code, name, words) = unsafe {
            (
                sys::rd_kafka_topic_result_error(*answer),
                raw::text(sys::rd_kafka_topic_result_name(*answer)),
                raw::text(sys::rd_kafka_topic_result_error_string(*answer)),
            )
        };
        if code != raw::OK && code != harmless {
            let words = if words.is_empty() { raw::describe(code) } else { words };
            failed
                .get_or_insert_with(|| (code, Vec::new()))
                .1
                .push(format!("{name}: {words}"));
        }
    }
    failed.map_or(Ok(()), |(code, words)| {
        Err(classify_text(code, &format!("{doing} topics"), &words.join("; ")))
    })
}
