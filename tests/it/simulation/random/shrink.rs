//! Makes a failing scenario smaller: fewer events, queries, processes and partitions, as long as it still fails.

use super::scenario::{Event, Scenario};

/// Runs that may be spent on it.
const MOST_RUNS: usize = 600;

/// What is wrong with a scenario; `None` when nothing is.
pub type Judge<'a> = &'a dyn Fn(&Scenario) -> Option<String>;

struct Shrink<'a> {
    judge: Judge<'a>,
    best: Scenario,
    reason: String,
    runs: usize,
}

/// Where it was noticed.
fn place(reason: &str) -> &str {
    reason.lines().next().unwrap_or_default()
}

impl Shrink<'_> {
    /// Keeps the scenario if it fails, too.
    fn try_out(&mut self, smaller: Scenario) -> bool {
        if self.runs >= MOST_RUNS || smaller == self.best {
            return false;
        }
        self.runs += 1;
        let Some(reason) = (self.judge)(&smaller) else {
            return false;
        };
        // another failure is another story
        if place(&reason) != place(&self.reason) {
            return false;
        }
        (self.best, self.reason) = (smaller, reason);
        true
    }

    /// Drops halves of the events, then quarters, and so on, down to single ones.
    fn events(&mut self) {
        let mut chunk = self.best.events.len().div_ceil(2);
        while chunk > 0 {
            let mut from = 0;
            while from < self.best.events.len() {
                let mut smaller = self.best.clone();
                let to = (from + chunk).min(smaller.events.len());
                let kept: Vec<_> = smaller.events.drain(from..to).filter(Event::is_closing).collect();
                smaller.events.splice(from..from, kept);
                if !self.try_out(smaller) {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }

    fn queries(&mut self) {
        for query in self.best.plan.queries.clone().iter().rev() {
            if let Some(plan) = self.best.plan.without(&query.name) {
                let mut smaller = self.best.clone();
                smaller.events.retain(|event| match &event.what {
                    super::scenario::What::Record { to, .. } => plan.input(to).is_some(),
                    super::scenario::What::Fault(_) => true,
                });
                smaller.plan = plan;
                self.try_out(smaller);
            }
        }
    }

    fn settings(&mut self) {
        let simpler: [fn(&mut Scenario); 8] = [
            |scenario| scenario.standbys = 0,
            |scenario| scenario.partitions = 1,
            |scenario| scenario.instances = 1,
            |scenario| scenario.workers = 1,
            |scenario| scenario.buffer_bytes = 8 << 20,
            |scenario| scenario.queue_records = 1_000,
            |scenario| scenario.fan_out = 100,
            |scenario| {
                scenario
                    .plan
                    .inputs
                    .iter_mut()
                    .for_each(|input| input.format = "JSON".into())
            },
        ];
        for change in simpler {
            let mut smaller = self.best.clone();
            change(&mut smaller);
            self.try_out(smaller);
        }
    }
}

/// The smallest scenario that was found to fail, and how.
pub fn shrink(scenario: &Scenario, reason: String, judge: Judge<'_>) -> (Scenario, String) {
    let mut shrink = Shrink {
        judge,
        best: scenario.clone(),
        reason,
        runs: 0,
    };
    loop {
        let before = shrink.best.clone();
        shrink.queries();
        shrink.events();
        shrink.settings();
        if shrink.best == before || shrink.runs >= MOST_RUNS {
            return (shrink.best, shrink.reason);
        }
    }
}
