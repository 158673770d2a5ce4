//! The page in a real browser: Chromium, driven through ChromeDriver's WebDriver interface, shows a row and a change of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

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
