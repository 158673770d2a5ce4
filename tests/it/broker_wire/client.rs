//! A Kafka client of a few lines, for talking to the embedded broker without librdkafka.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct Client {
    pub stream: TcpStream,
    correlation: i32,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, correlation: 0 }
    }

    fn frame(&mut self, key: ApiKey, version: i16, body: &dyn Fn(&mut BytesMut)) -> Vec<u8> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("wire-test")));
        let mut out = BytesMut::new();
        header.encode(&mut out, key.request_header_version(version)).unwrap();
        body(&mut out);
        let mut frame = (out.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(&out);
        frame
    }

    /// Sends without waiting for the answer.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) {
        let key = ApiKey::try_from(R::KEY).unwrap();
        let frame = self.frame(key, version, &|out| request.encode(out, version).unwrap());
        self.stream.write_all(&frame).unwrap();
    }

    fn read_frame(&mut self) -> std::io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Waits for the next answer.
    pub fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut frame = self.read_frame().unwrap();
        ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(
            frame.is_empty(),
            "bytes left over in an answer to request {} v{version}",
            R::KEY
        );
        response
    }

    /// A request and its answer.
    pub fn call<R: Request>(&mut self, request: R, version: i16) -> R::Response {
        self.send(&request, version);
        self.receive::<R>(version)
    }

    /// The same for a request whose kind is known at run time only.
    pub fn call_kind(&mut self, key: ApiKey, request: &RequestKind, version: i16) -> ResponseKind {
        let frame = self.frame(key, version, &|out| request.encode(out, version).unwrap());
        self.stream.write_all(&frame).unwrap();
        let mut frame = self.read_frame().unwrap();
        let header = ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation);
        let response = ResponseKind::decode(key, &mut frame, version).unwrap();
        assert!(frame.is_empty(), "bytes left over in an answer to {key:?} v{version}");
        response
    }

    /// Sends raw bytes; true when the broker then closes the connection (whatever it answers before).
    pub fn is_closed_after(&mut self, bytes: &[u8]) -> bool {
        // The broker may close while we are still writing.
        let sent = self.stream.write_all(bytes);
        let mut rest = Vec::new();
        sent.is_err() || self.stream.read_to_end(&mut rest).is_ok() || rest.is_empty()
    }
}

/// A request that says next to nothing.
pub fn default_request(key: ApiKey) -> RequestKind {
    macro_rules! defaults {
        ($($name:ident: $request:ident,)*) => {
            match key {
                ApiKey::Produce => RequestKind::Produce(ProduceRequest::default().with_acks(1)),
                $(ApiKey::$name => RequestKind::$name($request::default()),)*
                other => panic!("{other:?} is announced, but not in this list"),
            }
        };
    }
    defaults! {
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
}
