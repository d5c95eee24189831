//! How fast requests may follow each other.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Spreads requests evenly, however many tasks make them: one in each interval.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// The first turn comes at once.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::default() }
    }

    /// Waits for a turn. Takes none and returns `false` at once if there is none before the deadline.
    pub(super) async fn wait_turn(&self, deadline: Instant) -> bool {
        let Some(slot) = self.reserve(deadline) else { return false };
        sleep_until(slot).await;
        true
    }

    /// Gives no turn for this long: the server asked for a pause.
    pub(super) fn pause(&self, duration: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Some(Instant::now() + duration));
    }

    fn reserve(&self, deadline: Instant) -> Option<Instant> {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = next.map_or(now, |next| next.max(now));
        if slot >= deadline {
            return None;
        }
        *next = Some(slot + self.interval);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn turns_are_spread_over_all_tasks() {
        let (pacer, start) = (Pacer::new(INTERVAL), Instant::now());
        let wait_turn = async || {
            assert!(pacer.wait_turn(start + Duration::from_secs(60)).await);
            start.elapsed().as_millis()
        };
        assert_eq!(join_all((0..4).map(|_| wait_turn())).await, [0, 100, 200, 300]);
        // An idle time is no credit.
        sleep_until(start + Duration::from_secs(10)).await;
        assert_eq!([wait_turn().await, wait_turn().await], [10_000, 10_100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_would_come_too_late_is_not_taken() {
        let (pacer, start) = (Pacer::new(INTERVAL), Instant::now());
        assert!(pacer.wait_turn(start + INTERVAL).await);
        assert!(!pacer.wait_turn(start + INTERVAL).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(pacer.wait_turn(start + INTERVAL * 2).await);
        assert_eq!(start.elapsed(), INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_all_turns_back() {
        let (pacer, start) = (Pacer::new(INTERVAL), Instant::now());
        pacer.pause(Duration::from_secs(2));
        pacer.pause(Duration::from_secs(1));
        assert!(pacer.wait_turn(start + Duration::from_secs(60)).await);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
