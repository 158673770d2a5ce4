//! What the client library costs when nothing is done with the records: nothing built on it can be cheaper.

use std::time::Instant;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaRespErr;

use super::Args;
use super::verify::reader;

/// Consumes so many records.
pub fn limit(args: &Args) {
    let (bootstrap, topic, records) = (args.text(0), args.text(1), args.number(2));
    let consumer = reader(bootstrap, topic);
    let mut started: Option<(Instant, f64)> = None;
    let (mut seen, mut sum) = (0u64, 0u64);
    // SAFETY: the queue belongs to the consumer, which outlives it; each message is destroyed once, after its last use.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        let mut batch: Vec<*mut sys::rd_kafka_message_t> = vec![std::ptr::null_mut(); 4096];
        while seen < records {
            let n = sys::rd_kafka_consume_batch_queue(queue, 20, batch.as_mut_ptr(), batch.len());
            for message in &batch[..n.max(0) as usize] {
                let m = &**message;
                if m.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    started.get_or_insert_with(|| (Instant::now(), cpu_seconds()));
                    seen += 1;
                    if m.len > 6 {
                        sum += u64::from(*m.payload.cast::<u8>().add(6));
                    }
                }
                sys::rd_kafka_message_destroy(*message);
            }
        }
        sys::rd_kafka_queue_destroy(queue);
    }
    let (wall, cpu) = started.map_or((0.0, 0.0), |(t, c)| (t.elapsed().as_secs_f64(), cpu_seconds() - c));
    println!("{{\"records\":{seen},\"wall_s\":{wall:.3},\"cpu_s\":{cpu:.3},\"check\":{sum}}}");
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the struct that it is given.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
