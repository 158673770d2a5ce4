//! Lists of admin requests that own their entries.

use std::ffi::{c_char, c_int};

use rdkafka::bindings as sys;

use super::super::raw::{self, ERROR_TEXT_BYTES, c_string};
use crate::log::{LogError, LogResult, NewTopic};

/// How long a broker may take to make or delete topics before it answers.
const OPERATION_RESULT: &str = "the broker's client refused it";

/// Topics whose settings are asked for.
#[derive(Default)]
pub(super) struct TopicResources(Vec<*mut sys::rd_kafka_ConfigResource_t>);

impl TopicResources {
    pub(super) fn push(&mut self, topic: &str) -> LogResult<()> {
        let name = c_string(topic)?;
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is copied
        let resource = unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
        if resource.is_null() {
            return Err(LogError::Fatal(format!("topic {topic:?}: {OPERATION_RESULT}")));
        }
        self.0.push(resource);
        Ok(())
    }

    pub(super) fn pointers(&mut self) -> &mut [*mut sys::rd_kafka_ConfigResource_t] {
        &mut self.0
    }
}

impl Drop for TopicResources {
    fn drop(&mut self) {
        for resource in &self.0 {
            // SAFETY: ours
            unsafe { sys::rd_kafka_ConfigResource_destroy(*resource) };
        }
    }
}

/// Topics to create.
#[derive(Default)]
pub(super) struct NewTopics(Vec<*mut sys::rd_kafka_NewTopic_t>);

impl NewTopics {
    pub(super) fn push(&mut self, topic: &NewTopic) -> LogResult<()> {
        let refused = |why: &str| LogError::Fatal(format!("creating topic {}: {why}", topic.name));
        let name = c_string(&topic.name)?;
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the name is copied; the buffer's length is its own
        let request = unsafe {
            sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                topic.partitions,
                c_int::from(topic.replicas),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if request.is_null() {
            // SAFETY: librdkafka ends its message with NUL
            return Err(refused(&unsafe { raw::text(message.as_ptr()) }));
        }
        self.0.push(request);
        for (key, value) in &topic.config {
            let (key, value) = (c_string(key)?, c_string(value)?);
            // SAFETY: a live request; the strings are copied
            let code = unsafe { sys::rd_kafka_NewTopic_set_config(request, key.as_ptr(), value.as_ptr()) };
            if code != raw::OK {
                return Err(refused(OPERATION_RESULT));
            }
        }
        Ok(())
    }

    pub(super) fn pointers(&mut self) -> &mut [*mut sys::rd_kafka_NewTopic_t] {
        &mut self.0
    }
}

impl Drop for NewTopics {
    fn drop(&mut self) {
        for request in &self.0 {
            // SAFETY: ours
            unsafe { sys::rd_kafka_NewTopic_destroy(*request) };
        }
    }
}

/// More partitions of a topic.
pub(super) struct NewPartitions(*mut sys::rd_kafka_NewPartitions_t);

impl NewPartitions {
    pub(super) fn new(topic: &str, total: i32) -> LogResult<Self> {
        let name = c_string(topic)?;
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        let count = usize::try_from(total).unwrap_or(0);
        // SAFETY: the name is copied; the buffer's length is its own
        let request =
            unsafe { sys::rd_kafka_NewPartitions_new(name.as_ptr(), count, message.as_mut_ptr(), message.len()) };
        if request.is_null() {
            // SAFETY: librdkafka ends its message with NUL
            let why = unsafe { raw::text(message.as_ptr()) };
            return Err(LogError::Fatal(format!("adding partitions to topic {topic}: {why}")));
        }
        Ok(Self(request))
    }

    pub(super) fn pointer(&mut self) -> *mut *mut sys::rd_kafka_NewPartitions_t {
        &mut self.0
    }
}

impl Drop for NewPartitions {
    fn drop(&mut self) {
        // SAFETY: ours
        unsafe { sys::rd_kafka_NewPartitions_destroy(self.0) };
    }
}

/// Topics to delete.
#[derive(Default)]
pub(super) struct DeletedTopics(Vec<*mut sys::rd_kafka_DeleteTopic_t>);

impl DeletedTopics {
    pub(super) fn push(&mut self, name: &str) -> LogResult<()> {
        let name = c_string(name)?;
        // SAFETY: the name is copied
        self.0.push(unsafe { sys::rd_kafka_DeleteTopic_new(name.as_ptr()) });
        Ok(())
    }

    pub(super) fn pointers(&mut self) -> &mut [*mut sys::rd_kafka_DeleteTopic_t] {
        &mut self.0
    }
}

impl Drop for DeletedTopics {
    fn drop(&mut self) {
        for request in &self.0 {
            // SAFETY: ours
            unsafe { sys::rd_kafka_DeleteTopic_destroy(*request) };
        }
    }
}
