//! The broker that tests run against: one that the environment names, else an embedded one on a free port.

use std::net::SocketAddr;

use millstream::dev::broker::{Broker, BrokerConfig, BrokerHandle};

/// A broker for one test.
pub struct TestBroker {
    address: String,
    /// The embedded one and the threads that serve it.
    embedded: Option<(tokio::runtime::Runtime, BrokerHandle)>,
}

impl TestBroker {
    /// The broker of `MILLSTREAM_TEST_KAFKA=HOST:PORT`, or an embedded one in memory.
    pub fn start() -> Self {
        if let Ok(address) = std::env::var("MILLSTREAM_TEST_KAFKA") {
            return Self {
                address,
                embedded: None,
            };
        }
        Self::embedded(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// An embedded one in memory that listens there.
    pub fn embedded(listen: SocketAddr) -> Self {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = threads.worker_threads(2).enable_all().build().expect("threads");
        let config = BrokerConfig {
            listen,
            ..BrokerConfig::default()
        };
        let handle = runtime.block_on(Broker::start(config)).expect("a free port");
        Self {
            address: handle.addr().to_string(),
            embedded: Some((runtime, handle)),
        }
    }

    /// `HOST:PORT` for clients.
    pub fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some((runtime, handle)) = self.embedded.take() {
            runtime.block_on(handle.shutdown());
        }
    }
}
