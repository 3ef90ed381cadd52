//! The wait between two attempts to reach a service that is unavailable.

use std::time::Duration;

/// Exponential back-off with full jitter: each wait is a random part of a bound that doubles from 100 ms to 5 s.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// Returns the wait before the next attempt; never less than 20 ms.
    pub fn next_wait(&mut self) -> Duration {
        let bound = Self::FIRST.saturating_mul(1 << self.tries.min(6)).min(Self::LONGEST);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(rand::random::<f64>()).max(Duration::from_millis(20))
    }

    /// Starts again from the shortest wait. Call this when the service has answered.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}
