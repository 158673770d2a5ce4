//! Topics, offsets and groups through librdkafka's admin calls: a request, its own queue, one event as the answer.

use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::client::Client;
use super::deadline::{Closing, Deadline};
use super::errors::{classify, classify_text};
use super::raw::{self, Code, ERROR_TEXT_BYTES, Event, NativeError, Partitions, Queue, c_string, elements, millis};
use super::settings::{KafkaSettings, Role};
use crate::log::{Admin, LogError, LogResult, NewTopic, TopicInfo};
use crate::types::{Timestamp, TopicPartition};

/// How long one call may take, retries of the client included.
const CALL: Duration = Duration::from_secs(10);
/// Between looks at something that needs a moment: a topic being made, a transaction being decided.
const PAUSE: Duration = Duration::from_millis(20);

/// The admin of [`super::KafkaLog`].
pub(super) struct KafkaAdmin {
    closing: Closing,
    client: Client,
}

/// Options of one call.
struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    fn new(client: &Client, op: Op, timeout: Duration) -> Self {
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: a live client; the buffer's length is its own. A refused time-out leaves the default of 60 s
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.ptr(), op);
            let limit = millis(timeout.max(Duration::from_millis(1)));
            sys::rd_kafka_AdminOptions_set_request_timeout(options, limit, message.as_mut_ptr(), message.len());
            Self(options)
        }
    }

    fn read_committed(self) -> Self {
        let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        // SAFETY: live options of a call that has a level; the error is freed
        drop(NativeError::take(unsafe {
            sys::rd_kafka_AdminOptions_set_isolation_level(self.0, level)
        }));
        self
    }

    fn stable(self) -> Self {
        // SAFETY: live options of a call that has the choice; the error is freed
        drop(NativeError::take(unsafe {
            sys::rd_kafka_AdminOptions_set_require_stable_offsets(self.0, 1)
        }));
        self
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// The array behind one of librdkafka's result accessors.
macro_rules! results {
    ($accessor:ident, $from:expr) => {{
        let mut count = 0usize;
        // SAFETY: the object is alive, and the array lives as long as it
        let first = unsafe { sys::$accessor($from, &mut count) };
        if first.is_null() || count == 0 {
            &[][..]
        } else {
            unsafe { std::slice::from_raw_parts(first, count) }
        }
    }};
}

/// A topic as the broker describes it.
struct Described {
    info: TopicInfo,
    /// Whether every partition has a leader.
    usable: bool,
}

impl KafkaAdmin {
    pub(super) fn new(settings: &KafkaSettings, closing: Closing) -> LogResult<Self> {
        let client = Client::new(settings, Role::Admin, &[], |_| ())?;
        Ok(Self { closing, client })
    }

    fn options(&self, op: Op, deadline: Deadline) -> Options {
        Options::new(&self.client, op, deadline.remaining())
    }

    /// Submits a request and waits for its answer.
    fn call(
        &self,
        what: &str,
        options: &Options,
        deadline: Deadline,
        submit: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> LogResult<Event> {
        self.closing.check(what)?;
        // errors of connections and logs gather on the main queue, which nobody else reads
        self.client.serve();
        let queue = Queue::new(&self.client);
        submit(self.client.ptr(), options.0, queue.ptr());
        loop {
            if let Some(event) = queue.poll(deadline.slice()) {
                let (code, words, _) = event.error();
                return if code == raw::OK {
                    Ok(event)
                } else {
                    Err(classify_text(code, what, &words))
                };
            }
            if deadline.passed() {
                return Err(LogError::Retry(format!(
                    "{what}: no answer from the brokers within {CALL:?}"
                )));
            }
            self.closing.check(what)?;
        }
    }

    /// Repeats a call while its failure may pass: leaders and coordinators move, and are not known at once everywhere.
    fn patiently<T>(&self, deadline: Deadline, mut call: impl FnMut() -> LogResult<T>) -> LogResult<T> {
        loop {
            match call() {
                Err(LogError::Retry(_)) if !deadline.passed() && !self.closing.is_closing() => deadline.nap(PAUSE),
                result => return result,
            }
        }
    }

    fn describe(&self, names: &[&str], deadline: Deadline) -> LogResult<Vec<Option<Described>>> {
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

    fn list_offset(&self, tp: &TopicPartition, spec: i64, committed: bool) -> LogResult<i64> {
        let deadline = Deadline::after(CALL);
        self.patiently(deadline, || self.try_list_offset(tp, spec, committed, deadline))
    }

    fn try_list_offset(&self, tp: &TopicPartition, spec: i64, committed: bool, deadline: Deadline) -> LogResult<i64> {
        let what = format!("asking for an offset of {tp}");
        let mut options = self.options(Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS, deadline);
        if committed {
            options = options.read_committed();
        }
        let list = Partitions::new(&[(tp, spec)])?;
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            // SAFETY: the list is copied by the call
            unsafe { sys::rd_kafka_ListOffsets(rk, list.ptr(), options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_ListOffsets_result(event.ptr()) };
        let info = results!(rd_kafka_ListOffsets_result_infos, result).first();
        let no_answer = || LogError::Retry(format!("{what}: the answer is empty"));
        // SAFETY: info and partition live as long as the event
        let found = unsafe { &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info.ok_or_else(no_answer)?) };
        if found.err == raw::OK {
            Ok(found.offset)
        } else {
            Err(classify(found.err, &what))
        }
    }

    fn count_members(&self, group: &str, deadline: Deadline) -> LogResult<usize> {
        let what = format!("asking for the members of group {group}");
        let name = c_string(group)?;
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, deadline);
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            let mut names = [name.as_ptr()];
            // SAFETY: the call copies the names
            unsafe { sys::rd_kafka_DescribeConsumerGroups(rk, names.as_mut_ptr(), names.len(), options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_DescribeConsumerGroups_result(event.ptr()) };
        let mut members = 0;
        for group in results!(rd_kafka_DescribeConsumerGroups_result_groups, result) {
            // SAFETY: the description lives as long as the event
            let (error, count) = unsafe {
                (
                    NativeError::read(sys::rd_kafka_ConsumerGroupDescription_error(*group)),
                    sys::rd_kafka_ConsumerGroupDescription_member_count(*group),
                )
            };
            match error.code {
                raw::OK => members += count,
                Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => {}
                code => return Err(classify_text(code, &what, &error.message)),
            }
        }
        Ok(members)
    }

    /// Committed offsets, or `None` while a transaction over one of them is not decided.
    fn stable_offsets(
        &self,
        group: &str,
        tps: &[TopicPartition],
        deadline: Deadline,
    ) -> LogResult<Option<Vec<Option<i64>>>> {
        let what = format!("asking for the offsets of group {group}");
        let entries: Vec<(&TopicPartition, i64)> = tps.iter().map(|tp| (tp, -1)).collect();
        let (name, list) = (c_string(group)?, Partitions::new(&entries)?);
        let options = self
            .options(Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, deadline)
            .stable();
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            // SAFETY: the request copies name and list, the call copies the request
            unsafe {
                let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), list.ptr());
                sys::rd_kafka_ListConsumerGroupOffsets(rk, &mut request, 1, options, queue);
                sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            }
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr()) };
        let mut offsets = vec![None; tps.len()];
        for group in results!(rd_kafka_ListConsumerGroupOffsets_result_groups, result) {
            if is_unstable(group_error(*group)) {
                return Ok(None);
            }
            check_group(*group, &what)?;
            // SAFETY: the list lives as long as the event
            for found in unsafe { elements(sys::rd_kafka_group_result_partitions(*group)) } {
                match found.err {
                    raw::OK => {}
                    Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT => return Ok(None),
                    // a topic that does not exist has no offsets
                    Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => continue,
                    code => return Err(classify(code, &what)),
                }
                // SAFETY: the entry's name lives as long as it
                let topic = unsafe { raw::text(found.topic) };
                for (tp, place) in tps.iter().zip(&mut offsets) {
                    if *tp.topic == *topic && tp.partition == found.partition && found.offset >= 0 {
                        *place = Some(found.offset);
                    }
                }
            }
        }
        Ok(Some(offsets))
    }
}

fn is_unstable(error: Option<NativeError>) -> bool {
    error.is_some_and(|error| error.code == Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT)
}

fn group_error(group: *const sys::rd_kafka_group_result_t) -> Option<NativeError> {
    // SAFETY: the result is alive
    let error = NativeError::read(unsafe { sys::rd_kafka_group_result_error(group) });
    (error.code != raw::OK).then_some(error)
}

fn check_group(group: *const sys::rd_kafka_group_result_t, what: &str) -> LogResult<()> {
    group_error(group).map_or(Ok(()), |error| Err(classify_text(error.code, what, &error.message)))
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

impl Admin for KafkaAdmin {
    fn topics(&self, names: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        let deadline = Deadline::after(CALL);
        let described = self.patiently(deadline, || self.describe(names, deadline))?;
        Ok(described
            .into_iter()
            .map(|topic| topic.map(|topic| topic.info))
            .collect())
    }

    fn list_topics(&self) -> LogResult<Vec<String>> {
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
                error => return Err(error),
            }
        }
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

    fn topic_config(&self, topic: &str, keys: &[&str]) -> LogResult<Vec<(String, String)>> {
        let what = format!("asking for the settings of topic {topic}");
        let (name, deadline) = (c_string(topic)?, Deadline::after(CALL));
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, deadline);
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            // SAFETY: the name is copied, and the call copies the resource
            unsafe {
                let mut resource = sys::rd_kafka_ConfigResource_new(kind, name.as_ptr());
                sys::rd_kafka_DescribeConfigs(rk, &mut resource, 1, options, queue);
                sys::rd_kafka_ConfigResource_destroy(resource);
            }
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_DescribeConfigs_result(event.ptr()) };
        let mut found = Vec::new();
        for resource in results!(rd_kafka_DescribeConfigs_result_resources, result) {
            // SAFETY: the resource lives as long as the event, and its words are copied
            let (code, words) = unsafe {
                (
                    sys::rd_kafka_ConfigResource_error(*resource),
                    raw::text(sys::rd_kafka_ConfigResource_error_string(*resource)),
                )
            };
            if code != raw::OK {
                return Err(classify_text(code, &what, &words));
            }
            for entry in results!(rd_kafka_ConfigResource_configs, *resource) {
                // SAFETY: the entry lives as long as the event, and is copied
                let (key, value) = unsafe {
                    (
                        raw::text(sys::rd_kafka_ConfigEntry_name(*entry)),
                        raw::text(sys::rd_kafka_ConfigEntry_value(*entry)),
                    )
                };
                if keys.contains(&key.as_str()) {
                    found.push((key, value));
                }
            }
        }
        Ok(found)
    }

    fn create_topics(&self, topics: &[NewTopic]) -> LogResult<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(CALL);
        let mut requests = super::admin_requests::NewTopics::default();
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

    fn delete_topics(&self, names: &[&str]) -> LogResult<()> {
        if names.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(CALL);
        let mut requests = super::admin_requests::DeletedTopics::default();
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

    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> LogResult<()> {
        if before.is_empty() {
            return Ok(());
        }
        let what = "deleting records";
        let deadline = Deadline::after(CALL);
        let entries: Vec<(&TopicPartition, i64)> = before.iter().map(|(tp, offset)| (tp, *offset)).collect();
        let list = Partitions::new(&entries)?;
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DELETERECORDS, deadline);
        let event = self.call(what, &options, deadline, |rk, options, queue| {
            // SAFETY: the request copies the list, the call copies the request
            unsafe {
                let mut request = sys::rd_kafka_DeleteRecords_new(list.ptr());
                sys::rd_kafka_DeleteRecords(rk, &mut request, 1, options, queue);
                sys::rd_kafka_DeleteRecords_destroy(request);
            }
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let answers = unsafe {
            elements(sys::rd_kafka_DeleteRecords_result_offsets(
                sys::rd_kafka_event_DeleteRecords_result(event.ptr()),
            ))
        };
        match answers.iter().find(|answer| answer.err != raw::OK) {
            // SAFETY: the entry's name lives as long as the event
            Some(bad) => Err(classify(
                bad.err,
                &format!("{what} of {}-{}", unsafe { raw::text(bad.topic) }, bad.partition),
            )),
            None => Ok(()),
        }
    }

    fn watermarks(&self, tp: &TopicPartition) -> LogResult<(i64, i64)> {
        let low = self.list_offset(
            tp,
            sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            false,
        )?;
        let high = self.list_offset(
            tp,
            sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            false,
        )?;
        Ok((low, high))
    }

    fn stable_end(&self, tp: &TopicPartition) -> LogResult<i64> {
        self.list_offset(tp, sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64, true)
    }

    fn offset_for_time(&self, tp: &TopicPartition, timestamp: Timestamp) -> LogResult<i64> {
        match self.list_offset(tp, timestamp.max(0), false)? {
            none if none < 0 => Ok(self.watermarks(tp)?.1),
            offset => Ok(offset),
        }
    }

    fn committed(&self, group: &str, tps: &[TopicPartition]) -> LogResult<Vec<Option<i64>>> {
        if tps.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Deadline::after(CALL);
        loop {
            if let Some(offsets) = self.patiently(deadline, || self.stable_offsets(group, tps, deadline))? {
                return Ok(offsets);
            }
            let what = format!("the offsets of group {group} wait for a transaction");
            if deadline.passed() {
                return Err(LogError::Retry(format!("{what} that is not decided after {CALL:?}")));
            }
            self.closing.check(&what)?;
            deadline.nap(PAUSE);
        }
    }

    fn set_committed(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let what = format!("setting the offsets of group {group} (it must have no members)");
        let deadline = Deadline::after(CALL);
        let entries: Vec<(&TopicPartition, i64)> = offsets.iter().map(|(tp, offset)| (tp, *offset)).collect();
        let (name, list) = (c_string(group)?, Partitions::new(&entries)?);
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, deadline);
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            // SAFETY: the request copies name and list, the call copies the request
            unsafe {
                let mut request = sys::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.ptr());
                sys::rd_kafka_AlterConsumerGroupOffsets(rk, &mut request, 1, options, queue);
                sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            }
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.ptr()) };
        for group in results!(rd_kafka_AlterConsumerGroupOffsets_result_groups, result) {
            check_group(*group, &what)?;
            // SAFETY: the list lives as long as the event
            let answers = unsafe { elements(sys::rd_kafka_group_result_partitions(*group)) };
            match answers
                .iter()
                .find(|answer| answer.err != raw::OK)
                .map(|answer| answer.err)
            {
                None => {}
                // what a group with members answers to an offset from outside
                Some(code @ Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID) => {
                    return Err(LogError::Fatal(format!("{what}: {}", raw::describe(code))));
                }
                Some(code) => return Err(classify(code, &what)),
            }
        }
        Ok(())
    }

    fn delete_group(&self, group: &str) -> LogResult<()> {
        let what = format!("deleting group {group}");
        let (name, deadline) = (c_string(group)?, Deadline::after(CALL));
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS, deadline);
        let event = self.call(&what, &options, deadline, |rk, options, queue| {
            // SAFETY: the request copies the name, the call copies the request
            unsafe {
                let mut request = sys::rd_kafka_DeleteGroup_new(name.as_ptr());
                sys::rd_kafka_DeleteGroups(rk, &mut request, 1, options, queue);
                sys::rd_kafka_DeleteGroup_destroy(request);
            }
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_DeleteGroups_result(event.ptr()) };
        for group in results!(rd_kafka_DeleteGroups_result_groups, result) {
            if group_error(*group).is_some_and(|e| e.code == Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND) {
                continue;
            }
            check_group(*group, &what)?;
        }
        Ok(())
    }

    fn group_members(&self, group: &str) -> LogResult<usize> {
        let deadline = Deadline::after(CALL);
        self.patiently(deadline, || self.count_members(group, deadline))
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
