//! What the jobs need beside a broker: their SQL files and schemas, and a registry.

use std::ops::Deref;
use std::path::Path;

use millstream::dev::registry::{self, EmbeddedRegistry, MemoryLog};
use millstream::formats::{SchemaSource, SchemaText};

use super::super::cluster::Cluster;

/// A run of the jobs.
pub struct Ground {
    cluster: Cluster,
    pub registry_url: String,
    registry: EmbeddedRegistry,
    /// Serves the registry for as long as it lives.
    _threads: (tokio::runtime::Runtime, registry::Handle),
}

impl Deref for Ground {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Ground {
    /// Prepares a run: registers the schemas, writes the topologies with topics of their own.
    pub fn new() -> Self {
        let registry = EmbeddedRegistry::open(Box::<MemoryLog>::default()).expect("a registry");
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let handle = threads.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            registry::serve(listener, registry.clone()).expect("the registry listens")
        });
        let ground = Self {
            cluster: Cluster::new("sample"),
            registry_url: format!("http://{}", handle.address()),
            registry,
            _threads: (threads, handle),
        };
        ground.write_topologies();
        ground.register_schemas();
        ground
    }

    fn write_topologies(&self) {
        for entry in std::fs::read_dir(root().join("topologies")).expect("topologies/") {
            let path = entry.expect("an entry").path();
            let file = path.file_name().and_then(|name| name.to_str()).expect("a name");
            self.write_sql(file, &std::fs::read_to_string(&path).expect("a file"));
        }
    }

    fn register_schemas(&self) {
        for entry in std::fs::read_dir(root().join("schemas")).expect("schemas/") {
            let path = entry.expect("an entry").path();
            let subject = path.file_stem().and_then(|stem| stem.to_str()).expect("a subject");
            let (topic, side) = subject.rsplit_once('-').expect("TOPIC-value");
            let text = SchemaText {
                text: std::fs::read_to_string(&path).expect("a file"),
                ..SchemaText::default()
            };
            self.registry
                .register(&format!("{}-{side}", self.topic(topic)), &text)
                .expect("registered");
        }
    }

    /// The id and the schema of the values of a topic of the SQL files.
    pub fn schema(&self, topic: &str) -> (u32, apache_avro::Schema) {
        let subject = format!("{}-value", self.topic(topic));
        let found = self
            .registry
            .latest(&subject)
            .expect("the registry answers")
            .expect("a schema");
        (
            found.id,
            apache_avro::Schema::parse_str(&found.schema.text).expect("Avro"),
        )
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
