//! Segments as files of one directory, held by one process at a time.
//!
//! ```text
//! DIR/lock                 locked (flock) as long as the process lives
//! DIR/0000000001.segment   the journal, oldest first
//! ```
//!
//! An append is a `write` before the acknowledgement, so a killed process loses nothing; `sync` is for clean closes,
//! sealed segments and before anything older is removed.

use super::storage::{ReadSegment, Storage};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SUFFIX: &str = ".segment";
/// More slices than this in one `writev` is an error on Linux (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another process holds it.
    #[error("{} is in use by another process; stop it, or choose another directory", .0.display())]
    InUse(PathBuf),
    /// The file system says no.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Segments in a directory.
pub struct DirStorage {
    dir: PathBuf,
    files: BTreeMap<u32, Arc<File>>,
    /// Held, not read: closing it releases the lock.
    _lock: File,
}

fn parse_name(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}

impl DirStorage {
    /// Opens (or makes) the directory and takes its lock.
    pub fn open(dir: &Path) -> Result<DirStorage, DirError> {
        let io_error = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| DirError::Io { action, path, source }
        };
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        let lock_path = dir.join("lock");
        let options = || {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock_path)
        };
        let lock = options().map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirError::InUse(dir.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock_path)(source)),
        }
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
            let path = entry.map_err(io_error("list", dir))?.path();
            let Some(id) = parse_name(&path) else { continue };
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .open(&path)
                .map_err(io_error("open", &path))?;
            files.insert(id, Arc::new(file));
        }
        Ok(DirStorage {
            dir: dir.to_path_buf(),
            files,
            _lock: lock,
        })
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{segment:010}{SUFFIX}"))
    }

    fn file(&self, segment: u32) -> io::Result<&Arc<File>> {
        self.files.get(&segment).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for DirStorage {
    fn list(&self) -> io::Result<Vec<(u32, u64)>> {
        self.files
            .iter()
            .map(|(id, file)| Ok((*id, file.metadata()?.len())))
            .collect()
    }

    fn create(&mut self, segment: u32) -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(self.path(segment))?;
        self.files.insert(segment, Arc::new(file));
        // The name is in the directory, so the directory has to reach the disk too.
        File::open(&self.dir)?.sync_all()
    }

    fn append(&mut self, segment: u32, chunks: &[Bytes]) -> io::Result<()> {
        let mut file: &File = self.file(segment)?;
        for group in chunks.chunks(MAX_SLICES) {
            let mut slices: Vec<IoSlice> = group.iter().map(|c| IoSlice::new(c)).collect();
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match file.write_vectored(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => IoSlice::advance_slices(&mut rest, n),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    fn truncate(&mut self, segment: u32, length: u64) -> io::Result<()> {
        self.file(segment)?.set_len(length)
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.files.remove(&segment);
        fs::remove_file(self.path(segment))
    }

    fn reader(&self, segment: u32) -> io::Result<Arc<dyn ReadSegment>> {
        Ok(Arc::new(FileReader(Arc::clone(self.file(segment)?))))
    }
}

struct FileReader(Arc<File>);

impl ReadSegment for FileReader {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
