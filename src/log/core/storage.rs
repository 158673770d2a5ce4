//! Where the journal's bytes live: the one door through which the core touches a disk.
//!
//! A storage is a set of numbered segments that grow at the end. [`MemoryStorage`] keeps them in memory (simulation,
//! tests, `dev` without a directory); [`DirStorage`](super::storage_dir::DirStorage) in files. It knows nothing of what
//! the bytes mean.

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Reading a segment, from any thread and without the core's lock.
pub trait ReadSegment: Send + Sync {
    /// Fills `buffer` from `position`; an error when the segment is shorter.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Forces the segment to stable storage.
    fn sync(&self) -> io::Result<()>;
}

/// Numbered, append-only segments.
pub trait Storage: Send {
    /// Numbers and lengths of the segments that exist, in order.
    fn list(&self) -> io::Result<Vec<(u32, u64)>>;
    /// Makes an empty segment.
    fn create(&mut self, segment: u32) -> io::Result<()>;
    /// Writes the chunks, in order, at the end of a segment. After an error the segment's length is undefined until
    /// [`Storage::truncate`].
    fn append(&mut self, segment: u32, chunks: &[Bytes]) -> io::Result<()>;
    /// Cuts a segment.
    fn truncate(&mut self, segment: u32, length: u64) -> io::Result<()>;
    /// Removes a segment; readers that are open go on reading.
    fn remove(&mut self, segment: u32) -> io::Result<()>;
    /// Opens a segment for reading.
    fn reader(&self, segment: u32) -> io::Result<Arc<dyn ReadSegment>>;
}

type MemorySegment = Arc<RwLock<Vec<u8>>>;

/// Segments in memory. Clones share them, so a "crash" is: drop the core, open another on a clone.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    segments: Arc<Mutex<BTreeMap<u32, MemorySegment>>>,
}

impl MemoryStorage {
    /// Independent copy of what is stored now, for tests that cut or corrupt it.
    pub fn deep_copy(&self) -> MemoryStorage {
        let copy = |(id, data): (&u32, &MemorySegment)| (*id, Arc::new(RwLock::new(data.read().clone())));
        MemoryStorage {
            segments: Arc::new(Mutex::new(self.segments.lock().iter().map(copy).collect())),
        }
    }

    /// Changes the bytes of a segment in place, as a disk fault would.
    pub fn damage(&self, segment: u32, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(data) = self.segments.lock().get(&segment) {
            change(&mut data.write());
        }
    }

    fn segment(&self, segment: u32) -> io::Result<MemorySegment> {
        self.segments
            .lock()
            .get(&segment)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for MemoryStorage {
    fn list(&self) -> io::Result<Vec<(u32, u64)>> {
        Ok(self
            .segments
            .lock()
            .iter()
            .map(|(id, data)| (*id, data.read().len() as u64))
            .collect())
    }

    fn create(&mut self, segment: u32) -> io::Result<()> {
        self.segments.lock().insert(segment, MemorySegment::default());
        Ok(())
    }

    fn append(&mut self, segment: u32, chunks: &[Bytes]) -> io::Result<()> {
        let data = self.segment(segment)?;
        let mut data = data.write();
        chunks.iter().for_each(|chunk| data.extend_from_slice(chunk));
        Ok(())
    }

    fn truncate(&mut self, segment: u32, length: u64) -> io::Result<()> {
        self.segment(segment)?.write().truncate(length as usize);
        Ok(())
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.segments.lock().remove(&segment);
        Ok(())
    }

    fn reader(&self, segment: u32) -> io::Result<Arc<dyn ReadSegment>> {
        Ok(Arc::new(MemoryReader(self.segment(segment)?)))
    }
}

struct MemoryReader(MemorySegment);

impl ReadSegment for MemoryReader {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let data = self.0.read();
        let from = position as usize;
        let source = data
            .get(from..from.saturating_add(buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
