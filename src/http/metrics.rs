//! `/metrics` in Prometheus' text format, from one table, and the counters of this interface.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::prometheus::Writer;
use super::routes::{ROUTES, Route};
use super::topologies::status_word;
use crate::engine::task::Reason;
use crate::engine::threads::moment;
use crate::engine::{Histogram, PublishedTask, PublishedTopology, TaskStatus, TopologyStatus};

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

/// A metric: its name, meaning and where its samples come from.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// What it means, with the unit.
    pub help: &'static str,
    samples: Samples,
}

/// Where samples come from.
enum Samples {
    Process(fn(&App, &mut Writer<'_>)),
    Topology(fn(&PublishedTopology, &mut Writer<'_>)),
    Task(fn(&PublishedTask, &mut Writer<'_>)),
}

const fn metric(name: &'static str, kind: MetricKind, help: &'static str, samples: Samples) -> Metric {
    Metric {
        name,
        kind,
        help,
        samples,
    }
}

use MetricKind::{Counter, Gauge};
use Samples::{Process, Task, Topology};

/// All metrics.
pub const METRICS: &[Metric] = &[
    metric(
        "millstream_build_info",
        Gauge,
        "1, with the version as a label.",
        Process(|_, w| {
            w.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        }),
    ),
    metric(
        "millstream_kafka_up",
        Gauge,
        "1 while Kafka answers, else 0.",
        Process(|app, w| {
            w.sample(&[], u8::from(app.published().kafka_away().is_none()));
        }),
    ),
    metric(
        "millstream_topology_status",
        Gauge,
        "1 for the status that a topology has.",
        Topology(|t, w| {
            w.sample(&[("status", t.status().word())], 1);
        }),
    ),
    metric(
        "millstream_topology_up",
        Gauge,
        "1 while a topology processes records, else 0.",
        Topology(|t, w| {
            w.sample(&[], u8::from(t.status() == TopologyStatus::Running));
        }),
    ),
    metric(
        "millstream_generation",
        Gauge,
        "The generation of a topology that answers.",
        Topology(|t, w| {
            w.sample(&[], t.generation);
        }),
    ),
    metric(
        "millstream_records_in_total",
        Counter,
        "Records processed.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.records.load(Relaxed));
        }),
    ),
    metric(
        "millstream_bytes_in_total",
        Counter,
        "Bytes of the keys and values processed.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.bytes.load(Relaxed));
        }),
    ),
    metric(
        "millstream_records_out_total",
        Counter,
        "Records sent to output and repartition topics.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.sent.load(Relaxed));
        }),
    ),
    metric(
        "millstream_changelog_records_total",
        Counter,
        "Records sent to changelogs.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.changelog.load(Relaxed));
        }),
    ),
    metric(
        "millstream_dead_letters_total",
        Counter,
        "Records sent to the dead-letter topic, by reason.",
        Topology(|t, w| {
            let counts = t.metrics.dead_letter_reasons.read();
            for reason in Reason::ALL {
                w.sample(
                    &[("reason", reason.word())],
                    counts.get(reason.word()).copied().unwrap_or(0),
                );
            }
        }),
    ),
    metric(
        "millstream_dropped_records_total",
        Counter,
        "Records passed over by rule, by node and reason.",
        Topology(|t, w| {
            for ((node, reason), count) in &*t.metrics.dropped.read() {
                w.sample(&[("node", node), ("reason", reason)], count);
            }
        }),
    ),
    metric(
        "millstream_commits_total",
        Counter,
        "Transactions committed.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.commits.load(Relaxed));
        }),
    ),
    metric(
        "millstream_aborts_total",
        Counter,
        "Transactions aborted or fenced.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.aborts.load(Relaxed));
        }),
    ),
    metric(
        "millstream_commit_seconds",
        MetricKind::Histogram,
        "Time from the begin of a commit until the stores hold it.",
        Topology(|t, w| w.histogram(&[], &t.metrics.commit_time)),
    ),
    metric(
        "millstream_restored_records_total",
        Counter,
        "Changelog records replayed.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.restored.load(Relaxed));
        }),
    ),
    metric(
        "millstream_replay_offsets_left",
        Gauge,
        "Offsets that a replay beside the topology has to go.",
        Topology(|t, w| {
            if let Some(replay) = &*t.replay.read() {
                w.sample(&[], replay.total.saturating_sub(replay.done));
            }
        }),
    ),
    metric(
        "millstream_task_status",
        Gauge,
        "1 for the status that a task has.",
        Task(|t, w| {
            w.sample(&[("status", status_word(t.status()))], 1);
        }),
    ),
    metric(
        "millstream_restore_offsets_left",
        Gauge,
        "Offsets that the restore of a task has to go.",
        Task(|t, w| {
            let (done, total) = (t.restore.done.load(Relaxed), t.restore.total.load(Relaxed));
            let left = if t.status() == TaskStatus::Running {
                0
            } else {
                total.saturating_sub(done)
            };
            w.sample(&[], left);
        }),
    ),
    metric(
        "millstream_restore_records_per_second",
        Gauge,
        "Speed of the restore of a task.",
        Task(|t, w| {
            let rate = if t.status() == TaskStatus::Restoring {
                t.restore.records_per_second.load(Relaxed)
            } else {
                0
            };
            w.sample(&[], rate);
        }),
    ),
    metric(
        "millstream_lag_records",
        Gauge,
        "Offsets of an input partition that are not processed yet.",
        Task(|t, w| {
            for input in &t.inputs {
                w.sample(&[("topic", &input.topic)], input.lag());
            }
        }),
    ),
    metric(
        "millstream_committed_offset",
        Gauge,
        "The next offset of an input partition as committed.",
        Task(|t, w| {
            for input in &t.inputs {
                w.sample(&[("topic", &input.topic)], input.committed.load(Relaxed));
            }
        }),
    ),
    metric(
        "millstream_store_bytes",
        Gauge,
        "Bytes of a task's stores.",
        Task(|t, w| {
            w.sample(&[], t.store_bytes.load(Relaxed));
        }),
    ),
    metric(
        "millstream_store_keys",
        Gauge,
        "An estimate of the keys of a task's stores.",
        Task(|t, w| {
            w.sample(&[], t.store_keys.load(Relaxed));
        }),
    ),
    metric(
        "millstream_standby_lag_records",
        Gauge,
        "Changelog offsets that a standby here is behind.",
        Topology(|t, w| {
            for standby in t.standbys() {
                w.standby(&standby, standby.lag());
            }
        }),
    ),
    metric(
        "millstream_standby_behind_seconds",
        Gauge,
        "Age of the committed state that a standby here shows.",
        Topology(|t, w| {
            for standby in t.standbys() {
                w.standby(&standby, standby.behind_ms(moment()) as f64 / 1e3);
            }
        }),
    ),
    metric(
        "millstream_standby_records_total",
        Counter,
        "Changelog records taken in by standbys here.",
        Topology(|t, w| {
            w.sample(&[], t.metrics.followed.load(Relaxed));
        }),
    ),
    metric(
        "millstream_instances",
        Gauge,
        "Live instances of the application that this one knows of, itself included.",
        Process(|app, w| {
            w.sample(&[], app.published().cluster().instances(moment()).len());
        }),
    ),
    metric(
        "millstream_http_requests_total",
        Counter,
        "Requests answered, by route and status class.",
        Process(|app, w| {
            app.counters().write_requests(w);
        }),
    ),
    metric(
        "millstream_http_request_seconds",
        MetricKind::Histogram,
        "Time until the head of an answer, by route.",
        Process(|app, w| app.counters().write_times(w)),
    ),
    metric(
        "millstream_http_feeds",
        Gauge,
        "Open feeds of changes (server-sent events and WebSockets).",
        Process(|app, w| {
            w.sample(&[], app.feeds());
        }),
    ),
];

fn render(app: &App) -> String {
    let mut out = String::new();
    let topologies = app.published().topologies();
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let _: std::fmt::Result = write!(out, "# HELP {0} {1}\n# TYPE {0} {kind}\n", metric.name, metric.help);
        let mut writer = |common: Vec<(&'static str, String)>, write: &dyn Fn(&mut Writer<'_>)| {
            write(&mut Writer {
                name: metric.name,
                common,
                out: &mut out,
            });
        };
        match metric.samples {
            Samples::Process(write) => writer(Vec::new(), &|w| write(app, w)),
            Samples::Topology(write) => {
                for topology in &topologies {
                    let name = topology.topology.name.to_string();
                    writer(vec![("topology", name)], &|w| write(topology, w));
                }
            }
            Samples::Task(write) => {
                for topology in &topologies {
                    for task in topology.tasks() {
                        let common = vec![
                            ("topology", topology.topology.name.to_string()),
                            ("sub", task.id.sub.to_string()),
                            ("partition", task.id.partition.to_string()),
                        ];
                        writer(common, &|w| write(&task, w));
                    }
                }
            }
        }
    }
    out
}

pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], render(&app))
}

/// Counters of each route, in the order of the table; the last one is for paths that no route has.
pub(super) struct RouteCounters(Vec<RouteCounter>);

#[derive(Default)]
struct RouteCounter {
    /// Answers by the first digit of their status, 1 to 5.
    answers: [AtomicU64; 5],
    time: Histogram,
}

impl RouteCounters {
    pub fn new() -> Self {
        Self((0..=ROUTES.len()).map(|_| RouteCounter::default()).collect())
    }

    /// The place of a request's route.
    pub fn place_of(request: &Request) -> usize {
        let path = request.extensions().get::<MatchedPath>();
        let known = path.and_then(|path| {
            let is_it = |route: &Route| route.path == path.as_str() && route.method == request.method().as_str();
            ROUTES.iter().position(is_it)
        });
        known.unwrap_or(ROUTES.len())
    }

    /// Counts the answer of a request.
    pub fn count(&self, place: usize, answer: &Response, time: Duration) {
        if let Some(counter) = self.0.get(place) {
            let class = usize::from(answer.status().as_u16() / 100).clamp(1, 5) - 1;
            counter.answers[class].fetch_add(1, Relaxed);
            counter.time.record(time);
        }
    }

    fn labels() -> impl Iterator<Item = (&'static str, &'static str)> {
        ROUTES
            .iter()
            .map(|route| (route.method, route.path))
            .chain([("", "other")])
    }

    fn write_requests(&self, w: &mut Writer<'_>) {
        for (counter, (method, route)) in self.0.iter().zip(Self::labels()) {
            for (count, class) in counter.answers.iter().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]) {
                let count = count.load(Relaxed);
                if count > 0 {
                    w.sample(&[("method", method), ("route", route), ("status", class)], count);
                }
            }
        }
    }

    fn write_times(&self, w: &mut Writer<'_>) {
        for (counter, (method, route)) in self.0.iter().zip(Self::labels()) {
            if counter.time.count() > 0 {
                w.histogram(&[("method", method), ("route", route)], &counter.time);
            }
        }
    }
}
