//! The real binary as a child: started, killed, and its log read.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::cluster::Cluster;
use crate::patience::within;

/// How long a start may take until the process says where it listens.
const READY: Duration = Duration::from_secs(60);
/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(10);
const LOG_TAIL: usize = 40;

/// How a life ended.
#[derive(Clone, Copy)]
pub enum Killed {
    /// At a random moment.
    Anywhere,
    /// At the fail point of this name.
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

/// A running `millstream run`.
pub struct Millstream {
    child: Child,
    log: PathBuf,
}

impl Millstream {
    /// Starts it; with a fail point it does not wait until it is ready, since it may die before.
    pub fn start(cluster: &Cluster, failpoint: Option<String>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = cluster.directory.join(format!("run-{count:02}.log"));
        let urls = cluster.directory.join(format!("run-{count:02}.urls"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command
            .args([
                "run",
                "--bootstrap-servers",
                &cluster.bootstrap,
                "--schema-registry",
                &cluster.registry_url,
            ])
            .args([
                "--application-id",
                &cluster.app,
                "--http",
                "127.0.0.1:0",
                "--print-urls",
                "json",
                "--quiet",
            ])
            .args(["--log-format", "json", "--commit-interval", "100ms"])
            .arg("--topologies")
            .arg(cluster.topologies())
            .arg("--data-dir")
            .arg(cluster.directory.join("data"))
            .current_dir(&cluster.directory)
            .stdin(Stdio::null())
            .stdout(File::create(&urls).expect("a file"))
            .stderr(File::create(&log).expect("a file"));
        let waits = failpoint.is_none();
        if let Some(failpoint) = failpoint {
            command.env("MILLSTREAM_FAILPOINT", failpoint);
        }
        let mut process = Self {
            child: command.spawn().expect("the binary starts"),
            log,
        };
        if waits {
            let ready = within(READY, || {
                process.must_live();
                let said = std::fs::read_to_string(&urls);
                said.is_ok_and(|text| text.contains("http")).then_some(())
            });
            assert!(ready.is_some(), "not ready after {READY:?}:\n{}", process.log_tail());
        }
        process
    }

    /// Whether it dies by itself in time, by the signal of a fail point.
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

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.must_live();
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Stops it as an operator does.
    pub fn stop(mut self) {
        // SAFETY: a signal to our own child, which has not been waited for
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let Some(status) = within(STOP, || self.child.try_wait().expect("a child")) else {
            panic!("not stopped after {STOP:?}:\n{}", self.log_tail());
        };
        assert!(status.success(), "ended with {status}:\n{}", self.log_tail());
    }

    /// # Panics
    /// When it has ended by itself.
    pub fn must_live(&mut self) {
        self.must_live_for(Duration::ZERO);
    }

    fn events(&self) -> impl Iterator<Item = serde_json::Value> {
        let lines = BufReader::new(File::open(&self.log).expect("its log")).lines();
        lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str(&line).ok())
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
        let anew = |event: &serde_json::Value| event["message"].as_str().is_some_and(|m| m.contains("built anew"));
        self.events().filter(anew).count()
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
