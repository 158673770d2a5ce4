//! The nodes of a Kafka of several: `MILLSTREAM_TEST_KAFKA_NODES` names a directory with a file `node-N.pid` a node. Whoever started them starts
//! a killed one again.

use std::path::PathBuf;

/// Brokers that may be killed.
#[derive(Default)]
pub struct Brokers {
    pids: Vec<PathBuf>,
    next: usize,
}

impl Brokers {
    /// Those that the environment names; none for a single node.
    pub fn of_environment() -> Self {
        let directory = std::env::var_os("MILLSTREAM_TEST_KAFKA_NODES").map(PathBuf::from);
        let entries = directory.and_then(|directory| std::fs::read_dir(directory).ok());
        let paths = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        let mut pids: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "pid"))
            .collect();
        pids.sort();
        Self { pids, next: 0 }
    }

    /// Whether one of them may be away.
    pub fn are_several(&self) -> bool {
        self.pids.len() > 1
    }

    /// `kill -9` for the next one in turn, unless it is away already; its name.
    pub fn kill_one(&mut self) -> Option<String> {
        let path = self.pids.get(self.next % self.pids.len().max(1))?;
        self.next += 1;
        let pid: libc::pid_t = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
        // SAFETY: a plain system call; the process is a node that this test run has started
        let sent = unsafe { libc::kill(pid, libc::SIGKILL) };
        (sent == 0).then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    }
}
