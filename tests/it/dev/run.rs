//! `millstream run`, with a `millstream dev` in the place of Kafka and the registry: away at the start, and away for a while.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::process::{Dev, Starting, TempDir, ask, dev_command, millstream, root};
use crate::patience::eventually;

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Broker and registry at these addresses, with a topology that does nothing here.
fn ground(data: &Path, kafka: &str, registry: &str) -> Dev {
    let topologies = data.join("nothing");
    std::fs::create_dir_all(&topologies).expect("made");
    let sql = "CREATE STREAM idle (x INT) WITH (KAFKA_TOPIC = 'idle', VALUE_FORMAT = 'JSON', PARTITIONS = 1);\n";
    std::fs::write(topologies.join("idle.sql"), sql).expect("written");
    let mut command = dev_command(data, &["--no-sample", "--application-id", "ground"]);
    command
        .arg("--topologies")
        .arg(&topologies)
        .arg("--schemas")
        .arg(&topologies);
    command.args(["--kafka", kafka, "--registry", registry]);
    Dev::ready(data, command)
}

fn run_command(data: &Path, kafka: &str, registry: &str, http: &str) -> Command {
    let mut command = millstream();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("log"))
        .expect("a log");
    command
        .args([
            "run",
            "--bootstrap-servers",
            kafka,
            "--schema-registry",
            &format!("http://{registry}"),
        ])
        .args(["--http", http, "--print-urls", "json", "--log-format", "json"])
        .arg("--schemas")
        .arg(root().join("schemas"))
        .arg("--data-dir")
        .arg(data.join("run"))
        .stdin(Stdio::null())
        .stderr(log);
    command
}

#[test]
fn it_waits_for_kafka_and_the_registry_and_goes_on_by_itself() {
    let data = TempDir::new("run");
    let (kafka, registry, http) = (free_port(), free_port(), free_port());
    let starting = Starting::new(&data.0, run_command(&data.0, &kafka, &registry, &http));
    let log = data.0.join("log");
    eventually("a word that the registry is away", || {
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("is away"))
    });
    // HTTP is up meanwhile, and tells what is waited for
    assert_eq!(ask(&http, "/health/live", None).0, 200);
    let (status, ready) = ask(&http, "/health/ready", None);
    assert_eq!(status, 503, "{ready}");
    assert!(
        ready["reasons"][0]
            .as_str()
            .is_some_and(|why| why.contains("registry is away")),
        "{ready}"
    );
    let (status, views) = ask(&http, "/v1/views", None);
    assert_eq!(status, 503, "{views}");
    assert!(
        views["error"]["message"]
            .as_str()
            .is_some_and(|why| why.contains("registry is away")),
        "{views}"
    );

    let ground_data = TempDir::new("ground");
    let first = ground(&ground_data.0, &kafka, &registry);
    let run = starting.ready();

    let rating = |rating: f64| json!({ "movie_id": 7, "rating": rating, "user_id": 1 });
    let sum = || {
        run.try_query("SELECT sum FROM rating_counts WHERE id = 7")
            .and_then(|rows| rows.first()?["SUM"].as_f64())
    };
    run.post("ratings", &[rating(3.0), rating(4.0)]);
    eventually("both ratings", || (sum() == Some(7.0)).then_some(()));

    // Kafka and the registry die and come back; nothing is lost, and nothing has to be done.
    first.signal(libc::SIGKILL);
    let second = ground(&ground_data.0, &kafka, &registry);
    let body = json!({ "value": rating(5.0) });
    eventually("a rating to be taken", || {
        (run.http("/v1/streams/ratings", Some(&body)).0 == 200).then_some(())
    });
    eventually("it to be counted", || sum().filter(|sum| *sum >= 12.0));
    run.stop();
    second.stop();
}
