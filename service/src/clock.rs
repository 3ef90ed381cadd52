//! A wall clock that is set back.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// By how much the clock may be set back. A wait of librdkafka then lasts as much longer, which a consumer group tolerates.
const SET_BACK_MAX: Duration = Duration::from_secs(5);
/// The exit code of a process that has failed.
const FAILED: i32 = 1;

/// The same moment by the wall clock and by the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: SystemTime,
    monotonic: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// By how much the wall clock was set back between an earlier moment and this one.
    fn set_back_since(self, earlier: Self) -> Duration {
        let right = earlier.wall + self.monotonic.duration_since(earlier.monotonic);
        right.duration_since(self.wall).unwrap_or_default()
    }
}

/// Ends the process when the wall clock of the machine is set back by more than five seconds, so that it is started again.
///
/// librdkafka waits until a time of the wall clock: `rd_timeout_init_timespec_us` in its rdtime.h adds the timeout to the UTC time, and
/// `pthread_cond_timedwait` waits for the sum. If the clock is set back by an hour meanwhile, the threads that send heartbeats, fetch
/// and retry wait for an hour. The waits of a new process are right. The end is as by SIGKILL, which no stage loses anything by,
/// because an orderly stop would wait for these threads.
///
/// # Errors
/// The thread cannot be started.
pub fn end_when_set_back() -> io::Result<()> {
    let watch = || {
        let mut last = Moment::now();
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = Moment::now();
            let set_back = now.set_back_since(last);
            if set_back > SET_BACK_MAX {
                tracing::error!(
                    seconds = set_back.as_secs(),
                    "the clock of this machine was set back: the process ends and must be started again, because waits for Kafka \
                     would last as much longer"
                );
                std::process::exit(FAILED);
            }
            last = now;
        }
    };
    std::thread::Builder::new().name("clock".to_owned()).spawn(watch)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_back_counts() {
        let earlier = Moment::now();
        let after = |wall: i64| {
            let wall_step = Duration::from_secs(wall.unsigned_abs());
            let wall = if wall < 0 { earlier.wall - wall_step } else { earlier.wall + wall_step };
            Moment { wall, monotonic: earlier.monotonic + Duration::from_secs(1) }
        };
        assert_eq!(after(1).set_back_since(earlier), Duration::ZERO);
        assert_eq!(after(3_600).set_back_since(earlier), Duration::ZERO);
        assert_eq!(after(-3_599).set_back_since(earlier), Duration::from_secs(3_600));
    }
}
