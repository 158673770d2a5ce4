//! Loads, readers and checks for `bench/run.py`, against any Kafka broker.
//!
//! It speaks to the client library directly, so that what it measures as the limit is the library's and not ours. It has the system's allocator, as
//! any program that uses the library.

#[path = "../shared/avro.rs"]
mod avro;
mod latency;
mod limit;
mod load;
mod nexmark;
mod reads;
mod verify;

use millstream::dev::registry::{EmbeddedRegistry, MemoryLog, serve};

/// A command. It prints one line of JSON, unless it goes on until it is ended.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Args),
}

const COMMANDS: &[Command] = &[
    Command {
        name: "ready",
        arguments: "BOOTSTRAP",
        about: "exit code 0 once the broker answers",
        run: load::ready,
    },
    Command {
        name: "registry",
        arguments: "PORT",
        about: "a Schema Registry that keeps its schemas in memory",
        run: registry,
    },
    Command {
        name: "topics",
        arguments: "BOOTSTRAP PARTITIONS NAMES",
        about: "makes those topics (separated by commas) that are not there",
        run: load::topics,
    },
    Command {
        name: "movies",
        arguments: "BOOTSTRAP TOPIC COUNT SCHEMA_ID",
        about: "one record a movie",
        run: load::movies,
    },
    Command {
        name: "ratings",
        arguments: "BOOTSTRAP TOPIC COUNT MOVIES ZIPF_PERCENT SCHEMA_ID RATE",
        about: "ratings of the movies, RATE a second; 0: as fast as possible",
        run: load::ratings,
    },
    Command {
        name: "events",
        arguments: "BOOTSTRAP COUNT",
        about: "Nexmark's events, each to its topic",
        run: nexmark::events,
    },
    Command {
        name: "ends",
        arguments: "BOOTSTRAP TOPIC",
        about: "the sum of the ends of a topic's partitions",
        run: verify::ends,
    },
    Command {
        name: "count",
        arguments: "BOOTSTRAP TOPIC",
        about: "the committed records of a topic",
        run: verify::count,
    },
    Command {
        name: "limit",
        arguments: "BOOTSTRAP TOPIC RECORDS",
        about: "consumes a topic and does nothing with the records",
        run: limit::limit,
    },
    Command {
        name: "verify",
        arguments: "BOOTSTRAP RATINGS RATED",
        about: "compares the last average a movie (a double as the last field) with the ratings",
        run: verify::verify,
    },
    Command {
        name: "latency",
        arguments: "BOOTSTRAP RATINGS RATED MOVIES SCHEMA_ID RATE SECONDS WARM_UP",
        about: "from the append of a rating until the first committed output of its movie that is as new",
        run: latency::latency,
    },
    Command {
        name: "reads",
        arguments: "HOST:PORT PATH KEYS CONNECTIONS SECONDS",
        about: "GET over kept connections, {key} in PATH being one of KEYS",
        run: reads::reads,
    },
];

/// The words behind the command; as many as it wants.
pub struct Args(Vec<String>);

impl Args {
    /// The word at a place.
    pub fn text(&self, at: usize) -> &str {
        &self.0[at]
    }

    /// The number at a place.
    pub fn number(&self, at: usize) -> u64 {
        self.0[at].parse().unwrap_or_else(|_| {
            eprintln!("not a number: {}", self.0[at]);
            std::process::exit(2)
        })
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let args = Args(words.collect());
    let wants = |command: &Command| command.arguments.split(' ').count();
    match COMMANDS
        .iter()
        .find(|command| command.name == name && wants(command) == args.0.len())
    {
        Some(command) => (command.run)(&args),
        None => {
            for command in COMMANDS {
                eprintln!("bench {} {}: {}", command.name, command.arguments, command.about);
            }
            std::process::exit(2);
        }
    }
}

fn registry(args: &Args) {
    let port = u16::try_from(args.number(0)).expect("a port");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("a free port");
        let registry = EmbeddedRegistry::open(Box::new(MemoryLog::default())).expect("an empty registry");
        let handle = serve(listener, registry).expect("a server");
        println!("{}", handle.address());
        std::future::pending::<()>().await;
    });
}
