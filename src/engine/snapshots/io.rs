//! The runtime of transfers: the network clients are asynchronous, those who use them here are threads that wait.

use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread. Dropping it waits for nothing, so that it may be dropped anywhere.
pub(super) struct Io(Option<Runtime>);

impl Io {
    /// Starts it.
    pub fn new(name: &str) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs work to its end on the calling thread, which must not be a runtime's.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(runtime) => runtime.block_on(work),
            None => unreachable!("there until it is dropped"),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
