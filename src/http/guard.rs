//! Keeps pages of other sites out: a browser lets any page send requests to this machine, with the user's network position.
//!
//! * A request that carries an `Origin` other than the host it was sent to is refused if it changes anything or opens a WebSocket (which is
//!   not bound by the same-origin policy). Other clients send no `Origin`.
//! * On a loopback address the `Host` must be this machine by number or `localhost`: a name that someone else's DNS resolves to 127.0.0.1 makes
//!   a foreign page look like one of ours.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};

use super::{ApiError, App};

/// # Errors
/// What a request of another site is answered.
pub(super) fn check(app: &App, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    if app.settings().local_only && host.is_some_and(|host| !is_local(host)) {
        return Err(refused(
            "the request's Host is not this machine",
            "Use 127.0.0.1 or localhost, or listen on an address that others may reach (--http HOST:PORT).",
        ));
    }
    let changes = request.method() != Method::GET || headers.contains_key(header::UPGRADE);
    if changes && !same_origin(headers, host) {
        return Err(refused(
            "the request comes from a page of another site",
            "Send it from a page that this server has served, or from a program without an Origin header.",
        ));
    }
    Ok(())
}

fn refused(message: &str, hint: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message, hint)
}

fn same_origin(headers: &HeaderMap, host: Option<&str>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|o| o.split_once("://"))
        .map(|(_, authority)| authority);
    authority.is_some() && authority == host
}

/// Whether a `Host` header names an address by number, or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn hosts_by_number_are_local() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:80",
            "[::1]",
            "localhost:1",
            "LOCALHOST",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:80",
            "localhost.evil.example",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
