//! The registry on a socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::EmbeddedRegistry;
use super::rest::app;

/// A registry that is being served. Dropping it stops at once; [`Handle::stop`] lets requests finish.
pub struct Handle {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and waits for those that are running.
    ///
    /// # Errors
    /// When serving had failed.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        match (&mut self.task).await {
            Ok(result) => result,
            Err(e) => Err(io::Error::other(e)),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a registry.
///
/// # Errors
/// When the listener has no address.
pub fn serve(listener: TcpListener, registry: EmbeddedRegistry) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async move { drop(stopped.await) };
    let task = tokio::spawn(run(listener, app(registry), until));
    Ok(Handle {
        address,
        stop: Some(stop),
        task,
    })
}

async fn run(listener: TcpListener, app: Router, until: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    axum::serve(listener, app).with_graceful_shutdown(until).await
}
