//! The program: everything is in the library's `cli`.

/// RocksDB and librdkafka allocate a record at a time as we do: a quarter of a busy worker's CPU is saved over glibc's allocator.
#[cfg(feature = "rocksdb")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    millstream::cli::main()
}
