//! A running `millstream dev`, and what tests ask of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::patience::PATIENCE;

/// The program without settings of the machine.
pub fn millstream() -> Command {
    program(env!("CARGO_BIN_EXE_millstream").as_ref())
}

/// Another binary, as [`millstream`].
pub fn program(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLSTREAM_") {
            command.env_remove(name);
        }
    }
    command.env("RUST_BACKTRACE", "1").current_dir(root());
    command
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the shared test data; a line says that the test is skipped where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let base = std::env::var_os("MILLSTREAM_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let file = base.join("data").join(path);
    if file.exists() {
        return Some(file);
    }
    println!("skipped: {} is not there", file.display());
    None
}

/// An empty directory of this test run, removed when dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A running `millstream dev`; killed when dropped.
pub struct Dev {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub http: String,
    /// `127.0.0.1:PORT` of the broker.
    pub kafka: String,
    /// `http://127.0.0.1:PORT` of the registry.
    pub registry: String,
    /// Time from the start to the line with the addresses.
    pub ready_after: Duration,
}

/// A process that has not said yet where it is; killed when dropped.
pub struct Starting {
    child: Option<Child>,
    log: PathBuf,
    began: Instant,
}

impl Starting {
    /// Starts a command.
    pub fn new(data: &Path, mut command: Command) -> Self {
        let began = Instant::now();
        let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        Self {
            child: Some(child),
            log: data.join("log"),
            began,
        }
    }

    /// Waits for the line with its addresses.
    pub fn ready(mut self) -> Dev {
        let child = self.child.as_mut().expect("it was started");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("a line");
        let ready_after = self.began.elapsed();
        let urls: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let (status, log) = (child.wait(), self.log.display());
            panic!("instead of its addresses it printed {line:?} and ended with {status:?}; see {log}")
        });
        // What else it prints is nobody's business, but the pipe must not fill.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let text = |key: &str| {
            urls[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} in {urls}"))
                .to_owned()
        };
        Dev {
            http: text("http"),
            kafka: text("kafka"),
            registry: text("registry"),
            ready_after,
            child: self.child.take().expect("it was started"),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Dev {
    /// Starts it on free ports and waits until it is ready.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::ready(data, dev_command(data, arguments))
    }

    /// Starts a command that prints its addresses once it is ready, and waits for them.
    pub fn ready(data: &Path, command: Command) -> Self {
        Starting::new(data, command).ready()
    }

    /// Answer of a GET or, with a body, a POST: status and JSON.
    pub fn http(&self, path: &str, body: Option<&Value>) -> (u16, Value) {
        let authority = self.http.strip_prefix("http://").expect("an http address");
        ask(authority, path, body)
    }

    /// The rows of a query, which must succeed.
    pub fn query(&self, sql: &str) -> Vec<Value> {
        let (status, answer) = self.http("/v1/query", Some(&json!({ "sql": sql })));
        assert_eq!(status, 200, "{sql}: {answer}");
        answer["rows"].as_array().expect("rows").clone()
    }

    /// The same, while views may not be there yet.
    pub fn try_query(&self, sql: &str) -> Option<Vec<Value>> {
        let (status, answer) = self.http("/v1/query", Some(&json!({ "sql": sql })));
        (status == 200).then(|| answer["rows"].as_array().cloned()).flatten()
    }

    /// Writes records, which must be taken.
    pub fn post(&self, stream: &str, values: &[Value]) -> Value {
        let records: Vec<Value> = values.iter().map(|value| json!({ "value": value })).collect();
        let (status, answer) = self.http(&format!("/v1/streams/{stream}"), Some(&json!({ "records": records })));
        assert_eq!(status, 200, "{stream}: {answer}");
        answer
    }

    /// Runs `millstream load`.
    pub fn load(&self, stream: &str, file: &Path) -> Output {
        let output = millstream()
            .args(["load", stream])
            .arg(file)
            .args(["--url", &self.http])
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "load {stream}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Runs a command that steers topologies: what it printed, and how it ended.
    pub fn steer(&self, arguments: &[&str]) -> Output {
        let mut command = millstream();
        command
            .args(arguments)
            .args(["--bootstrap-servers", &self.kafka, "--output", "text"]);
        command.output().expect("it runs")
    }

    /// Sends a signal and waits for the end: how it ended, and after what time.
    pub fn signal(mut self, signal: i32) -> (std::process::ExitStatus, Duration) {
        let began = Instant::now();
        // SAFETY: a plain system call; the process is our own child and has not been waited for.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0, "the signal is sent");
        let status = self.child.wait().expect("it ends");
        (status, began.elapsed())
    }

    /// Ctrl-C; it must end cleanly and in time.
    pub fn stop(self) {
        let (status, took) = self.signal(libc::SIGINT);
        assert!(status.success(), "{status:?}");
        assert!(took < Duration::from_secs(2), "Ctrl-C took {took:?}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answer of a GET or, with a body, a POST: status and JSON.
pub fn ask(authority: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut stream = TcpStream::connect(authority).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (
        status,
        serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())),
    )
}

/// `millstream dev` on free ports, its log in the data directory's `log`.
pub fn dev_command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = millstream();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("log"))
        .expect("a log");
    command
        .args([
            "dev",
            "--http",
            "127.0.0.1:0",
            "--kafka",
            "127.0.0.1:0",
            "--registry",
            "127.0.0.1:0",
            "--print-urls",
            "json",
            "--quiet",
        ])
        .arg("--data-dir")
        .arg(data.join("data"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(log);
    command
}

/// A JSON number exactly as it was written.
pub fn digits(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => panic!("not a number: {other}"),
    }
}
