//! The least that axum can do: constant bytes at every path. `POST` sets them, `GET` answers them.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

static BODY: OnceLock<Bytes> = OnceLock::new();

/// Serves in the background; where.
pub async fn serve() -> SocketAddr {
    let router = Router::new().route("/{*path}", get(constant).post(set));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

async fn constant() -> ([(axum::http::HeaderName, &'static str); 1], Bytes) {
    (
        [(CONTENT_TYPE, "application/json")],
        BODY.get().cloned().unwrap_or_default(),
    )
}

async fn set(body: Bytes) {
    // the first one stays
    let _ = BODY.set(body);
}
