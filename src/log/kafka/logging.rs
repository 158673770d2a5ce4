//! librdkafka's log lines as tracing events, and what it last complained about. Called from its threads.
//!
//! A broker that is away or refuses the login is complained about at every attempt to connect: each complaint is told once, and
//! kept for the errors of calls that got no answer.

use std::ffi::{c_char, c_int};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::bindings as sys;

use super::client::Context;
use super::raw;

/// A warning that a client repeats is told again after this.
const REPEAT: Duration = Duration::from_secs(60);

/// The last warning of a client, and when it was told: while a broker refuses something, librdkafka says so several times a second.
#[derive(Default)]
pub(super) struct Warnings(Mutex<Option<(String, Instant)>>);

impl Warnings {
    /// Whether it is another one than the last, or that is long ago.
    fn note(&self, warning: &str, now: Instant) -> bool {
        let mut last = self.0.lock();
        let told = |(text, at): &(String, Instant)| text == warning && now.duration_since(*at) < REPEAT;
        if last.as_ref().is_some_and(told) {
            return false;
        }
        *last = Some((warning.to_owned(), now));
        true
    }
}

/// Why there is no connection.
#[derive(Default)]
pub(super) struct Complaints(Mutex<Option<String>>);

impl Complaints {
    /// The last one, since the last success.
    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().clone()
    }

    /// A call has succeeded: what comes now is new.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }

    /// Whether it is another one than the last.
    fn note(&self, complaint: &str) -> bool {
        let mut last = self.0.lock();
        let new = last.as_deref() != Some(complaint);
        if new {
            *last = Some(complaint.to_owned());
        }
        new
    }
}

/// The complaint without the thread's name before it and the times behind it, which differ from one attempt to the next.
fn essence(message: &str) -> &str {
    let message = match message.split_once("]: ") {
        Some((thread, rest)) if thread.starts_with("[thrd:") => rest,
        _ => message,
    };
    message.split(" (after ").next().unwrap_or(message).trim()
}

/// Nothing that waiting mends: the user should see it at once.
fn is_refusal(complaint: &str) -> bool {
    ["authentication", "SASL", "SSL", "certificate", "OAUTHBEARER"]
        .iter()
        .any(|word| complaint.contains(word))
}

/// librdkafka's log callback. Levels are syslog's.
pub(super) unsafe extern "C" fn on_log(
    rk: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    // SAFETY: librdkafka's strings live during the callback
    let (facility, message) = unsafe { (raw::text(facility), raw::text(message)) };
    // SAFETY: `rk` is null only while a client is being made; the opaque of every client is its context
    let (client, context) = unsafe {
        match rk.is_null() {
            true => (String::new(), None),
            false => (
                raw::text(sys::rd_kafka_name(rk)),
                sys::rd_kafka_opaque(rk).cast::<Context>().as_ref(),
            ),
        }
    };
    if facility == "FAIL" || facility == "ERROR" {
        let complaint = essence(&message);
        let new = facility == "FAIL" && context.is_some_and(|context| context.complaints.note(complaint));
        if new && is_refusal(complaint) {
            tracing::error!(target: "millstream::kafka", client, "{complaint}");
        } else {
            tracing::debug!(target: "millstream::kafka", client, facility, "{message}");
        }
        return;
    }
    let told = level <= 4 && context.is_some_and(|context| !context.warnings.note(essence(&message), Instant::now()));
    match level {
        _ if told => tracing::debug!(target: "millstream::kafka", client, facility, "{message}"),
        0..=3 => tracing::error!(target: "millstream::kafka", client, facility, "{message}"),
        4 => tracing::warn!(target: "millstream::kafka", client, facility, "{message}"),
        5 | 6 => tracing::info!(target: "millstream::kafka", client, facility, "{message}"),
        _ => tracing::debug!(target: "millstream::kafka", client, facility, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_is_repeated_is_told_once_a_minute() {
        let (warnings, begin) = (Warnings::default(), Instant::now());
        assert!(warnings.note("disk error", begin));
        assert!(!warnings.note("disk error", begin + REPEAT / 2));
        assert!(warnings.note("another", begin + REPEAT / 2));
        assert!(warnings.note("disk error", begin + REPEAT / 2));
        assert!(warnings.note("disk error", begin + REPEAT * 2));
    }

    #[test]
    fn a_complaint_is_told_once_however_long_each_attempt_took() {
        let line = |ms| {
            format!(
                "[thrd:sasl_plaintext://h:1/bootstrap]: sasl_plaintext://h:1/bootstrap: SASL authentication error: \
                 Authentication failed (after {ms}ms in state AUTH_REQ)"
            )
        };
        let complaints = Complaints::default();
        assert!(complaints.note(essence(&line(3))));
        assert!(!complaints.note(essence(&line(5))));
        let last = complaints.last().expect("a complaint");
        assert_eq!(
            last,
            "sasl_plaintext://h:1/bootstrap: SASL authentication error: Authentication failed"
        );
        assert!(
            is_refusal(&last) && !is_refusal("h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused")
        );
        complaints.forget();
        assert!(complaints.note(essence(&line(7))));
    }
}
