//! Child processes that run cases: a case that overflows the stack, takes all memory or never ends costs a child, which is replaced.
//!
//! ```text
//! feeder --jobs, bounded--> a thread a child --line--> child --line--> thread --(number, report)--> the caller, in order
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::find::Job;
use super::guard::TIME_LIMIT;
use super::{CaseReport, Stage};

/// Jobs waiting for a child.
const QUEUED_JOBS: usize = 64;
/// Children at most; a case takes one processor.
const MOST_CHILDREN: usize = 16;
/// What a child gets beyond the case's limit to say so itself.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Address space of a child: what a case can do to the machine.
const CHILD_MEMORY_BYTES: u64 = 4 << 30;

/// What a child says of a job.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    report: CaseReport,
    /// The child ends after this.
    last: bool,
}

/// Runs jobs in child processes, `command` being what starts one; hands out the reports in the order of the jobs.
pub fn run(
    jobs: impl Iterator<Item = Job> + Send,
    command: &(dyn Fn() -> Command + Sync),
    mut take: impl FnMut(CaseReport),
) {
    let children = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_CHILDREN);
    let (feed, queue) = sync_channel::<(usize, Job)>(QUEUED_JOBS);
    let queue = Mutex::new(queue);
    let (done, reports) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for job in jobs.enumerate() {
                // the workers are gone only when this process is ending
                if feed.send(job).is_err() {
                    return;
                }
            }
        });
        for _ in 0..children {
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move || {
                let mut runner = None;
                loop {
                    let next = queue.lock().recv();
                    let Ok((number, job)) = next else { return };
                    let report = ask(&mut runner, command, job);
                    if done.send((number, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (number, report) in reports {
            waiting.insert(number, report);
            while let Some(report) = waiting.remove(&next) {
                next += 1;
                take(report);
            }
        }
    });
}

/// A child process and what it says.
struct Runner {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
}

impl Drop for Runner {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Runner {
    fn start(mut command: Command) -> std::io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || std::io::Error::other("the child has no pipes");
        let to = child.stdin.take().ok_or_else(missing)?;
        let out = child.stdout.take().ok_or_else(missing)?;
        let (said, from) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, to, from })
    }

    fn ask(&mut self, line: &str) -> Result<Answer, String> {
        // a child that died is told by the silence
        let _ = writeln!(self.to, "{line}").and_then(|()| self.to.flush());
        match self.from.recv_timeout(TIME_LIMIT + LAST_WORDS) {
            Ok(line) => serde_json::from_str(&line).map_err(|e| format!("the child said no report: {e}")),
            Err(RecvTimeoutError::Timeout) => Err(super::guard::Escape::TooLong.to_string()),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self
                    .child
                    .wait()
                    .map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(format!(
                    "the case ended its process ({status}): its stack or its memory was used up"
                ))
            }
        }
    }
}

fn ask(runner: &mut Option<Runner>, command: &dyn Fn() -> Command, job: Job) -> CaseReport {
    let name = job.name();
    let line = match serde_json::to_string(&job) {
        Ok(line) => line,
        Err(e) => return CaseReport::failed(&name, Stage::Parse, e),
    };
    if runner.is_none() {
        match Runner::start(command()) {
            Ok(started) => *runner = Some(started),
            Err(e) => return CaseReport::failed(&name, Stage::Run, format!("no process can be started: {e}")),
        }
    }
    let Some(child) = runner else {
        return CaseReport::failed(&name, Stage::Run, "no process");
    };
    match child.ask(&line) {
        Ok(answer) => {
            if answer.last {
                *runner = None;
            }
            answer.report
        }
        Err(why) => {
            *runner = None;
            CaseReport::failed(&name, Stage::Run, why)
        }
    }
}

/// What a child does: a job a line in, an answer a line out.
pub fn child(input: impl BufRead, output: impl Write) {
    limit_memory();
    answer(input, output);
}

fn answer(input: impl BufRead, mut output: impl Write) {
    for line in input.lines().map_while(Result::ok) {
        let (report, last) = match serde_json::from_str::<Job>(&line) {
            Ok(job) => job.run(),
            Err(e) => (CaseReport::failed("a line", Stage::Parse, e), false),
        };
        let Ok(answer) = serde_json::to_string(&Answer { report, last }) else {
            return;
        };
        if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() || last {
            return;
        }
    }
}

fn limit_memory() {
    let limit = libc::rlimit {
        rlim_cur: CHILD_MEMORY_BYTES as libc::rlim_t,
        rlim_max: CHILD_MEMORY_BYTES as libc::rlim_t,
    };
    // SAFETY: the call reads a `rlimit`, which outlives it. Where it is refused the machine's own limits stand.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(n: usize) -> impl Iterator<Item = Job> + Send {
        (0..n).map(|i| Job::Broken(format!("case {i}"), "broken".into()))
    }

    fn reports(script: &'static str, n: usize) -> Vec<CaseReport> {
        let command = move || {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        };
        let mut all = Vec::new();
        run(jobs(n), &command, |report| all.push(report));
        all
    }

    #[test]
    fn a_child_that_dies_costs_its_case_only() {
        let found = reports("read line; kill -SEGV $$", 5);
        let names: Vec<&str> = found.iter().map(|report| &*report.name).collect();
        assert_eq!(names, ["case 0", "case 1", "case 2", "case 3", "case 4"]);
        for report in found {
            assert!(!report.ok && report.stage == Some(Stage::Run));
            let error = report.error.unwrap_or_default();
            assert!(error.starts_with("the case ended its process (signal: 11"), "{error}");
        }
    }

    #[test]
    fn a_child_that_says_that_it_ends_is_replaced() {
        let script = r#"read line; echo '{"report":{"name":"x","ok":true,"refused":false,"stage":null,"error":null},"last":true}'"#;
        let found = reports(script, 20);
        assert_eq!(found.len(), 20);
        assert!(found.iter().all(|report| report.ok && report.name == "x"));
    }

    #[test]
    fn a_child_answers_each_line() {
        let line = serde_json::to_string(&Job::Broken("a".into(), "why".into())).expect("JSON");
        let mut out = Vec::new();
        answer(format!("{line}\nnonsense\n{line}\n").as_bytes(), &mut out);
        let text = String::from_utf8(out).expect("text");
        let names: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<Answer>(line).expect("an answer").report.name)
            .collect();
        assert_eq!(names, ["a", "a line", "a"]);
    }
}
