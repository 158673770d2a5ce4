//! Classic groups: joining, assigning, leaving, static members, time-outs.

use super::*;
use crate::log::core::{CoreConfig, MemoryStorage, Output};
use bytes::Bytes;

const T0: i64 = 1_700_000_000_000;
const SESSION: i64 = 10_000;
const REBALANCE: i64 = 30_000;

/// A core, and the answers that came out of it by token.
struct World {
    core: Core,
    now_ms: i64,
    joined: BTreeMap<u64, Result<JoinAnswer>>,
    synced: BTreeMap<u64, Result<SyncAnswer>>,
    token: u64,
}

impl World {
    fn new() -> World {
        let storage = Box::<MemoryStorage>::default();
        let core = Core::open(storage, CoreConfig::default(), T0).unwrap().0;
        World {
            core,
            now_ms: T0,
            joined: BTreeMap::new(),
            synced: BTreeMap::new(),
            token: 0,
        }
    }

    fn drain(&mut self) {
        for output in self.core.take_outputs() {
            match output {
                Output::Joined { token, answer } => assert!(self.joined.insert(token, answer).is_none()),
                Output::Synced { token, answer } => assert!(self.synced.insert(token, answer).is_none()),
                Output::Advanced { .. } => {}
            }
        }
    }

    fn request(member: &str, instance: Option<&str>, metadata: &str) -> JoinRequest {
        JoinRequest {
            group: "g".into(),
            member_id: member.into(),
            instance_id: instance.map(str::to_string),
            client_id: "c".into(),
            session_timeout_ms: SESSION,
            rebalance_timeout_ms: REBALANCE,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::from(metadata.to_string()))],
            wants_id_first: false,
        }
    }

    fn join_with(&mut self, request: JoinRequest) -> Result<u64> {
        self.token += 1;
        let token = self.token;
        let done = self.core.join_group(token, request, self.now_ms);
        self.drain();
        done.map(|()| token)
    }

    fn join(&mut self, member: &str, instance: Option<&str>) -> Result<u64> {
        self.join_with(World::request(member, instance, "m"))
    }

    fn joined(&mut self, token: u64) -> JoinAnswer {
        self.joined.remove(&token).expect("an answer").unwrap()
    }

    fn sync(&mut self, member: &str, epoch: i32, assignments: &[(&str, &str)]) -> Result<u64> {
        self.token += 1;
        let token = self.token;
        let member = GroupMember {
            member_id: member.into(),
            instance_id: None,
            epoch,
        };
        let bytes = |(id, a): &(&str, &str)| (id.to_string(), Bytes::from(a.to_string()));
        let assignments = assignments.iter().map(bytes).collect();
        let done = self.core.sync_group(
            token,
            SyncRequest {
                group: "g".into(),
                member,
                assignments,
            },
            self.now_ms,
        );
        self.drain();
        done.map(|()| token)
    }

    fn beat(&mut self, member: &str, epoch: i32) -> Result<()> {
        let member = GroupMember {
            member_id: member.into(),
            instance_id: None,
            epoch,
        };
        self.core.heartbeat("g", &member, self.now_ms)
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.core.tick(self.now_ms);
        self.drain();
    }

    /// Two members, `a` leading, both with an assignment. Returns their ids and the generation.
    fn two(&mut self) -> (String, String, i32) {
        let first = self.join("", None).unwrap();
        let a = self.joined(first).member_id;
        let b = self.join("", None).unwrap();
        assert_eq!(self.beat(&a, 1), Err(ErrorCode::RebalanceInProgress));
        let again = self.join(&a, None).unwrap();
        let (answer_a, answer_b) = (self.joined(again), self.joined(b));
        let b = answer_b.member_id.clone();
        assert_eq!(
            (answer_a.leader.as_str(), answer_b.leader.as_str()),
            (a.as_str(), a.as_str())
        );
        assert_eq!((answer_a.members.len(), answer_b.members.len()), (2, 0));
        let generation = answer_a.generation;
        let wait = self.sync(&b, generation, &[]).unwrap();
        assert!(self.synced.is_empty());
        let lead = self.sync(&a, generation, &[(&a, "for a"), (&b, "for b")]).unwrap();
        assert_eq!(self.synced.remove(&lead).unwrap().unwrap().assignment, "for a");
        assert_eq!(self.synced.remove(&wait).unwrap().unwrap().assignment, "for b");
        (a, b, generation)
    }

    fn state(&self) -> &'static str {
        self.core.group("g").unwrap().state_name()
    }
}

#[test]
fn members_join_are_assigned_and_heartbeat() {
    let mut world = World::new();
    let (a, b, generation) = world.two();
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.beat(&a, generation), Ok(()));
    assert_eq!(world.beat(&b, generation - 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.beat("stranger", generation), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_new_member_is_given_its_id_first() {
    let mut world = World::new();
    let wants = |id: &str| JoinRequest {
        wants_id_first: true,
        ..World::request(id, None, "m")
    };
    let token = world.join_with(wants("")).unwrap();
    let answer = world.joined(token);
    assert_eq!(answer.error, Some(ErrorCode::MemberIdRequired));
    assert_eq!(world.join_with(wants("made-up")), Err(ErrorCode::UnknownMemberId));
    let token = world.join_with(wants(&answer.member_id)).unwrap();
    assert_eq!(world.joined(token).member_id, answer.member_id);
}

#[test]
fn a_member_that_falls_silent_is_out() {
    let mut world = World::new();
    let (a, b, generation) = world.two();
    world.pass(SESSION - 1);
    assert_eq!(world.beat(&a, generation), Ok(()));
    world.pass(1);
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.beat(&b, generation), Err(ErrorCode::UnknownMemberId));
    let token = world.join(&a, None).unwrap();
    assert_eq!(world.joined(token).members.len(), 1);
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_out() {
    let mut world = World::new();
    let (a, b, generation) = world.two();
    let long = JoinRequest {
        session_timeout_ms: 1_000_000,
        ..World::request(&a, None, "news")
    };
    let token = world.join_with(long).unwrap();
    for _ in 0..(REBALANCE / 5_000 - 1) {
        world.pass(5_000);
        assert_eq!(world.beat(&b, generation), Err(ErrorCode::RebalanceInProgress));
    }
    assert!(world.joined.is_empty());
    world.pass(5_000);
    assert_eq!(world.joined(token).members.len(), 1);
}

#[test]
fn a_leader_that_never_assigns_is_replaced() {
    let mut world = World::new();
    let request = |id: &str| JoinRequest {
        session_timeout_ms: 1_000_000,
        ..World::request(id, None, "m")
    };
    let token = world.join_with(request("")).unwrap();
    let answer = world.joined(token);
    assert_eq!(world.state(), "CompletingRebalance");
    world.pass(REBALANCE);
    assert_eq!(world.state(), "Empty");
    assert_eq!(
        world.beat(&answer.member_id, answer.generation),
        Err(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn leaving_gives_the_rest_a_new_generation() {
    let mut world = World::new();
    let (a, b, generation) = world.two();
    world.core.leave_group("g", &b, None, world.now_ms).unwrap();
    assert_eq!(world.beat(&a, generation), Err(ErrorCode::RebalanceInProgress));
    let token = world.join(&a, None).unwrap();
    assert_eq!(world.joined(token).generation, generation + 1);
    world.core.leave_group("g", &a, None, world.now_ms).unwrap();
    assert_eq!(world.state(), "Empty");
    assert_eq!(
        world.core.leave_group("g", &a, None, world.now_ms),
        Err(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn protocols_have_to_fit() {
    let mut world = World::new();
    world.two();
    let other = |kind: &str, name: &str| JoinRequest {
        protocol_type: kind.into(),
        protocols: vec![(name.into(), Bytes::new())],
        ..World::request("", None, "")
    };
    assert_eq!(
        world.join_with(other("consumer", "sticky")),
        Err(ErrorCode::InconsistentGroupProtocol)
    );
    assert_eq!(
        world.join_with(other("connect", "range")),
        Err(ErrorCode::InconsistentGroupProtocol)
    );
    let none = JoinRequest {
        protocols: Vec::new(),
        ..World::request("", None, "")
    };
    assert_eq!(world.join_with(none), Err(ErrorCode::InconsistentGroupProtocol));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_old_self() {
    let mut world = World::new();
    let token = world.join("", Some("i1")).unwrap();
    let old = world.joined(token);
    world
        .sync(&old.member_id, old.generation, &[(&old.member_id, "mine")])
        .unwrap();
    let token = world.join("", Some("i1")).unwrap();
    let new = world.joined(token);
    assert_eq!(new.generation, old.generation);
    assert_ne!(new.member_id, old.member_id);
    // It is not told that it leads, so it asks for its assignment instead of making a new one.
    assert_ne!(new.leader, new.member_id);
    let token = world.sync(&new.member_id, new.generation, &[]).unwrap();
    assert_eq!(world.synced.remove(&token).unwrap().unwrap().assignment, "mine");
    let zombie = GroupMember {
        member_id: old.member_id.clone(),
        instance_id: Some("i1".into()),
        epoch: old.generation,
    };
    assert_eq!(world.core.heartbeat("g", &zombie, T0), Err(ErrorCode::FencedInstanceId));
    assert_eq!(world.join(&old.member_id, Some("i1")), Err(ErrorCode::FencedInstanceId));
    // With another subscription it does need a rebalance.
    let changed = world
        .join_with(World::request("", Some("i1"), "another subscription"))
        .unwrap();
    assert_eq!(world.joined(changed).generation, old.generation + 1);
}

#[test]
fn a_second_join_of_the_same_member_takes_the_first_ones_place() {
    let mut world = World::new();
    let (a, _b, _) = world.two();
    let news = |text: &str| World::request(&a, None, text);
    let first = world.join_with(news("1")).unwrap();
    let second = world.join_with(news("2")).unwrap();
    assert_eq!(
        world.joined.remove(&first).unwrap(),
        Err(ErrorCode::RebalanceInProgress)
    );
    assert!(!world.joined.contains_key(&second));
}

#[test]
fn commits_are_checked_against_the_generation() {
    let mut world = World::new();
    world.core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let (a, _, generation) = world.two();
    let mut commit = |member: &str, epoch, offset| {
        let member = GroupMember {
            member_id: member.into(),
            instance_id: None,
            epoch,
        };
        world
            .core
            .commit_offsets("g", &member, vec![OffsetEntry::new("t", 0, offset)], T0)
    };
    assert_eq!(commit(&a, generation, 5), Ok(()));
    assert_eq!(commit(&a, generation - 1, 6), Err(ErrorCode::IllegalGeneration));
    assert_eq!(commit("stranger", generation, 6), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit("", -1, 6), Err(ErrorCode::UnknownMemberId));
    assert_eq!(
        world.core.committed_offset("g", "t", 0, true).unwrap().unwrap().offset,
        5
    );
    assert_eq!(world.core.delete_group("g"), Err(ErrorCode::NonEmptyGroup));
}

#[test]
fn a_transaction_commits_offsets_only_for_a_live_member() {
    let mut world = World::new();
    let (a, b, generation) = world.two();
    let (id, epoch) = world.core.init_producer_id(Some("x"), 60_000, None, T0).unwrap();
    let producer = crate::log::core::ProducerIdentity {
        id,
        epoch,
        transactional_id: Some("x".into()),
        sequence: None,
    };
    world.core.add_offsets_to_txn(&producer, "g", T0).unwrap();
    let commit = |world: &mut World, member: &str, epoch| {
        let member = GroupMember {
            member_id: member.into(),
            instance_id: None,
            epoch,
        };
        world
            .core
            .commit_txn_offsets(&producer, "g", &member, vec![OffsetEntry::new("t", 0, 1)])
    };
    assert_eq!(commit(&mut world, &a, generation), Ok(()));
    assert_eq!(
        commit(&mut world, &a, generation - 1),
        Err(ErrorCode::IllegalGeneration)
    );
    world.core.leave_group("g", &b, None, T0).unwrap();
    assert_eq!(commit(&mut world, &b, generation), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn after_a_restart_members_are_strangers_and_generations_go_on() {
    let storage = MemoryStorage::default();
    let open = || {
        Core::open(Box::new(storage.clone()), CoreConfig::default(), T0)
            .unwrap()
            .0
    };
    let mut world = World {
        core: open(),
        ..World::new()
    };
    let (a, _, generation) = world.two();
    world.core = open();
    assert_eq!(world.beat(&a, generation), Err(ErrorCode::UnknownMemberId));
    let token = world.join("", None).unwrap();
    let answer = world.joined(token);
    assert!(answer.generation > generation);
    assert_ne!(answer.member_id, a, "ids are not used twice");
}
