//! Waits for conditions.

use std::time::{Duration, Instant};

use crate::error::ChaosError;

const POLL: Duration = Duration::from_millis(20);
/// How long a run waits for something that it requires.
const WITHIN: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, at most a minute.
pub(crate) async fn until(what: &'static str, condition: impl AsyncFn() -> bool) -> Result<(), ChaosError> {
    if holds_within(WITHIN, condition).await.is_some() {
        Ok(())
    } else {
        Err(ChaosError::TimedOut { what, within: WITHIN })
    }
}

/// Waits until `condition` holds. Returns how long that took; `None` if it did not hold `within` that time.
pub(crate) async fn holds_within(within: Duration, condition: impl AsyncFn() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    while !condition().await {
        if begun.elapsed() > within {
            return None;
        }
        tokio::time::sleep(POLL).await;
    }
    Some(begun.elapsed())
}
