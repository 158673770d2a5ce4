//! Sources, precedence, and all problems at once.

use super::load::{Problem, Raw, load};
use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn problems(raw: &Raw<'_>) -> Vec<String> {
    load(raw)
        .expect_err("there are problems")
        .iter()
        .map(Problem::to_string)
        .collect()
}

#[test]
fn the_later_source_wins() {
    let file = "workers = 2\ncommit-interval = \"50ms\"\nhttp = \"0.0.0.0:1\"\n";
    let environment = env(&[
        ("MILLSTREAM_WORKERS", "3"),
        ("MILLSTREAM_HTTP", "127.0.0.1:2"),
        ("HOME", "/root"),
    ]);
    let settings = load(&Raw {
        file: Some(("millstream.toml", file)),
        environment: &environment,
        flags: &[("http", "127.0.0.1:3".to_owned())],
    })
    .expect("valid");
    assert_eq!(settings.duration("commit-interval"), Duration::from_millis(50));
    assert_eq!(settings.integer("workers"), 3);
    assert_eq!(settings.text("http"), "127.0.0.1:3");
    assert_eq!(settings.get("http").expect("set").1, Source::Flag);
    assert_eq!(
        settings.get("workers").expect("set").1,
        Source::Environment("MILLSTREAM_WORKERS".into())
    );
    assert_eq!(
        settings.get("commit-interval").expect("set").1,
        Source::File("millstream.toml:2:19".into())
    );
    assert_eq!(settings.text("topologies"), "topologies");
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let file = "htpp = \"127.0.0.1:80\"\nworkers = \"many\"\n[kafka-properties]\n\"a.b\" = 1\n";
    let environment = env(&[("MILLSTREAM_WROKERS", "3"), ("MILLSTREAM_COMMIT_INTERVAL", "100")]);
    let found = problems(&Raw {
        file: Some(("millstream.toml", file)),
        environment: &environment,
        flags: &[("kafka", "nowhere".to_owned())],
    });
    assert_eq!(
        found,
        [
            "millstream.toml:1:1: unknown setting `htpp`; did you mean `http`?",
            "millstream.toml:2:11: `many` is not a whole number",
            "millstream.toml:4:1: unknown section [kafka-properties]; did you mean `kafka-property`?",
            "MILLSTREAM_WROKERS: unknown variable; did you mean `MILLSTREAM_WORKERS`?",
            "MILLSTREAM_COMMIT_INTERVAL: `100` is not a length of time such as 100ms, 10s, 5m, 1h or 7d",
            "--kafka: `nowhere` is not HOST:PORT, such as 127.0.0.1:8080",
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    let found = problems(&Raw {
        file: Some(("m.toml", "workers = 2\nhttp = \n")),
        ..Raw::default()
    });
    assert!(found[0].starts_with("m.toml:2:"), "{found:?}");
}

#[test]
fn librdkafka_properties_pass_through_from_all_sources() {
    let file =
        "[kafka-property]\n\"security.protocol\" = \"SSL\"\n\"fetch.min.bytes\" = 7\n\"ssl.ca.location\" = \"/a\"\n";
    let environment = env(&[
        ("MILLSTREAM_KAFKA_PROPERTY_SASL_PASSWORD", "a=b,c"),
        ("MILLSTREAM_KAFKA_PROPERTY_SSL_CA_LOCATION", "/b"),
    ]);
    let settings = load(&Raw {
        file: Some(("millstream.toml", file)),
        environment: &environment,
        flags: &[("kafka-property", "security.protocol=SASL_SSL".to_owned())],
    })
    .expect("valid");
    let properties: Vec<(&str, &str)> = settings
        .kafka_properties
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        properties,
        [
            ("fetch.min.bytes", "7"),
            ("sasl.password", "a=b,c"),
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", "/b"),
        ]
    );
}

#[test]
fn variables_that_kubernetes_sets_are_not_ours() {
    let environment = env(&[
        ("MILLSTREAM_SERVICE_HOST", "10.0.0.1"),
        ("MILLSTREAM_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ]);
    assert!(
        load(&Raw {
            environment: &environment,
            ..Raw::default()
        })
        .is_ok()
    );
}

#[test]
fn values_are_read_and_bounded() {
    let bytes = Kind::Bytes { min: 1, max: 1 << 40 };
    assert_eq!(bytes.read("64MiB"), Ok(Value::Bytes(64 << 20)));
    assert_eq!(bytes.read("1_000"), Ok(Value::Bytes(1000)));
    assert!(bytes.read("64 miles").is_err());
    assert!(bytes.read("99999999999999999999GiB").is_err());
    let time = Kind::Duration {
        min_ms: 10,
        max_ms: 60_000,
    };
    assert_eq!(time.read("1m"), Ok(Value::Duration(Duration::from_secs(60))));
    assert_eq!(time.read("2m"), Err("2m is outside 10ms to 1m".to_owned()));
    assert!(Kind::Address.read("[::1]:8080").is_ok());
    assert!(Kind::Address.read("::1:8080").is_err());
    assert!(Kind::Address.read("localhost:99999").is_err());
    assert_eq!(
        Kind::Urls.read("http://a:1/, https://b"),
        Ok(Value::List(vec!["http://a:1".into(), "https://b".into()]))
    );
    assert!(Kind::Urls.read("localhost:8081").is_err());
}

#[test]
fn an_advertised_url_that_instances_cannot_use_is_refused() {
    let read = |url: &str| {
        load(&Raw {
            flags: &[("advertised-url", url.to_owned())],
            ..Raw::default()
        })
        .map(|settings| settings.text("advertised-url").to_owned())
        .map_err(|problems| problems[0].to_string())
    };
    assert_eq!(read("http://10.0.0.7:8080/"), Ok("http://10.0.0.7:8080".to_owned()));
    assert_eq!(read("http://[fd00::7]:8080"), Ok("http://[fd00::7]:8080".to_owned()));
    for (url, expected) in [
        ("https://a:8080", "speak plain http"),
        ("http://a:8080,http://b:8080", "one address"),
        ("a:8080", "such as http://10.0.0.7:8080"),
        ("http://", "such as http://10.0.0.7:8080"),
        ("http:///x", "such as http://10.0.0.7:8080"),
        ("http://a b", "such as http://10.0.0.7:8080"),
        ("http://0.0.0.0:8080", "means another machine"),
        ("http://[::]:8080", "means another machine"),
        ("http://a:0", "port"),
        ("http://a:99999", "port"),
    ] {
        let said = read(url).expect_err(url);
        assert!(
            said.starts_with("--advertised-url: ") && said.contains(expected),
            "{url}: {said}"
        );
    }
}

/// What the table promises of itself.
#[test]
fn the_table_is_sound() {
    let mut names: Vec<&str> = SETTINGS.iter().map(|s| s.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands twice");
    assert!(load(&Raw::default()).is_ok(), "a default is not valid");
    for setting in SETTINGS {
        assert!(
            !setting.commands.is_empty() && setting.help.ends_with('.'),
            "{}",
            setting.name
        );
    }
}

/// `docs/settings.md` is a committed snapshot: `make docs` writes it anew.
#[test]
fn the_settings_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == docs::markdown(),
        "docs/settings.md differs from the table of settings: run `make docs`"
    );
}

#[test]
fn the_example_file_is_valid() {
    let file = include_str!("../../../millstream.example.toml");
    let found = load(&Raw {
        file: Some(("millstream.example.toml", file)),
        environment: &[],
        flags: &[],
    });
    let problems = found.err().unwrap_or_default();
    let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}
