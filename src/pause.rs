//! The pauses between two tries of what others were in the way of.

use std::time::Duration;

/// The first and the longest pause before a lost race is run again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The pauses between two tries: doubling, and cut by chance, so that rivals don't meet again.
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// Waits, and longer the next time.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f32(0.5 + fastrand::f32() / 2.0)).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
