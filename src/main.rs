//! The program: everything is in the library's `cli`.

/// RocksDB and librdkafka allocate a record at a time as we do: a quarter of a busy worker's CPU is saved over glibc's allocator.
#[cfg(feature = "rocksdb")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed memory goes back to the system after a second instead of ten: every commit frees megabytes on several threads.
#[cfg(feature = "rocksdb")]
// SAFETY: the name is jemalloc's for its settings, a string that ends with NUL; the slice begins with the pointer to it
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() {
    millstream::cli::main()
}
