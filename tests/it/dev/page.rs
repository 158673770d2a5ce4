//! The page in a real browser: Chromium, driven through ChromeDriver's WebDriver interface, shows a row and a change of it; also where no feed can be had.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use serde_json::{Value, json};

use super::process::{Dev, TempDir};
use crate::patience::eventually;

/// ChromeDriver on a free port, with one session.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// `None`, after saying so, where there is no ChromeDriver.
    fn start(profile: &std::path::Path) -> Option<Self> {
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = spawned else {
            println!("skipped: there is no chromedriver");
            return None;
        };
        let stdout = BufReader::new(driver.stdout.take().expect("piped"));
        let started = stdout
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains("started successfully on port"));
        let line = started.expect("the driver says its port");
        let port = line
            .trim_end_matches('.')
            .rsplit(' ')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
        };
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {"pageLoadStrategy": "none", "goog:chromeOptions": {"args": flags}}}});
        let answer = browser.call("POST", "/session", &capabilities);
        browser.session = answer["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {answer}"))
            .to_owned();
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the driver listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket
            .write_all(head.as_bytes())
            .and_then(|()| socket.write_all(body.as_bytes()))
            .expect("sent");
        let mut answer = BufReader::new(socket);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).expect("a header");
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut bytes = vec![0; length];
        answer.read_exact(&mut bytes).expect("a body");
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        answer["value"].clone()
    }

    fn in_session(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// The text that a person sees.
    fn text(&self) -> String {
        let script = json!({"script": "return document.body ? document.body.innerText : ''", "args": []});
        self.in_session("/execute/sync", &script)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.call("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        if let Err(error) = self.driver.kill().and_then(|()| self.driver.wait()) {
            eprintln!("the driver was not ended: {error}");
        }
    }
}

#[test]
fn the_page_shows_a_view_and_its_changes() {
    let data = TempDir::new("page");
    let Some(browser) = Browser::start(&data.0.join("chromium")) else {
        return;
    };
    let dev = Dev::start(&data.0, &["--no-sample"]);
    let customer = |level: &str| json!({ "customer_id": 4711, "name": "Ada of the page", "level": level });
    dev.post("customers", &[customer("gold")]);
    browser.in_session("/url", &json!({"url": format!("{}/", dev.http)}));
    // choosing a view in the list is what a person does
    let choose = "const s = document.getElementById('views'); const o = s && [...s.options].find(o => o.text.startsWith('CUSTOMERS ')); \
                  if (!o) return false; s.value = o.value; s.dispatchEvent(new Event('change')); return true;";
    eventually("the list of views", || {
        let chosen = browser.in_session("/execute/sync", &json!({"script": choose, "args": []}));
        (chosen == true).then_some(())
    });
    eventually("the row", || {
        let text = browser.text();
        (text.contains("Ada of the page") && text.contains("gold")).then_some(())
    });
    dev.post("customers", &[customer("platinum")]);
    eventually("the change", || browser.text().contains("platinum").then_some(()));
}

/// Answers as an instance does whose view is spread over several: rows, but no feed.
fn one_of_several(mut socket: TcpStream, amount: i64) -> std::io::Result<()> {
    let mut first = String::new();
    let mut reader = BufReader::new(socket.try_clone()?);
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let columns = json!([{"name": "ID", "type": "BIGINT"}, {"name": "AMOUNT", "type": "BIGINT"}]);
    let (status, body) = match path.split('?').next().unwrap_or_default() {
        "/v1/views" => (
            "200 OK",
            json!({"views": [{"name": "T", "topology": "shop", "key": ["ID"], "columns": columns}]}),
        ),
        "/v1/views/shop.T/rows" => {
            let rows = json!([{"ID": "1", "AMOUNT": format!("{amount}")}]);
            ("200 OK", json!({"rows": rows, "cursor": null, "position": {}}))
        }
        "/v1/views/shop.T/changes" => (
            "409 Conflict",
            json!({"error": {"code": "spread_view", "message": "elsewhere", "hint": "read rows"}}),
        ),
        _ => ("200 OK", json!({"status": "ready", "streams": []})),
    };
    let (kind, body) = match path {
        "/" => ("text/html", include_str!("../../../src/http/console.html").to_owned()),
        _ => ("application/json", body.to_string()),
    };
    write!(
        socket,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn the_page_reads_rows_where_an_instance_has_no_feed_of_them() {
    let data = TempDir::new("page-of-several");
    let Some(browser) = Browser::start(&data.0.join("chromium")) else {
        return;
    };
    let amount = Arc::new(AtomicI64::new(4_711));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let now = amount.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let now = now.clone();
            // a browser that has gone away needs no answer
            std::thread::spawn(move || drop(one_of_several(socket, now.load(SeqCst))));
        }
    });
    browser.in_session("/url", &json!({ "url": url }));
    eventually("the row", || browser.text().contains("4711").then_some(()));
    amount.store(4_712, SeqCst);
    eventually("the change", || browser.text().contains("4712").then_some(()));
}
