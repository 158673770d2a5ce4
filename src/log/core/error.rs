//! The errors a log can answer with, in Kafka's own vocabulary.
//!
//! Every variant is one code of the Kafka protocol, because each caller (the wire door, the simulated log) has to tell
//! its client exactly what Kafka would. What is *not* here: errors of opening a data directory, see
//! [`OpenError`](super::OpenError).

/// Shorthand for what every operation of the core returns.
pub type Result<T> = std::result::Result<T, ErrorCode>;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal => $text:literal,)*) => {
        /// An error of the Kafka protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $text] $(#[$doc])* $name = $code,)*
        }
        impl ErrorCode {
            /// Every code the core knows.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// What went wrong, for people.
            pub fn message(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }
        }
    };
}

error_codes! {
    OffsetOutOfRange = 1 => "the offset is outside the partition's log",
    CorruptMessage = 2 => "the record batch fails its checksum",
    UnknownTopicOrPartition = 3 => "this topic or partition does not exist",
    MessageTooLarge = 10 => "the record batch is larger than the topic's max.message.bytes",
    OffsetMetadataTooLarge = 12 => "the offset's metadata is too large",
    InvalidTopic = 17 => "a topic name has 1 to 249 characters of a-z A-Z 0-9 . _ - and is neither . nor ..",
    IllegalGeneration = 22 => "the group has moved on to another generation",
    InconsistentGroupProtocol = 23 => "the member's protocols do not fit the group's",
    InvalidGroupId = 24 => "the group id is empty",
    UnknownMemberId = 25 => "the group does not know this member",
    InvalidSessionTimeout = 26 => "the session time-out is outside the allowed range",
    RebalanceInProgress = 27 => "the group is rebalancing; join again",
    UnsupportedVersion = 35 => "this version of the request is not supported",
    TopicAlreadyExists = 36 => "a topic with this name exists",
    InvalidPartitions = 37 => "the number of partitions is not possible",
    InvalidReplicationFactor = 38 => "this broker has exactly one replica of everything",
    InvalidConfig = 40 => "the setting is unknown or its value is not valid",
    InvalidRequest = 42 => "the request makes no sense",
    OutOfOrderSequence = 45 => "the producer's sequence number does not follow the last one",
    InvalidProducerEpoch = 47 => "a newer producer with the same transactional id has taken over",
    InvalidTxnState = 48 => "the transaction is not in a state that allows this",
    InvalidProducerIdMapping = 49 => "the transactional id belongs to another producer id",
    InvalidTransactionTimeout = 50 => "the transaction time-out is larger than transaction.max.timeout.ms",
    OperationNotAttempted = 55 => "nothing was done, because another part of the request failed",
    StorageError = 56 => "the log cannot be written or read; see the broker's own log",
    NonEmptyGroup = 68 => "the group still has members",
    GroupIdNotFound = 69 => "the group does not exist",
    FetchSessionIdNotFound = 70 => "this broker keeps no fetch sessions",
    MemberIdRequired = 79 => "join again with the member id given",
    FencedInstanceId = 82 => "another member has taken over this group.instance.id",
    InvalidRecord = 87 => "the record batch is malformed, or a compacted topic was sent a record without key",
    UnstableOffsetCommit = 88 => "an open transaction has offsets pending for this partition",
    ProducerFenced = 90 => "a newer producer with the same transactional id has taken over",
    UnknownTopicId = 100 => "no topic has this id",
    TransactionalIdNotFound = 105 => "no transaction has this transactional id",
    FencedMemberEpoch = 110 => "the member's epoch is not the group's; join again",
    UnreleasedInstanceId = 111 => "a live member holds this group.instance.id",
    UnsupportedAssignor = 112 => "the server-side assignors are uniform and range",
    StaleMemberEpoch = 113 => "the member's epoch has been superseded; heartbeat first",
    InvalidRegularExpression = 128 => "subscriptions by regular expression are not supported here; subscribe by name",
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?}, Kafka error {})", self.message(), self, self.code())
    }
}

impl std::error::Error for ErrorCode {}
