//! A second attempt beside a slow first one.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

/// Runs `attempt`; where that takes longer than `after`, runs it once more beside the first, and takes what comes
/// first. A connection that died in silence then costs `after` and not the whole budget, and a service that is
/// slow gets the whole budget all the same. Only for requests of which a repetition does no harm.
pub async fn hedged<F: Future>(after: Duration, attempt: impl Fn() -> F) -> F::Output {
    let first = match select(Box::pin(attempt()), pin!(tokio::time::sleep(after))).await {
        Either::Left((output, _)) => return output,
        Either::Right((_, first)) => first,
    };
    select(first, Box::pin(attempt())).await.factor_first().0
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Runs two attempts that take so many milliseconds; tells which one won, when, and how many were made.
    async fn race(first: u64, second: u64) -> (u32, u128, u32) {
        let (start, attempts) = (Instant::now(), Cell::new(0));
        let winner = hedged(Duration::from_millis(100), || {
            attempts.set(attempts.get() + 1);
            let number = attempts.get();
            let takes = Duration::from_millis(if number == 1 { first } else { second });
            async move {
                sleep(takes).await;
                number
            }
        });
        (winner.await, start.elapsed().as_millis(), attempts.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_attempt_is_made_only_beside_a_slow_first() {
        assert_eq!(race(99, 1).await, (1, 99, 1));
        assert_eq!(race(500, 20).await, (2, 120, 2));
        assert_eq!(race(500, 900).await, (1, 500, 2));
    }
}
