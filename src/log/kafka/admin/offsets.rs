//! Offsets of partitions: their ends, the offset of a time, and where they begin.

use std::collections::BTreeMap;

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::super::deadline::Deadline;
use super::super::errors::classify;
use super::super::raw::{self, Code, Partitions, elements};
use super::{CALL, KafkaAdmin, results};
use crate::log::{LogError, LogResult};
use crate::types::TopicPartition;

/// An offset of an answer. librdkafka (2.12) leaves the mark of none, without an error, where a leader that it has asked did not answer.
fn told(offset: i64) -> Option<i64> {
    (offset != i64::from(sys::RD_KAFKA_OFFSET_INVALID)).then_some(offset)
}

impl KafkaAdmin {
    pub(super) fn list_offset(&self, tp: &TopicPartition, spec: i64, committed: bool) -> LogResult<i64> {
        let found = self.list_offsets(std::slice::from_ref(tp), spec, committed)?;
        let nothing = || LogError::Retry(format!("asking for an offset of {tp}: the answer is empty"));
        found.first().copied().ok_or_else(nothing)
    }

    /// The offsets of several partitions in one call, in the order asked for.
    pub(super) fn list_offsets(&self, tps: &[TopicPartition], spec: i64, committed: bool) -> LogResult<Vec<i64>> {
        let what = match tps {
            [] => return Ok(Vec::new()),
            [tp] => format!("asking for an offset of {tp}"),
            [tp, ..] => format!("asking for offsets of {} and others", tp.topic),
        };
        let deadline = Deadline::after(CALL);
        self.of_known_topic(&what, deadline, || {
            self.try_list_offsets(&what, tps, spec, committed, deadline)
        })
    }

    fn try_list_offsets(
        &self,
        what: &str,
        tps: &[TopicPartition],
        spec: i64,
        committed: bool,
        deadline: Deadline,
    ) -> LogResult<Result<Vec<i64>, (Code, String)>> {
        let mut options = self.options(Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS, deadline);
        if committed {
            options = options.read_committed();
        }
        let entries: Vec<(&TopicPartition, i64)> = tps.iter().map(|tp| (tp, spec)).collect();
        let list = Partitions::new(&entries)?;
        let event = self.call(what, &options, deadline, |rk, options, queue| {
            // SAFETY: the list is copied by the call
            unsafe { sys::rd_kafka_ListOffsets(rk, list.ptr(), options, queue) };
        })?;
        // SAFETY: the event's kind is that of the call; the result lives as long as it
        let result = unsafe { sys::rd_kafka_event_ListOffsets_result(event.ptr()) };
        let mut found = BTreeMap::new();
        for info in results!(rd_kafka_ListOffsets_result_infos, result) {
            // SAFETY: info and partition live as long as the event
            let (partition, topic) = unsafe {
                let partition = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
                (partition, raw::text(partition.topic))
            };
            if partition.err != raw::OK {
                return Ok(Err((partition.err, String::new())));
            }
            if let Some(offset) = told(partition.offset) {
                found.insert((topic, partition.partition), offset);
            }
        }
        let of = |tp: &TopicPartition| found.get(&(tp.topic.to_string(), tp.partition)).copied();
        let offsets: Option<Vec<i64>> = tps.iter().map(of).collect();
        let partly = || LogError::Retry(format!("{what}: the answer does not name all of them"));
        offsets.map(Ok).ok_or_else(partly)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_whose_leader_did_not_answer_has_no_end() {
        assert_eq!(
            told(-1001),
            None,
            "it was taken for an end, and the store behind it for lost"
        );
        // a time that no record has
        assert_eq!(told(-1), Some(-1));
        assert_eq!(told(0), Some(0));
    }
}
