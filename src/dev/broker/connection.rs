//! One client's connection: frames in, answers out, in order.
//!
//! Requests of one connection are handled one after the other, as Kafka does. While one waits (a fetch, a join), the
//! socket is still read: a closed connection ends the wait, and another request cuts a waiting fetch short, so that it
//! is not kept waiting behind it.

use super::frame::{self, BadFrame, MIN_FRAME, Request};
use super::sessions::Session;
use super::shared::now_ms;
use super::{Server, versions};
use crate::log::core::ErrorCode;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Encodable;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// Bytes of further requests that are read while one is being handled.
const READ_AHEAD: usize = 1 << 20;

/// What goes back for a request.
pub(super) enum Reply {
    /// A message.
    Message(Box<ResponseKind>),
    /// A frame that was encoded by hand; its length is still to be filled in.
    Encoded(BytesMut),
    /// Nothing (a produce request without acknowledgement).
    Nothing,
}

impl<T: Into<ResponseKind>> From<T> for Reply {
    fn from(message: T) -> Reply {
        Reply::Message(Box::new(message.into()))
    }
}

/// What a handler knows of a request, beside its content.
pub(super) struct Call<'a> {
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) client_id: String,
    pub(super) now_ms: i64,
    /// Notified when another request waits on the same connection.
    pub(super) hurry: &'a Notify,
}

/// Why a connection is closed from our side.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] BadFrame),
    #[error("{0:?} version {1} has no handler")]
    Version(ApiKey, i16),
    #[error("the answer to {0:?} version {1} cannot be encoded: {2}")]
    Answer(ApiKey, i16, String),
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    server: Arc<Server>,
    socket: TcpStream,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    let (number, session) = server.sessions.add(now_ms());
    let ended = tokio::select! {
        ended = run(&server, &session, socket) => ended,
        () = session.closed() => Ok(()),
        _ = stopped.changed() => Ok(()),
    };
    server.sessions.remove(number);
    match ended {
        Ok(()) => {}
        Err(Closed::Io(error)) => tracing::debug!(%peer, %error, "connection lost"),
        Err(error) => tracing::warn!(%peer, %error, "connection closed"),
    }
}

async fn run(server: &Server, session: &Session, mut socket: TcpStream) -> Result<(), Closed> {
    socket.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(64 << 10);
    loop {
        let Some(frame) = next_frame(server, &mut socket, &mut input).await? else {
            return Ok(());
        };
        let hurry = Notify::new();
        if !input.is_empty() {
            hurry.notify_one();
        }
        let answer = {
            let handling = answer(server, session, frame, &hurry);
            tokio::pin!(handling);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut handling => break answer?,
                    read = socket.read_buf(&mut input), if input.len() < READ_AHEAD => {
                        if read? == 0 {
                            return Ok(());
                        }
                        hurry.notify_one();
                    }
                }
            }
        };
        if let Some(answer) = answer {
            socket.write_all(&answer).await?;
        }
    }
}

/// Reads up to the end of the next frame; `None` when the client is done.
async fn next_frame(server: &Server, socket: &mut TcpStream, input: &mut BytesMut) -> Result<Option<Bytes>, Closed> {
    loop {
        if let Some(length) = input.get(..4) {
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            let size = usize::try_from(length)
                .ok()
                .filter(|n| (MIN_FRAME..=server.max_request_bytes).contains(n));
            let size = size.ok_or(BadFrame::Size(i64::from(length)))?;
            if input.len() >= 4 + size {
                input.advance(4);
                return Ok(Some(input.split_to(size).freeze()));
            }
            // Room as it is needed: what a frame claims is not believed until it is there.
            input.reserve((4 + size - input.len()).min(READ_AHEAD));
        } else {
            input.reserve(16 << 10);
        }
        if socket.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// Handles one request; the answer is a whole frame.
async fn answer(server: &Server, session: &Session, frame: Bytes, hurry: &Notify) -> Result<Option<BytesMut>, Closed> {
    let Request {
        key,
        version,
        correlation_id,
        client_id,
        body,
    } = match frame::decode(frame) {
        // the newest version that they know is what clients begin with; they expect the oldest form of the answer
        Err(BadFrame::Version {
            key: ApiKey::ApiVersions,
            correlation_id,
            ..
        }) => {
            let mut out = head(ApiKey::ApiVersions, 0, correlation_id)?;
            let code = ErrorCode::UnsupportedVersion.code();
            versions::answer(code)
                .encode(&mut out, 0)
                .map_err(|e| Closed::Answer(ApiKey::ApiVersions, 0, e.to_string()))?;
            return Ok(Some(finish(out)));
        }
        read => read?,
    };
    session.note(key, now_ms());
    let call = Call {
        version,
        correlation_id,
        client_id,
        now_ms: now_ms(),
        hurry,
    };
    match server.handle(body, &call).await {
        None => Err(Closed::Version(key, version)),
        Some(Reply::Nothing) => Ok(None),
        Some(Reply::Encoded(out)) => Ok(Some(finish(out))),
        Some(Reply::Message(message)) => {
            let mut out = head(key, version, correlation_id)?;
            message
                .encode(&mut out, version)
                .map_err(|e| Closed::Answer(key, version, e.to_string()))?;
            Ok(Some(finish(out)))
        }
    }
}

/// The start of an answer: room for its length, and the header.
fn head(key: ApiKey, version: i16, correlation_id: i32) -> Result<BytesMut, Closed> {
    let mut out = BytesMut::with_capacity(512);
    out.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut out, key.response_header_version(version))
        .map_err(|e| Closed::Answer(key, version, e.to_string()))?;
    Ok(out)
}

/// Fills in the length.
fn finish(mut out: BytesMut) -> BytesMut {
    let length = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

impl Server {
    /// The handler of each request; `None` for one that the table of versions does not have.
    async fn handle(&self, request: RequestKind, call: &Call<'_>) -> Option<Reply> {
        Some(match request {
            RequestKind::Produce(q) => self.produce(q, call),
            RequestKind::Fetch(q) => self.fetch(q, call).await,
            RequestKind::ListOffsets(q) => self.list_offsets(&q, call).into(),
            RequestKind::Metadata(q) => self.metadata(&q, call).into(),
            RequestKind::OffsetCommit(q) => self.offset_commit(&q, call).into(),
            RequestKind::OffsetFetch(q) => self.offset_fetch(&q, call).into(),
            RequestKind::FindCoordinator(q) => self.find_coordinator(&q, call).into(),
            RequestKind::JoinGroup(q) => self.join_group(q, call).await.into(),
            RequestKind::Heartbeat(q) => self.heartbeat(&q, call).into(),
            RequestKind::LeaveGroup(q) => self.leave_group(&q, call).into(),
            RequestKind::SyncGroup(q) => self.sync_group(q, call).await.into(),
            RequestKind::DescribeGroups(q) => self.describe_groups(&q).into(),
            RequestKind::ListGroups(q) => self.list_groups(&q).into(),
            RequestKind::ApiVersions(_) => versions::answer(0).into(),
            RequestKind::CreateTopics(q) => self.create_topics(&q).into(),
            RequestKind::DeleteTopics(q) => self.delete_topics(&q, call).into(),
            RequestKind::DeleteRecords(q) => self.delete_records(&q).into(),
            RequestKind::InitProducerId(q) => self.init_producer_id(&q, call).into(),
            RequestKind::OffsetForLeaderEpoch(q) => self.offset_for_leader_epoch(&q).into(),
            RequestKind::AddPartitionsToTxn(q) => self.add_partitions_to_txn(&q, call).into(),
            RequestKind::AddOffsetsToTxn(q) => self.add_offsets_to_txn(&q, call).into(),
            RequestKind::EndTxn(q) => self.end_txn(&q, call).into(),
            RequestKind::TxnOffsetCommit(q) => self.txn_offset_commit(&q).into(),
            RequestKind::DescribeConfigs(q) => self.describe_configs(&q).into(),
            RequestKind::AlterConfigs(q) => self.alter_configs(&q).into(),
            RequestKind::IncrementalAlterConfigs(q) => self.incremental_alter_configs(&q).into(),
            RequestKind::CreatePartitions(q) => self.create_partitions(&q).into(),
            RequestKind::DeleteGroups(q) => self.delete_groups(&q).into(),
            RequestKind::OffsetDelete(q) => self.offset_delete(&q).into(),
            RequestKind::DescribeCluster(_) => self.describe_cluster().into(),
            RequestKind::DescribeProducers(q) => self.describe_producers(&q).into(),
            RequestKind::DescribeTransactions(q) => self.describe_transactions(&q).into(),
            RequestKind::ListTransactions(q) => self.list_transactions(&q, call).into(),
            RequestKind::ConsumerGroupHeartbeat(q) => self.consumer_group_heartbeat(q, call).into(),
            RequestKind::ConsumerGroupDescribe(q) => self.consumer_group_describe(&q).into(),
            RequestKind::DescribeTopicPartitions(q) => self.describe_topic_partitions(&q).into(),
            _ => return None, // requests between brokers, and those of other kinds of clusters
        })
    }
}
