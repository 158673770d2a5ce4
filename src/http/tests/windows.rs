//! Pull queries over a windowed table: rows of a key by their windows.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::*;

fn clicks() -> Rig {
    let bound = SqlType::Bigint;
    let clicks = schema(
        &[
            ("PAGE", SqlType::String),
            ("WINDOWSTART", bound.clone()),
            ("WINDOWEND", bound),
        ],
        &[("N", SqlType::Bigint)],
    );
    let mut fake = Fake::new(topology("site", "CLICKS", clicks, TablePlan::Store(0)), 2);
    let rows = [("home", 0, 1), ("home", 1000, 2), ("home", 2000, 3), ("help", 1000, 4)];
    let rows = rows.map(|(page, start, n): (&str, i64, i64)| {
        let key = row([page.into(), start.into(), (start + 1000).into()]);
        (key, row([n.into()]))
    });
    fake.put(rows, |key| i32::from(key[0] == Value::from("help")));
    let ingest = Arc::new(FakeIngest::default());
    let app = App::new(AppParts {
        published: fake.published.clone(),
        ingest: Some(ingest.clone()),
        control: Arc::new(FakeControl(fake.topology.clone())),
        app_id: "millstream".into(),
        settings: HttpSettings::default(),
    });
    app.set_deployed();
    Rig {
        fake,
        router: super::super::app(app.clone()),
        app,
        ingest,
    }
}

async fn counts(rig: &Rig, condition: &str) -> Vec<Json> {
    let sql = format!("SELECT N FROM clicks WHERE {condition} ORDER BY N");
    let (status, answer) = rig.post("/v1/query", &json!({ "sql": sql }).to_string()).await;
    assert_eq!(status, StatusCode::OK, "{condition}: {answer}");
    let rows = answer["rows"].as_array().unwrap();
    rows.iter().map(|row| row["N"].clone()).collect()
}

#[tokio::test]
async fn windows_are_chosen_by_their_bounds() {
    let rig = clicks();
    for (condition, expected) in [
        ("PAGE = 'home'", vec![1, 2, 3]),
        ("PAGE = 'home' AND WINDOWSTART = 1000", vec![2]),
        ("PAGE = 'home' AND WINDOWSTART >= 1000", vec![2, 3]),
        ("PAGE = 'home' AND WINDOWSTART > 0 AND WINDOWSTART < 2000", vec![2]),
        ("PAGE = 'home' AND WINDOWEND <= 2000", vec![1, 2]),
        (
            "PAGE = 'home' AND WINDOWSTART BETWEEN 0 AND 1000 AND WINDOWEND > 1000",
            vec![2],
        ),
        ("PAGE = 'home' AND WINDOWSTART >= '1970-01-01T00:00:02'", vec![3]),
        ("WINDOWSTART = 1000", vec![2, 4]),
        ("PAGE IN ('home', 'help') AND WINDOWSTART = 1000", vec![2, 4]),
        ("PAGE = 'home' AND WINDOWSTART = 1", vec![]),
    ] {
        let expected: Vec<Json> = expected.into_iter().map(Json::from).collect();
        assert_eq!(counts(&rig, condition).await, expected, "{condition}");
    }
}
