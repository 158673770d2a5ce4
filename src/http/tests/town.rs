//! Several instances of one application on loopback, each the owner of some partitions of one view: the same stores, read through different doors.

use std::sync::Arc;

use super::*;
use crate::engine::cluster::{Cluster, InstanceRecord, StandbyRecord, TaskRecord, TopologyRecord};
use crate::engine::threads::moment;
use crate::engine::{Progress, Published, PublishedStandby, PublishedTask, TaskId};
use crate::types::Timestamp;

/// One instance.
pub(super) struct Member {
    pub name: String,
    pub url: Option<String>,
    pub published: Arc<Published>,
    pub topology: Arc<PublishedTopology>,
    pub router: Router,
    pub owned: Vec<i32>,
    pub standbys: Vec<StandbyRecord>,
    server: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

/// All of them, and one beside that has everything.
pub(super) struct Town {
    pub whole: Fake,
    pub reference: Router,
    pub members: Vec<Member>,
}

pub(super) fn settings() -> HttpSettings {
    HttpSettings::default()
}

fn parts(published: &Arc<Published>, topology: &Arc<PublishedTopology>, settings: HttpSettings) -> AppParts {
    AppParts {
        published: published.clone(),
        ingest: None,
        control: Arc::new(FakeControl(topology.clone())),
        app_id: "millstream".into(),
        settings,
    }
}

pub(super) fn now() -> Timestamp {
    super::super::state::now_ms()
}

impl Town {
    /// Members by name that own nothing yet.
    pub async fn new(whole: Fake, names: &[&str], settings: HttpSettings, progress: Option<Arc<dyn Progress>>) -> Self {
        let app = App::new(parts(&whole.published, &whole.topology, settings.clone()));
        app.set_deployed();
        let reference = super::super::app(app);
        let mut members = Vec::new();
        for name in names {
            let published = Arc::new(Published::of(Cluster::alone(name)));
            let known = &whole.topology;
            let topology = PublishedTopology::new(known.topology.clone(), known.generation, known.partitions.clone());
            let topology = Arc::new(topology);
            topology.set_status(TopologyStatus::Running);
            published.insert(topology.clone());
            let mut app = App::new(parts(&published, &topology, settings.clone()));
            if let Some(progress) = &progress {
                app = app.with_progress(progress.clone());
            }
            app.set_deployed();
            let (listener, address) = bind("127.0.0.1:0").await.unwrap();
            members.push(Member {
                name: (*name).into(),
                url: Some(format!("http://{address}")),
                published,
                topology,
                router: super::super::app(app.clone()),
                owned: Vec::new(),
                standbys: Vec::new(),
                server: Some(tokio::spawn(serve(listener, app, std::future::pending()))),
            });
        }
        Self {
            whole,
            reference,
            members,
        }
    }

    /// Gives partitions to members, in turn.
    pub fn spread(&mut self) {
        for partition in 0..self.whole.topology.partitions[0] {
            let to = partition as usize % self.members.len();
            self.give(partition, to);
        }
    }

    /// A partition moves, and everybody hears of it.
    pub fn give(&mut self, partition: i32, to: usize) {
        self.drop_everywhere(partition);
        let id = TaskId { sub: 0, partition };
        let there = self.whole.topology.task(id).unwrap();
        let inputs = there.inputs.iter().map(|i| (i.topic.clone(), i.partition)).collect();
        let task = PublishedTask::new(id, inputs);
        task.set_reader(there.reader());
        task.set_status(TaskStatus::Running);
        let member = &mut self.members[to];
        member.topology.insert_task(Arc::new(task));
        member.owned.push(partition);
        self.tell();
    }

    /// Nobody owns it any more.
    pub fn drop_everywhere(&mut self, partition: i32) {
        for member in &mut self.members {
            if let Some(task) = member.topology.task(TaskId { sub: 0, partition }) {
                member.topology.remove_task(&task);
            }
            member.owned.retain(|owned| *owned != partition);
        }
        self.tell();
    }

    /// A member keeps a copy of a partition, whole as of some milliseconds ago.
    pub fn follow(&mut self, partition: i32, at: usize, behind_ms: i64) {
        let id = TaskId { sub: 0, partition };
        let reader = self.whole.topology.task(id).unwrap().reader().unwrap();
        let standby = PublishedStandby::new(id, reader);
        standby.set_lag(7);
        standby.set_whole_at(moment() + -behind_ms);
        let member = &mut self.members[at];
        member.topology.insert_standby(Arc::new(standby));
        member.standbys.push(StandbyRecord {
            sub: 0,
            partition,
            lag: 7,
            behind_ms,
        });
        self.tell();
    }

    /// Everybody hears what everybody does.
    pub fn tell(&self) {
        for member in &self.members {
            self.tell_of(member.record());
        }
    }

    pub fn tell_of(&self, record: InstanceRecord) {
        for member in &self.members {
            member.published.cluster().learn(record.clone(), moment());
        }
    }

    /// It answers no more, and nobody has noticed yet.
    pub async fn kill(&mut self, at: usize) {
        if let Some(server) = self.members[at].server.take() {
            server.abort();
            // the end of an aborted task is an error; its socket is closed by then
            let _ = server.await;
        }
    }

    pub async fn get(&self, at: usize, path: &str) -> (StatusCode, Json) {
        get(&self.members[at].router, path).await
    }

    pub async fn query(&self, at: usize, sql: &str) -> (StatusCode, Json) {
        query(&self.members[at].router, sql).await
    }
}

impl Member {
    pub fn record(&self) -> InstanceRecord {
        let task = |partition: &i32| TaskRecord {
            sub: 0,
            partition: *partition,
        };
        InstanceRecord {
            instance: self.name.clone(),
            url: self.url.clone(),
            written_at: now(),
            topologies: vec![TopologyRecord {
                topology: self.topology.topology.name.to_string(),
                generation: self.topology.generation,
                tasks: self.owned.iter().map(task).collect(),
                standbys: self.standbys.clone(),
            }],
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.server.take().inspect(|server| server.abort());
    }
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Response {
    router.clone().oneshot(request).await.unwrap()
}

pub(super) async fn json_of(response: Response) -> (StatusCode, Json) {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

pub(super) async fn get(router: &Router, path: &str) -> (StatusCode, Json) {
    json_of(send(router, Request::get(path).body(Body::empty()).unwrap()).await).await
}

pub(super) async fn query(router: &Router, sql: &str) -> (StatusCode, Json) {
    let (path, sql) = sql.split_once('|').unwrap_or(("/v1/query", sql));
    let body = json!({ "sql": sql }).to_string();
    json_of(send(router, Request::post(path).body(Body::from(body)).unwrap()).await).await
}

/// View T (ID) -> (GROUP, AMOUNT, BYTES, RATE) over some partitions.
pub(super) fn table(partitions: i32) -> Fake {
    let columns = schema(
        &[("ID", SqlType::Bigint)],
        &[
            ("KIND", SqlType::String),
            ("AMOUNT", AMOUNT),
            ("RAW", SqlType::Bytes),
            ("RATE", SqlType::Double),
        ],
    );
    Fake::new(topology("town", "T", columns, TablePlan::Store(0)), partitions)
}

/// A row with values that JSON would lose.
pub(super) fn entry(id: i64) -> (Row, Row) {
    let amount = Decimal::new(i128::from(id) * 1_000_000_000_000_000_007 - 3, 3);
    let rate = match id % 5 {
        0 => f64::NAN,
        1 => -0.0,
        n => 1.0 / n as f64,
    };
    let value = row([
        Value::from(["a", "b", "c"][(id.unsigned_abs() % 3) as usize]),
        Value::Decimal(amount),
        Value::Bytes(id.to_be_bytes().as_slice().into()),
        Value::Double(rate),
    ]);
    (row([(id * 1_000_000_007_000).into()]), value)
}

pub(super) fn ids(answer: &Json) -> Vec<i64> {
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(|row| row["ID"].as_i64().unwrap()).collect()
}
