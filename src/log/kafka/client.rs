//! A client of librdkafka: its threads, the context its callbacks see, and an end that never holds a shutdown up.

use std::cell::RefCell;
use std::ffi::c_char;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::deliveries::Deliveries;
use super::logging::{Complaints, Warnings};
use super::oauth::TokenSource;
use super::raw::{self, Code, Conf, ERROR_TEXT_BYTES};
use super::settings::{KafkaSettings, Role};
use crate::log::{LogError, LogResult};

/// How long dropping a client may hold the caller up; the rest happens on a thread of its own.
const DESTROY_WAIT: Duration = Duration::from_secs(1);

/// What callbacks find behind their opaque pointer. Lives longer than the client's threads.
#[derive(Default)]
pub(super) struct Context {
    /// Used by librdkafka's background thread only, and never changed.
    pub(super) tokens: Option<TokenSource>,
    /// Used only inside calls of the client's one owner: librdkafka serves delivery reports in the thread that polls.
    pub(super) deliveries: RefCell<Deliveries>,
    /// Why there is no connection; written by librdkafka's threads.
    pub(super) complaints: Complaints,
    /// What it warned of last; as above.
    pub(super) warnings: Warnings,
}

/// A client: a producer or a consumer with its threads.
pub(super) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    context: NonNull<Context>,
}

// SAFETY: librdkafka's handles may be used from any thread; the context's parts are used as said there
unsafe impl Send for Client {}
// SAFETY: as above; `deliveries` is reached through `&mut` producers only
unsafe impl Sync for Client {}

impl Client {
    /// Starts a client for a role. `fixed` are the properties that are not the user's; `customize` sets callbacks and events.
    pub(super) fn new(
        settings: &KafkaSettings,
        role: Role,
        fixed: &[(&str, String)],
        customize: impl FnOnce(&Conf),
    ) -> LogResult<Self> {
        let refused = |problems: Vec<String>| LogError::Fatal(format!("Kafka settings: {}", problems.join("; ")));
        let conf = Conf::new(&settings.for_role(role, fixed)).map_err(refused)?;
        let tokens = TokenSource::of(settings).map_err(LogError::Fatal)?;
        let asks_for_tokens = tokens.is_some();
        if asks_for_tokens {
            TokenSource::install(&conf);
        }
        customize(&conf);
        let context = Box::new(Context {
            tokens,
            ..Context::default()
        });
        let client = Self::start(role, conf, context)?;
        if asks_for_tokens {
            // SAFETY: a live client; the error is read and freed
            let result =
                raw::NativeError::take(unsafe { sys::rd_kafka_sasl_background_callbacks_enable(client.ptr()) });
            result.map_err(|error| LogError::Fatal(format!("Kafka login: {}", error.message)))?;
        }
        Ok(client)
    }

    fn start(role: Role, conf: Conf, context: Box<Context>) -> LogResult<Self> {
        let kind = match role {
            Role::Membership | Role::Fetcher | Role::Admin => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Role::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        // SAFETY: a box is never null
        let context = unsafe { NonNull::new_unchecked(Box::into_raw(context)) };
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the callback has the right signature and needs no state; the context outlives the client; on success the client
        // owns the configuration, on failure it stays ours
        let rk = unsafe {
            sys::rd_kafka_conf_set_opaque(conf.ptr(), context.as_ptr().cast());
            sys::rd_kafka_conf_set_log_cb(conf.ptr(), Some(super::logging::on_log));
            sys::rd_kafka_new(kind, conf.ptr(), message.as_mut_ptr(), message.len())
        };
        if let Some(rk) = NonNull::new(rk) {
            std::mem::forget(conf);
            return Ok(Self { rk, context });
        }
        // SAFETY: made above, and no client came to know it
        drop(unsafe { Box::from_raw(context.as_ptr()) });
        // SAFETY: librdkafka ends its message with NUL
        Err(LogError::Fatal(format!("Kafka client: {}", unsafe {
            raw::text(message.as_ptr())
        })))
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// The state of the delivery reports; not to be borrowed during a call that polls.
    pub(super) fn deliveries(&self) -> &RefCell<Deliveries> {
        // SAFETY: lives until the client has been destroyed
        unsafe { &self.context.as_ref().deliveries }
    }

    /// Why there is no connection.
    pub(super) fn complaints(&self) -> &Complaints {
        // SAFETY: lives until the client has been destroyed
        unsafe { &self.context.as_ref().complaints }
    }

    /// An error with the reason why there is no connection, where the call itself knows none.
    pub(super) fn explain(&self, error: LogError) -> LogError {
        match (error, self.complaints().last()) {
            (LogError::Retry(message), Some(complaint)) => LogError::Retry(format!("{message} ({complaint})")),
            (LogError::Unknown(message), Some(complaint)) => LogError::Unknown(format!("{message} ({complaint})")),
            (error, _) => error,
        }
    }

    /// The error after which this client is of no use any more.
    pub(super) fn fatal_error(&self) -> Option<(Code, String)> {
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the buffer's length is its own
        let code = unsafe { sys::rd_kafka_fatal_error(self.ptr(), message.as_mut_ptr(), message.len()) };
        // SAFETY: librdkafka ends its message with NUL
        (code != raw::OK).then(|| (code, unsafe { raw::text(message.as_ptr()) }))
    }

    /// Waits until a broker answers, or gives up quietly. A transactional client that begins to ask for its identity before there is a
    /// connection comes back to it after half a second only.
    pub(super) fn connect(&self, timeout: Duration) {
        let mut metadata: *const sys::rd_kafka_metadata = std::ptr::null();
        // SAFETY: a live client; without topics only brokers are asked for, and what comes is freed below
        let code =
            unsafe { sys::rd_kafka_metadata(self.ptr(), 0, std::ptr::null_mut(), &mut metadata, raw::millis(timeout)) };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: it was filled by the call above
            unsafe { sys::rd_kafka_metadata_destroy(metadata) };
        }
    }

    /// Serves delivery reports and errors of the main queue without waiting.
    pub(super) fn serve(&self) {
        // SAFETY: a live client
        unsafe { sys::rd_kafka_poll(self.ptr(), 0) };
    }
}

impl Drop for Client {
    /// Ends the client on a thread of its own, and waits for it no longer than [`DESTROY_WAIT`]: a broker that is away must not hold a
    /// shutdown up. Leaving the group is done before, where it is wanted.
    fn drop(&mut self) {
        struct Doomed(NonNull<sys::rd_kafka_t>, NonNull<Context>);
        // SAFETY: librdkafka's handles may be destroyed from any thread, and the context has no owner but this
        unsafe impl Send for Doomed {}
        impl Doomed {
            fn destroy(self) {
                // SAFETY: the last use of the client; its queues and topics are gone by the order of fields
                unsafe { sys::rd_kafka_destroy_flags(self.0.as_ptr(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) };
                // SAFETY: made by `Box::into_raw`, and the threads that could see it have ended
                drop(unsafe { Box::from_raw(self.1.as_ptr()) });
            }
        }
        let doomed = Doomed(self.rk, self.context);
        let (done, ended) = mpsc::channel::<()>();
        let destroy = move || {
            doomed.destroy();
            drop(done);
        };
        match std::thread::Builder::new().name("kafka-close".into()).spawn(destroy) {
            // disconnected: it is done; timed out: it ends by itself
            Ok(_) => drop(ended.recv_timeout(DESTROY_WAIT)),
            Err(error) => tracing::warn!(%error, "no thread to close a Kafka client with; it is left open"),
        }
    }
}
