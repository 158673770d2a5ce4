//! Two instances of `millstream run` answer as one: what is written through one is read through the other, and when one is killed in mid-flow, reads go
//! on or say that they cannot, and are never wrong.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::process::{Dev, Starting, TempDir, ask, dev_command, millstream};
use crate::patience::{PATIENCE, eventually, until};

/// One view where the records are, one behind a repartition.
const SQL: &str = "
CREATE STREAM orders (customer BIGINT KEY, amount BIGINT)
  WITH (KAFKA_TOPIC = 'orders', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 4);
CREATE TABLE totals WITH (VALUE_FORMAT = 'JSON') AS
  SELECT customer, COUNT(*) AS n, SUM(amount) AS total FROM orders GROUP BY customer EMIT CHANGES;
CREATE TABLE amounts WITH (KEY_FORMAT = 'JSON', VALUE_FORMAT = 'JSON') AS
  SELECT amount, COUNT(*) AS n, SUM(amount) AS total FROM orders GROUP BY amount EMIT CHANGES;
";
const CUSTOMERS: i64 = 12;

/// Every customer orders for an amount of its own.
fn amount(customer: i64) -> i64 {
    customer * 7 + 1
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn start(data: &Path, name: &str, kafka: &str) -> Starting {
    let topologies = data.join("sql");
    std::fs::create_dir_all(&topologies).expect("made");
    std::fs::write(topologies.join("shop.sql"), SQL).expect("written");
    let http = free_port();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("log"))
        .expect("a log");
    let mut command = millstream();
    command
        .args(["run", "--bootstrap-servers", kafka, "--application-id", "pair"])
        .args(["--http", &http, "--advertised-url", &format!("http://{http}")])
        .args(["--standbys", "1", "--commit-interval", "20ms", "--print-urls", "json"])
        .arg("--topologies")
        .arg(&topologies)
        .arg("--data-dir")
        .arg(data.join(name))
        .stdin(Stdio::null())
        .stderr(log);
    Starting::new(data, command)
}

/// A GET: status, whether it says when to try again, and the body.
fn get(url: &str, path: &str) -> (u16, bool, Value) {
    let authority = url.strip_prefix("http://").expect("an http address");
    let mut stream = TcpStream::connect(authority).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let retry = head.to_ascii_lowercase().contains("\r\nretry-after: ");
    (
        status.expect("a status"),
        retry,
        serde_json::from_str(body).expect("JSON"),
    )
}

/// What was written, and the last token.
#[derive(Default)]
struct Books {
    orders: BTreeMap<i64, i64>,
    token: String,
}

impl Books {
    /// One more order of a customer.
    fn write(&mut self, through: &Dev, customer: i64) {
        let body = json!({ "key": customer, "value": { "AMOUNT": amount(customer) } });
        let (status, answer) = through.http("/v1/streams/orders", Some(&body));
        assert_eq!(status, 200, "{answer}");
        *self.orders.entry(customer).or_default() += 1;
        self.token = answer["token"].as_str().expect("a token").to_owned();
    }

    /// Reads a customer's rows with the token; whether both views have answered. What they answer is right in any case.
    fn read(&self, url: &str, customer: i64, timeout: &str) -> bool {
        let asked = format!("after={}&timeout={timeout}", self.token);
        let written = self.orders[&customer];
        let mut all = true;
        for path in self.paths(customer) {
            let (status, retry, answer) = get(url, &format!("{path}?{asked}"));
            match status {
                200 => {
                    let row = &answer["row"];
                    assert_eq!(row["N"], written, "{path}: {answer}");
                    assert_eq!(row["TOTAL"], written * amount(customer), "{path}: {answer}");
                }
                503 => assert!(retry, "{path}: {answer}"),
                504 => {}
                _ => panic!("{path}: {status} {answer}"),
            }
            if status != 200 {
                println!("{path}: {status} {answer}");
            }
            all &= status == 200;
        }
        all
    }

    /// Reads whatever copies show: some state that there was.
    fn read_copies(&self, url: &str, customer: i64) {
        for path in self.paths(customer) {
            let (status, retry, answer) = get(url, &format!("{path}?max-staleness=1h"));
            match status {
                200 => {
                    let n = answer["row"]["N"].as_i64().expect("a number");
                    assert!((1..=self.orders[&customer]).contains(&n), "{path}: {answer}");
                    assert_eq!(answer["row"]["TOTAL"], n * amount(customer), "{path}: {answer}");
                }
                503 => assert!(retry, "{path}: {answer}"),
                _ => panic!("{path}: {status} {answer}"),
            }
        }
    }

    fn paths(&self, customer: i64) -> [String; 2] {
        [
            format!("/v1/views/totals/rows/{customer}"),
            format!("/v1/views/amounts/rows/{}", amount(customer)),
        ]
    }

    /// A page and a query over everything.
    fn read_all(&self, url: &str) {
        let token = &self.token;
        let (status, _, page) = get(url, &format!("/v1/views/totals/rows?after={token}&timeout=60s"));
        assert_eq!(status, 200, "{page}");
        let rows: Vec<(i64, i64)> = page["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| {
                (
                    row["CUSTOMER"].as_i64().expect("a number"),
                    row["N"].as_i64().expect("a number"),
                )
            })
            .collect();
        assert_eq!(rows, self.orders.clone().into_iter().collect::<Vec<_>>());
        let authority = url.strip_prefix("http://").expect("an http address");
        let sql = json!({ "sql": "SELECT COUNT(*) groups, SUM(n) orders, SUM(total) total FROM amounts" });
        let (status, answer) = ask(authority, &format!("/v1/query?after={token}&timeout=60s"), Some(&sql));
        assert_eq!(status, 200, "{answer}");
        let total: i64 = self.orders.iter().map(|(customer, n)| n * amount(*customer)).sum();
        let orders: i64 = self.orders.values().sum();
        let expected = json!({ "GROUPS": CUSTOMERS, "ORDERS": orders, "TOTAL": total });
        assert_eq!(answer["rows"], json!([expected]));
    }
}

/// How many tasks each live instance shows, as one of them knows it.
fn shares(dev: &Dev) -> Vec<usize> {
    let (status, _, answer) = get(&dev.http, "/v1/instances");
    assert_eq!(status, 200, "{answer}");
    let tasks = |instance: &Value| -> usize {
        let topologies = instance["topologies"].as_array().expect("a list").iter();
        topologies
            .map(|topology| topology["tasks"].as_array().map_or(0, Vec::len))
            .sum()
    };
    answer["instances"]
        .as_array()
        .expect("a list")
        .iter()
        .map(tasks)
        .collect()
}

#[test]
fn two_instances_answer_as_one_and_never_wrongly_when_one_is_killed() {
    let data = TempDir::new("pair");
    let ground = Dev::ready(&data.0, {
        let nothing = data.0.join("nothing");
        std::fs::create_dir_all(&nothing).expect("made");
        let sql = "CREATE STREAM idle (x INT) WITH (KAFKA_TOPIC = 'idle', VALUE_FORMAT = 'JSON', PARTITIONS = 1);\n";
        std::fs::write(nothing.join("idle.sql"), sql).expect("written");
        let mut command = dev_command(&data.0, &["--no-sample", "--application-id", "ground"]);
        command.arg("--topologies").arg(&nothing).arg("--schemas").arg(&nothing);
        command
    });
    let first = start(&data.0, "first", &ground.kafka).ready();
    let second = start(&data.0, "second", &ground.kafka).ready();
    for dev in [&first, &second] {
        until("both to have a share", || shares(dev) == [4, 4]);
    }
    let mut books = Books::default();
    for customer in 0..CUSTOMERS {
        books.write(if customer % 2 == 0 { &first } else { &second }, customer);
    }
    // read-your-writes, whoever is asked
    for round in 0..CUSTOMERS {
        let customer = round % CUSTOMERS;
        books.write(&first, customer);
        for dev in [&first, &second] {
            eventually("the row", || books.read(&dev.http, customer, "10s").then_some(()));
        }
    }
    for dev in [&first, &second] {
        books.read_all(&dev.http);
    }

    // one dies in mid-flow: its rows come back, and until then nobody is told anything wrong
    second.signal(libc::SIGKILL);
    let mut round = 0;
    let mut well = 0;
    until("all rows to be there again", || {
        round += 1;
        let customer = round % CUSTOMERS;
        books.write(&first, customer);
        books.read_copies(&first.http, customer);
        well = if books.read(&first.http, customer, "3s") {
            well + 1
        } else {
            0
        };
        well >= CUSTOMERS / 2
    });
    books.read_all(&first.http);
    first.stop();
    ground.stop();
}
