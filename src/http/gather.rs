//! Reading a view wherever its rows are: the partitions here at once, the others from the instances that own them, or from copies of them where the
//! reader allows that.
//!
//! ```text
//! here? --no--> its owner --away--> a copy here --none, or too old--> copies elsewhere, least behind first --none--> missing
//! ```
//!
//! *Invariant*: a partition is answered for once, by one snapshot; an answer that is not whole is an error that names what is missing and why.

mod point;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::HeaderValue;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::time::Instant;

pub(super) use point::find_row;

use super::peers::{Answer, PeerError, RemoteStream, Said};
use super::state::Turn;
use super::{ApiError, App};
use crate::engine::cluster::Peer;
use crate::engine::threads::moment;
use crate::engine::{Moment, TaskId, view_fingerprint};
use crate::views::{
    Missing, Need, Positions, Remote, RowStream, ShareRequest, SharedPart, StandbyPart, ViewError, ViewParts, ViewRef,
    WIRE_VERSION, What, age,
};

/// What an answer of another instance may be late behind the end of its own wait.
const GRACE: Duration = Duration::from_secs(2);
/// The least time for the way back of an answer, unless little is left at all.
const WAY_BACK_MS: u64 = 100;

/// The part of the time left that an answer has for its way back: another instance that ends its part early, and says where, must be heard in time.
fn way_back(left_ms: u64) -> u64 {
    (left_ms / 20).max(WAY_BACK_MS.min(left_ms / 4))
}

/// What a reader asks for beside the rows.
#[derive(Clone)]
pub(super) struct ReadOptions {
    /// How old a copy's state may be, in milliseconds; 0: only owners answer.
    pub max_staleness_ms: i64,
    /// What the rows must reflect.
    pub need: Need,
    /// How long that may be waited for.
    pub need_by: Instant,
    /// What the reader has shown of itself; other instances are shown the same.
    pub authorization: Option<HeaderValue>,
}

impl ReadOptions {
    /// A place among the queries, with time for what other instances may still wait for.
    pub async fn turn(&self, app: &App) -> Result<Turn, ApiError> {
        let turn = app.turn().await?;
        Ok(match self.need.is_empty() {
            true => turn,
            false => turn.until((self.need_by + GRACE).into_std()),
        })
    }
}

/// All partitions of a view, opened.
pub(super) struct Gathered {
    /// Those here.
    pub parts: ViewParts,
    answers: Vec<Answer>,
    /// Those that nobody answers for, and why.
    pub missing: BTreeMap<i32, String>,
}

impl Gathered {
    /// The copies among them.
    pub fn standbys(&self) -> Vec<StandbyPart> {
        let elsewhere = self.answers.iter().flat_map(|answer| &answer.said.parts);
        let mut all = self.parts.standbys.clone();
        all.extend(elsewhere.filter_map(standby_of));
        all.sort_by_key(|standby| standby.partition);
        all
    }

    /// Fails unless all partitions are there.
    pub fn whole(self, view: &ViewRef) -> Result<Self, ApiError> {
        match self.missing.is_empty() {
            true => Ok(self),
            false => Err(not_ready(view, self.missing)),
        }
    }

    /// What is here, and the streams of the others. A limit is an error unless it is `lenient`.
    pub fn streams(self, app: &App, lenient: bool) -> (ViewParts, SendRemote) {
        let mut positions = Positions::default();
        for part in self.answers.iter().flat_map(|answer| &answer.said.parts) {
            positions.merge(&position_of(part));
        }
        let runtime = Handle::current();
        let time_ms = app.settings().limits.time.as_millis() as u64;
        let streams = self.answers.into_iter();
        let streams = streams.map(|answer| RemoteStream::new(answer, runtime.clone(), lenient, time_ms));
        (self.parts, SendRemote(streams.collect(), positions))
    }

    /// Rows counted by the others, and whether all of theirs were.
    pub async fn counted(self) -> Result<(u64, bool), ApiError> {
        let mut total = (0, true);
        for answer in self.answers {
            let (_, end) = answer.all().await?;
            total = (total.0 + end.counted, total.1 && end.exact);
        }
        Ok(total)
    }

    /// What all of them reflect.
    pub fn positions(&self) -> Positions {
        let mut positions = self.parts.positions();
        for part in self.answers.iter().flat_map(|answer| &answer.said.parts) {
            positions.merge(&position_of(part));
        }
        positions
    }
}

/// Streams on their way to the thread that reads them.
pub(super) struct SendRemote(Vec<RemoteStream>, Positions);

impl SendRemote {
    /// As `views` takes them.
    pub fn remote(self) -> Remote {
        let boxed = |stream: RemoteStream| Box::new(stream) as Box<dyn RowStream>;
        Remote {
            streams: self.0.into_iter().map(boxed).collect(),
            positions: self.1,
        }
    }
}

fn standby_of(part: &SharedPart) -> Option<StandbyPart> {
    let behind_ms = part.behind_ms?;
    let partition = part.partition;
    Some(StandbyPart { partition, behind_ms })
}

fn position_of(part: &SharedPart) -> Positions {
    Positions::from_json(&part.position).unwrap_or_default()
}

fn not_ready(view: &ViewRef, missing: BTreeMap<i32, String>) -> ApiError {
    let reasons = missing.into_values().collect();
    let view = view.view().name.to_string();
    ViewError::NotReady { view, reasons }.into()
}

/// A partition's place in the search for somebody who answers for it.
struct Pending {
    reason: String,
    /// Instances that were asked.
    tried: BTreeSet<String>,
    tried_here: bool,
}

/// The search for those who answer for the partitions that are not here.
struct Search<'a> {
    app: &'a App,
    view: &'a ViewRef,
    options: &'a ReadOptions,
    fingerprint: String,
    deadline: Instant,
    parts: ViewParts,
    pending: BTreeMap<i32, Pending>,
}

impl<'a> Search<'a> {
    fn new(app: &'a App, view: &'a ViewRef, options: &'a ReadOptions, turn: &Turn, mut parts: ViewParts) -> Self {
        let missing = std::mem::take(&mut parts.missing);
        let pending = |partition: i32, reason: String| {
            let tried = BTreeSet::new();
            let pending = Pending {
                reason,
                tried,
                tried_here: false,
            };
            (partition, pending)
        };
        Self {
            app,
            view,
            options,
            fingerprint: view_fingerprint(&view.published.topology, view.view()),
            deadline: Instant::from_std(turn.deadline),
            parts,
            // what no partition can be named of stands in front
            pending: missing
                .into_iter()
                .map(|missing| pending(missing.partition.unwrap_or(-1), missing.reason))
                .collect(),
        }
    }

    /// Who is asked next for what is missing; copies here are opened on the way.
    fn next_groups(&mut self) -> Vec<(Peer, Vec<i32>)> {
        let now = moment();
        let mut groups: BTreeMap<String, (Peer, Vec<i32>)> = BTreeMap::new();
        let mut opened = Vec::new();
        let wanted: Vec<i32> = self.pending.range(0..).map(|(partition, _)| *partition).collect();
        for partition in wanted {
            let task = self.view.task(partition);
            let known = &self.pending[&partition];
            let found = self.candidate(task, known, self.options.max_staleness_ms, now);
            let Some(pending) = self.pending.get_mut(&partition) else {
                continue;
            };
            let Some(peer) = found else {
                if !std::mem::replace(&mut pending.tried_here, true) {
                    opened.push(partition);
                }
                continue;
            };
            pending.tried.insert(peer.instance.clone());
            let group = groups
                .entry(peer.instance.clone())
                .or_insert_with(|| (peer, Vec::new()));
            group.1.push(partition);
        }
        for partition in opened {
            self.open_standby(partition, now);
        }
        groups.into_values().collect()
    }

    /// Opens the copy here, if there is one that is new enough.
    fn open_standby(&mut self, partition: i32, now: Moment) {
        let Some(pending) = self.pending.get_mut(&partition) else {
            return;
        };
        self.parts.missing.push(Missing {
            partition: Some(partition),
            reason: std::mem::take(&mut pending.reason),
        });
        let most = self.options.max_staleness_ms;
        self.parts.take_standby(self.view, partition, most, now);
        self.parts.set_aside(&self.options.need);
        match self.parts.missing.pop() {
            None => drop(self.pending.remove(&partition)),
            Some(missing) => pending.reason = missing.reason,
        }
    }

    /// Whether there is somebody who was not asked yet.
    fn goes_on(&self) -> bool {
        let staleness = self.options.max_staleness_ms;
        let now = moment();
        self.pending.range(0..).any(|(partition, pending)| {
            let task = self.view.task(*partition);
            !pending.tried_here || self.candidate(task, pending, staleness, now).is_some()
        })
    }

    fn request(&self, peer: &Peer, partitions: Vec<i32>, what: &What) -> ShareRequest {
        let limits = self.app.settings().limits;
        let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis() as u64;
        let time_ms = left(self.deadline);
        let need = self.options.need.of_partitions(&partitions);
        ShareRequest {
            wire: WIRE_VERSION,
            instance: peer.instance.clone(),
            topology: self.view.published.topology.name.to_string(),
            generation: self.view.published.generation,
            view: self.view.view().name.to_string(),
            fingerprint: self.fingerprint.clone(),
            partitions,
            what: what.clone(),
            max_staleness_ms: self.options.max_staleness_ms,
            need_ms: if need.is_empty() { 0 } else { left(self.options.need_by) },
            need: need
                .into_iter()
                .map(|(tp, next)| (tp.topic.to_string(), tp.partition, next))
                .collect(),
            max_rows: limits.scanned_rows,
            max_frame: limits.result_bytes,
            time_ms: time_ms - way_back(time_ms),
        }
    }

    async fn ask(&self, peer: Peer, partitions: Vec<i32>, what: &What) -> (Vec<i32>, Result<Answer, PeerError>) {
        let request = self.request(&peer, partitions.clone(), what);
        // an owner that hangs must leave time for those who could answer in its place
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = if self.options.max_staleness_ms > 0 {
            left / 3
        } else {
            left
        };
        let wait = Duration::from_millis(request.need_ms);
        let wait = if wait.is_zero() { wait } else { wait + GRACE };
        let begin_by = (Instant::now() + patience.max(wait)).min(self.deadline);
        let authorization = self.options.authorization.as_ref();
        let times = (begin_by, self.deadline);
        let answer = self.app.peers().ask(&peer, &request, authorization, times).await;
        (partitions, answer)
    }

    /// Notes what has come of a question.
    fn note(&mut self, partitions: &[i32], said: Result<&Said, PeerError>) -> Result<(), ApiError> {
        match said {
            Ok(said) => {
                for part in &said.parts {
                    self.pending.remove(&part.partition);
                }
                for (partition, reason) in &said.missing {
                    if let Some(pending) = self.pending.get_mut(partition) {
                        pending.reason = format!("instance {}: {reason}", said.peer.instance);
                    }
                }
                Ok(())
            }
            Err(error) if error.behind => Err(ViewError::Behind {
                view: self.view.view().name.to_string(),
                reasons: vec![error.reason],
            }
            .into()),
            Err(error) => {
                for partition in partitions {
                    if let Some(pending) = self.pending.get_mut(partition) {
                        pending.reason = format!("partition {partition}: {}", error.reason);
                    }
                }
                Ok(())
            }
        }
    }

    /// Somebody who was not asked yet: the owner, then, if they are allowed to answer, those who follow it.
    fn candidate(&self, task: TaskId, pending: &Pending, staleness: i64, now: Moment) -> Option<Peer> {
        let (cluster, topology) = (self.app.published().cluster(), &self.view.published.topology.name);
        let generation = self.view.published.generation;
        let fresh = |peer: &Peer| !pending.tried.contains(&peer.instance);
        let owner = cluster.owner(topology, generation, task, now).filter(fresh);
        if owner.is_some() || staleness <= 0 || !pending.tried_here {
            return owner;
        }
        // what was heard of a copy is some seconds old: whether it is new enough now, it says itself
        let mut followers = cluster.standbys(topology, generation, task, now);
        followers.retain(|(_, standby)| standby.behind_ms != i64::MAX);
        followers.sort_by_key(|(_, standby)| standby.behind_ms);
        followers.into_iter().map(|(peer, _)| peer).find(fresh)
    }

    fn missing(&self) -> BTreeMap<i32, String> {
        let now = moment();
        let why = |(partition, pending): (&i32, &Pending)| {
            let more = self.unasked(*partition, pending, now);
            (*partition, format!("{}{more}", pending.reason))
        };
        self.pending.iter().map(why).collect()
    }

    /// Who would know, but was not asked, and why not.
    fn unasked(&self, partition: i32, pending: &Pending, now: Moment) -> String {
        let cluster = self.app.published().cluster();
        let (topology, generation) = (&self.view.published.topology.name, self.view.published.generation);
        let task = self.view.task(partition);
        let mut out = String::new();
        let others = cluster.instances(now).into_iter();
        let nameless = others.filter(|other| other.url.is_none() && other.instance != cluster.instance());
        for other in nameless {
            let mut of = other
                .topologies
                .iter()
                .filter(|t| *t.topology == **topology && t.generation == generation);
            if of.any(|t| t.tasks.iter().any(|owned| owned.id() == task)) {
                out += &format!(
                    ", but on instance {}, which says no address (--advertised-url)",
                    other.instance
                );
            }
        }
        if self.options.max_staleness_ms > 0 {
            for (peer, standby) in cluster.standbys(topology, generation, task, now) {
                if !pending.tried.contains(&peer.instance) {
                    out += &format!(", the copy at instance {} is {}", peer.instance, age(standby.behind_ms));
                }
            }
        }
        out
    }
}

/// Opens all partitions that can be reached.
///
/// # Errors
/// When another instance has not caught up with the token in time.
pub(super) async fn gather(
    app: &App,
    turn: &mut Turn,
    view: &ViewRef,
    options: &ReadOptions,
    what: What,
) -> Result<Gathered, ApiError> {
    let parts = open_here(app, turn, view, options).await?;
    if parts.missing.is_empty() {
        return Ok(Gathered {
            parts,
            answers: Vec::new(),
            missing: BTreeMap::new(),
        });
    }
    app.wait_elsewhere(turn)?;
    let mut search = Search::new(app, view, options, turn, parts);
    let mut answers = Vec::new();
    while search.goes_on() {
        let groups = search.next_groups();
        let asked = groups
            .into_iter()
            .map(|(peer, partitions)| search.ask(peer, partitions, &what));
        for (partitions, result) in join_all(asked).await {
            match result {
                Ok(answer) => {
                    search.note(&partitions, Ok(&answer.said))?;
                    answers.extend(Some(answer).filter(|answer| !answer.said.parts.is_empty()));
                }
                Err(error) => search.note(&partitions, Err(error))?,
            }
        }
    }
    Ok(Gathered {
        missing: search.missing(),
        parts: search.parts,
        answers,
    })
}

async fn open_here(app: &App, turn: &mut Turn, view: &ViewRef, options: &ReadOptions) -> Result<ViewParts, ApiError> {
    let (view, need) = (view.clone(), options.need.clone());
    app.read_in(turn, move |_| Ok(parts_here(&view, &need))).await
}

/// The partitions that are here and reflect what is needed.
fn parts_here(view: &ViewRef, need: &Need) -> ViewParts {
    let mut parts = view.open_available();
    parts.set_aside(need);
    parts
}
