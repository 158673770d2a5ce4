//! The program as a child process whose words are kept, and to which is done what machines do to processes.

use std::io::{BufRead, BufReader, Read, Write};
#[cfg(feature = "failpoints")]
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::patience::{eventually, until};

/// Lines of its log that a failed test shows.
const TAIL: usize = 60;

/// A running child; killed when dropped.
pub struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it. Its log comes through a pipe, so that limits of files do not concern it, and is written to `log` by us.
    pub fn start(mut command: Command, log: &Path) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                writeln!(file, "{line}").expect("written");
                heard.lock().expect("lines").push(line);
            }
        });
        Self { child, said }
    }

    /// Its standard output, once.
    pub fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().expect("piped, and not taken"))
    }

    /// The first line that it prints; the rest is passed over, so that the pipe does not fill.
    pub fn first_line(&mut self) -> String {
        let mut out = self.output();
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "it ended without a word:\n{}", self.tail());
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        line
    }

    /// Lines of its log that contain a text.
    pub fn lines(&self, text: &str) -> Vec<String> {
        let said = self.said.lock().expect("lines");
        said.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits until it says so; the line.
    #[track_caller]
    pub fn says(&self, text: &str) -> String {
        self.says_one_of(&[text])
    }

    /// Waits until it says one of these; the line.
    #[track_caller]
    pub fn says_one_of(&self, texts: &[&str]) -> String {
        let what = format!("one of {texts:?} in the log");
        eventually(&what, || {
            texts.iter().find_map(|text| self.lines(text).into_iter().next())
        })
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let said = self.said.lock().expect("lines");
        said[said.len().saturating_sub(TAIL)..].join("\n")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the process is our own child and has not been waited for
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "the signal is sent");
    }

    /// Files may not grow beyond so many bytes; `None`: as far as there is room. Those that are larger already may not grow at all.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = libc::rlimit {
            rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY),
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: the limits live during the call; those of before are not asked for
        let done = unsafe {
            libc::prlimit(
                self.child.id() as libc::pid_t,
                libc::RLIMIT_FSIZE,
                &limit,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(done, 0, "the limit is set: {}", std::io::Error::last_os_error());
    }

    /// # Panics
    /// When it has ended by itself.
    #[track_caller]
    pub fn must_live(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("it ended with {status}:\n{}", self.tail());
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.must_live();
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    #[cfg(feature = "failpoints")]
    /// Waits until it has died of `kill -9`, of its own accord (a fail point).
    pub fn dies(&mut self) {
        let status = eventually("its death", || self.child.try_wait().expect("a child"));
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}\n{}", self.tail());
    }

    /// Stops it as an operator does.
    pub fn stop(&mut self) {
        self.must_live();
        self.signal(libc::SIGTERM);
        until("its end", || self.child.try_wait().expect("a child").is_some());
        let status = self.child.wait().expect("ended");
        assert!(status.success(), "{status}\n{}", self.tail());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of process {}:\n{}", self.id(), self.tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
