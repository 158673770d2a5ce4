//! A directory as a bucket: what several instances share by NFS, or a second disk of one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::bucket::{Bucket, Entry};
use super::manifest::is_plain_name;

/// Bytes read at a time.
const CHUNK: usize = 128 << 10;
/// What a file is called while it is written. No plain name: never listed.
const UNFINISHED: &str = ".unfinished";

/// A directory. See the module.
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The bucket in `root`, which is made when something is put.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, name: &str) -> Result<PathBuf, String> {
        if !name.split('/').all(is_plain_name) {
            return Err(format!("{name:?} is no name of a file in {}", self.root.display()));
        }
        Ok(self.root.join(name))
    }

    fn put_with(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), String> {
        let path = self.path(name)?;
        let unfinished = path.with_file_name(format!(
            "{UNFINISHED}-{}-{}",
            std::process::id(),
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        let put = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = File::create(&unfinished)?;
            write(&mut file)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        put().map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            format!("{}: {error}", path.display())
        })
    }
}

impl Bucket for Directory {
    fn name(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, String> {
        let mut found = Vec::new();
        let folder = self.path(prefix)?;
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta.map_err(failed)?,
            };
            if !is_plain_name(&name) {
                continue;
            }
            let name = format!("{prefix}/{name}");
            if meta.is_dir() {
                found.extend(self.list(&name)?);
            } else {
                found.push(Entry {
                    name,
                    size: meta.len(),
                    modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn read(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let path = self.path(name)?;
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let mut file = File::open(&path).map_err(failed)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 => return Ok(()),
                n => sink(&chunk[..n])?,
            }
        }
    }

    fn put(&self, name: &str, file: &Path) -> Result<(), String> {
        self.put_with(name, |out| io::copy(&mut File::open(file)?, out).map(drop))
    }

    fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        self.put_with(name, |out| out.write_all(&bytes))
    }

    fn delete(&self, name: &str) -> Result<(), String> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
            _ => Ok(()),
        }
    }
}
