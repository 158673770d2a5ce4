//! An instance as `millstream run` puts it together, with two things that only benchmarks have. It is no product: nothing of it is in the program.
//!
//! * `at-least-once-for-comparison-only` runs the same engine over a log without transactions ([`plain`]): what exactly-once costs.
//! * Beside the engine's HTTP, a bare axum handler in the same process answers with constant bytes ([`bare`]): what reads cost.
//!
//! It prints one line of JSON with both addresses once everything is deployed, and ends when it is killed.

mod bare;
mod plain;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::snapshots::SnapshotParts;
use millstream::engine::{Engine, EngineParts, EngineSettings, Instance, LogIngest, LogProgress, Published, Startup};
use millstream::formats::client::{ClientSettings, HttpRegistry};
use millstream::formats::{SchemaSource, columns_of};
use millstream::http::{self, App, AppParts, EngineControl, HttpSettings};
use millstream::log::Log;
use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::sql::{CompileContext, SchemaLookup, SourceFile, compile};
use millstream::state::rocks::{RocksSettings, RocksStores};
use millstream::topology::Topology;
use millstream::types::{Column, SerdeSpec};

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "instance BOOTSTRAP REGISTRY SQL_FILE DATA_DIR APPLICATION_ID COMMIT_MS exactly-once|at-least-once-for-comparison-only";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, registry, sql, data, app, commit_ms, guarantee] = &words[..] else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let kafka = KafkaLog::new(KafkaSettings {
        bootstrap_servers: bootstrap.clone(),
        client_id: app.clone(),
        properties: Vec::new(),
    });
    let kafka = kafka.expect("sound settings");
    let log: Arc<dyn Log> = match guarantee.as_str() {
        "exactly-once" => Arc::new(kafka),
        "at-least-once-for-comparison-only" => {
            eprintln!(
                "BENCHMARK ONLY: this instance writes without transactions. After a crash its results are wrong."
            );
            Arc::new(plain::WithoutTransactions::new(kafka, bootstrap))
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    };
    let instance = Instance::open(Path::new(data)).expect("a data directory");
    let schemas: Arc<dyn SchemaSource> =
        Arc::new(HttpRegistry::new(&ClientSettings::new(registry)).expect("a registry"));
    let topology = compiled(sql, &schemas);
    let parts = EngineParts {
        log,
        schemas,
        stores: Arc::new(RocksStores::new(
            Path::new(data).join("state"),
            &RocksSettings::default(),
        )),
        settings: EngineSettings {
            app_id: app.clone(),
            commit_interval: Duration::from_millis(commit_ms.parse().expect("milliseconds")),
            ..EngineSettings::default()
        },
        instance: instance.id().to_owned(),
        snapshots: SnapshotParts::default(),
    };
    let runtime = http::runtime().expect("a runtime");
    runtime.block_on(serve(parts, topology));
}

/// HTTP and the engine, until the process is killed.
async fn serve(parts: EngineParts, topology: Arc<Topology>) {
    let published = Arc::new(Published::new());
    let ingest = LogIngest::start(parts.log.clone(), parts.schemas.clone()).expect("a thread");
    let app = App::new(AppParts {
        published: published.clone(),
        ingest: Some(Arc::new(ingest)),
        app_id: parts.settings.app_id.clone(),
        control: Arc::new(EngineControl(parts.clone())),
        settings: HttpSettings::default(),
    })
    .with_progress(Arc::new(LogProgress::new(parts.log.clone(), &parts.settings.app_id)));
    let (listener, address) = http::bind("127.0.0.1:0").await.expect("a free port");
    tokio::spawn(http::serve(listener, app.clone(), std::future::pending()));
    let bare = bare::serve().await;
    let engine = Engine::start_into(published, parts, vec![topology]).expect("a thread");
    loop {
        match engine.startup() {
            Startup::Started => break,
            Startup::Failed(problems) => panic!("not deployed: {problems:?}"),
            Startup::Starting | Startup::Waiting(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    app.set_deployed();
    println!("{{\"http\":\"http://{address}\",\"bare\":\"http://{bare}\"}}");
    std::future::pending::<()>().await;
}

fn compiled(path: &str, schemas: &Arc<dyn SchemaSource>) -> Arc<Topology> {
    let file = SourceFile {
        name: path.into(),
        text: std::fs::read_to_string(path).expect("SQL"),
    };
    let lookup = Registry(schemas);
    match compile(&file, &CompileContext { schemas: &lookup }) {
        Ok(topology) => Arc::new(topology),
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            std::process::exit(2);
        }
    }
}

/// The registry as the compiler sees it.
struct Registry<'a>(&'a Arc<dyn SchemaSource>);

impl SchemaLookup for Registry<'_> {
    fn columns(&self, subject: &str, spec: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        let Some(schema) = self.0.latest(subject).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let columns = columns_of(&schema, spec, subject.ends_with("-key"));
        columns.map(Some).map_err(|error| error.to_string())
    }
}
