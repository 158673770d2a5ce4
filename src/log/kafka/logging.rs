//! librdkafka's log lines as tracing events. Called from its threads.

use std::ffi::{c_char, c_int};

use rdkafka::bindings as sys;

use super::raw;

/// librdkafka's log callback. Levels are syslog's.
pub(super) unsafe extern "C" fn on_log(
    rk: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    // SAFETY: librdkafka's strings live during the callback; `rk` is null only while a client is being made
    let (client, facility, message) = unsafe {
        let client = if rk.is_null() {
            String::new()
        } else {
            raw::text(sys::rd_kafka_name(rk))
        };
        (client, raw::text(facility), raw::text(message))
    };
    match level {
        // a broker that is away is reported once by the caller, in its words; the client repeats it a second
        _ if facility == "FAIL" || facility == "ERROR" => {
            tracing::debug!(target: "millstream::kafka", client, facility, "{message}");
        }
        0..=3 => tracing::error!(target: "millstream::kafka", client, facility, "{message}"),
        4 => tracing::warn!(target: "millstream::kafka", client, facility, "{message}"),
        5 | 6 => tracing::info!(target: "millstream::kafka", client, facility, "{message}"),
        _ => tracing::debug!(target: "millstream::kafka", client, facility, "{message}"),
    }
}
