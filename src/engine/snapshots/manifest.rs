//! What a snapshot consists of. A manifest comes from outside: every word of it is checked before it is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::TaskId;
use crate::state::StorePosition;

/// The only format so far; another one is refused.
const FORMAT: u32 = 1;
/// Far beyond what a store has; a longer list is not read.
const MOST_FILES: usize = 100_000;
/// Bytes of a manifest that are read at most.
pub(super) const MOST_BYTES: usize = 32 << 20;
/// Longest name of a file.
const LONGEST_NAME: usize = 128;
/// Bytes read at a time.
const CHUNK: usize = 128 << 10;
/// Whoever waits for hashes hears that they go on each time so many bytes were read.
const TOLD_BYTES: usize = 4 << 20;
/// A database's own notes: not part of its state.
const LEFT_OUT: [&str; 2] = ["LOCK", "LOG"];

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name: no path.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256 in small hexadecimal digits.
    pub sha256: String,
}

/// Hashes of an earlier checkpoint of the same store, so that unchanged files are not read again: by name, with size and time of the last change.
#[derive(Clone, Debug, Default)]
pub struct Known(Hashes);

/// Hashes by name, with size and time of the last change.
type Hashes = BTreeMap<String, ((u64, SystemTime), String)>;

/// What a snapshot is, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this description.
    pub format: u32,
    /// The topology.
    pub topology: String,
    /// Its generation.
    pub generation: u32,
    /// The task's sub-topology.
    pub sub: usize,
    /// The task's partition.
    pub partition: i32,
    /// The position of the rows, or a little before it: the store that the files make knows its own.
    pub position: StorePosition,
    /// The files.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Describes a checkpoint: every file is read that is not `known`, which then tells these.
    ///
    /// # Errors
    /// The disk, or a file whose name others would not take.
    pub fn describe(
        of: (&str, u32, TaskId),
        position: StorePosition,
        directory: &Path,
        known: &mut Known,
    ) -> io::Result<Self> {
        Self::describe_telling(of, position, directory, known, &mut || Ok(()))
    }

    /// As [`Self::describe`]; tells now and then that it goes on, and ends where that is an error. What was read until then is `known` the next time.
    ///
    /// # Errors
    /// As there, and those of `goes_on`.
    pub(super) fn describe_telling(
        (topology, generation, task): (&str, u32, TaskId),
        position: StorePosition,
        directory: &Path,
        known: &mut Known,
        goes_on: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut read = BTreeMap::new();
        let described = describe_files(directory, &known.0, &mut read, goes_on);
        match described {
            Ok(_) => known.0 = read,
            Err(_) => known.0.extend(read),
        }
        Ok(Self {
            format: FORMAT,
            topology: topology.into(),
            generation,
            sub: task.sub,
            partition: task.partition,
            position,
            files: described?,
        })
    }

    /// Reads a description that came from outside.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MOST_BYTES {
            return Err(format!("a manifest of {} bytes is too large", bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| format!("the manifest: {error}"))?;
        if manifest.format != FORMAT {
            return Err(format!(
                "a manifest of format {}; this program knows {FORMAT}",
                manifest.format
            ));
        }
        if manifest.files.is_empty() || manifest.files.len() > MOST_FILES {
            return Err(format!("a manifest of {} files", manifest.files.len()));
        }
        let mut names: Vec<&str> = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            if !is_plain_name(&file.name) {
                return Err(format!(
                    "the manifest names the file {:?}, which is no plain name",
                    file.name
                ));
            }
            if !is_hash(&file.sha256) {
                return Err(format!("the manifest has no SHA-256 for {}", file.name));
            }
            names.push(&file.name);
        }
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("the manifest names {} twice", pair[0])),
            None => Ok(manifest),
        }
    }

    /// Whether it is a description of another format: a newer program's, whose files are not ours to remove.
    pub(super) fn is_of_other_format(bytes: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        serde_json::from_slice::<Any>(bytes).is_ok_and(|any| any.format != FORMAT)
    }

    /// As it is stored and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        TaskId {
            sub: self.sub,
            partition: self.partition,
        }
    }
}

/// Whether a name can be a file's in any directory, and nothing else.
pub fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with(['.', '-']) && name.chars().all(allowed)
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The files of a checkpoint, by name: those that are not `known` are read. What belongs to which hash is noted in `read`.
fn describe_files(
    directory: &Path,
    known: &Hashes,
    read: &mut Hashes,
    goes_on: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Vec<FileEntry>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&name.as_str()) || name.starts_with("LOG.") {
            continue;
        }
        if !entry.file_type()?.is_file() || !is_plain_name(&name) {
            return Err(io::Error::other(format!("{name:?} does not belong into a checkpoint")));
        }
        let meta = entry.metadata()?;
        let is = (meta.len(), meta.modified()?);
        // A table never changes once it is written, but a database built anew begins to count its names again.
        let same = known.get(&name).filter(|(was, _)| *was == is);
        let (size, sha256) = match same {
            Some((_, sha256)) => (is.0, sha256.clone()),
            None => hash(&entry.path(), goes_on)?,
        };
        read.insert(name.clone(), (is, sha256.clone()));
        files.push(FileEntry { name, size, sha256 });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Size and hash of a file.
fn hash(path: &Path, goes_on: &mut dyn FnMut() -> io::Result<()>) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hashed = Hashed::default();
    let mut chunk = vec![0; CHUNK];
    goes_on()?;
    let mut untold = 0;
    loop {
        let n = file.read(&mut chunk)?;
        if n == 0 {
            return Ok(hashed.finish());
        }
        hashed.update(&chunk[..n]);
        untold += n;
        if untold >= TOLD_BYTES {
            goes_on()?;
            untold = 0;
        }
    }
}

/// Bytes being counted and hashed.
#[derive(Default)]
pub(super) struct Hashed {
    bytes: u64,
    hash: Sha256,
}

impl Hashed {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Their number and hash.
    pub fn finish(self) -> (u64, String) {
        let digits: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.bytes, digits)
    }
}
