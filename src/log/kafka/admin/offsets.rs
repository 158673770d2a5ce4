//! Offsets of partitions: their ends, the offset of a time, and where they begin.

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::super::deadline::Deadline;
use super::super::errors::classify;
use super::super::raw::{self, Code, Partitions, elements};
use super::{CALL, KafkaAdmin, results};
use crate::log::{LogError, LogResult};
use crate::types::TopicPartition;

fn asking(tp: &TopicPartition) -> String {
    format!("asking for an offset of {tp}")
}

impl KafkaAdmin {
    pub(super) fn list_offset(&self, tp: &TopicPartition, spec: i64, committed: bool) -> LogResult<i64> {
        let deadline = Deadline::after(CALL);
        self.of_known_topic(&asking(tp), deadline, || {
            self.try_list_offset(tp, spec, committed, deadline)
        })
    }

    fn try_list_offset(
        &self,
        tp: &TopicPartition,
        spec: i64,
        committed: bool,
        deadline: Deadline,
    ) -> LogResult<Result<i64, (Code, String)>> {
        let what = asking(tp);
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
        Ok(match found.err {
            raw::OK => Ok(found.offset),
            code => Err((code, String::new())),
        })
    }

    pub(super) fn delete_before(&self, before: &[(TopicPartition, i64)]) -> LogResult<()> {
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
}
