//! Membership in a group over the tasks topic: librdkafka's consumer, of which only the group half is used.
//!
//! Rebalances come as events from its queue, not as callbacks: an assignment is taken at once, a revocation waits for
//! [`Membership::release`], which is when the worker has committed and closed the tasks.
//!
//! ```text
//!   event ASSIGN --------------------------> incremental_assign, Assigned
//!   event REVOKE -- lost? -- yes ----------> incremental_unassign, Lost
//!                      \---- no -> Revoked -> [worker commits] -> release -> incremental_unassign
//! ```

use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::client::Client;
use super::deadline::Deadline;
use super::errors::{classify, classify_text};
use super::raw::{self, Code, Event, NativeError, Partitions, Queue};
use super::settings::{KafkaSettings, Role, has_consumer_protocol};
use super::strays::Strays;
use crate::log::{GroupMetadata, LogError, LogResult, Membership, MembershipConfig, MembershipEvent};
use crate::types::TopicPartition;

/// How long leaving the group may take before the client is torn down without it.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How long the broker may take to hear that a static member gives its place up.
const LEAVE_WAIT: Duration = Duration::from_millis(800);
/// How long one look at the events of leaving waits for the next.
const LEAVE_LOOK: Duration = Duration::from_millis(10);
/// Events taken by one poll; more wait for the next.
const EVENTS_A_POLL: usize = 64;

/// A revocation that the worker has been told of.
struct Revocation {
    partitions: Partitions,
    /// Tasks that are not released yet.
    left: Vec<i32>,
}

/// The membership of [`super::KafkaLog`].
pub(super) struct KafkaMembership {
    group: String,
    events: Vec<MembershipEvent>,
    revocation: Option<Revocation>,
    /// Revocations are taken without asking: the worker has closed all tasks.
    leaving: bool,
    closed: bool,
    /// The classic group protocol, rather than that of KIP-848.
    classic: bool,
    strays: Strays,
    queue: Queue,
    client: Client,
}

impl KafkaMembership {
    pub(super) fn new(settings: &KafkaSettings, config: &MembershipConfig) -> LogResult<Self> {
        let mut fixed = vec![
            ("group.id", config.group.clone()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "latest".to_owned()),
        ];
        fixed.extend(config.instance_id.iter().map(|id| ("group.instance.id", id.clone())));
        let client = Client::new(settings, Role::Membership, &fixed, |conf| {
            // SAFETY: a configuration that is still ours
            unsafe {
                sys::rd_kafka_conf_set_events(conf.ptr(), sys::RD_KAFKA_EVENT_REBALANCE | sys::RD_KAFKA_EVENT_ERROR);
            };
        })?;
        // SAFETY: a live consumer: its errors come on the consumer's queue too
        let code = unsafe { sys::rd_kafka_poll_set_consumer(client.ptr()) };
        if code != raw::OK {
            return Err(classify(code, &format!("group {}", config.group)));
        }
        let queue = Queue::of_consumer(&client)?;
        let topic = TopicPartition::new(config.tasks_topic.as_str(), -1);
        let subscription = Partitions::new(&[(&topic, -1)])?;
        // SAFETY: the list lives during the call
        let code = unsafe { sys::rd_kafka_subscribe(client.ptr(), subscription.ptr()) };
        if code != raw::OK {
            return Err(classify(code, &format!("joining group {}", config.group)));
        }
        Ok(Self {
            group: config.group.clone(),
            events: Vec::new(),
            revocation: None,
            leaving: false,
            closed: false,
            strays: Strays::new(&client, &config.group, &config.tasks_topic),
            classic: !has_consumer_protocol(&settings.for_role(Role::Membership, &[])),
            queue,
            client,
        })
    }

    fn on_event(&mut self, event: &Event) -> LogResult<()> {
        match event.kind() {
            sys::RD_KAFKA_EVENT_REBALANCE => self.on_rebalance(event),
            sys::RD_KAFKA_EVENT_ERROR => self.on_error(event),
            // the tasks topic has no data
            _ => Ok(()),
        }
    }

    fn on_rebalance(&mut self, event: &Event) -> LogResult<()> {
        // SAFETY: a live event; the list is copied
        let mut partitions = unsafe { Partitions::copy(sys::rd_kafka_event_topic_partition_list(event.ptr())) };
        let tasks = partitions.numbers();
        if event.error().0 == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // an explicit offset spares the look-up of a committed one
            partitions.set_offsets(0);
            self.assign(&partitions)?;
            if !tasks.is_empty() {
                self.events.push(MembershipEvent::Assigned(tasks));
            }
            return Ok(());
        }
        // SAFETY: a live client
        let lost = unsafe { sys::rd_kafka_assignment_lost(self.client.ptr()) } != 0;
        if lost || tasks.is_empty() || self.leaving {
            self.revocation = None;
            self.unassign(&partitions)?;
            if !tasks.is_empty() && !self.leaving {
                self.events.push(MembershipEvent::Lost(tasks));
            }
            return Ok(());
        }
        self.events.push(MembershipEvent::Revoked(tasks.clone()));
        self.revocation = Some(Revocation {
            partitions,
            left: tasks,
        });
        Ok(())
    }

    fn assign(&self, partitions: &Partitions) -> LogResult<()> {
        // SAFETY: a live client, a list that lives during the calls; pausing keeps it from fetching a topic without data
        let error = unsafe {
            let error = sys::rd_kafka_incremental_assign(self.client.ptr(), partitions.ptr());
            sys::rd_kafka_pause_partitions(self.client.ptr(), partitions.ptr());
            error
        };
        self.group_call("taking tasks", error)
    }

    fn unassign(&self, partitions: &Partitions) -> LogResult<()> {
        // SAFETY: a live client, a list that lives during the call
        let error = unsafe { sys::rd_kafka_incremental_unassign(self.client.ptr(), partitions.ptr()) };
        self.group_call("giving tasks back", error)
    }

    fn group_call(&self, what: &str, error: *mut sys::rd_kafka_error_t) -> LogResult<()> {
        NativeError::take(error).map_err(|error| {
            let what = format!("{what} in group {}", self.group);
            if error.fatal {
                return LogError::Fenced(format!("{what}: {}", error.message));
            }
            classify_text(error.code, &what, &error.message)
        })
    }

    fn on_error(&self, event: &Event) -> LogResult<()> {
        let (code, words, fatal) = event.error();
        let what = format!("group {}", self.group);
        match code {
            _ if fatal => {
                let (code, words) = self.client.fatal_error().unwrap_or((code, words));
                match classify_text(code, &what, &words) {
                    LogError::Retry(message) => Err(LogError::Fenced(message)),
                    error => Err(error),
                }
            }
            // it connects again by itself; whoever needs the broker says that it is away
            Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR__RESOLVE
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Ok(()),
            Code::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED => {
                tracing::warn!(group = %self.group, "the worker was busy for longer than max.poll.interval.ms, its tasks go elsewhere");
                Ok(())
            }
            // a topic that was made a moment ago may not be known everywhere
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => {
                Err(LogError::Retry(format!("{what}: {words}")))
            }
            code => Err(classify_text(code, &what, &words)),
        }
    }
}

impl Membership for KafkaMembership {
    fn poll(&mut self) -> LogResult<Vec<MembershipEvent>> {
        for _ in 0..EVENTS_A_POLL {
            let Some(event) = self.queue.poll(Duration::ZERO) else {
                break;
            };
            // what came before an error is handed out by the next call
            self.on_event(&event)?;
        }
        self.mind_strays()?;
        Ok(std::mem::take(&mut self.events))
    }

    fn release(&mut self, tasks: &[i32]) -> LogResult<()> {
        let Some(revocation) = &mut self.revocation else {
            return Ok(());
        };
        revocation.left.retain(|task| !tasks.contains(task));
        if !revocation.left.is_empty() {
            return Ok(());
        }
        // once, for all of them: librdkafka goes on with the rebalance at the first call
        let done = self.revocation.take();
        done.map_or(Ok(()), |revocation| self.unassign(&revocation.partitions))
    }

    fn metadata(&self) -> LogResult<GroupMetadata> {
        let metadata = raw::Metadata::of(&self.client)
            .ok_or_else(|| LogError::Retry(format!("group {}: not joined yet", self.group)))?;
        Ok(GroupMetadata {
            group: self.group.clone(),
            inner: Arc::new(metadata),
        })
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.let_go();
        // SAFETY: a live consumer and its queue; the rest of the closing happens by the events that follow
        let error = unsafe { sys::rd_kafka_consumer_close_queue(self.client.ptr(), self.queue.ptr()) };
        if let Err(error) = NativeError::take(error) {
            tracing::debug!(group = %self.group, error = %error.message, "leaving the group");
            return;
        }
        let deadline = Deadline::after(CLOSE_WAIT);
        // SAFETY: a live consumer
        while unsafe { sys::rd_kafka_consumer_closed(self.client.ptr()) } == 0 && !deadline.passed() {
            self.serve_leaving(deadline);
        }
    }

    /// librdkafka lets a static member keep its place when the consumer is closed, but not when it unsubscribes. (With `group.protocol=consumer`
    /// it keeps the place in any case; the broker's session time-out ends it.)
    fn leave(&mut self) {
        if self.closed {
            return;
        }
        self.let_go();
        // SAFETY: a live consumer
        let code = unsafe { sys::rd_kafka_unsubscribe(self.client.ptr()) };
        if code == raw::OK {
            let deadline = Deadline::after(LEAVE_WAIT);
            // the id is forgotten when the request to leave goes out; closing waits for its answer
            while self.classic && !member_id(&self.client).is_empty() && !deadline.passed() {
                self.serve_leaving(deadline);
            }
        } else {
            tracing::debug!(group = %self.group, ?code, "the place in the group could not be given up");
        }
        self.close();
    }
}

impl KafkaMembership {
    /// Joins anew where tasks have no owner and this member is the one to act.
    fn mind_strays(&mut self) -> LogResult<()> {
        if !self.classic || self.closed {
            return Ok(());
        }
        let client = &self.client;
        let Some(strays) = self.strays.look(client, || member_id(client))? else {
            return Ok(());
        };
        let group = self.group.clone();
        tracing::warn!(%group, ?strays, "nobody has these tasks; the group is joined anew, so that they are given out");
        self.leave();
        Err(LogError::Fenced(format!(
            "group {group}: nobody had the tasks {strays:?}, it is joined anew"
        )))
    }

    /// All tasks are closed: whatever the group wants back it gets.
    fn let_go(&mut self) {
        self.leaving = true;
        if let Some(revocation) = self.revocation.take()
            && let Err(error) = self.unassign(&revocation.partitions)
        {
            tracing::debug!(group = %self.group, %error, "leaving the group");
        }
    }

    fn serve_leaving(&mut self, deadline: Deadline) {
        if let Some(event) = self.queue.poll(deadline.slice().min(LEAVE_LOOK))
            && let Err(error) = self.on_event(&event)
        {
            tracing::debug!(group = %self.group, %error, "leaving the group");
        }
    }
}

/// The id that the group has given; empty before it has joined.
fn member_id(client: &Client) -> String {
    // SAFETY: a live consumer; the text is ours, and freed by the library that made it
    unsafe {
        let id = sys::rd_kafka_memberid(client.ptr());
        if id.is_null() {
            return String::new();
        }
        let text = raw::text(id);
        sys::rd_kafka_mem_free(client.ptr(), id.cast());
        text
    }
}

impl Drop for KafkaMembership {
    fn drop(&mut self) {
        self.close();
    }
}
