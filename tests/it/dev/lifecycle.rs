//! Start, stop, crash and start again.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::process::{Dev, TempDir, dev_command, millstream};
use crate::patience::eventually;

fn counted(dev: &Dev) -> i64 {
    let rows = dev.try_query("SELECT count FROM rating_counts").unwrap_or_default();
    rows.iter().filter_map(|row| row["COUNT"].as_i64()).sum()
}

#[test]
fn the_sample_comes_alive_and_a_restart_resumes() {
    let data = TempDir::new("sample");
    let dev = Dev::start(&data.0, &[]);
    println!("addresses after {:?}", dev.ready_after);
    eventually("rated movies", || {
        dev.try_query("SELECT * FROM rated_movies LIMIT 5")
            .filter(|rows| rows.len() == 5)
    });
    eventually("orders by state", || {
        dev.try_query("SELECT * FROM orders_by_state")
            .filter(|rows| !rows.is_empty())
    });
    let before = counted(&dev);
    dev.stop();
    let dev = Dev::start(&data.0, &["--no-sample"]);
    eventually("the counts of before", || (counted(&dev) >= before).then_some(()));
    dev.stop();
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let data = TempDir::new("kill");
    let mut written = 0;
    for round in 0..3 {
        let dev = Dev::start(&data.0, &["--no-sample"]);
        for batch in 0..5 {
            let ratings: Vec<_> = (0..20)
                .map(|i| json!({ "movie_id": i % 7, "rating": 5.0, "user_id": batch }))
                .collect();
            dev.post("ratings", &ratings);
            written += 20;
        }
        if round == 2 {
            eventually("every rating to be counted once", || {
                (counted(&dev) == written).then_some(())
            });
            assert_eq!(counted(&dev), written);
            dev.stop();
        } else {
            dev.signal(libc::SIGKILL);
        }
    }
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let data = TempDir::new("ports");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--http", "--kafka", "--registry"] {
        let output = dev_command(&data.0, &[flag, &address, "--no-sample"])
            .stderr(Stdio::piped())
            .output()
            .expect("it runs");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{flag}: {complaint}");
        assert!(
            complaint.contains(&address) && complaint.contains(flag),
            "{flag}: {complaint}"
        );
    }
}

#[test]
fn a_broken_file_is_shown_with_its_place_and_nothing_starts() {
    let data = TempDir::new("broken");
    let topologies = data.0.join("topologies");
    std::fs::create_dir_all(&topologies).expect("made");
    std::fs::write(
        topologies.join("good.sql"),
        "CREATE STREAM a (x INT) WITH (KAFKA_TOPIC='a', VALUE_FORMAT='JSON', PARTITIONS=1);\n",
    )
    .expect("written");
    std::fs::write(topologies.join("bad.sql"), "CREATE STREAM b (y INT) WITH (KAFKA_TOPIC='b', VALUE_FORMAT='JSON', PARTITIONS=1);\nCREATE STREAM c AS\n  SELECT why FROM b;\n").expect("written");
    let dir = topologies.to_str().expect("a path");
    for command in ["check", "dev"] {
        let output = match command {
            "check" => millstream()
                .args(["check", "--output", "text", "--topologies", dir])
                .output(),
            _ => dev_command(&data.0, &["--topologies", dir])
                .stderr(Stdio::piped())
                .output(),
        };
        let output = output.expect("it runs");
        let text = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        assert_eq!(output.status.code(), Some(2), "{command}: {text}");
        assert!(
            text.contains("bad.sql:3:10") && text.contains("^^^"),
            "{command}: {text}"
        );
    }
}

#[test]
fn unknown_settings_are_refused_all_at_once() {
    let output = millstream()
        .args(["dev", "--workers", "none"])
        .env("MILLSTREAM_HTPP", "127.0.0.1:1")
        .output()
        .expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("MILLSTREAM_HTTP") && complaint.contains("--workers"),
        "{complaint}"
    );
}

#[test]
fn the_first_answer_comes_quickly() {
    let data = TempDir::new("quick");
    let dev = Dev::start(&data.0, &[]);
    // The stated second is for a machine with nothing else to do; tests run beside each other.
    assert!(dev.ready_after < Duration::from_secs(20), "{:?}", dev.ready_after);
    dev.stop();
}

/// The commands that ask a running instance or the registry.
#[test]
fn commands_answer_in_text_and_in_json() {
    let data = TempDir::new("commands");
    let dev = Dev::start(&data.0, &["--no-sample"]);
    dev.post("orders", &[json!({ "order_id": 1, "customer_id": 1, "product": "Lamp", "quantity": 1, "amount": "12345678901234.567", "state": "CREATED" })]);
    eventually("the order", || {
        dev.try_query("SELECT * FROM current_orders")
            .filter(|rows| rows.len() == 1)
    });
    let run = |arguments: &[&str]| {
        let output = millstream().args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            text,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text, _) = run(&[
        "query",
        "SELECT order_id, amount FROM current_orders",
        "--url",
        &dev.http,
        "--output",
        "text",
    ]);
    assert_eq!(
        (code, text.as_str()),
        (
            Some(0),
            "ORDER_ID  AMOUNT\n--------  ------------------\n       1  12345678901234.567\n1 row\n"
        )
    );
    let (_, json, _) = run(&["query", "SELECT order_id FROM current_orders", "--url", &dev.http]);
    assert!(
        json.starts_with("{\"columns\"") && json.contains("\"position\""),
        "{json}"
    );
    let (code, _, complaint) = run(&["query", "SELECT nothing FROM current_orders", "--url", &dev.http]);
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("NOTHING") && complaint.contains("^^^"),
        "{complaint}"
    );

    let registry = ["--schema-registry", &dev.registry];
    let (code, text, _) = run(&[["schemas", "check", "--output", "text"].as_slice(), &registry].concat());
    assert_eq!((code, text.contains("compatible")), (Some(0), true), "{text}");
    let changed = data.0.join("ratings-value.avsc");
    let schema = r#"{"type":"record","name":"Rating","namespace":"io.millstream.sample","fields":[{"name":"stars","type":"int"}]}"#;
    std::fs::write(&changed, schema).expect("written");
    let file = changed.to_str().expect("a path");
    for action in ["check", "register"] {
        let (code, text, _) = run(&[["schemas", action, file, "--output", "text"].as_slice(), &registry].concat());
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("stars"), "the difference is named: {text}");
    }
    let (code, text, complaint) = run(&[["check", "--output", "text"].as_slice(), &registry].concat());
    assert_eq!(code, Some(0), "{text}{complaint}");
    let (_, plan, _) = run(&["explain", "--output", "text"]);
    assert!(plan.contains("millstream.ratings.RATING_COUNTS.changelog"), "{plan}");
    dev.stop();
}
