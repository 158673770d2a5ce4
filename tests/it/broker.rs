//! The broker that tests run against: one that the environment names, else an embedded one on a free port.

/// A broker for one test.
pub struct TestBroker {
    address: String,
}

impl TestBroker {
    pub fn start() -> Self {
        if let Ok(address) = std::env::var("MILLSTREAM_TEST_KAFKA") {
            return Self { address };
        }
        unimplemented!()
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }
}
