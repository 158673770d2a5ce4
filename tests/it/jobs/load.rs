//! Records that flow while instances come and go: a thread, and the producer that it sends with.

use std::sync::mpsc::{self, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream::log::{Log, LogError, LogResult, OutRecord, TopicHandle, TransactionalProducer};
use millstream::types::Timestamp;

use super::cluster::{Cluster, patiently};
use crate::patience::eventually;

const TICK: Duration = Duration::from_millis(20);
/// The most that one call waits; it is made again.
const CALL: Duration = Duration::from_secs(5);

/// What sends.
pub trait Ticks: Send + 'static {
    /// Sends a few records.
    fn tick(&mut self, tick: i64);
    /// Sends what is left to say.
    fn finish(&mut self) {}
}

/// The thread that sends.
pub struct Load<T> {
    /// Its end is the thread's.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Ticks> Load<T> {
    /// Sends a few records each tick until it is stopped.
    pub fn start(mut source: T) -> Self {
        let (stop, stopped) = channel();
        let run = move || {
            let mut tick = 0;
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                source.tick(tick);
                tick += 1;
            }
            source.finish();
            source
        };
        let thread = std::thread::spawn(run);
        Self { stop, thread }
    }

    /// Stops it.
    pub fn stop(self) -> T {
        drop(self.stop);
        self.thread.join().expect("the load runs")
    }
}

/// A record that is not committed yet.
struct Unsent {
    topic: TopicHandle,
    partition: i32,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// Sends in transactions, again until they are committed: what it has sent is there once, whichever broker dies.
pub struct Sender {
    producer: Box<dyn TransactionalProducer>,
    unsent: Vec<Unsent>,
}

impl Sender {
    pub fn new(cluster: &Cluster) -> Self {
        let id = format!("{}.load.{}", cluster.app, uuid::Uuid::new_v4().simple());
        let mut producer = cluster.log.transactional_producer(&id).expect("a producer");
        patiently("the load's producer", || producer.init(CALL));
        Self {
            producer,
            unsent: Vec::new(),
        }
    }

    pub fn topic(&mut self, name: &str) -> TopicHandle {
        self.producer.topic(name).expect("a topic")
    }

    pub fn send(
        &mut self,
        topic: TopicHandle,
        partition: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        self.unsent.push(Unsent {
            topic,
            partition,
            timestamp,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
        });
    }

    /// Waits until everything is committed.
    pub fn flush(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        eventually("the load is committed", || match self.attempt() {
            Ok(()) => Some(()),
            Err(LogError::Abort(_) | LogError::Retry(_)) => {
                patiently("the load's transaction is aborted", || self.producer.abort(CALL));
                None
            }
            Err(error) => panic!("records were not taken: {error}"),
        });
        self.unsent.clear();
    }

    /// One transaction with all that is unsent; an error leaves nothing of it.
    fn attempt(&mut self) -> LogResult<()> {
        self.producer.begin()?;
        for record in &self.unsent {
            self.producer.send(OutRecord {
                topic: record.topic,
                partition: record.partition,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                timestamp: record.timestamp,
                headers: &None,
            })?;
        }
        let producer = &mut self.producer;
        eventually("the load is acknowledged", || match producer.flush(CALL) {
            Err(LogError::Retry(_)) => None,
            done => Some(done),
        })?;
        eventually("the load's commit", || match producer.commit(CALL) {
            Err(LogError::Retry(_) | LogError::Unknown(_)) => None,
            done => Some(done),
        })
    }
}
