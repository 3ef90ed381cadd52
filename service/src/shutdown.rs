//! Shutdown: the first signal starts a graceful shutdown, the second ends the process immediately.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ended.
const ENDED_NOW: i32 = 130;

/// Returns a token that is cancelled on the first SIGTERM or SIGINT. The second signal ends the process.
///
/// # Errors
/// The operating system refused to install the signal handlers.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            if last {
                std::process::exit(ENDED_NOW);
            }
            tracing::info!(
                "shutting down: work in progress is finished first; a second signal ends the process immediately"
            );
            cancel.cancel();
        }
    });
    Ok(token)
}
