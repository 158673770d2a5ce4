//! The socket.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{App, app};

/// How long requests may take to finish once the process stops.
const SHUTDOWN_TIME: Duration = Duration::from_millis(1_500);

/// The runtime to serve on. It has more threads than there are cores: all but one may be at a read (`App::read_few`), and those that read may have to wait for a
/// core.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2 * cores + 1)
        .build()
}

/// Binds an address such as `127.0.0.1:8080`; port 0 takes a free one.
///
/// # Errors
/// Naming the address, what is wrong with it and what to do.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), String> {
    let wrong = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "the HTTP address {address} is in use by another process; stop that one, or choose another address with --http HOST:PORT (port 0 takes a free one)"
        ),
        _ => format!("cannot listen for HTTP on {address}: {error}; choose another address with --http HOST:PORT"),
    };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let local = listener.local_addr().map_err(wrong)?;
    Ok((listener, local))
}

/// Serves until `shutdown` is done; then requests finish, feeds are ended, and after a second and a half whatever is left is cut off.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    state: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (begun, mut stopping) = tokio::sync::watch::channel(false);
    let ending = state.clone();
    let signal = async move {
        shutdown.await;
        ending.stop();
        begun.send_replace(true);
    };
    let server = axum::serve(listener, app(state)).with_graceful_shutdown(signal);
    let limit = async move {
        // an error means that the server has ended before it was told to
        let told = stopping.wait_for(|stopping| *stopping).await.is_ok();
        if told {
            tokio::time::sleep(SHUTDOWN_TIME).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = server => ended,
        () = limit => Ok(()),
    }
}
