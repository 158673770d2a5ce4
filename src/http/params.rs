//! Parameters of a request's query string, checked against the route's list.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Query};
use axum::http::Method;
use axum::http::request::Parts;

use super::json_out::Numbers;
use super::{ApiError, ROUTES};

/// The parameters that were given; all of them are known to the route.
pub(super) struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(given) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|e| ApiError::bad(e.body_text(), "Encode the query string as a form does."))?;
        if given.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let path = parts.extensions.get::<MatchedPath>().map_or("", |p| p.as_str());
        // a HEAD is answered by the GET route
        let method = if parts.method == Method::HEAD {
            "GET"
        } else {
            parts.method.as_str()
        };
        let route = ROUTES.iter().find(|r| r.path == path && r.method == method);
        let known: Vec<&str> = route.into_iter().flat_map(|r| r.params).map(|p| p.name).collect();
        for (name, _) in &given {
            if !known.contains(&name.as_str()) {
                let hint = match known.is_empty() {
                    true => "It takes none.".to_string(),
                    false => format!("Known parameters: {}.", known.join(", ")),
                };
                return Err(ApiError::bad(format!("unknown parameter {name}"), hint));
            }
        }
        Ok(Self(given.into_iter().collect()))
    }
}

impl Params {
    /// A parameter's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that is one of a few words; the first is the default.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, ApiError> {
        let Some(given) = self.get(name) else {
            return Ok(choices[0].1);
        };
        let found = choices.iter().find(|(word, _)| *word == given);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            ApiError::bad(
                format!("{name}={given} is not known"),
                format!("Write one of {}.", words.join(", ")),
            )
        })
    }

    /// A number between 1 and `most`.
    pub fn count(&self, name: &str, default: usize, most: usize) -> Result<usize, ApiError> {
        let Some(given) = self.get(name) else {
            return Ok(default);
        };
        match given.parse() {
            Ok(n) if (1..=most).contains(&n) => Ok(n),
            _ => Err(ApiError::bad(
                format!("{name}={given}"),
                format!("Write a number from 1 to {most}."),
            )),
        }
    }

    /// A span of time such as `500ms`, `10s` or `2m`, at most `most`.
    pub fn duration(&self, name: &str, default: Duration, most: Duration) -> Result<Duration, ApiError> {
        let Some(given) = self.get(name) else {
            return Ok(default);
        };
        let at = given.find(|c: char| !c.is_ascii_digit()).unwrap_or(given.len());
        let (digits, unit) = given.split_at(at);
        let unit = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .into_iter()
            .find(|(word, _)| *word == unit);
        let number = digits.parse::<u64>().ok();
        let parsed = number.zip(unit).and_then(|(n, (_, ms))| n.checked_mul(ms));
        match parsed.map(Duration::from_millis) {
            Some(duration) if duration <= most => Ok(duration),
            _ => Err(ApiError::bad(
                format!("{name}={given}"),
                format!(
                    "Write a number with ms, s, m or h, such as 500ms or 10s, at most {}s.",
                    most.as_secs()
                ),
            )),
        }
    }

    /// How BIGINT and DECIMAL are wanted.
    pub fn numbers(&self) -> Result<Numbers, ApiError> {
        self.choice("numbers", &[("exact", Numbers::Exact), ("string", Numbers::Strings)])
    }
}
