//! One open database, its owner's store, and the readers' snapshots.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    DB, DBRawIterator, FlushOptions, IngestExternalFileOptions, Options, ReadOptions, SnapshotWithThreadMode,
    SstFileWriter, WriteBatch, WriteOptions,
};

use super::super::{
    Bulk, EachValue, META_PREFIX, Snapshot, Store, StoreError, StorePosition, StoreReader, StoreResult, Write,
};

/// The row of the position; sorts behind all stores.
const POSITION_KEY: &[u8] = b"\xff\xffposition";
/// The end of the stores' keys: metadata begins here.
const ROWS_END: [u8; 2] = META_PREFIX.to_be_bytes();
/// Behind everything, metadata included.
const ALL_END: [u8; 3] = [0xff, 0xff, 0xff];

/// Keys that one call reads: what is pinned meanwhile stays small.
const MULTI_GET: usize = 256;

const _: () = assert!(META_PREFIX == u16::MAX, "POSITION_KEY begins with META_PREFIX");

/// An open database.
pub(super) struct Database {
    db: DB,
    directory: PathBuf,
    /// What tables are made with.
    options: Options,
    /// Counts ownership: odd while a store owns it. Readers belong to one count.
    owner: AtomicU64,
    /// What readers see until the next write: they share it, since making it costs more than what most of them read. It keeps the database open, so that
    /// the store takes it away when it goes.
    picture: Mutex<Option<Arc<RocksSnapshot>>>,
}

pub(super) fn failed(directory: &Path, doing: &str, error: &rocksdb::Error) -> StoreError {
    let corrupt = if error.kind() == rocksdb::ErrorKind::Corruption {
        StoreError::CORRUPT
    } else {
        ""
    };
    StoreError {
        place: directory.display().to_string(),
        message: format!("{corrupt}{doing}: {error}"),
    }
}

impl Database {
    pub(super) fn new(db: DB, directory: PathBuf, options: Options) -> Self {
        Self {
            db,
            directory,
            options,
            owner: AtomicU64::new(0),
            picture: Mutex::default(),
        }
    }

    /// Whether the store of this count owns it.
    fn is_owned_by(&self, owner: u64) -> bool {
        self.owner.load(Ordering::Acquire) == owner
    }

    fn failed(&self, doing: &str, error: &rocksdb::Error) -> StoreError {
        failed(&self.directory, doing, error)
    }

    fn error(&self, message: &str) -> StoreError {
        StoreError {
            place: self.directory.display().to_string(),
            message: message.into(),
        }
    }

    /// Writes the memtable to disk; `wait` for it to be there.
    pub(super) fn flush(&self, wait: bool) -> StoreResult<()> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db
            .flush_opt(&options)
            .map_err(|error| self.failed("flushing", &error))
    }

    fn get(&self, key: &[u8], options: &ReadOptions, out: &mut Vec<u8>) -> StoreResult<bool> {
        out.clear();
        match self.db.get_pinned_opt(key, options) {
            Ok(Some(value)) => {
                out.extend_from_slice(&value);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(self.failed("reading", &error)),
        }
    }

    fn position(&self, options: &ReadOptions) -> StoreResult<Option<StorePosition>> {
        let mut bytes = Vec::new();
        if !self.get(POSITION_KEY, options, &mut bytes)? {
            return Ok(None);
        }
        let corrupt = |error| self.error(&format!("{}reading the position: {error}", StoreError::CORRUPT));
        serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
    }

    /// Walks the rows between two keys. Metadata is never shown.
    fn scan(
        &self,
        mut options: ReadOptions,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> StoreResult<()> {
        let to = to.map_or(&ROWS_END[..], |to| to.min(&ROWS_END));
        if from >= to {
            return Ok(());
        }
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let mut rows: DBRawIterator<'_> = self.db.raw_iterator_opt(options);
        if reverse {
            rows.seek_to_last();
        } else {
            rows.seek_to_first();
        }
        while let Some((key, value)) = rows.item() {
            if !each(key, value) {
                return Ok(());
            }
            if reverse {
                rows.prev();
            } else {
                rows.next();
            }
        }
        rows.status().map_err(|error| self.failed("scanning", &error))
    }

    fn property(&self, name: &str) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

/// Fewer bytes than this are a batch for the memtable; more are a table of their own.
const WORTH_A_TABLE: usize = 1 << 20;
/// A table on its way in. No name that the database gives; one that a crash left is overwritten.
const LOADING: &str = "loading";

/// The store of a task: owns its database while it lives.
pub(super) struct RocksStore {
    database: Arc<Database>,
    owner: u64,
    writes: WriteOptions,
    reads: ReadOptions,
}

impl RocksStore {
    /// Becomes the owner of a database.
    ///
    /// # Errors
    /// When another store owns it.
    pub(super) fn take_over(database: Arc<Database>) -> StoreResult<Self> {
        let before = database.owner.load(Ordering::Acquire);
        let owner = before + 1;
        let free = before.is_multiple_of(2);
        let taken = free
            && database
                .owner
                .compare_exchange(before, owner, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if !taken {
            return Err(database.error("already open: a task has one owner"));
        }
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        Ok(Self {
            database,
            owner,
            writes,
            reads: ReadOptions::default(),
        })
    }

    /// Writes a table of sorted rows and takes it in: neither the memtable nor a flush have work with them. The position is a row of it.
    ///
    /// What is in the memtable would be lost in a crash that the table survives. RocksDB flushes it before, since the table overlaps it: the
    /// position is in every batch.
    fn take_in(&self, rows: &mut Bulk, position: &[u8]) -> Result<(), rocksdb::Error> {
        let path = self.database.directory.join(LOADING);
        let mut table = SstFileWriter::create(&self.database.options);
        table.open(&path)?;
        for (key, value) in rows.sorted() {
            match value {
                Some(value) => table.put(key, value)?,
                None => table.delete(key)?,
            }
        }
        // Sorts behind all rows.
        table.put(POSITION_KEY, position)?;
        table.finish()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.database.db.ingest_external_file_opts(&options, vec![path])
    }

    fn position_bytes(&self, position: &StorePosition) -> StoreResult<Vec<u8>> {
        serde_json::to_vec(position).map_err(|error| self.database.error(&format!("writing the position: {error}")))
    }

    fn write(&self, batch: WriteBatch, doing: &str) -> StoreResult<()> {
        let written = self.database.db.write_opt(batch, &self.writes);
        self.forget_picture();
        written.map_err(|error| self.database.failed(doing, &error))
    }

    /// Readers see what was written.
    fn forget_picture(&self) {
        let old = self.database.picture.lock().take();
        drop(old);
    }

    /// Writes rows and position in one batch; in order they land beside each other in the memtable, which is most of what a write costs.
    fn write_rows(&self, rows: &mut Bulk, position: &[u8], doing: &str) -> StoreResult<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in rows.sorted() {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.put(POSITION_KEY, position);
        self.write(batch, doing)
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.database.owner.store(self.owner + 1, Ordering::Release);
        // behind that no reader puts one there again
        self.forget_picture();
    }
}

impl Store for RocksStore {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool> {
        self.database.get(key, &self.reads, out)
    }

    fn get_many(&self, keys: &[&[u8]], each: EachValue<'_>) -> StoreResult<()> {
        // a block is read once for all keys in it
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|at| keys[*at]);
        let db = &self.database.db;
        let family = db.cf_handle(super::FAMILY).expect("opened with it");
        for chunk in order.chunks(MULTI_GET) {
            let wanted = chunk.iter().map(|at| keys[*at]);
            let values = db.batched_multi_get_cf_opt(&family, wanted, true, &self.reads);
            for (at, value) in chunk.iter().zip(values) {
                let value = value.map_err(|error| self.database.failed("reading", &error))?;
                if !each(*at, value.as_deref())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        self.database.scan(ReadOptions::default(), from, to, false, each)
    }

    fn scan_back(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        self.database.scan(ReadOptions::default(), from, to, true, each)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write>, position: &StorePosition) -> StoreResult<()> {
        let mut rows = Bulk::default();
        for (key, value) in writes {
            rows.push_full(&key, value.as_deref());
        }
        self.commit(&mut rows, position)
    }

    fn commit(&mut self, rows: &mut Bulk, position: &StorePosition) -> StoreResult<()> {
        let position = self.position_bytes(position)?;
        self.write_rows(rows, &position, "applying a batch")
    }

    fn load(&mut self, rows: &mut Bulk, position: &StorePosition) -> StoreResult<()> {
        let position = self.position_bytes(position)?;
        if rows.bytes() >= WORTH_A_TABLE {
            let loaded = self.take_in(rows, &position);
            self.forget_picture();
            return loaded.map_err(|error| self.database.failed("loading a table", &error));
        }
        self.write_rows(rows, &position, "loading rows")
    }

    fn position(&self) -> StoreResult<Option<StorePosition>> {
        self.database.position(&self.reads)
    }

    /// Snapshots taken before go on showing what they showed.
    fn clear(&mut self) -> StoreResult<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(&[][..], &ALL_END[..]);
        self.write(batch, "clearing")?;
        // a crash must not bring the rows back without their position, or the other way round: both are in the batch.
        // The compaction gives the space back, and takes away the range that later reads would have to look at
        self.flush()?;
        self.database.db.compact_range::<&[u8], &[u8]>(None, None);
        Ok(())
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(RocksReader {
            database: Arc::downgrade(&self.database),
            owner: self.owner,
            place: self.database.directory.display().to_string(),
        })
    }

    fn flush(&mut self) -> StoreResult<()> {
        self.database.flush(true)
    }

    fn flush_soon(&mut self) -> StoreResult<()> {
        self.database.flush(false)
    }

    fn size(&self) -> (u64, u64) {
        let bytes = self.database.property("rocksdb.live-sst-files-size")
            + self.database.property("rocksdb.cur-size-all-mem-tables");
        (bytes, self.database.property("rocksdb.estimate-num-keys"))
    }
}

/// Makes snapshots while the store that it came from is open.
struct RocksReader {
    database: Weak<Database>,
    owner: u64,
    place: String,
}

impl RocksReader {
    fn database(&self) -> StoreResult<Arc<Database>> {
        let database = self.database.upgrade();
        let open = database.filter(|database| database.is_owned_by(self.owner));
        open.ok_or_else(|| self.closed())
    }

    fn closed(&self) -> StoreError {
        StoreError {
            place: self.place.clone(),
            message: "closed: its task has moved".into(),
        }
    }
}

impl StoreReader for RocksReader {
    fn snapshot(&self) -> StoreResult<Arc<dyn Snapshot>> {
        let database = self.database()?;
        let mut picture = database.picture.lock();
        if !database.is_owned_by(self.owner) {
            return Err(self.closed());
        }
        if let Some(picture) = &*picture {
            return Ok(picture.clone());
        }
        let new = Arc::new(RocksSnapshot::new(database.clone())?);
        *picture = Some(new.clone());
        Ok(new)
    }

    /// The memtable is flushed and the tables are linked: cheap on the same file system, copies on another.
    fn checkpoint(&self, directory: &Path) -> StoreResult<()> {
        let database = self.database()?;
        let failed = |error| database.failed("making a checkpoint", &error);
        let checkpoint = Checkpoint::new(&database.db).map_err(failed)?;
        checkpoint.create_checkpoint(directory).map_err(failed)
    }
}

/// An unchanging picture; keeps its database open.
struct RocksSnapshot {
    /// Of reads of one key: they point at `snapshot`, and are dropped before.
    reads: ReadOptions,
    /// Borrows from `database`. Declared before it, so that it is dropped before.
    snapshot: SnapshotWithThreadMode<'static, DB>,
    position: StorePosition,
    database: Arc<Database>,
}

impl RocksSnapshot {
    fn new(database: Arc<Database>) -> StoreResult<Self> {
        // SAFETY: the snapshot borrows the `DB` inside the `Arc`, whose address does not change, and which this struct keeps alive
        // for longer than the snapshot, by the order of its fields
        let snapshot = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, DB>, SnapshotWithThreadMode<'static, DB>>(
                database.db.snapshot(),
            )
        };
        let reads = reads_of(&snapshot);
        Ok(Self {
            position: database.position(&reads)?.unwrap_or_default(),
            snapshot,
            reads,
            database,
        })
    }
}

fn reads_of(snapshot: &SnapshotWithThreadMode<'_, DB>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_snapshot(snapshot);
    options
}

impl Snapshot for RocksSnapshot {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool> {
        self.database.get(key, &self.reads, out)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> StoreResult<()> {
        let mut options = reads_of(&self.snapshot);
        // a reader's long walk must not push the rows out that the task needs
        options.fill_cache(false);
        self.database.scan(options, from, to, reverse, each)
    }

    fn position(&self) -> &StorePosition {
        &self.position
    }
}
