//! Start, stop, crash and start again.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::process::{Dev, TempDir, dev_command, millstream, wait_for};

fn counted(dev: &Dev) -> i64 {
    let rows = dev.try_query("SELECT count FROM rating_counts").unwrap_or_default();
    rows.iter().filter_map(|row| row["COUNT"].as_i64()).sum()
}

#[test]
fn the_sample_comes_alive_and_a_restart_resumes() {
    let data = TempDir::new("sample");
    let dev = Dev::start(&data.0, &[]);
    println!("addresses after {:?}", dev.ready_after);
    wait_for("rated movies", || {
        dev.try_query("SELECT * FROM rated_movies LIMIT 5")
            .filter(|rows| rows.len() == 5)
    });
    wait_for("orders by state", || {
        dev.try_query("SELECT * FROM orders_by_state")
            .filter(|rows| !rows.is_empty())
    });
    let before = counted(&dev);
    dev.stop();
    let dev = Dev::start(&data.0, &["--no-sample"]);
    wait_for("the counts of before", || (counted(&dev) >= before).then_some(()));
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
            wait_for("every rating to be counted once", || {
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
