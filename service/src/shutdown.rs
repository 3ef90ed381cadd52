//! Stopping: the first signal drains, the second one ends the process now.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that a second signal ended.
const ENDED_NOW: i32 = 130;

/// Cancels the returned token on the first SIGTERM or SIGINT; ends the process on the second.
///
/// # Errors
/// The operating system refuses the signal handlers.
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
            tracing::info!("stopping: work in hand is finished first; a second signal ends now");
            cancel.cancel();
        }
    });
    Ok(token)
}
