//! Puts snapshots of the tasks that run here into a bucket now and then, keeps the newest few and removes the others.
//!
//! A thread of its own, below everybody's feet: the owner of a store only ever pays for a flush. Files that an earlier snapshot has put are not put
//! again. *Invariant*: a manifest is put after its files and removed before them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::super::{Published, PublishedTask, PublishedTopology, TaskStatus};
use super::bucket::{self, Bucket, Entry};
use super::manifest::{Known, Manifest};
use super::wanted::task_path;
use crate::state::StorePosition;

/// What is put, and when.
#[derive(Clone, Debug)]
pub struct KeeperSettings {
    /// The application: names of different ones do not meet.
    pub app: String,
    /// The instance.
    pub instance: String,
    /// Time between two snapshots of a task.
    pub interval: Duration,
    /// Snapshots of a task that are kept.
    pub keep: usize,
    /// Files that no snapshot has any more are kept for so long: an owner may be about to put the manifest that names them.
    pub grace: Duration,
    /// For checkpoints while they are put: on the disk of the stores.
    pub directory: PathBuf,
}

impl KeeperSettings {
    /// The usual [`Self::grace`].
    pub const GRACE: Duration = Duration::from_secs(3_600);
}

/// Puts snapshots until it is dropped. See the module.
pub struct Keeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins; the first snapshots are put one interval from now.
    ///
    /// # Errors
    /// When there is no thread for it, or the directory cannot be cleared.
    pub fn start(
        settings: KeeperSettings,
        published: Arc<Published>,
        bucket: Arc<dyn Bucket>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let mut rounds = Rounds::new(settings, published, bucket)?;
        let told = stop.clone();
        let run = move || {
            let (stop, changed) = &*told;
            loop {
                let mut stopped = stop.lock();
                if !*stopped {
                    changed.wait_for(&mut stopped, rounds.settings.interval);
                }
                if *stopped {
                    return;
                }
                drop(stopped);
                rounds.put_all(&|| *stop.lock());
            }
        };
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(run)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    /// Does not wait for a transfer that hangs: the thread ends after the file at hand.
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        drop(self.thread.take());
    }
}

/// The work of a [`Keeper`], a round at a time.
pub struct Rounds {
    settings: KeeperSettings,
    published: Arc<Published>,
    bucket: Arc<dyn Bucket>,
    /// What was put last, a task: nothing new, nothing to put.
    put: BTreeMap<String, (StorePosition, Known)>,
}

impl Rounds {
    /// No round yet. What an earlier process has left in the directory is removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn new(settings: KeeperSettings, published: Arc<Published>, bucket: Arc<dyn Bucket>) -> std::io::Result<Self> {
        super::clear(&settings.directory)?;
        Ok(Self {
            settings,
            published,
            bucket,
            put: BTreeMap::new(),
        })
    }

    /// Puts a snapshot of each task that runs here and has changed; those that fail are tried again in the next round. How many were put.
    pub fn put_all(&mut self, stopped: &dyn Fn() -> bool) -> usize {
        let mut count = 0;
        for topology in self.published.topologies() {
            for task in topology.tasks() {
                if stopped() {
                    return count;
                }
                if task.status() != TaskStatus::Running {
                    continue;
                }
                match self.put_task(&topology, &task) {
                    Ok(put) => count += usize::from(put),
                    Err(reason) => {
                        let name = &*topology.topology.name;
                        tracing::warn!(topology = name, task = %task.id, reason, "no snapshot was put; it is tried again");
                    }
                }
            }
        }
        count
    }

    fn put_task(&mut self, topology: &PublishedTopology, task: &PublishedTask) -> Result<bool, String> {
        let of = (&*topology.topology.name, topology.generation, task.id);
        let path = task_path(of.0, of.1, of.2);
        let Some(reader) = task.reader() else { return Ok(false) };
        let position = reader.snapshot().map_err(|error| error.to_string())?.position().clone();
        let old = self
            .put
            .get(&path)
            .is_some_and(|(put, _)| put.changelogs == position.changelogs);
        if position.changelogs.is_empty() || old {
            return Ok(false);
        }
        let checkpoint = self.settings.directory.join(path.replace('/', "-"));
        let io = |error: std::io::Error| format!("{}: {error}", checkpoint.display());
        super::clear(&checkpoint).map_err(io)?;
        fs::create_dir_all(&self.settings.directory).map_err(io)?;
        let mut known = self.put.remove(&path).map(|(_, known)| known).unwrap_or_default();
        let mut put = || {
            reader.checkpoint(&checkpoint).map_err(|error| error.to_string())?;
            let manifest = Manifest::describe(of, position.clone(), &checkpoint, &mut known).map_err(io)?;
            self.put_snapshot(&path, &manifest, &checkpoint)
        };
        let done = put();
        super::clear(&checkpoint).map_err(io)?;
        done?;
        self.put.insert(path.clone(), (position, known));
        self.prune(&path)?;
        Ok(true)
    }

    fn put_snapshot(&self, path: &str, manifest: &Manifest, checkpoint: &std::path::Path) -> Result<(), String> {
        let files = bucket::files(&self.settings.app, path);
        let there: BTreeMap<String, u64> = (self.bucket.list(&files)?.into_iter())
            .map(|entry| (entry.name, entry.size))
            .collect();
        let mut bytes = 0;
        for file in &manifest.files {
            let name = format!("{files}/{}", file.sha256);
            if there.get(&name) != Some(&file.size) {
                self.bucket.put(&name, &checkpoint.join(&file.name))?;
                bytes += file.size;
            }
        }
        let name = format!(
            "{}/{:013}-{}.json",
            bucket::manifests(&self.settings.app, path),
            manifest.position.applied_at.max(0),
            self.settings.instance
        );
        self.bucket.put_bytes(&name, manifest.to_bytes())?;
        tracing::debug!(task = path, bytes, of = manifest.bytes(), "a snapshot was put");
        Ok(())
    }

    /// Removes all but the newest manifests, then the files that none of those has. Where one cannot be read, or is a newer program's, it may need any of them:
    /// they stay, this time. One that nobody can understand needs none.
    pub(super) fn prune(&self, path: &str) -> Result<(), String> {
        let mut manifests = self.bucket.list(&bucket::manifests(&self.settings.app, path))?;
        let keep = self.settings.keep.max(1);
        if manifests.len() <= keep {
            return Ok(());
        }
        manifests.sort_by(|a, b| b.name.cmp(&a.name));
        for old in &manifests[keep..] {
            self.bucket.delete(&old.name)?;
        }
        let mut used = BTreeSet::new();
        for kept in &manifests[..keep] {
            let (bytes, reason) = match bucket::read_whole(&*self.bucket, &kept.name) {
                Ok(bytes) => match Manifest::parse(&bytes) {
                    Ok(manifest) => {
                        used.extend(manifest.files.into_iter().map(|file| file.sha256));
                        continue;
                    }
                    Err(reason) => (Some(bytes), reason),
                },
                Err(reason) => (None, reason),
            };
            let manifest = kept.name.as_str();
            if bytes.is_none_or(|bytes| Manifest::is_of_other_format(&bytes)) {
                tracing::warn!(
                    manifest,
                    reason,
                    "files of old snapshots stay: this manifest may name them"
                );
                return Ok(());
            }
            tracing::warn!(
                manifest,
                reason,
                "a manifest is damaged; it is passed by, and goes with its age"
            );
        }
        let now = SystemTime::now();
        let is_old = |entry: &Entry| {
            now.duration_since(entry.modified)
                .is_ok_and(|age| age >= self.settings.grace)
        };
        for file in self.bucket.list(&bucket::files(&self.settings.app, path))? {
            let name = file.name.rsplit('/').next().unwrap_or_default();
            if !used.contains(name) && is_old(&file) {
                self.bucket.delete(&file.name)?;
            }
        }
        Ok(())
    }
}
