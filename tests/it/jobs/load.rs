//! Records that flow while instances come and go: a thread, and the producer that it sends with.

use std::sync::mpsc::{self, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream::log::{Log, LogError, OutRecord, Producer, TopicHandle};
use millstream::types::Timestamp;

use super::cluster::Cluster;
use crate::patience::within;

const TICK: Duration = Duration::from_millis(20);
const FLUSH: Duration = Duration::from_secs(5);
/// Longer than a record is sent again: a broker of three may be away.
const ACKNOWLEDGED: Duration = Duration::from_secs(150);

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

/// An idempotent producer: what it has sent is there once.
pub struct Sender(Box<dyn Producer>);

impl Sender {
    pub fn new(cluster: &Cluster) -> Self {
        Self(cluster.log.producer().expect("a producer"))
    }

    pub fn topic(&mut self, name: &str) -> TopicHandle {
        self.0.topic(name).expect("a topic")
    }

    pub fn send(
        &mut self,
        topic: TopicHandle,
        partition: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let record = OutRecord {
            topic,
            partition,
            key,
            value,
            timestamp,
            headers: &None,
        };
        self.0.send(record).expect("taken");
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&mut self) {
        let done = within(ACKNOWLEDGED, || match self.0.flush(FLUSH) {
            Ok(_) => Some(()),
            Err(LogError::Retry(_)) => None,
            Err(error) => panic!("records were not taken: {error}"),
        });
        assert!(done.is_some(), "records are not acknowledged");
    }
}
