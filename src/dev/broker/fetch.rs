//! Fetch: plans are made under the lock, bytes are read without it, straight into the answer.
//!
//! The answer is encoded by hand, because it is the one that carries the data: each batch is copied once, from the file
//! into the frame that is written to the socket. A fetch that finds too little waits for news of its partitions.

use super::Server;
use super::connection::{Call, Reply};
use crate::log::core::{BatchSlice, ErrorCode, FetchPlan, Isolation, Result};
use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::FetchRequest;
use std::time::{Duration, Instant};

/// An answer never holds more than this, whatever the client asks for, bytes.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// A client that asks for a longer wait is answered after this.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// From this version on the answer has the compact form.
const FLEXIBLE_FROM: i16 = 12;

/// The plans of a request, topic by topic, in its order.
struct Plans {
    partitions: Vec<Result<FetchPlan>>,
    bytes: usize,
    /// Some partition has something to say that is no data.
    failed: bool,
}

impl Server {
    pub(super) async fn fetch(&self, request: FetchRequest, call: &Call<'_>) -> Reply {
        if request.session_id != 0 {
            return Reply::Encoded(encode_failure(call, ErrorCode::FetchSessionIdNotFound));
        }
        let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64).min(MAX_WAIT);
        let until = Instant::now() + wait;
        let enough = request.min_bytes.max(0) as usize;
        let done = |plans: &Plans| plans.failed || plans.bytes >= enough || request.topics.is_empty();
        let mut plans = self.plan_fetch(&request);
        if !done(&plans) && !wait.is_zero() {
            let subscription = self.log.subscribe(self.partition_ids(&request));
            loop {
                plans = self.plan_fetch(&request);
                if done(&plans) {
                    break;
                }
                tokio::select! {
                    () = subscription.news() => {}
                    () = call.hurry.notified() => break,
                    () = tokio::time::sleep_until(until.into()) => break,
                }
            }
        }
        Reply::Encoded(encode(&request, &plans, call))
    }

    fn partition_ids(&self, request: &FetchRequest) -> Vec<u32> {
        let wanted = request
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(move |p| (t.topic.as_str(), p.partition)));
        self.log.with(|core| {
            wanted
                .filter_map(|(topic, index)| core.partition_id(topic, index).ok())
                .collect()
        })
    }

    fn plan_fetch(&self, request: &FetchRequest) -> Plans {
        let isolation = if request.isolation_level == 1 {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        };
        let limit = (request.max_bytes.max(1) as usize).min(MAX_ANSWER_BYTES);
        let mut plans = Plans {
            partitions: Vec::new(),
            bytes: 0,
            failed: false,
        };
        self.log.with(|core| {
            for topic in &request.topics {
                for partition in &topic.partitions {
                    let room = limit
                        .saturating_sub(plans.bytes)
                        .min(partition.partition_max_bytes.max(0) as usize);
                    let plan = core
                        .partition_id(topic.topic.as_str(), partition.partition)
                        .and_then(|id| {
                            // The first batch of an answer may be larger than the limits, so that every reader gets on.
                            core.fetch(id, partition.fetch_offset, room, plans.bytes == 0, isolation)
                        });
                    match &plan {
                        Ok(plan) => plans.bytes += plan.bytes,
                        Err(_) => plans.failed = true,
                    }
                    plans.partitions.push(plan);
                }
            }
        });
        plans
    }
}

/// Writes the fields of an answer in either form.
struct Writer {
    out: BytesMut,
    flexible: bool,
}

impl Writer {
    fn new(call: &Call<'_>, capacity: usize) -> Writer {
        let flexible = call.version >= FLEXIBLE_FROM;
        let mut writer = Writer {
            out: BytesMut::with_capacity(capacity + 512),
            flexible,
        };
        writer.out.put_i32(0); // length, filled in at the end
        writer.out.put_i32(call.correlation_id);
        writer.tags();
        writer.out.put_i32(0); // throttle time
        writer
    }

    fn unsigned(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// The number of elements, or bytes, that follow.
    fn count(&mut self, count: usize) {
        if self.flexible {
            self.unsigned(count as u32 + 1)
        } else {
            self.out.put_i32(count as i32)
        }
    }

    fn text(&mut self, text: &str) {
        if self.flexible {
            self.unsigned(text.len() as u32 + 1)
        } else {
            self.out.put_i16(text.len() as i16)
        }
        self.out.put_slice(text.as_bytes());
    }

    fn tags(&mut self) {
        if self.flexible {
            self.out.put_u8(0);
        }
    }
}

fn encode_failure(call: &Call<'_>, error: ErrorCode) -> BytesMut {
    let mut writer = Writer::new(call, 0);
    if call.version >= 7 {
        writer.out.put_i16(error.code());
        writer.out.put_i32(0);
    }
    writer.count(0);
    writer.tags();
    writer.out
}

fn encode(request: &FetchRequest, plans: &Plans, call: &Call<'_>) -> BytesMut {
    let names: usize = request.topics.iter().map(|t| t.topic.len() + 16).sum();
    let mut writer = Writer::new(call, plans.bytes + names + plans.partitions.len() * 80);
    if call.version >= 7 {
        writer.out.put_i16(0);
        writer.out.put_i32(0); // no fetch sessions
    }
    let mut next = plans.partitions.iter();
    writer.count(request.topics.len());
    for topic in &request.topics {
        writer.text(topic.topic.as_str());
        writer.count(topic.partitions.len());
        for (partition, plan) in topic.partitions.iter().zip(&mut next) {
            let start = writer.out.len();
            let written = match plan {
                Ok(plan) => encode_partition(&mut writer, partition.partition, plan, call.version),
                Err(error) => Err(*error),
            };
            if let Err(error) = written {
                writer.out.truncate(start);
                encode_error(&mut writer, partition.partition, error, call.version);
            }
        }
        writer.tags();
    }
    writer.tags();
    writer.out
}

fn encode_partition(writer: &mut Writer, index: i32, plan: &FetchPlan, version: i16) -> Result<()> {
    writer.out.put_i32(index);
    writer.out.put_i16(0);
    writer.out.put_i64(plan.high_watermark);
    writer.out.put_i64(plan.last_stable);
    if version >= 5 {
        writer.out.put_i64(plan.log_start);
    }
    writer.count(plan.aborted.len());
    for txn in &plan.aborted {
        writer.out.put_i64(txn.producer_id);
        writer.out.put_i64(txn.first);
        writer.tags();
    }
    if version >= 11 {
        writer.out.put_i32(-1); // preferred replica
    }
    writer.count(plan.bytes);
    plan.slices
        .iter()
        .try_for_each(|slice| read_slice(&mut writer.out, slice))?;
    writer.tags();
    Ok(())
}

fn read_slice(out: &mut BytesMut, slice: &BatchSlice) -> Result<()> {
    let at = out.len();
    out.resize(at + slice.length(), 0);
    slice.read_into(&mut out[at..])
}

fn encode_error(writer: &mut Writer, index: i32, error: ErrorCode, version: i16) {
    writer.out.put_i32(index);
    writer.out.put_i16(error.code());
    writer.out.put_i64(-1);
    writer.out.put_i64(-1);
    if version >= 5 {
        writer.out.put_i64(-1);
    }
    writer.count(0);
    if version >= 11 {
        writer.out.put_i32(-1);
    }
    writer.count(0);
    writer.tags();
}
