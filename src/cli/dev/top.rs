//! The live list: reads the views through the instance's own HTTP interface and redraws the terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::http_client::Client;
use crate::cli::{Failure, output};
use crate::dev::top::Top;
use crate::engine::Published;

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(500);
/// Movies shown.
const MOVIES: usize = 10;

/// The thread that draws; told to stop when dropped.
pub struct LiveList {
    stop: Arc<AtomicBool>,
}

impl LiveList {
    /// Starts to draw. `footer`: lines that stay below the list.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(url: &str, published: Arc<Published>, footer: Vec<String>) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let mut list = Reader {
            client: Client::new(url)?,
            published,
            footer,
            last: None,
        };
        let run = move || {
            let mut drawn = 0;
            while !told.load(Ordering::Relaxed) {
                let top = list.read();
                let (text, lines) = top.draw(output::terminal_size(), drawn);
                if told.load(Ordering::Relaxed) {
                    return;
                }
                output::raw(&text);
                drawn = lines;
                std::thread::sleep(REDRAW);
            }
        };
        std::thread::Builder::new()
            .name("top".into())
            .spawn(run)
            .map_err(Failure::failed)?;
        Ok(Self { stop })
    }
}

impl Drop for LiveList {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Reader {
    client: Client,
    published: Arc<Published>,
    footer: Vec<String>,
    /// When records were last counted, and how many there were.
    last: Option<(Instant, u64)>,
}

impl Reader {
    fn read(&mut self) -> Top {
        let mut footer = self.footer.clone();
        for topology in self.published.topologies() {
            let status = topology.status();
            if let Some(reason) = status.reason() {
                footer.push(format!("{} is {}: {reason}", topology.topology.name, status.word()));
            }
        }
        let letters: u64 = self
            .published
            .topologies()
            .iter()
            .map(|t| t.metrics.dead_letters.load(Ordering::Relaxed))
            .sum();
        if letters > 0 {
            footer.push(format!("{letters} bad records are in the dead-letter topics"));
        }
        Top {
            movies: self.movies(),
            states: self.states(),
            records_per_second: self.rate(),
            footer,
        }
    }

    fn query(&mut self, sql: &str) -> Vec<Value> {
        let answer = self
            .client
            .send("POST", "/v1/query", json!({ "sql": sql }).to_string().as_bytes());
        let rows = answer
            .and_then(|answer| answer.json())
            .ok()
            .and_then(|answer| answer.get("rows")?.as_array().cloned());
        rows.unwrap_or_default()
    }

    fn movies(&mut self) -> Vec<(String, f64, u64)> {
        let best = self.query(&format!(
            "SELECT id, title, rating FROM rated_movies ORDER BY rating DESC LIMIT {MOVIES}"
        ));
        let ids: Vec<String> = best
            .iter()
            .filter_map(|row| row.get("ID").map(Value::to_string))
            .collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let counts = self.query(&format!(
            "SELECT id, count FROM rating_counts WHERE id IN ({})",
            ids.join(", ")
        ));
        let count = |row: &Value| {
            counts
                .iter()
                .find(|c| c.get("ID") == row.get("ID"))
                .and_then(|c| c.get("COUNT")?.as_u64())
        };
        let shown = best.iter().filter_map(|row| {
            let title = row.get("TITLE")?.as_str()?.to_owned();
            Some((title, row.get("RATING")?.as_f64()?, count(row).unwrap_or(0)))
        });
        shown.collect()
    }

    fn states(&mut self) -> Vec<(String, u64)> {
        let rows = self.query("SELECT state, orders FROM orders_by_state");
        rows.iter()
            .filter_map(|row| Some((row.get("STATE")?.as_str()?.to_owned(), row.get("ORDERS")?.as_u64()?)))
            .collect()
    }

    /// Records that the topologies have processed, a second.
    fn rate(&mut self) -> f64 {
        let count = self
            .published
            .topologies()
            .iter()
            .map(|t| t.metrics.records.load(Ordering::Relaxed))
            .sum();
        let now = Instant::now();
        match self.last.replace((now, count)) {
            Some((then, before)) => {
                count.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64().max(0.001)
            }
            None => 0.0,
        }
    }
}
