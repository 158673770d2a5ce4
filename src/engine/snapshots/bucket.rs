//! A place that keeps files under names: a directory, or an object store. How snapshots lie in it:
//!
//! ```text
//!   <application>/<topology>/g<generation>/<task>/files/<sha256>             the files, once each, however many snapshots have them
//!   <application>/<topology>/g<generation>/<task>/manifests/<time>-<instance>.json
//! ```
//! A manifest is written after its files, so that what it names is there.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::bring::{Offer, Source};
use super::directory::Directory;
use super::manifest::FileEntry;
use super::wanted::Wanted;

/// Something in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, with slashes.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was put.
    pub modified: SystemTime,
}

/// A place that keeps files. Its calls wait; one that makes no progress comes to an end.
pub trait Bucket: Send + Sync {
    /// For the log.
    fn name(&self) -> String;
    /// Everything whose name begins with `prefix/`, by name.
    ///
    /// # Errors
    /// That it cannot be asked.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, String>;
    /// Hands the bytes under a name to `sink`.
    ///
    /// # Errors
    /// That there are none, or of the transfer, or the sink's.
    fn read(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String>;
    /// Puts a file under a name: all of it or nothing.
    ///
    /// # Errors
    /// That it was not put.
    fn put(&self, name: &str, file: &Path) -> Result<(), String>;
    /// Puts a few bytes under a name.
    ///
    /// # Errors
    /// That they were not put.
    fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<(), String>;
    /// Deletes what is under a name; nothing there is no error.
    ///
    /// # Errors
    /// That it was not deleted.
    fn delete(&self, name: &str) -> Result<(), String>;
}

/// The bucket that an address names: `file:///directory`, or `s3://bucket/prefix`.
///
/// # Errors
/// What is wrong with the address, and what would be right.
pub fn bucket(url: &str) -> Result<Arc<dyn Bucket>, String> {
    if let Some(path) = url.strip_prefix("file://") {
        return match path.starts_with('/') {
            true => Ok(Arc::new(Directory::new(path.into()))),
            false => Err(format!(
                "snapshots = {url}: a directory is written as file:///var/snapshots"
            )),
        };
    }
    #[cfg(feature = "object-store")]
    if url.starts_with("s3://") {
        return Ok(Arc::new(super::s3::ObjectBucket::open(url)?));
    }
    Err(format!(
        "snapshots = {url}: it has to be file:///directory{}",
        match cfg!(feature = "object-store") {
            true => " or s3://bucket/prefix",
            false => "; this program was built without object stores",
        }
    ))
}

/// Where the files of a task's snapshots are.
pub(super) fn files(app: &str, task_path: &str) -> String {
    format!("{app}/{task_path}/files")
}

/// Where the manifests of a task's snapshots are.
pub(super) fn manifests(app: &str, task_path: &str) -> String {
    format!("{app}/{task_path}/manifests")
}

/// Snapshots from a bucket.
pub struct BucketSource {
    app: String,
    bucket: Arc<dyn Bucket>,
}

impl BucketSource {
    /// Those of an application.
    pub fn new(app: &str, bucket: Arc<dyn Bucket>) -> Self {
        Self {
            app: app.into(),
            bucket,
        }
    }
}

impl Source for BucketSource {
    fn name(&self) -> String {
        self.bucket.name()
    }

    fn offers(&self, wanted: &Wanted) -> Result<Vec<Offer>, String> {
        let mut found = self.bucket.list(&manifests(&self.app, &wanted.path()))?;
        // Names begin with the time.
        found.sort_by(|a, b| b.name.cmp(&a.name));
        let mut offers = Vec::with_capacity(found.len());
        for entry in found {
            match read_whole(&*self.bucket, &entry.name) {
                Ok(manifest) => offers.push(Offer {
                    manifest,
                    id: entry.name,
                }),
                Err(reason) => {
                    tracing::warn!(
                        bucket = self.name(),
                        manifest = entry.name,
                        reason,
                        "a snapshot's manifest cannot be read; others are looked at"
                    );
                }
            }
        }
        Ok(offers)
    }

    fn read(
        &self,
        wanted: &Wanted,
        _offer: &Offer,
        file: &FileEntry,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let name = format!("{}/{}", files(&self.app, &wanted.path()), file.sha256);
        self.bucket.read(&name, sink)
    }

    fn close(&self, _wanted: &Wanted, _offer: &Offer) {}
}

/// A manifest's bytes.
pub(super) fn read_whole(bucket: &dyn Bucket, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    bucket.read(name, &mut |chunk| {
        bytes.extend_from_slice(chunk);
        match bytes.len() > super::manifest::MOST_BYTES {
            true => Err(format!("{name} is too large for a manifest")),
            false => Ok(()),
        }
    })?;
    Ok(bytes)
}
