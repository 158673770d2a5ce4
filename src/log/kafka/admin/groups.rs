//! Groups: their members and their offsets.

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::super::deadline::Deadline;
use super::super::errors::{classify, classify_text};
use super::super::raw::{self, Code, NativeError, Partitions, c_string, elements};
use super::{CALL, KafkaAdmin, results};
use crate::log::{LogError, LogResult};
use crate::types::TopicPartition;

impl KafkaAdmin {
    pub(super) fn count_members(&self, group: &str, deadline: Deadline) -> LogResult<usize> {
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
    pub(super) fn stable_offsets(
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

    pub(super) fn set_offsets(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
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

    pub(super) fn remove_group(&self, group: &str) -> LogResult<()> {
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
