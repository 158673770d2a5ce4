//! What a failure of Kafka asks of the caller. The one place that knows librdkafka's codes.

use super::raw::{Code, NativeError, describe};
use crate::log::LogError;

/// What to do about a code, outside of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// Another has taken our place, or the client is of no use any more.
    Fenced,
    /// The user must change something.
    Fatal,
    /// The rest: brokers away, leaders moving, time-outs.
    Retry,
}

fn reaction(code: Code) -> Reaction {
    use Code::*;
    match code {
        RD_KAFKA_RESP_ERR__FATAL
        | RD_KAFKA_RESP_ERR__FENCED
        | RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
        | RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        | RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        | RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING
        | RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED
        | RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID => Reaction::Fenced,
        RD_KAFKA_RESP_ERR__AUTHENTICATION
        | RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_SECURITY_DISABLED
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
        | RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | RD_KAFKA_RESP_ERR__INVALID_ARG
        | RD_KAFKA_RESP_ERR_INVALID_REQUEST
        | RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        | RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
        | RD_KAFKA_RESP_ERR_INVALID_GROUP_ID
        | RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT
        | RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
        | RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
        | RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL
        | RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP
        | RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED => Reaction::Fatal,
        // a code list of 150 is not ours to repeat: what is not named above may pass
        _ => Reaction::Retry,
    }
}

/// A code that came without further words.
pub(super) fn classify(code: Code, what: &str) -> LogError {
    with_text(code, format!("{what}: {}", describe(code)))
}

/// A code and the broker's words, if it had any.
pub(super) fn classify_text(code: Code, what: &str, words: &str) -> LogError {
    let words = words.trim();
    if words.is_empty() {
        classify(code, what)
    } else {
        with_text(code, format!("{what}: {words}"))
    }
}

fn with_text(code: Code, message: String) -> LogError {
    match reaction(code) {
        Reaction::Fenced => LogError::Fenced(message),
        Reaction::Fatal => LogError::Fatal(message),
        Reaction::Retry => LogError::Retry(message),
    }
}

/// What a broker says of a record itself, and would say again.
fn is_of_record(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        RD_KAFKA_RESP_ERR_INVALID_MSG
            | RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
            | RD_KAFKA_RESP_ERR_INVALID_RECORD
            | RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
            | RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
            | RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
    )
}

/// Why a record of a transaction was not delivered. Whatever it was, this transaction cannot be committed.
pub(super) fn undelivered(code: Code, what: &str, is_fatal: bool) -> LogError {
    match classify(code, what) {
        LogError::Retry(message) if is_fatal => LogError::Fenced(message),
        LogError::Retry(message) if is_of_record(code) => LogError::Refused(message),
        LogError::Retry(message) => LogError::Abort(message),
        other => other,
    }
}

/// Where in a transaction a call failed; it decides what an unknown fate means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Initialising, beginning, sending offsets: may be called again.
    Before,
    /// Committing or aborting: must be called again, until the fate is known.
    End,
}

/// An error of a transactional call.
pub(super) fn transactional(error: NativeError, what: &str, phase: Phase) -> LogError {
    let message = format!("{what}: {}", error.message);
    match reaction(error.code) {
        // "fatal" is librdkafka's word for a producer that is of no use any more; for authorization the user must act first
        Reaction::Fatal if error.fatal => LogError::Fatal(message),
        _ if error.fatal => LogError::Fenced(message),
        // a member that was replaced: its transaction cannot be committed by anybody, but its place is gone as well
        Reaction::Fenced => LogError::Fenced(message),
        _ if error.requires_abort => LogError::Abort(message),
        Reaction::Fatal => LogError::Fatal(message),
        Reaction::Retry => match phase {
            Phase::Before => LogError::Retry(message),
            Phase::End => LogError::Unknown(message),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(code: Code, fatal: bool, requires_abort: bool) -> NativeError {
        NativeError {
            code,
            message: "words".into(),
            fatal,
            retriable: false,
            requires_abort,
        }
    }

    #[test]
    fn a_commit_that_timed_out_has_an_unknown_fate() {
        let timed_out = || native(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, false, false);
        assert!(matches!(
            transactional(timed_out(), "commit", Phase::End),
            LogError::Unknown(_)
        ));
        assert!(matches!(
            transactional(timed_out(), "offsets", Phase::Before),
            LogError::Retry(_)
        ));
    }

    #[test]
    fn a_broker_that_takes_nothing_for_long_is_not_a_records_fault() {
        let undelivered = |code| undelivered(code, "a record", false);
        for code in [
            Code::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
            Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
            Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE,
        ] {
            assert!(matches!(undelivered(code), LogError::Abort(_)), "{code:?}");
        }
        let refused = undelivered(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD);
        assert!(matches!(refused, LogError::Refused(_)), "{refused:?}");
    }

    #[test]
    fn a_group_that_moved_on_is_an_abort_and_a_replaced_producer_is_fenced() {
        let moved = native(Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, false, true);
        assert!(matches!(
            transactional(moved, "offsets", Phase::Before),
            LogError::Abort(_)
        ));
        let replaced = native(Code::RD_KAFKA_RESP_ERR__FENCED, true, false);
        assert!(matches!(
            transactional(replaced, "commit", Phase::End),
            LogError::Fenced(_)
        ));
        let forbidden = native(
            Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            true,
            false,
        );
        assert!(matches!(
            transactional(forbidden, "init", Phase::Before),
            LogError::Fatal(_)
        ));
    }
}
