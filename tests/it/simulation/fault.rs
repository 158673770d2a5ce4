//! What can go wrong in a world, as plain data: each fault strikes one process or one part of the cluster, at a moment that the scenario says.

use millstream::log::sim::{CallFault, Part, Rng};
use serde::{Deserialize, Serialize};

use super::world::{Pause, World};

/// A fault. `who` is a process, `nth` one of several, both modulo how many there are; `ms` are milliseconds of virtual time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// The process dies between two steps.
    Crash {
        who: usize,
    },
    /// It dies in a call to the cluster, before or after the effect.
    CrashAtCall {
        who: usize,
        calls: usize,
        after: bool,
    },
    /// It dies in a write of a store, before or after it; what was not flushed is lost in part.
    CrashInWrite {
        who: usize,
        writes: usize,
        after: bool,
    },
    LostRequest {
        who: usize,
        calls: usize,
    },
    LostAnswer {
        who: usize,
        calls: usize,
    },
    LateRequest {
        who: usize,
        calls: usize,
        ms: i64,
    },
    LateAnswer {
        who: usize,
        calls: usize,
        ms: i64,
    },
    /// The process does nothing for a while, and goes on: a zombie, where others have its tasks by then.
    Pause {
        who: usize,
        ms: i64,
    },
    /// Nobody does anything for a while.
    Standstill {
        ms: i64,
    },
    GroupsAway {
        ms: i64,
    },
    TransactionsAway {
        ms: i64,
    },
    ClusterAway {
        ms: i64,
    },
    PartitionAway {
        nth: usize,
        ms: i64,
    },
    SlowDisk {
        who: usize,
        each: i64,
        ms: i64,
    },
    FullDisk {
        who: usize,
        ms: i64,
    },
    FailedWrite {
        who: usize,
        writes: usize,
    },
    /// The files of a store are damaged.
    Damage {
        who: usize,
        nth: usize,
    },
    /// The process dies, and its disk with it.
    LostDisk {
        who: usize,
    },
    /// The group gives a member up.
    Expel {
        nth: usize,
    },
    /// The clock of a process jumps.
    Clock {
        who: usize,
        ms: i64,
    },
    /// One more process.
    Join,
    /// A process stops in good order; it comes back after a while, or never.
    Leave {
        who: usize,
        ms: Option<i64>,
    },
    RegistryAway {
        ms: i64,
    },
}

/// Processes that a world has at most.
const MOST_PROCESSES: usize = 5;

/// Kinds that a run of many seeds has to have survived, as [`millstream::log::sim::SimLog::struck`] counts them.
pub const KINDS: [&str; 27] = [
    "broker away",
    "clock of a process jumps back",
    "clock of a process jumps forward",
    "corrupted store",
    "crash at a call",
    "crash between steps",
    "failed store write",
    "fenced by a successor or a time-out",
    "full disk",
    "group coordinator gone",
    "instance joins",
    "instance leaves and comes back",
    "instance leaves for good",
    "late answer",
    "late request",
    "lost answer",
    "lost disk",
    "lost request",
    "member expelled, group rebalanced",
    "nobody does anything for a while",
    "partition unavailable",
    "registry away",
    "slow disk",
    "torn store write",
    "transaction coordinator gone",
    "transaction time-out",
    "zombie that wakes up",
];

impl Fault {
    /// Some fault.
    pub fn any(rng: &mut Rng) -> Self {
        let who = rng.below(6);
        let calls = rng.below(40);
        let short = 20 + rng.below(3_000) as i64;
        // about as long as sessions and transactions live, and longer
        let long = 5_000 + rng.below(20_000) as i64;
        match rng.below(26) {
            0 => Fault::Crash { who },
            1 | 2 => {
                let after = rng.chance(500);
                Fault::CrashAtCall { who, calls, after }
            }
            3 => {
                let (writes, after) = (rng.below(6), rng.chance(500));
                Fault::CrashInWrite { who, writes, after }
            }
            4 => Fault::LostRequest { who, calls },
            5 | 6 => Fault::LostAnswer { who, calls },
            7 => Fault::LateRequest { who, calls, ms: long },
            8 => Fault::LateAnswer { who, calls, ms: long },
            9 | 10 => Fault::Pause { who, ms: long },
            11 => Fault::Standstill { ms: long },
            12 => Fault::GroupsAway { ms: short },
            13 => Fault::TransactionsAway {
                ms: if rng.chance(500) { short } else { long },
            },
            14 => Fault::ClusterAway {
                ms: if rng.chance(500) { short } else { long },
            },
            15 => Fault::PartitionAway {
                nth: rng.below(100),
                ms: short,
            },
            16 => {
                let each = 10 + rng.below(1_000) as i64;
                Fault::SlowDisk { who, each, ms: long }
            }
            17 => Fault::FullDisk { who, ms: short },
            18 => Fault::FailedWrite {
                who,
                writes: rng.below(6),
            },
            19 => Fault::Damage {
                who,
                nth: rng.below(20),
            },
            20 => Fault::LostDisk { who },
            21 => Fault::Expel { nth: rng.below(8) },
            22 => {
                let size = [2_000, 60_000, 3_600_000, 9 * 24 * 3_600_000][rng.below(4)];
                Fault::Clock {
                    who,
                    ms: if rng.chance(500) { size } else { -size },
                }
            }
            23 => Fault::Join,
            24 => {
                let ms = rng.chance(600).then_some(short);
                Fault::Leave { who, ms }
            }
            _ => Fault::RegistryAway { ms: short },
        }
    }
}

impl World {
    /// Makes a fault happen, or plans it.
    pub fn inject(&mut self, fault: &Fault) {
        let now = self.log.now();
        match *fault {
            Fault::Standstill { ms } => {
                self.log.strike("nobody does anything for a while");
                self.log.advance(ms);
            }
            Fault::GroupsAway { ms } => self.log.go_away(Part::Groups, now + ms),
            Fault::TransactionsAway { ms } => self.log.go_away(Part::Transactions, now + ms),
            Fault::ClusterAway { ms } => self.log.go_away(Part::Cluster, now + ms),
            Fault::PartitionAway { nth, ms } => self.partition_away(nth, now + ms),
            Fault::Expel { nth } => {
                if let Some(group) = self.group() {
                    self.log.expel(&group, nth);
                }
            }
            Fault::Join => {
                if self.processes.iter().filter(|process| !process.gone).count() < MOST_PROCESSES {
                    self.log.strike("instance joins");
                    self.join();
                }
            }
            Fault::RegistryAway { ms } => {
                if let Some((registry, until)) = &mut self.registry {
                    self.log.strike("registry away");
                    registry.set_away(true);
                    *until = now + ms;
                }
            }
            Fault::Leave { who, ms } => self.leave(who, ms),
            _ => self.inject_into_process(fault),
        }
    }

    /// A fault of one process.
    fn inject_into_process(&mut self, fault: &Fault) {
        let now = self.log.now();
        let count = self.processes.len();
        match *fault {
            Fault::Crash { who } => {
                let at = who % count;
                if self.processes[at].alive.is_some() {
                    self.log.strike("crash between steps");
                    self.kill(at);
                }
            }
            Fault::LostDisk { who } => {
                let at = who % count;
                if self.processes[at].alive.is_some() {
                    self.log.strike("lost disk");
                    self.kill(at);
                    self.lose_disk(at);
                }
            }
            Fault::CrashAtCall { who, calls, after } => {
                let fault = if after {
                    CallFault::CrashAfter
                } else {
                    CallFault::CrashBefore
                };
                self.plan(who, calls, fault);
            }
            Fault::LostRequest { who, calls } => self.plan(who, calls, CallFault::LostRequest),
            Fault::LostAnswer { who, calls } => self.plan(who, calls, CallFault::LostAnswer),
            Fault::LateRequest { who, calls, ms } => self.plan(who, calls, CallFault::LateRequest(ms)),
            Fault::LateAnswer { who, calls, ms } => self.plan(who, calls, CallFault::LateAnswer(ms)),
            Fault::Pause { who, ms } => {
                let process = &mut self.processes[who % count];
                if process.alive.is_some() && process.paused.is_none() {
                    let until = now + ms;
                    process.paused = Some(Pause { since: now, until });
                }
            }
            Fault::Clock { who, ms } => {
                let forward = "clock of a process jumps forward";
                let back = "clock of a process jumps back";
                self.log.strike(if ms > 0 { forward } else { back });
                self.processes[who % count].clock += ms;
            }
            Fault::Damage { who, nth } => self.damage_store(who % count, nth),
            Fault::CrashInWrite { who, writes, after } => {
                self.processes[who % count].disk.crash_in_write(writes, after)
            }
            Fault::SlowDisk { who, each, ms } => self.processes[who % count].disk.slow_down(now + ms, each),
            Fault::FullDisk { who, ms } => self.processes[who % count].disk.fill(now + ms),
            Fault::FailedWrite { who, writes } => self.processes[who % count].disk.fail_write(writes),
            _ => unreachable!("{fault:?} strikes no process"),
        }
    }

    fn plan(&self, who: usize, calls: usize, fault: CallFault) {
        if let Some(alive) = &self.processes[who % self.processes.len()].alive {
            alive.log.plan(calls, fault);
        }
    }

    fn group(&self) -> Option<String> {
        self.deployed().map(|deployment| deployment.names.group())
    }

    /// Takes the leader of one of the topology's partitions away: inputs, internal topics and outputs alike.
    fn partition_away(&self, nth: usize, until: i64) {
        let Some(deployment) = self.deployed() else { return };
        let mut partitions = Vec::new();
        for task in deployment.tasks() {
            partitions.extend(deployment.inputs(task).into_iter().map(|tp| (tp.topic, tp.partition)));
            let changelogs = deployment.subs[task.sub].changelogs.iter();
            partitions.extend(changelogs.map(|(_, target)| (target.topic.clone(), task.partition)));
        }
        for target in deployment.outputs.iter().flatten() {
            partitions.extend((0..target.partitions).map(|partition| (target.topic.clone(), partition)));
        }
        if let Some((topic, partition)) = partitions.get(nth % partitions.len().max(1)) {
            self.log.go_away(Part::Partition(topic, *partition), until);
        }
    }

    fn damage_store(&self, at: usize, nth: usize) {
        let Some(deployment) = self.deployed() else { return };
        let stateful = |task: &millstream::engine::TaskId| !deployment.subs[task.sub].changelogs.is_empty();
        let tasks: Vec<_> = deployment.tasks().into_iter().filter(stateful).collect();
        if let Some(task) = tasks.get(nth % tasks.len().max(1)) {
            self.processes[at].disk.damage(&deployment.store_path(*task));
        }
    }

    fn leave(&mut self, who: usize, ms: Option<i64>) {
        let at = who % self.processes.len();
        let others = |(other, process): (usize, &super::world::Process)| other != at && !process.gone;
        let is_last = !self.processes.iter().enumerate().any(others);
        let process = &self.processes[at];
        if process.alive.is_none() || process.paused.is_some() || (is_last && ms.is_none()) {
            return;
        }
        self.restart(at);
        let now = self.log.now();
        let process = &mut self.processes[at];
        if process.alive.is_some() {
            return;
        }
        match ms {
            Some(ms) => {
                self.log.strike("instance leaves and comes back");
                process.starts_at = process.starts_at.max(now + ms);
            }
            None => {
                self.log.strike("instance leaves for good");
                process.gone = true;
            }
        }
    }
}
