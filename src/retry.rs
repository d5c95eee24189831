//! A second attempt beside a slow first one.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select, select_ok};

/// Runs `attempt`; where that takes longer than `after`, runs it once more beside the first, and takes the first
/// success, else the last failure. A connection that died in silence then costs `after` and not the whole budget,
/// and a service that is slow has the whole budget all the same. Only for requests that may be repeated.
pub async fn hedged<T, E, F>(after: Duration, attempt: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    match select(Box::pin(attempt()), pin!(tokio::time::sleep(after))).await {
        Either::Left((result, _)) => result,
        Either::Right((_, first)) => select_ok([first, Box::pin(attempt())]).await.map(|(value, _)| value),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Runs two attempts, each given by its duration in milliseconds and whether it succeeds. Returns which one
    /// came through, after how long, and how many were made.
    async fn race(plan: [(u64, bool); 2]) -> (Result<usize, usize>, u128, usize) {
        let (start, made) = (Instant::now(), Cell::new(0));
        let result = hedged(Duration::from_millis(100), || {
            let number = made.replace(made.get() + 1);
            let (takes, succeeds) = plan[number];
            async move {
                sleep(Duration::from_millis(takes)).await;
                if succeeds { Ok(number) } else { Err(number) }
            }
        });
        (result.await, start.elapsed().as_millis(), made.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_attempt_is_made_only_beside_a_slow_first() {
        assert_eq!(race([(99, true), (1, true)]).await, (Ok(0), 99, 1));
        assert_eq!(race([(99, false), (1, true)]).await, (Err(0), 99, 1));
        assert_eq!(race([(500, true), (20, true)]).await, (Ok(1), 120, 2));
        assert_eq!(race([(500, true), (900, true)]).await, (Ok(0), 500, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_does_not_end_the_other() {
        assert_eq!(race([(500, true), (20, false)]).await, (Ok(0), 500, 2));
        assert_eq!(race([(500, false), (900, true)]).await, (Ok(1), 1000, 2));
        assert_eq!(race([(500, false), (900, false)]).await, (Err(1), 1000, 2));
    }
}
