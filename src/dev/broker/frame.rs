//! A frame's bytes to a request.
//!
//! The library that decodes requests takes memory for as many items as an array says it has, before it has seen one: twelve bytes can claim
//! two thousand million. So a frame is first read with [`Wary`] numbers, under which such an array is an error, and only then as it is.
//!
//! *Invariant*: no frame makes decoding panic, or take more memory than a bounded multiple of the frame.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

use super::versions;

/// The smallest request: key, version and correlation id.
pub(super) const MIN_FRAME: usize = 8;

/// A request as it came.
pub(super) struct Request {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) client_id: String,
    pub(super) body: RequestKind,
}

/// Why a frame is no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadFrame {
    #[error("a request of {0} bytes is outside the limits")]
    Size(i64),
    #[error("no request has the key {0}")]
    UnknownKey(i16),
    /// Clients start with the newest version that they know.
    #[error("{key:?} version {version} is not supported")]
    Version {
        key: ApiKey,
        version: i16,
        correlation_id: i32,
    },
    #[error("{0:?} version {1} cannot be decoded: {2}")]
    Malformed(ApiKey, i16, String),
}

/// Reads a frame, without its length.
pub(super) fn decode(mut frame: Bytes) -> Result<Request, BadFrame> {
    if frame.len() < MIN_FRAME {
        return Err(BadFrame::Size(i64::try_from(frame.len()).unwrap_or(i64::MAX)));
    }
    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let (raw_key, version) = (number(0), number(2));
    let correlation_id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
    let key = ApiKey::try_from(raw_key).map_err(|_| BadFrame::UnknownKey(raw_key))?;
    if !versions::supports(key, version) {
        return Err(BadFrame::Version {
            key,
            version,
            correlation_id,
        });
    }
    let malformed = |error: String| BadFrame::Malformed(key, version, error);
    let header_version = key.request_header_version(version);
    let mut wary = Wary(frame.clone());
    RequestHeader::decode(&mut wary, header_version).map_err(|e| malformed(e.to_string()))?;
    try_out(key, version, &mut wary).map_err(malformed)?;
    let header = RequestHeader::decode(&mut frame, header_version).map_err(|e| malformed(e.to_string()))?;
    let body = RequestKind::decode(key, &mut frame, version).map_err(|e| malformed(e.to_string()))?;
    Ok(Request {
        key,
        version,
        correlation_id,
        client_id: header.client_id.map(|id| id.to_string()).unwrap_or_default(),
        body,
    })
}

/// Whether a frame is a request, for the fuzzer.
///
/// # Errors
/// Why it is none.
pub fn check_frame(frame: Bytes) -> Result<(), String> {
    decode(frame).map(|_| ()).map_err(|bad| bad.to_string())
}

/// Bytes whose numbers say of an array that is longer than what is left that it is just longer.
///
/// An item takes a byte at least, so that decoding such an array ends with an error, and what is allocated for it first is in proportion to the
/// frame. Other numbers (times, sizes) come out wrong, and are thrown away.
struct Wary(Bytes);

impl Buf for Wary {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, cnt: usize) {
        self.0.advance(cnt);
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let number = self.0.try_get_i32()?;
        let longer = i32::try_from(self.remaining().saturating_add(1)).unwrap_or(i32::MAX);
        Ok(number.min(longer))
    }

    /// Only numbers of variable length are read by bytes: lengths and counts, all of them.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let (requested, available) = (varint(self.chunk()), self.remaining());
        if requested > available.saturating_add(1) {
            return Err(TryGetError { requested, available });
        }
        self.0.try_get_u8()
    }
}

impl ByteBuf for Wary {
    fn peek_bytes(&mut self, r: std::ops::Range<usize>) -> Bytes {
        self.0.peek_bytes(r)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.0.get_bytes(size)
    }
}

/// The number of variable length that some bytes begin with.
fn varint(bytes: &[u8]) -> usize {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            break;
        }
    }
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The requests of `versions`, each with its type.
macro_rules! requests {
    ($($key:ident: $request:ty),* $(,)?) => {
        fn try_out(key: ApiKey, version: i16, body: &mut Wary) -> Result<(), String> {
            let read = match key {
                $(ApiKey::$key => <$request>::decode(body, version).map(|_| ()),)*
                _ => return Err("it is not among the broker's requests".into()),
            };
            read.map_err(|error| error.to_string())
        }

        /// A request of each kind, without anything in it.
        #[cfg(test)]
        fn empty(key: ApiKey) -> Option<RequestKind> {
            match key {
                $(ApiKey::$key => Some(RequestKind::$key(<$request>::default())),)*
                _ => None,
            }
        }
    };
}

requests! {
    Produce: ProduceRequest,
    Fetch: FetchRequest,
    ListOffsets: ListOffsetsRequest,
    Metadata: MetadataRequest,
    OffsetCommit: OffsetCommitRequest,
    OffsetFetch: OffsetFetchRequest,
    FindCoordinator: FindCoordinatorRequest,
    JoinGroup: JoinGroupRequest,
    Heartbeat: HeartbeatRequest,
    LeaveGroup: LeaveGroupRequest,
    SyncGroup: SyncGroupRequest,
    DescribeGroups: DescribeGroupsRequest,
    ListGroups: ListGroupsRequest,
    ApiVersions: ApiVersionsRequest,
    CreateTopics: CreateTopicsRequest,
    DeleteTopics: DeleteTopicsRequest,
    DeleteRecords: DeleteRecordsRequest,
    InitProducerId: InitProducerIdRequest,
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest,
    AddPartitionsToTxn: AddPartitionsToTxnRequest,
    AddOffsetsToTxn: AddOffsetsToTxnRequest,
    EndTxn: EndTxnRequest,
    TxnOffsetCommit: TxnOffsetCommitRequest,
    DescribeConfigs: DescribeConfigsRequest,
    AlterConfigs: AlterConfigsRequest,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest,
    CreatePartitions: CreatePartitionsRequest,
    DeleteGroups: DeleteGroupsRequest,
    OffsetDelete: OffsetDeleteRequest,
    DescribeCluster: DescribeClusterRequest,
    DescribeProducers: DescribeProducersRequest,
    DescribeTransactions: DescribeTransactionsRequest,
    ListTransactions: ListTransactionsRequest,
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest,
    DescribeTopicPartitions: DescribeTopicPartitionsRequest,
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    use super::*;

    fn head(key: ApiKey, version: i16) -> BytesMut {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(7);
        header
            .encode(&mut frame, key.request_header_version(version))
            .expect("sound");
        frame
    }

    #[test]
    fn every_supported_request_is_read() {
        let mut count = 0;
        for version in 0..=20 {
            for raw in 0..100 {
                let Ok(key) = ApiKey::try_from(raw) else { continue };
                if !versions::supports(key, version) {
                    continue;
                }
                let body = empty(key).unwrap_or_else(|| panic!("{key:?} is missing"));
                let mut frame = head(key, version);
                if body.encode(&mut frame, version).is_ok() {
                    let read = decode(frame.freeze());
                    assert!(read.is_ok_and(|request| request.body == body), "{key:?} {version}");
                    count += 1;
                }
            }
        }
        assert!(count > 130, "{count}");
    }

    #[test]
    fn numbers_that_are_no_counts_may_be_larger_than_the_frame() {
        let fetch = FetchRequest::default()
            .with_max_wait_ms(i32::MAX)
            .with_max_bytes(i32::MAX);
        for version in [4, 12] {
            let mut frame = head(ApiKey::Fetch, version);
            fetch.encode(&mut frame, version).expect("sound");
            let read = decode(frame.freeze()).map(|request| request.body);
            assert!(matches!(read, Ok(RequestKind::Fetch(f)) if f == fetch), "{version}");
        }
    }

    /// The library would ask for hundreds of gigabytes, and the process would end.
    #[test]
    fn an_array_longer_than_its_frame_takes_no_memory() {
        for (version, count) in [(0, &[0x7f, 0xff, 0xff, 0xff][..]), (9, &[0xff, 0xff, 0xff, 0xff, 0x0f])] {
            let mut frame = head(ApiKey::Metadata, version);
            frame.put_slice(count);
            frame.put_slice(&[0; 3]);
            assert!(decode(frame.freeze()).is_err(), "{version}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(key in 0..80i16, version in 0..13i16, body in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..60)) {
            let mut frame = BytesMut::new();
            frame.put_i16(key);
            frame.put_i16(version);
            frame.put_slice(&body);
            let _: Result<(), String> = check_frame(frame.freeze());
        }
    }
}
