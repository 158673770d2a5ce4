//! RocksDB's options, and what all databases of the process share.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, LogLevel, LruCacheOptions,
    Options, WriteBufferManager,
};

/// Memory and flushing of all databases together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksSettings {
    /// Block cache, index and filter blocks, and write buffers of all databases.
    pub memory_bytes: usize,
    /// The part of it that write buffers may take; also about what a crash may leave to be replayed.
    pub write_buffer_bytes: usize,
    /// Threads that flush and compact.
    pub background_threads: i32,
}

impl Default for RocksSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 40 << 20,
            write_buffer_bytes: 16 << 20,
            background_threads: 2,
        }
    }
}

/// Files that one database keeps open: hundreds of tasks must stay below the usual limit of descriptors.
const MAX_OPEN_FILES: i32 = 64;
/// A new database takes this much at once for its first row; the default is an eighth of the write buffer.
const ARENA_BLOCK_BYTES: usize = 64 << 10;
const MIB: usize = 1 << 20;
/// The least that a part of the cache has. RocksDB's is half a megabyte, of which the filter of one table takes a third of a megabyte: they threw each other
/// out, and reads of missing keys read whole filters.
const SHARD_BYTES: usize = 8 * MIB;
/// RocksDB's most.
const MAX_SHARD_BITS: u32 = 6;

/// What all databases share.
pub(super) struct Shared {
    pub(super) options: Options,
    cache: Cache,
    /// Kept for as long as databases may be opened with it.
    _buffers: WriteBufferManager,
}

impl Shared {
    pub(super) fn new(settings: &RocksSettings) -> Self {
        let memory = settings.memory_bytes.max(8 * MIB);
        let write_buffers = settings.write_buffer_bytes.clamp(MIB, memory / 2);
        let mut shared = LruCacheOptions::default();
        shared.set_capacity(memory);
        shared.set_num_shard_bits(shard_bits(memory));
        let cache = Cache::new_lru_cache_opts(&shared);
        // charged to the cache: one number bounds both. No stalls: the owner thread must never wait for another task's flush
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(write_buffers, false, cache.clone());
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_manager(&buffers);
        options.set_write_buffer_size(write_buffers / 2);
        options.set_max_write_buffer_number(3);
        options.set_arena_block_size(ARENA_BLOCK_BYTES);
        // point reads of rows that are not in the memtable are the rule: a small filter spares the walk through it
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
        options.set_allow_concurrent_memtable_write(false);
        // as Kafka Streams: rows are small, and a cold read would unpack a whole block for one of them
        options.set_compression_type(DBCompressionType::None);
        options.set_target_file_size_base(16 * MIB as u64);
        options.set_max_bytes_for_level_base(64 * MIB as u64);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_open_files(MAX_OPEN_FILES);
        options.set_max_background_jobs(settings.background_threads.max(2));
        options.set_max_subcompactions(1);
        options.set_bytes_per_sync(MIB as u64);
        options.set_skip_stats_update_on_db_open(true);
        quiet(&mut options);
        options.set_block_based_table_factory(&tables(&cache));
        Self {
            options,
            cache,
            _buffers: buffers,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.cache.get_usage()
    }
}

/// Into how many parts, each with a lock of its own, the cache is cut: two to the power of it.
fn shard_bits(memory: usize) -> i32 {
    let parts = (memory / SHARD_BYTES).max(1);
    parts.ilog2().min(MAX_SHARD_BITS).cast_signed()
}

/// No statistics, and small log files: hundreds of databases share a directory's parent.
fn quiet(options: &mut Options) {
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(MIB);
    options.set_max_manifest_file_size(4 * MIB);
    options.set_manifest_preallocation_size(64 << 10);
}

fn tables(cache: &Cache) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_block_size(4 << 10);
    tables.set_format_version(5);
    // ten bits a key: one read in a hundred of a missing key touches the disk
    tables.set_bloom_filter(10.0, false);
    tables.set_whole_key_filtering(true);
    tables.set_optimize_filters_for_memory(true);
    tables.set_index_type(BlockBasedIndexType::BinarySearch);
    tables.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    tables.set_data_block_hash_ratio(0.75);
    // index and filters count as cache, else they grow outside of the budget
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_cache_index_and_filter_blocks_with_high_priority(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    tables
}
