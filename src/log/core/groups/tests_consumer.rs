//! Consumer groups (KIP-848): epochs, reconciliation, fencing; a random run checks that no partition has two owners.

use super::*;
use crate::log::core::{ConfigChange, CoreConfig, MemoryStorage};

const T0: i64 = 1_700_000_000_000;

/// A client: what it believes, as a real one would.
#[derive(Default, Clone)]
struct Client {
    id: String,
    epoch: i32,
    instance: Option<String>,
    owned: Vec<(u128, Vec<i32>)>,
}

struct World {
    core: Core,
    now_ms: i64,
}

impl World {
    fn new(partitions: i32) -> World {
        let mut core = Core::open(Box::<MemoryStorage>::default(), CoreConfig::default(), T0)
            .unwrap()
            .0;
        core.create_topic("t", partitions, BTreeMap::new()).unwrap();
        World { core, now_ms: T0 }
    }

    /// A heartbeat that says everything; the client takes over what it is told.
    fn beat(&mut self, client: &mut Client) -> Result<Option<usize>> {
        let beat = Heartbeat {
            group: "g".into(),
            member_id: client.id.clone(),
            member_epoch: client.epoch,
            instance_id: client.instance.clone(),
            client_id: "c".into(),
            rebalance_timeout_ms: Some(5_000),
            subscribed: Some(vec!["t".into()]),
            assignor: None,
            owned: Some(client.owned.clone()),
        };
        let answer = self.core.consumer_heartbeat(beat, self.now_ms)?;
        client.id = answer.member_id;
        client.epoch = answer.member_epoch;
        Ok(answer.assignment.map(|assignment| {
            client.owned = assignment;
            count(client)
        }))
    }

    fn join(&mut self, id: &str) -> Client {
        let mut client = Client {
            id: id.into(),
            ..Client::default()
        };
        self.beat(&mut client).unwrap();
        client
    }

    fn leave(&mut self, client: &Client, epoch: i32) -> Result<()> {
        let beat = Heartbeat {
            group: "g".into(),
            member_id: client.id.clone(),
            member_epoch: epoch,
            instance_id: client.instance.clone(),
            ..Heartbeat::default()
        };
        self.core.consumer_heartbeat(beat, self.now_ms).map(|_| ())
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.core.tick(self.now_ms);
    }

    fn state(&self) -> &'static str {
        self.core.group("g").unwrap().state_name()
    }
}

fn count(client: &Client) -> usize {
    client.owned.iter().map(|(_, partitions)| partitions.len()).sum()
}

#[test]
fn a_partition_is_given_only_after_it_was_given_back() {
    let mut world = World::new(4);
    let mut a = world.join("a");
    assert_eq!((a.epoch, count(&a)), (1, 4));
    assert_eq!(world.state(), "Stable");
    let mut b = world.join("b");
    assert_eq!((b.epoch, count(&b)), (2, 0), "everything is still with a");
    // a is told to give two back, and keeps its epoch until it has.
    let before = a.clone();
    assert_eq!(world.beat(&mut a), Ok(Some(2)));
    assert_eq!(a.epoch, 1);
    assert_eq!(world.state(), "Reconciling");
    let mut slow = Client {
        epoch: a.epoch,
        ..before
    };
    world.beat(&mut slow).unwrap();
    world.beat(&mut b).unwrap();
    assert_eq!(count(&b), 0, "a still has them");
    // Now it has given them back.
    world.beat(&mut a).unwrap();
    assert_eq!((a.epoch, count(&a)), (2, 2));
    world.beat(&mut b).unwrap();
    assert_eq!(count(&b), 2);
    assert_eq!(world.state(), "Stable");
    // And back again when b leaves.
    world.leave(&b, consumer::LEAVE_EPOCH).unwrap();
    world.beat(&mut a).unwrap();
    assert_eq!((a.epoch, count(&a)), (3, 4));
}

#[test]
fn epochs_of_the_past_and_future_are_fenced() {
    let mut world = World::new(2);
    let mut a = world.join("a");
    let mut b = world.join("b");
    world.beat(&mut a).unwrap();
    world.beat(&mut a).unwrap();
    world.beat(&mut b).unwrap();
    assert_eq!((a.epoch, b.epoch), (2, 2));
    let ahead = world.beat(&mut Client { epoch: 9, ..a.clone() });
    assert_eq!(ahead, Err(ErrorCode::FencedMemberEpoch));
    // The answer with epoch 2 may have been lost: epoch 1 is still believed, with what it had then.
    assert!(world.beat(&mut Client { epoch: 1, ..a.clone() }).is_ok());
    let stranger = world.beat(&mut Client {
        id: "x".into(),
        epoch: 2,
        ..Client::default()
    });
    assert_eq!(stranger, Err(ErrorCode::UnknownMemberId));
}

#[test]
fn commits_need_the_members_epoch() {
    let mut world = World::new(2);
    let a = world.join("a");
    let check = |world: &mut World, epoch, transactional: bool| {
        let member = GroupMember {
            member_id: a.id.clone(),
            instance_id: None,
            epoch,
        };
        if transactional {
            world.core.check_txn_member("g", &member)
        } else {
            world
                .core
                .commit_offsets("g", &member, vec![OffsetEntry::new("t", 0, 1)], T0)
        }
    };
    assert_eq!(check(&mut world, a.epoch, false), Ok(()));
    assert_eq!(check(&mut world, a.epoch + 1, false), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(check(&mut world, a.epoch, true), Ok(()));
    assert_eq!(check(&mut world, a.epoch - 1, true), Err(ErrorCode::IllegalGeneration));
    world.leave(&a, consumer::LEAVE_EPOCH).unwrap();
    assert_eq!(check(&mut world, a.epoch, true), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn silent_members_and_those_that_give_nothing_back_are_taken_out() {
    let mut world = World::new(4);
    let mut a = world.join("a");
    let mut b = world.join("b");
    world.beat(&mut a).unwrap();
    // a was told to give back, keeps saying that it is alive, and gives nothing back.
    let all = vec![(a.owned[0].0, vec![0, 1, 2, 3])];
    for _ in 0..4 {
        world.pass(1_300);
        // The last of these comes when it is out already.
        let alive = world.beat(&mut Client {
            owned: all.clone(),
            ..a.clone()
        });
        assert!(alive.is_ok() || alive == Err(ErrorCode::UnknownMemberId));
        world.beat(&mut b).unwrap();
    }
    assert_eq!(world.beat(&mut a), Err(ErrorCode::UnknownMemberId));
    world.beat(&mut b).unwrap();
    assert_eq!(count(&b), 4);
    world.pass(10_000);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let mut world = World::new(4);
    let mut a = Client {
        id: "a".into(),
        instance: Some("i".into()),
        ..Client::default()
    };
    world.beat(&mut a).unwrap();
    let mut b = world.join("b");
    for _ in 0..3 {
        world.beat(&mut a).unwrap();
        world.beat(&mut b).unwrap();
    }
    let theirs = b.owned.clone();
    let mine = a.owned.clone();
    let mut twin = Client {
        id: "twin".into(),
        instance: Some("i".into()),
        ..Client::default()
    };
    assert_eq!(world.beat(&mut twin), Err(ErrorCode::UnreleasedInstanceId));
    world.leave(&a, consumer::LEAVE_STATIC_EPOCH).unwrap();
    world.beat(&mut b).unwrap();
    assert_eq!(b.owned, theirs, "nothing moves");
    world.beat(&mut twin).unwrap();
    assert_eq!(twin.owned, mine);
    let zombie = world.beat(&mut Client { id: "a".into(), ..a });
    assert_eq!(zombie, Err(ErrorCode::FencedInstanceId));
}

#[test]
fn new_partitions_and_topics_are_noticed() {
    let mut world = World::new(1);
    let mut a = world.join("a");
    assert_eq!(count(&a), 1);
    world.core.create_partitions("t", 3, false).unwrap();
    world.beat(&mut a).unwrap();
    assert_eq!((a.epoch, count(&a)), (2, 3));
    world.core.delete_topic("t").unwrap();
    a.owned.clear();
    world.beat(&mut a).unwrap();
    assert_eq!(count(&a), 0);
    world.core.create_topic("t", 2, BTreeMap::new()).unwrap();
    world.beat(&mut a).unwrap();
    assert_eq!(count(&a), 2);
    let unrelated = ConfigChange::Set("retention.ms".into(), "5".into());
    world.core.alter_topic_config("t", &[unrelated], false).unwrap();
    assert_eq!(world.beat(&mut a).map(|_| a.epoch), Ok(a.epoch));
}

#[test]
fn the_two_kinds_of_groups_do_not_mix() {
    let mut world = World::new(1);
    let a = world.join("a");
    let classic = JoinRequest {
        group: "g".into(),
        member_id: String::new(),
        instance_id: None,
        client_id: "c".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), bytes::Bytes::new())],
        wants_id_first: false,
    };
    let refused = world.core.join_group(1, classic.clone(), T0);
    assert_eq!(refused, Err(ErrorCode::InconsistentGroupProtocol));
    world.leave(&a, consumer::LEAVE_EPOCH).unwrap();
    world.core.join_group(2, classic, T0).unwrap();
    assert_eq!(world.core.group("g").unwrap().type_name(), "Classic");
    let mut b = Client {
        id: "b".into(),
        ..Client::default()
    };
    assert_eq!(world.beat(&mut b), Err(ErrorCode::GroupIdNotFound));
}

#[test]
fn an_unknown_assignor_is_refused() {
    let mut world = World::new(1);
    let beat = Heartbeat {
        group: "g".into(),
        member_id: "a".into(),
        subscribed: Some(vec!["t".into()]),
        assignor: Some("best".into()),
        ..Heartbeat::default()
    };
    assert_eq!(
        world.core.consumer_heartbeat(beat, T0).unwrap_err(),
        ErrorCode::UnsupportedAssignor
    );
}

/// Clients join, leave, die and lag behind at random; what clients believe to own never overlaps, and in the end
/// everything is owned.
#[test]
fn no_partition_ever_has_two_owners() {
    for seed in 1..60u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % n
        };
        let mut world = World::new(7);
        let mut clients: Vec<Client> = Vec::new();
        for step in 0..200 {
            world.pass(dice(400) as i64);
            match dice(8) {
                0 if clients.len() < 5 => clients.push(world.join(&format!("m{step}"))),
                1 if clients.len() > 1 => {
                    let gone = clients.swap_remove(dice(clients.len() as u64) as usize);
                    // Half of them die without a word: their partitions stay theirs until the session ends.
                    if dice(2) == 0 {
                        world.leave(&gone, consumer::LEAVE_EPOCH).unwrap();
                    }
                }
                _ => {}
            }
            for client in &mut clients {
                if dice(3) > 0 && world.beat(client).is_err() {
                    // Fenced: it drops what it has and joins anew.
                    *client = Client {
                        id: client.id.clone(),
                        ..Client::default()
                    };
                    world.beat(client).unwrap();
                }
            }
            check_no_overlap(&clients, seed, step);
        }
        if clients.is_empty() {
            clients.push(world.join("last"));
        }
        for _ in 0..40 {
            world.pass(1_000);
            for client in &mut clients {
                if world.beat(client).is_err() {
                    *client = Client {
                        id: client.id.clone(),
                        ..Client::default()
                    };
                    world.beat(client).unwrap();
                }
            }
        }
        check_no_overlap(&clients, seed, -1);
        assert_eq!(clients.iter().map(count).sum::<usize>(), 7, "seed {seed}");
        assert_eq!(world.state(), "Stable", "seed {seed}");
    }
}

fn check_no_overlap(clients: &[Client], seed: u64, step: i32) {
    let mut all: Vec<i32> = clients
        .iter()
        .flat_map(|c| c.owned.iter().flat_map(|(_, p)| p.clone()))
        .collect();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "seed {seed} step {step}: a partition with two owners");
}
