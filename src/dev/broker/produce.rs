//! Produce: batches go to the core unopened.

use super::Server;
use super::connection::{Call, Reply};
use crate::log::core::{Appended, ErrorCode, ProduceBatch, Result};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

impl Server {
    pub(super) fn produce(&self, request: ProduceRequest, call: &Call<'_>) -> Reply {
        let txn = request.transactional_id.as_ref().map(|id| id.0.as_str());
        let mut answers = if matches!(request.acks, -1..=1) {
            self.append_all(&request, txn, call.now_ms).into_iter()
        } else {
            Vec::new().into_iter()
        };
        if request.acks == 0 {
            return Reply::Nothing;
        }
        let mut partition = |index: i32| {
            let answer = answers.next().unwrap_or(Err(ErrorCode::InvalidRequest));
            let response = PartitionProduceResponse::default().with_index(index);
            match answer {
                Ok(appended) => response
                    .with_base_offset(appended.base_offset)
                    .with_log_append_time_ms(appended.append_time_ms)
                    .with_log_start_offset(appended.log_start),
                Err(error) => response
                    .with_error_code(error.code())
                    .with_base_offset(-1)
                    .with_log_append_time_ms(-1)
                    .with_log_start_offset(-1),
            }
        };
        let topics = request.topic_data.iter().map(|topic| {
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(topic.partition_data.iter().map(|p| partition(p.index)).collect())
        });
        ProduceResponse::default().with_responses(topics.collect()).into()
    }

    /// One answer for each partition of the request, in its order.
    fn append_all(&self, request: &ProduceRequest, txn: Option<&str>, now_ms: i64) -> Vec<Result<Appended>> {
        let wanted = request
            .topic_data
            .iter()
            .flat_map(|t| t.partition_data.iter().map(move |p| (t.name.as_str(), p)));
        self.log.with(|core| {
            let mut places: Vec<Result<usize>> = Vec::new();
            let mut batches: Vec<ProduceBatch> = Vec::new();
            for (topic, partition) in wanted {
                places.push(core.partition_id(topic, partition.index).and_then(|id| {
                    let data = partition.records.clone().ok_or(ErrorCode::InvalidRecord)?;
                    batches.push(ProduceBatch { partition: id, data });
                    Ok(batches.len() - 1)
                }));
            }
            let done = core.produce(&batches, txn, now_ms);
            places.into_iter().map(|place| place.and_then(|at| done[at])).collect()
        })
    }
}
