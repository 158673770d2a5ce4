//! Several instances of one application, which come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::brokers::Brokers;
use super::cluster::Cluster;
use super::crashes;
use super::process::{Killed, Millstream, Task};
use super::random::Random;
use crate::patience::until;

/// A pause between two blows, in milliseconds: some fall before an instance has even joined its groups.
const BETWEEN_MS: (u64, u64) = (100, 2_500);
/// Longer than a session: the dead one's tasks go elsewhere.
const LONG_ABSENCE: Duration = Duration::from_secs(12);
/// Kills between two long absences.
const LONG_ABSENCE_EACH: usize = 16;
/// Kills between two deaths of a broker, where there are several.
const BROKER_EACH: usize = 20;
/// Kills between two disks that are lost, where they are.
const DISK_EACH: usize = 8;
/// Kills of which each is told; of more than that, each tenth.
const TOLD: usize = 20;

/// What happened to a fleet.
#[derive(Debug, Default)]
pub struct Toll {
    pub kills: usize,
    pub at_points: usize,
    pub stops: usize,
    pub starts: usize,
    pub brokers: usize,
    pub disks: usize,
    /// Changelog records that were replayed, over all lives.
    pub restored: u64,
}

/// An instance: its data directory, and its process while it runs.
struct Instance {
    data: String,
    process: Option<Millstream>,
    /// It is to die at this fail point.
    point: Option<&'static str>,
}

/// Instances of one application.
pub struct Fleet<'c> {
    cluster: &'c Cluster,
    name: &'static str,
    arguments: Vec<String>,
    instances: Vec<Instance>,
    random: Random,
    brokers: Brokers,
    loses_disks: bool,
    toll: Toll,
}

impl<'c> Fleet<'c> {
    /// Instances that do not run yet.
    pub fn new(cluster: &'c Cluster, name: &'static str, count: usize, arguments: &[&str]) -> Self {
        let instance = |i| Instance {
            data: format!("data-{i}"),
            process: None,
            point: None,
        };
        Self {
            cluster,
            name,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            instances: (0..count).map(instance).collect(),
            random: Random::of_run(name),
            brokers: Brokers::default(),
            loses_disks: false,
            toll: Toll::default(),
        }
    }

    /// Where there are several brokers, they are killed, too.
    pub fn and_brokers(mut self) -> Self {
        self.brokers = Brokers::of_environment();
        self
    }

    /// Now and then a victim comes back with an empty data directory, as another instance.
    pub fn and_disks(mut self) -> Self {
        self.loses_disks = true;
        self
    }

    /// Choices of this run.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Starts one.
    pub fn start(&mut self, at: usize) {
        self.launch(at, None);
    }

    fn launch(&mut self, at: usize, point: Option<(&'static str, String)>) {
        let setting = point.as_ref().map(|(_, setting)| setting.as_str());
        let instance = &mut self.instances[at];
        let process = Millstream::start(self.cluster, &instance.data, &self.arguments, setting);
        instance.process = Some(process);
        instance.point = point.map(|(name, _)| name);
        self.toll.starts += 1;
    }

    fn start_absent(&mut self) {
        for at in 0..self.instances.len() {
            if self.instances[at].process.is_none() {
                self.start(at);
            }
        }
    }

    /// The process of one that runs.
    pub fn process(&mut self, at: usize) -> &mut Millstream {
        self.instances[at].process.as_mut().expect("it runs")
    }

    /// `kill -9`.
    pub fn kill(&mut self, at: usize) {
        self.process(at).kill();
        self.bury(at);
        self.toll.kills += 1;
    }

    /// Stops one as an operator does.
    pub fn stop(&mut self, at: usize) {
        self.process(at).stop();
        self.bury(at);
        self.toll.stops += 1;
    }

    fn bury(&mut self, at: usize) {
        let dead = self.instances[at].process.take().expect("it ran");
        dead.must_not_have_stopped();
        assert_eq!(dead.rebuilt(), 0, "stores were built anew:\n{}", dead.log_tail());
        self.toll.restored += dead.restored();
    }

    /// Those that run.
    pub fn running(&self) -> Vec<usize> {
        let runs = |at: &usize| self.instances[*at].process.is_some();
        (0..self.instances.len()).filter(runs).collect()
    }

    /// Starts those that do not run, and waits until all say that they are ready.
    pub fn all_up(&mut self) {
        self.start_absent();
        for at in 0..self.instances.len() {
            self.process(at).wait_until_ready();
        }
    }

    /// Nobody has ended, and no topology has stopped.
    pub fn must_live(&mut self) {
        for process in self.instances.iter_mut().filter_map(|i| i.process.as_mut()) {
            process.must_live();
        }
    }

    /// Stops all.
    pub fn all_down(&mut self) {
        for at in self.running() {
            self.stop(at);
        }
    }

    /// Who has which task of a topology, as those who run say.
    pub fn owners(&self, topology: &str) -> BTreeMap<String, (usize, Task)> {
        let mut owners = BTreeMap::new();
        for at in self.running() {
            let process = self.instances[at].process.as_ref().expect("it runs");
            for task in process.tasks(topology) {
                owners.insert(task.id.clone(), (at, task));
            }
        }
        owners
    }

    /// Waits until all tasks of a topology run somewhere, each of those that run having its share; who has which.
    pub fn settled(&mut self, topology: &str, tasks: usize, share: usize) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        until("all tasks to run, each instance having its share", || {
            self.must_live();
            let owners = self.owners(topology);
            let all_run = owners.len() == tasks && owners.values().all(|(_, task)| task.runs);
            found = owners.into_iter().map(|(id, (at, _))| (id, at)).collect();
            let has_share = |at: &usize| found.values().filter(|owner| *owner == at).count() >= share;
            all_run && self.running().iter().all(has_share)
        });
        found
    }

    /// Kills instances so many times, some at fail points, and stops some; each comes back, at once or later. Now and then one stays away
    /// for longer than its session, and a broker of several dies.
    pub fn suffer(&mut self, kills: usize) {
        self.start_absent();
        let first = self.toll.kills;
        while self.toll.kills < first + kills {
            let running = self.running();
            let at = running[self.random.below(running.len() as u64) as usize];
            let (least, most) = BETWEEN_MS;
            let pause = Duration::from_millis(least + self.random.below(most - least));
            if self.instances[at].point.is_none() && self.random.chance(15) {
                self.process(at).must_live_for(pause);
                self.stop(at);
            } else {
                let began = Instant::now();
                let killed = self.blow(at, pause);
                let (name, done, seconds) = (self.name, self.toll.kills - first, began.elapsed().as_secs_f64());
                if kills <= TOLD || done.is_multiple_of(10) {
                    println!("{name}: kill {done:>3}: instance {at}, {killed:<22} after {seconds:>4.1} s");
                }
                self.aggravate(done);
                if self.loses_disks && done % DISK_EACH == DISK_EACH / 2 {
                    self.lose_disk(at);
                }
            }
            // one in three comes back with the next victim
            if self.running().len() < 2 || !self.random.chance(33) {
                self.come_back(at);
            }
        }
        for at in 0..self.instances.len() {
            if self.instances[at].point.is_some() {
                self.blow(at, Duration::ZERO);
            }
        }
    }

    /// One dies, where it was told to or after a pause.
    fn blow(&mut self, at: usize, pause: Duration) -> Killed {
        let instance = &mut self.instances[at];
        let process = instance.process.as_mut().expect("it runs");
        let killed = crashes::die(process, instance.point.take(), pause);
        self.bury(at);
        self.toll.kills += 1;
        self.toll.at_points += usize::from(matches!(killed, Killed::At(_)));
        killed
    }

    /// Now and then the victim stays away for longer than its session, or a broker dies, too.
    fn aggravate(&mut self, kills: usize) {
        if self.brokers.are_several()
            && kills % BROKER_EACH == BROKER_EACH / 2
            && let Some(broker) = self.brokers.kill_one()
        {
            println!("{}: killed the broker {broker}", self.name);
            self.toll.brokers += 1;
        }
        if kills % LONG_ABSENCE_EACH == LONG_ABSENCE_EACH - 1 {
            // others may reach their fail points meanwhile
            std::thread::sleep(LONG_ABSENCE);
        }
    }

    fn lose_disk(&mut self, at: usize) {
        let data = self.cluster.directory.join(&self.instances[at].data);
        std::fs::remove_dir_all(data).expect("a data directory");
        println!("{}: instance {at} lost its disk", self.name);
        self.toll.disks += 1;
    }

    /// Those who are away come back, the victim perhaps to die at a fail point.
    fn come_back(&mut self, victim: usize) {
        for dead in 0..self.instances.len() {
            if self.instances[dead].process.is_none() {
                let point = (dead == victim).then(|| crashes::choose(&mut self.random)).flatten();
                self.launch(dead, point);
            }
        }
    }

    /// What has happened to it.
    pub fn toll(&self) -> &Toll {
        &self.toll
    }
}
