//! Pause, resume, replay and undeploy, as commands beside a running instance.

use serde_json::{Value, json};

use super::process::{Dev, TempDir, ask};
use crate::patience::eventually;

fn done(output: &std::process::Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

fn status(dev: &Dev, topology: &str) -> Value {
    dev.http(&format!("/v1/topologies/{topology}"), None).1["status"].clone()
}

fn counted(dev: &Dev) -> Option<i64> {
    let rows = dev.try_query("SELECT count FROM rating_counts")?;
    Some(rows.iter().filter_map(|row| row["COUNT"].as_i64()).sum())
}

fn rate(dev: &Dev, count: i64) {
    let ratings: Vec<Value> = (0..count)
        .map(|i| json!({ "movie_id": i % 3, "rating": 5.0, "user_id": 1 }))
        .collect();
    dev.post("ratings", &ratings);
}

#[test]
fn a_paused_topology_answers_and_goes_on_when_told() {
    let data = TempDir::new("pause");
    let dev = Dev::start(&data.0, &["--no-sample"]);
    rate(&dev, 5);
    eventually("five ratings", || (counted(&dev) == Some(5)).then_some(()));
    done(&dev.steer(&["pause", "ratings"]));
    eventually("the pause", || {
        (status(&dev, "ratings") == json!("paused")).then_some(())
    });
    rate(&dev, 5);
    assert_eq!(counted(&dev), Some(5));
    done(&dev.steer(&["resume", "ratings"]));
    eventually("ten ratings", || (counted(&dev) == Some(10)).then_some(()));
    let unknown = dev.steer(&["pause", "rating"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("ratings"),
        "the deployed ones are named"
    );
    dev.stop();
}

#[test]
fn a_replay_rebuilds_the_same_views() {
    let data = TempDir::new("replay");
    let dev = Dev::start(&data.0, &["--no-sample"]);
    rate(&dev, 30);
    eventually("thirty ratings", || (counted(&dev) == Some(30)).then_some(()));
    let before = dev.query("SELECT * FROM average_ratings ORDER BY id");
    let refused = dev.steer(&["replay", "ratings", "--url", &dev.http]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("--outputs"),
        "what to say is said"
    );
    let text = done(&dev.steer(&["replay", "ratings", "--outputs", "none", "--url", &dev.http]));
    assert!(text.contains("generation 1"), "{text}");
    eventually("the new generation", || (counted(&dev) == Some(30)).then_some(()));
    assert_eq!(dev.query("SELECT * FROM average_ratings ORDER BY id"), before);
    rate(&dev, 3);
    eventually("it to go on", || (counted(&dev) == Some(33)).then_some(()));
    dev.stop();
}

#[test]
fn an_undeployed_topology_is_gone() {
    let data = TempDir::new("undeploy");
    let dev = Dev::start(&data.0, &["--no-sample"]);
    rate(&dev, 4);
    eventually("four ratings", || (counted(&dev) == Some(4)).then_some(()));
    // the first of the registries is away: the discard port
    let registries = format!("http://127.0.0.1:9,{}", dev.registry);
    let text = done(&dev.steer(&["undeploy", "ratings", "--outputs", "--schema-registry", &registries]));
    assert!(text.contains("rated-movies"), "{text}");
    assert!(
        text.contains("deleted subjects") && text.contains("rated-movies-value"),
        "{text}"
    );
    let (_, subjects) = ask(
        dev.registry.strip_prefix("http://").expect("an address"),
        "/subjects",
        None,
    );
    assert!(!subjects.to_string().contains("rated-movies-value"), "{subjects}");
    eventually("its views to go", || {
        dev.try_query("SELECT * FROM rating_counts").is_none().then_some(())
    });
    assert_eq!(dev.http("/v1/topologies/ratings", None).0, 404);
    eventually("the others to be there", || {
        dev.try_query("SELECT * FROM orders_by_state")
    });
    dev.stop();
}
