//! The real binary as a child: started, frozen, stopped and killed; its log and its HTTP read.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use super::cluster::Cluster;
use crate::patience::{PATIENCE, within};

/// How long an answer over HTTP may take; a frozen process gives none.
const ANSWER: Duration = Duration::from_secs(5);
const LOG_TAIL: usize = 40;

/// How a life ended.
#[derive(Clone, Copy)]
pub enum Killed {
    /// At a random moment.
    Anywhere,
    /// At the fail point of this name.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "there are none"))]
    At(&'static str),
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anywhere => f.pad("anywhere"),
            Self::At(name) => f.pad(name),
        }
    }
}

/// A task as its owner shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: String,
    pub runs: bool,
    /// Inputs: topic, partition and the next offset as committed.
    pub inputs: Vec<(String, i32, i64)>,
}

/// A running `millstream run`.
pub struct Millstream {
    child: Child,
    log: PathBuf,
    urls: PathBuf,
}

impl Millstream {
    /// Starts it with a data directory of the run; with a fail point it may die at any moment.
    pub fn start(cluster: &Cluster, data: &str, arguments: &[String], failpoint: Option<&str>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = cluster.directory.join(format!("run-{count:03}-{data}.log"));
        let urls = cluster.directory.join(format!("run-{count:03}-{data}.urls"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILLSTREAM_") {
                command.env_remove(name);
            }
        }
        command
            .args(["run", "--bootstrap-servers", &cluster.bootstrap])
            .args(["--application-id", &cluster.app, "--http", "127.0.0.1:0"])
            .args(["--print-urls", "json", "--quiet", "--log-format", "json"])
            .args(["--commit-interval", "100ms"])
            .arg("--topologies")
            .arg(cluster.topologies())
            .arg("--data-dir")
            .arg(cluster.directory.join(data))
            .args(arguments)
            .current_dir(&cluster.directory)
            .stdin(Stdio::null())
            .stdout(File::create(&urls).expect("a file"))
            .stderr(File::create(&log).expect("a file"));
        if let Some(failpoint) = failpoint {
            command.env("MILLSTREAM_FAILPOINT", failpoint);
        }
        let child = command.spawn().expect("the binary starts");
        Self { child, log, urls }
    }

    /// Waits until it says where it listens: its topologies are deployed.
    pub fn wait_until_ready(&mut self) {
        let ready = within(PATIENCE, || {
            self.must_live();
            self.authority().map(drop)
        });
        assert!(ready.is_some(), "not ready after {PATIENCE:?}:\n{}", self.log_tail());
    }

    /// Where HTTP listens, once it has said so.
    fn authority(&self) -> Option<String> {
        let said: Json = serde_json::from_slice(&std::fs::read(&self.urls).ok()?).ok()?;
        Some(said["http"].as_str()?.strip_prefix("http://")?.to_owned())
    }

    /// Whether it dies by itself in time, by the signal of a fail point.
    #[cfg(feature = "failpoints")]
    pub fn dies_within(&mut self, limit: Duration) -> bool {
        let Some(status) = within(limit, || self.child.try_wait().expect("a child")) else {
            return false;
        };
        assert_eq!(
            status.signal(),
            Some(libc::SIGKILL),
            "it ended by itself: {status}\n{}",
            self.log_tail()
        );
        true
    }

    /// # Panics
    /// When it ends by itself before the time is over.
    pub fn must_live_for(&mut self, time: Duration) {
        if let Some(status) = within(time, || self.child.try_wait().expect("a child")) {
            panic!("millstream ended with {status}:\n{}", self.log_tail());
        }
    }

    /// # Panics
    /// When it has ended by itself, or one of its topologies has stopped.
    pub fn must_live(&mut self) {
        self.must_live_for(Duration::ZERO);
    }

    /// # Panics
    /// When one of its topologies has stopped: nothing that happens here is a reason to.
    pub fn must_not_have_stopped(&self) {
        let stopped = self
            .events()
            .find(|event| event["level"] == "ERROR" && event["message"] == "stopped");
        assert!(
            stopped.is_none(),
            "a topology stopped: {stopped:?}\n{}",
            self.log_tail()
        );
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.must_live();
        self.child.kill().expect("killed");
        let status = self.child.wait().expect("ended");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "ended with {status}");
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "the signal is sent");
    }

    /// `SIGSTOP`: it does nothing until it is told to go on.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// `SIGCONT`.
    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Stops it as an operator does.
    pub fn stop(&mut self) {
        self.must_live();
        self.signal(libc::SIGTERM);
        let Some(status) = within(PATIENCE, || self.child.try_wait().expect("a child")) else {
            panic!("not stopped after {PATIENCE:?}:\n{}", self.log_tail());
        };
        assert!(status.success(), "ended with {status}:\n{}", self.log_tail());
    }

    /// What its log says so far; a line that is being written is left out.
    fn events(&self) -> impl Iterator<Item = Json> {
        let lines = BufReader::new(File::open(&self.log).expect("its log")).lines();
        lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str(&line).ok())
    }

    /// How often its tasks have begun to run.
    pub fn beginnings(&self) -> usize {
        self.events().filter(|event| event["message"] == "task runs").count()
    }

    /// Changelog records that its tasks replayed before they ran.
    pub fn restored(&self) -> u64 {
        self.events()
            .filter(|event| event["message"] == "task runs")
            .filter_map(|event| event["restored"].as_u64())
            .sum()
    }

    /// Stores that were cleared and built from the beginning.
    pub fn rebuilt(&self) -> usize {
        let anew = |event: &Json| event["message"].as_str().is_some_and(|m| m.contains("built anew"));
        self.events().filter(anew).count()
    }

    /// The tasks of a topology that it has; none when it does not answer.
    pub fn tasks(&self, topology: &str) -> Vec<Task> {
        let answer = self
            .authority()
            .and_then(|authority| get(&authority, &format!("/v1/topologies/{topology}")));
        let tasks = answer.and_then(|body| body["tasks"].as_array().cloned());
        tasks.unwrap_or_default().iter().map(task).collect()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

impl Drop for Millstream {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn task(shown: &Json) -> Task {
    let input = |input: &Json| {
        let number = |key: &str| input[key].as_i64().expect("a number");
        let topic = input["topic"].as_str().expect("a topic").to_owned();
        (topic, number("partition") as i32, number("committed"))
    };
    Task {
        id: shown["id"].as_str().expect("an id").to_owned(),
        runs: shown["status"] == "running",
        inputs: shown["inputs"].as_array().expect("inputs").iter().map(input).collect(),
    }
}

/// The JSON of a GET that succeeded; the process may die meanwhile.
fn get(authority: &str, path: &str) -> Option<Json> {
    let mut stream = TcpStream::connect(authority).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200")
        .then(|| serde_json::from_str(body).ok())?
}
