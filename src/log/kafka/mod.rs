//! Kafka as the log: Apache Kafka in production, and the embedded broker in `dev`, through the same code. The only home of rdkafka.
//!
//! | file | holds |
//! |---|---|
//! | `settings`, `oauth` | librdkafka's properties, checked at once; login tokens |
//! | `raw`, `client`, `messages`, `deliveries`, `logging` | the C interface: handles, callbacks; all that is unsafe but the calls themselves |
//! | `errors`, `deadline` | what a failure asks for; time |
//! | `membership`, `fetcher`, `producer`, `admin` | the traits |
//!
//! *Invariants*: a call waits no longer than it says, or than `admin`'s limit; a broker that is away is [`crate::log::LogError::Retry`];
//! dropping a client takes about a second at the most. Errors are classified once, in `errors`.

mod admin;
mod client;
mod deadline;
mod deliveries;
mod errors;
mod fetcher;
mod logging;
mod membership;
mod messages;
mod oauth;
mod producer;
mod raw;
mod settings;
mod strays;

use std::sync::Arc;

pub use settings::KafkaSettings;

use self::admin::KafkaAdmin;
use self::deadline::Closing;
use super::{
    Admin, Fetcher, FetcherConfig, Log, LogResult, Membership, MembershipConfig, Producer, TransactionalProducer,
};

/// A process's access to Kafka.
pub struct KafkaLog {
    settings: KafkaSettings,
    closing: Closing,
    admin: Arc<KafkaAdmin>,
}

impl KafkaLog {
    /// Checks all settings; does not wait for a broker.
    ///
    /// # Errors
    /// [`super::LogError::Fatal`] names every setting that is wrong.
    pub fn new(settings: KafkaSettings) -> LogResult<Self> {
        settings.check()?;
        let closing = Closing::default();
        let admin = Arc::new(KafkaAdmin::new(&settings, closing.clone())?);
        Ok(Self {
            settings,
            closing,
            admin,
        })
    }

    /// Says that the process stops: calls that wait for a broker give up from now on.
    pub fn shutdown(&self) {
        self.closing.close();
    }
}

impl Log for KafkaLog {
    fn admin(&self) -> &dyn Admin {
        &*self.admin
    }

    fn membership(&self, config: &MembershipConfig) -> LogResult<Box<dyn Membership>> {
        Ok(Box::new(membership::KafkaMembership::new(&self.settings, config)?))
    }

    fn fetcher(&self, config: &FetcherConfig) -> LogResult<Box<dyn Fetcher>> {
        let (admin, closing) = (self.admin.clone(), self.closing.clone());
        Ok(Box::new(fetcher::KafkaFetcher::new(
            &self.settings,
            config,
            admin,
            closing,
        )?))
    }

    fn transactional_producer(&self, transactional_id: &str) -> LogResult<Box<dyn TransactionalProducer>> {
        let closing = self.closing.clone();
        Ok(Box::new(producer::KafkaTransactions::new(
            &self.settings,
            transactional_id,
            closing,
        )?))
    }

    fn producer(&self) -> LogResult<Box<dyn Producer>> {
        let closing = self.closing.clone();
        Ok(Box::new(producer::KafkaProducer::new(&self.settings, closing, true)?))
    }

    fn quick_producer(&self) -> LogResult<Box<dyn Producer>> {
        let closing = self.closing.clone();
        Ok(Box::new(producer::KafkaProducer::new(&self.settings, closing, false)?))
    }
}
