//! Groups: members that share tasks, and a broker that is away.

use std::net::{SocketAddr, TcpListener};

use super::*;
use crate::patience::{PATIENCE, within};

/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(200);

/// A member with what it has been told.
struct Worker {
    membership: Box<dyn Membership>,
    owned: BTreeSet<i32>,
    revoked: Vec<i32>,
    lost: Vec<i32>,
}

impl Worker {
    fn join(log: &KafkaLog, group: &str, tasks: &str, instance: Option<&str>) -> Self {
        let config = MembershipConfig {
            group: group.into(),
            tasks_topic: tasks.into(),
            instance_id: instance.map(Into::into),
        };
        Self {
            membership: log.membership(&config).expect("a member"),
            owned: BTreeSet::new(),
            revoked: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn poll(&mut self) {
        let events = self.membership.poll().expect("poll");
        events.into_iter().for_each(|event| self.on_event(event));
    }

    fn on_event(&mut self, event: MembershipEvent) {
        match event {
            MembershipEvent::Assigned(tasks) => self.owned.extend(tasks),
            MembershipEvent::Revoked(tasks) => self.revoked.extend(tasks),
            MembershipEvent::Lost(tasks) => {
                self.owned.retain(|task| !tasks.contains(task));
                self.lost.extend(tasks);
            }
        }
    }

    fn release(&mut self) {
        let tasks = std::mem::take(&mut self.revoked);
        self.owned.retain(|task| !tasks.contains(task));
        self.membership.release(&tasks).expect("released");
    }

    fn metadata(&self) -> GroupMetadata {
        self.membership.metadata().expect("metadata")
    }
}

fn poll_until(workers: &mut [&mut Worker], what: &str, done: impl Fn(&[&mut Worker]) -> bool) {
    let found = within(LONG, || {
        workers.iter_mut().for_each(|worker| worker.poll());
        done(workers).then_some(())
    });
    assert!(
        found.is_some(),
        "{what}: {:?}",
        workers.iter().map(|w| (&w.owned, &w.revoked)).collect::<Vec<_>>()
    );
}

/// Tasks move only after their release, and a worker that has lost them cannot commit.
fn members_share_tasks(properties: &[(&str, &str)]) {
    let setup = Setup::new();
    let (tasks, input) = (setup.topic("tasks", 4, &[]), setup.topic("input", 4, &[]));
    let group = setup.name("group");
    let logs = [connect(&setup.broker, properties), connect(&setup.broker, properties)];
    let mut a = Worker::join(&logs[0], &group, &tasks, None);
    poll_until(&mut [&mut a], "the first takes all", |w| w[0].owned.len() == 4);
    assert_eq!(setup.log.admin().group_members(&group).expect("answer"), 1);

    let mut b = Worker::join(&logs[1], &group, &tasks, None);
    poll_until(&mut [&mut a, &mut b], "two are asked back", |w| w[0].revoked.len() == 2);
    let moved = within(A_WHILE, || {
        a.poll();
        b.poll();
        (!b.owned.is_empty()).then_some(())
    });
    assert!(moved.is_none(), "a task moved before it was released");
    // what is not released yet may still be committed
    let tp = TopicPartition::new(input.as_str(), a.revoked[0]);
    let mut producer = setup.transactions("a");
    producer.begin().expect("begun");
    producer
        .send_offsets(&[(tp.clone(), 5)], &a.metadata(), WAIT)
        .expect("still a member");
    producer.commit(WAIT).expect("committed");
    a.release();
    poll_until(&mut [&mut a, &mut b], "the second has them", |w| w[1].owned.len() == 2);
    assert!(a.owned.is_disjoint(&b.owned) && a.lost.is_empty());
    assert_eq!(
        setup
            .log
            .admin()
            .committed(&group, std::slice::from_ref(&tp))
            .expect("answer"),
        [Some(5)]
    );

    let old = a.metadata();
    a.membership.close();
    poll_until(&mut [&mut b], "the second takes all", |w| w[0].owned.len() == 4);
    producer.begin().expect("begun");
    let refused = producer
        .send_offsets(&[(tp.clone(), 9)], &old, WAIT)
        .and_then(|()| producer.commit(WAIT));
    assert!(
        matches!(refused, Err(LogError::Abort(_) | LogError::Fenced(_))),
        "{refused:?}"
    );
    if matches!(refused, Err(LogError::Abort(_))) {
        producer.abort(WAIT).expect("aborted");
    }
    assert_eq!(setup.log.admin().committed(&group, &[tp]).expect("answer"), [Some(5)]);
    assert!(
        setup
            .log
            .admin()
            .set_committed(&group, &[(TopicPartition::new(input.as_str(), 0), 1)])
            .is_err(),
        "a group with members"
    );
}

#[test]
fn members_of_the_classic_protocol_share_tasks() {
    members_share_tasks(&[]);
}

#[test]
fn members_of_the_consumer_protocol_share_tasks() {
    if let Some(version) = std::env::var_os("MILLSTREAM_TEST_KAFKA_VERSION")
        && version.to_string_lossy().starts_with("3.")
    {
        println!("skipped: KIP-848 is a preview in {}", version.to_string_lossy());
        return;
    }
    members_share_tasks(&[("group.protocol", "consumer")]);
}

#[test]
fn a_static_member_finds_its_tasks_again() {
    let setup = Setup::new();
    let tasks = setup.topic("tasks", 3, &[]);
    let group = setup.name("group");
    let mut first = Worker::join(&setup.log, &group, &tasks, Some("instance-0"));
    poll_until(&mut [&mut first], "all tasks", |w| w[0].owned.len() == 3);
    first.membership.close();
    drop(first);
    assert_eq!(
        setup.log.admin().group_members(&group).expect("answer"),
        1,
        "a static member keeps its place"
    );
    let started = Instant::now();
    let mut again = Worker::join(&setup.log, &group, &tasks, Some("instance-0"));
    poll_until(&mut [&mut again], "all tasks again", |w| w[0].owned.len() == 3);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "waited for the old session: {:?}",
        started.elapsed()
    );
}

/// A member is killed after it was asked to give tasks back and before it joined again, and is started anew: its assignment has them no more, the others have not got
/// them, and the classic protocol sees no reason for a rebalance.
#[test]
fn tasks_that_a_killed_member_had_to_give_back_are_given_out() {
    let setup = Setup::new();
    let (tasks, group) = (setup.topic("tasks", 4, &[]), setup.name("group"));
    let join = |instance: &str| Worker::join(&setup.log, &group, &tasks, Some(instance));
    let mut killed = join("a");
    poll_until(&mut [&mut killed], "the first takes all", |w| w[0].owned.len() == 4);
    let mut b = join("b");
    poll_until(&mut [&mut killed, &mut b], "two are asked back", |w| {
        w[0].revoked.len() == 2
    });
    // from here on it is heard no more: another one has its place
    let mut members = [b, join("a")];
    let found = within(PATIENCE, || {
        for (member, instance) in members.iter_mut().zip(["b", "a"]) {
            match member.membership.poll() {
                Ok(events) => events.into_iter().for_each(|event| member.on_event(event)),
                // as workers do
                Err(LogError::Fenced(_)) => *member = join(instance),
                Err(error) => panic!("{error}"),
            }
            member.release();
        }
        let owned: BTreeSet<i32> = members.iter().flat_map(|member| &member.owned).copied().collect();
        (owned.len() == 4).then_some(())
    });
    let owned: Vec<_> = members.iter().map(|member| &member.owned).collect();
    assert!(found.is_some(), "tasks were left to nobody: {owned:?}");
}

#[test]
fn a_broker_that_is_away_holds_nobody_up() {
    let started = Instant::now();
    let settings = KafkaSettings {
        bootstrap_servers: "127.0.0.1:1".into(),
        client_id: "away".into(),
        properties: Vec::new(),
    };
    let log = KafkaLog::new(settings).expect("valid settings");
    let config = MembershipConfig {
        group: "g".into(),
        tasks_topic: "t".into(),
        instance_id: None,
    };
    let mut member = log.membership(&config).expect("a member");
    assert!(member.poll().expect("nothing happens").is_empty());
    let mut producer = log.transactional_producer("t").expect("a producer");
    let result = producer.init(Duration::from_millis(200));
    assert!(matches!(result, Err(LogError::Retry(_))), "{result:?}");
    let mut fetcher = log
        .fetcher(&FetcherConfig {
            committed_only: true,
            buffer_bytes: 1 << 20,
        })
        .expect("a fetcher");
    fetcher.assign(0, &TopicPartition::new("t", 0), 0).expect("assigned");
    assert_eq!(
        fetcher
            .poll(10, Duration::from_millis(100), &mut |_| panic!("a record"))
            .expect("nothing"),
        0
    );
    log.shutdown();
    assert!(matches!(log.admin().list_topics(), Err(LogError::Retry(_))));
    member.close();
    drop((member, producer, fetcher, log));
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "took {:?}",
        started.elapsed()
    );
}

/// A log on a port where nobody listens yet.
fn before_the_broker() -> (KafkaLog, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let settings = KafkaSettings {
        bootstrap_servers: address.to_string(),
        client_id: "early".into(),
        properties: Vec::new(),
    };
    (KafkaLog::new(settings).expect("valid settings"), address)
}

/// librdkafka 2.12 uses such a question after it has freed it.
#[test]
fn a_question_that_was_given_up_harms_nobody_when_its_coordinator_is_found() {
    let (log, address) = before_the_broker();
    let tp = TopicPartition::new("t", 0);
    let ask = || log.admin().committed("g", std::slice::from_ref(&tp));
    let given_up = ask();
    assert!(matches!(given_up, Err(LogError::Retry(_))), "{given_up:?}");
    let _broker = TestBroker::embedded(address);
    until("an answer", || ask().is_ok_and(|offsets| offsets == [None]));
}

#[test]
fn a_question_that_was_given_up_harms_nobody_when_its_leaders_are_found() {
    let (log, address) = before_the_broker();
    let tp = TopicPartition::new("t", 0);
    let ask = || log.admin().offset_for_time(&tp, 0);
    let given_up = ask();
    assert!(matches!(given_up, Err(LogError::Retry(_))), "{given_up:?}");
    let _broker = TestBroker::embedded(address);
    let topic = NewTopic {
        name: "t".into(),
        partitions: 1,
        replicas: 1,
        config: Vec::new(),
    };
    until("the topic", || {
        log.admin().create_topics(std::slice::from_ref(&topic)).is_ok()
    });
    until("an answer", || ask().is_ok_and(|offset| offset == 0));
}
