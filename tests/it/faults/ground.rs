//! What a fault test stands on: a broker with a process and a disk of its own behind the proxy, and instances of the program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Fetched, Fetcher, FetcherConfig, Log, LogError, NewTopic};
use millstream::types::TopicPartition;
use serde_json::Value;

use super::process::Process;
use super::proxy::{CONTROL, Proxy};
use crate::dev::process::{TempDir, ask, millstream};
use crate::patience::{eventually, until};

/// A record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

/// Sessions and transactions end soon, so that tests are short; the proportions are those of the defaults.
const QUICK: [&str; 4] = [
    "consumer.session.timeout.ms=3000",
    "consumer.heartbeat.interval.ms=300",
    "producer.transaction.timeout.ms=3000",
    "producer.message.timeout.ms=2000",
];

/// See the module.
pub struct Ground {
    pub proxy: Proxy,
    /// Reads and writes whatever the network does.
    pub log: KafkaLog,
    pub broker: Process,
    pub data: TempDir,
}

impl Ground {
    /// A broker, and a directory with one file of SQL.
    pub fn new(name: &str, sql: &str) -> Self {
        let data = TempDir::new(name);
        std::fs::create_dir_all(data.0.join("topologies")).expect("made");
        std::fs::write(data.0.join("topologies/faults.sql"), sql).expect("written");
        let proxy = Proxy::start();
        let broker = start_broker(&data.0, Some(&proxy)).0;
        let settings = KafkaSettings {
            bootstrap_servers: proxy.address(),
            client_id: CONTROL.into(),
            properties: Vec::new(),
        };
        let log = KafkaLog::new(settings).expect("valid settings");
        Self {
            proxy,
            log,
            broker,
            data,
        }
    }

    /// Starts the broker again, on its disk of before.
    pub fn restart_broker(&mut self) {
        self.broker = start_broker(&self.data.0, Some(&self.proxy)).0;
    }

    /// Makes a topic.
    pub fn topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let topic = NewTopic {
            name: name.into(),
            partitions,
            replicas: 1,
            config: config.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        };
        again("the topic", || {
            self.log.admin().create_topics(std::slice::from_ref(&topic))
        });
    }

    /// The program on a data directory of its own.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = millstream();
        command
            .args(["run", "--application-id", "faults", "--http", "127.0.0.1:0"])
            .args(["--print-urls", "json", "--quiet", "--commit-interval", "20ms"])
            .args(["--bootstrap-servers", &self.proxy.address()])
            .args(QUICK.iter().flat_map(|property| ["--kafka-property", property]))
            .arg("--topologies")
            .arg(self.data.0.join("topologies"))
            .arg("--data-dir")
            .arg(self.data_dir(name))
            .args(arguments);
        command
    }

    /// Where an instance keeps its state.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.data.0.join(name)
    }

    /// Starts the program and waits until it is ready.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Instance {
        Instance::ready(self.starting(name, self.command(name, arguments)))
    }

    /// Starts a command.
    pub fn starting(&self, name: &str, command: Command) -> Process {
        Process::start(command, &self.data.0.join(format!("{name}.log")))
    }

    /// All committed records of a topic, by partition, in order; none where there is no such topic.
    pub fn read(&self, topic: &str) -> Vec<Vec<Read>> {
        let found = again("the topic", || self.log.admin().topics(&[topic])).remove(0);
        let partitions = found.map_or(0, |info| info.partitions);
        (0..partitions)
            .map(|partition| self.read_partition(&TopicPartition::new(topic, partition)))
            .collect()
    }

    fn read_partition(&self, tp: &TopicPartition) -> Vec<Read> {
        let config = FetcherConfig {
            committed_only: true,
            buffer_bytes: 16 << 20,
        };
        let (low, _) = again("the watermarks", || self.log.admin().watermarks(tp));
        let mut fetcher = again("a fetcher", || self.log.fetcher(&config));
        fetcher.assign(0, tp, low).expect("assigned");
        let mut records = Vec::new();
        let mut ended = false;
        until("the end of a partition", || {
            ended |= poll(&mut *fetcher, &mut records);
            ended
        });
        records
    }

    /// No transaction is open any more, and none was left behind.
    pub fn all_ended(&self) {
        let topics = again("the topics", || self.log.admin().list_topics());
        for topic in topics {
            let found = again("the topic", || self.log.admin().topics(&[&topic])).remove(0);
            for partition in 0..found.map_or(0, |info| info.partitions) {
                let tp = TopicPartition::new(topic.as_str(), partition);
                until(&format!("the end of the transactions in {tp}"), || {
                    let (_, end) = again("the watermarks", || self.log.admin().watermarks(&tp));
                    again("the stable end", || self.log.admin().stable_end(&tp)) == end
                });
            }
        }
    }
}

fn poll(fetcher: &mut dyn Fetcher, records: &mut Vec<Read>) -> bool {
    let mut ended = false;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut sink = |fetched: Fetched<'_>| match fetched {
        Fetched::Record(record) => records.push(Read {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: (record.headers.to_headers().iter().flat_map(|headers| headers.iter()))
                .map(|(name, value)| (name.to_string(), value.as_deref().map(text).unwrap_or_default()))
                .collect(),
        }),
        Fetched::End { .. } => ended = true,
        Fetched::Ahead { .. } => {}
    };
    match fetcher.poll(10_000, Duration::from_millis(50), &mut sink) {
        Ok(_) | Err(LogError::Retry(_)) => ended,
        Err(error) => panic!("{error}"),
    }
}

/// Repeats what needs a broker that may be away.
#[track_caller]
pub fn again<T>(what: &str, mut call: impl FnMut() -> Result<T, LogError>) -> T {
    eventually(what, || match call() {
        Ok(answer) => Some(answer),
        Err(LogError::Retry(_) | LogError::Abort(_) | LogError::Unknown(_)) => None,
        Err(error) => panic!("{what}: {error}"),
    })
}

/// A broker on `data`, and where it listens; clients are told the address of the proxy, where there is one.
pub fn start_broker(data: &Path, proxy: Option<&Proxy>) -> (Process, SocketAddr) {
    let mut command = millstream();
    command
        .args(["broker", "0"])
        .arg(data.join("broker"))
        .args(["--log-format", "json"]);
    if let Some(proxy) = proxy {
        command.args(["--advertise", &proxy.address()]);
    }
    let broker = Process::start(command, &data.join("broker.log"));
    let ready: Value = serde_json::from_str(&broker.says("broker ready")).expect("a line of JSON");
    let address: SocketAddr = ready["address"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("its address");
    if let Some(proxy) = proxy {
        proxy.target(address);
    }
    (broker, address)
}

/// A running `millstream run`.
pub struct Instance {
    pub process: Process,
    /// `HOST:PORT` of its HTTP.
    pub http: String,
}

impl Instance {
    /// Waits for the line with its addresses.
    pub fn ready(mut process: Process) -> Self {
        let urls: Value = serde_json::from_str(&process.first_line()).expect("addresses");
        let http = urls["http"].as_str().and_then(|url| url.strip_prefix("http://"));
        Self {
            http: http.expect("an address").to_owned(),
            process,
        }
    }

    /// Status and reasons of `/health/ready`.
    pub fn health(&self) -> (u16, String) {
        let (status, answer) = ask(&self.http, "/health/ready", None);
        (status, answer.to_string())
    }

    /// Waits until it says over HTTP that it is not ready, and why; the answer.
    #[track_caller]
    pub fn not_ready(&mut self, why: &str) -> String {
        eventually(&format!("503 with {why:?}"), || {
            self.process.must_live();
            let (status, answer) = self.health();
            (status == 503 && answer.contains(why)).then_some(answer)
        })
    }

    /// Waits until it is ready.
    #[track_caller]
    pub fn is_ready(&mut self) {
        until("it to be ready", || {
            self.process.must_live();
            self.health().0 == 200
        });
    }

    /// The sum of a metric's samples whose line contains all of these texts.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, answer) = ask(&self.http, "/metrics", None);
        let text = answer.as_str().expect("text").to_owned();
        let samples = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        let wanted = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
        wanted
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}
