//! Ctrl-C and SIGTERM, and the signal of a file that may not grow. The only place that deals with signals.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// True once the process has been asked to stop. Asked a second time, it ends at once: nothing acknowledged is lost by that.
///
/// # Errors
/// When the system does not let us listen.
pub fn listen() -> std::io::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (asked, stop) = watch::channel(false);
    tokio::spawn(async move {
        for time in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if time > 0 {
                super::exit::now(130);
            }
            asked.send_replace(true);
        }
    });
    Ok(stop)
}

/// A file that reaches its limit (`ulimit -f`) is an error like a full disk, not the end of the process.
pub fn survive_file_limits() {
    // SAFETY: a plain system call, before any thread is started
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Waits until [`listen`]'s value is true.
pub async fn stopped(stop: &watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _ = stop.clone().wait_for(|stop| *stop).await;
}
