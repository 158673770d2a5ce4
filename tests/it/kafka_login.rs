//! TLS and SASL against a broker that `make test-kafka` has started with listeners that want a login.

use std::time::{Duration, Instant};

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Log, LogError};

fn connect(address: &str, properties: &[(&str, &str)]) -> Result<KafkaLog, LogError> {
    KafkaLog::new(KafkaSettings {
        bootstrap_servers: address.into(),
        client_id: "login".into(),
        properties: properties
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    })
}

/// The variable's value, or a word that the test is skipped.
fn listener(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        println!("skipped: {variable} names no listener; `make test-kafka` starts one");
    }
    address
}

const USER: [(&str, &str); 2] = [("sasl.username", "mill"), ("sasl.password", "stream")];

/// An unsecured token, as the broker's test settings take it.
fn token() -> String {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let claims = format!(r#"{{"sub":"mill","iat":{now},"exp":{}}}"#, now + 600);
    format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims))
}

#[test]
fn every_mechanism_logs_in() {
    let Some(address) = listener("MILLSTREAM_TEST_KAFKA_LOGIN") else {
        return;
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let properties = [
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanisms", mechanism)],
            &USER[..],
        ]
        .concat();
        let log = connect(&address, &properties).expect("valid settings");
        log.admin()
            .list_topics()
            .unwrap_or_else(|error| panic!("{mechanism}: {error}"));
    }
    let command = format!("printf %s {}", token());
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("oauthbearer.token.command", &command),
    ];
    let log = connect(&address, &properties).expect("valid settings");
    log.admin()
        .list_topics()
        .unwrap_or_else(|error| panic!("OAUTHBEARER: {error}"));
}

#[test]
fn tls_wants_a_certificate_that_we_trust() {
    let (Some(address), Some(ca)) = (
        listener("MILLSTREAM_TEST_KAFKA_TLS"),
        listener("MILLSTREAM_TEST_KAFKA_CA"),
    ) else {
        return;
    };
    let common = [
        &[("security.protocol", "SASL_SSL"), ("sasl.mechanisms", "PLAIN")],
        &USER[..],
    ]
    .concat();
    let log = connect(&address, &[&common[..], &[("ssl.ca.location", ca.as_str())]].concat()).expect("valid settings");
    log.admin().list_topics().expect("logged in over TLS");
    let error = connect(&address, &common)
        .expect("valid settings")
        .admin()
        .list_topics()
        .expect_err("an unknown certificate");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn a_wrong_password_is_named_as_such() {
    let Some(address) = listener("MILLSTREAM_TEST_KAFKA_LOGIN") else {
        return;
    };
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "mill"),
        ("sasl.password", "wrong"),
    ];
    let started = Instant::now();
    let log = connect(&address, &properties).expect("valid settings");
    let error = log.admin().list_topics().expect_err("logged in with a wrong password");
    assert!(error.to_string().to_lowercase().contains("authentication"), "{error}");
    assert!(!error.to_string().contains("wrong"), "the password is shown: {error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}
