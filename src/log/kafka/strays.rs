//! Strays: tasks that nobody in the group has, though it is stable.
//!
//! In the classic protocol a static member that is started again gets its last assignment without a rebalance. Tasks move in two rebalances: the first takes them
//! from one member, and that member's joining again, once it has given them back, begins the second, which gives them to another. A member that is killed between
//! the two and started again knows nothing of what it had to do; its assignment holds the tasks no more, nobody else's does, and nobody joins again. (With KIP-848
//! the broker itself sees to it.)
//!
//! So each member looks at the group now and then. Of tasks that stay without an owner, one member takes care: it leaves and joins again, which has all given out.
//! *Invariant*: a look never waits; a broker that does not answer is asked again.

use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::admin::{Options, results};
use super::client::Client;
use super::raw::{self, Event, NativeError, Queue, c_string, elements};
use crate::log::LogResult;

/// Between two looks.
const EACH: Duration = Duration::from_secs(4);
/// How long tasks may be without an owner: whoever has to give them back commits first, which a broker that is busy may hold up.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// One member's looks.
pub(super) struct Strays {
    group: String,
    topic: String,
    queue: Queue,
    /// An answer is under way.
    asked: bool,
    next: Instant,
    /// Partitions of the tasks topic, once they are known.
    tasks: Option<i32>,
    seen: Option<(Vec<i32>, Instant)>,
}

/// A group as it was described.
struct Described {
    stable: bool,
    /// The first of its members, in the order of their ids.
    first: Option<String>,
    owned: Vec<i32>,
}

impl Strays {
    pub(super) fn new(client: &Client, group: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            queue: Queue::new(client),
            asked: false,
            next: Instant::now() + EACH,
            tasks: None,
            seen: None,
        }
    }

    /// Tasks that have had no owner for too long, when it is up to this member to do something.
    pub(super) fn look(&mut self, client: &Client, member: impl FnOnce() -> String) -> LogResult<Option<Vec<i32>>> {
        let Some(event) = self.queue.poll(Duration::ZERO) else {
            if !self.asked && Instant::now() >= self.next {
                self.ask(client)?;
            }
            return Ok(None);
        };
        self.asked = false;
        self.next = Instant::now() + EACH;
        let (code, words, _) = event.error();
        if code != raw::OK {
            tracing::debug!(group = %self.group, error = words, "the group cannot be looked at");
            return Ok(None);
        }
        if event.kind() == sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT {
            self.tasks = partitions(&event);
            return Ok(None);
        }
        let Some(described) = described(&event, &self.topic) else {
            return Ok(None);
        };
        Ok(self
            .judge(&described, Instant::now())
            .filter(|_| described.first == Some(member())))
    }

    /// Asks for the number of tasks, then each time for the group.
    fn ask(&mut self, client: &Client) -> LogResult<()> {
        self.asked = true;
        if self.tasks.is_none() {
            let name = c_string(&self.topic)?;
            let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, ANSWER);
            let mut names = [name.as_ptr()];
            // SAFETY: the collection copies the name, the call copies the collection
            unsafe {
                let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
                sys::rd_kafka_DescribeTopics(client.ptr(), topics, options.ptr(), self.queue.ptr());
                sys::rd_kafka_TopicCollection_destroy(topics);
            }
            return Ok(());
        }
        let name = c_string(&self.group)?;
        let options = Options::new(client, Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, ANSWER);
        let mut names = [name.as_ptr()];
        // SAFETY: the call copies the names
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(
                client.ptr(),
                names.as_mut_ptr(),
                names.len(),
                options.ptr(),
                self.queue.ptr(),
            );
        }
        Ok(())
    }

    /// The tasks that nobody has, once the same have had no owner for long enough.
    fn judge(&mut self, described: &Described, now: Instant) -> Option<Vec<i32>> {
        let missing = |task: &i32| !described.owned.contains(task);
        let missing: Vec<i32> = (0..self.tasks.unwrap_or(0)).filter(missing).collect();
        if !described.stable || missing.is_empty() {
            self.seen = None;
            return None;
        }
        match &self.seen {
            Some((seen, since)) if *seen == missing => (now - *since >= PATIENCE).then_some(missing),
            _ => {
                self.seen = Some((missing, now));
                None
            }
        }
    }
}

/// The partitions of the topic that was asked for; none while it is not known.
fn partitions(event: &Event) -> Option<i32> {
    // SAFETY: the event's kind was looked at; the result lives as long as it
    let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.ptr()) };
    let topic = results!(rd_kafka_DescribeTopics_result_topics, result).first()?;
    // SAFETY: the description lives as long as the event
    let error = NativeError::read(unsafe { sys::rd_kafka_TopicDescription_error(*topic) });
    let mut count = 0usize;
    // SAFETY: as above
    unsafe { sys::rd_kafka_TopicDescription_partitions(*topic, &mut count) };
    (error.code == raw::OK).then(|| i32::try_from(count).unwrap_or(i32::MAX))
}

/// The group that was asked for.
fn described(event: &Event, topic: &str) -> Option<Described> {
    // SAFETY: an answer to the only other call; the result lives as long as the event
    let result = unsafe { sys::rd_kafka_event_DescribeConsumerGroups_result(event.ptr()) };
    if result.is_null() {
        return None;
    }
    let group = *results!(rd_kafka_DescribeConsumerGroups_result_groups, result).first()?;
    // SAFETY: the description lives as long as the event
    let (error, state, count) = unsafe {
        (
            NativeError::read(sys::rd_kafka_ConsumerGroupDescription_error(group)),
            sys::rd_kafka_ConsumerGroupDescription_state(group),
            sys::rd_kafka_ConsumerGroupDescription_member_count(group),
        )
    };
    if error.code != raw::OK {
        return None;
    }
    let mut all = Described {
        stable: state == sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE,
        first: None,
        owned: Vec::new(),
    };
    for at in 0..count {
        // SAFETY: the index is below the count; what is lent lives as long as the event, and is copied
        unsafe {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, at);
            let id = raw::text(sys::rd_kafka_MemberDescription_consumer_id(member));
            if all.first.as_ref().is_none_or(|first| id < *first) {
                all.first = Some(id);
            }
            let assignment = sys::rd_kafka_MemberDescription_assignment(member);
            let list = match assignment.is_null() {
                true => std::ptr::null(),
                false => sys::rd_kafka_MemberAssignment_partitions(assignment),
            };
            let of_topic = elements(list).iter().filter(|place| raw::text(place.topic) == topic);
            all.owned.extend(of_topic.map(|place| place.partition));
        }
    }
    Some(all)
}
