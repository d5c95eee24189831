//! Retries with backoff until a deadline, and attempts that are hedged by a second one.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use futures_util::future::{Either, select, select_ok};
use thiserror::Error;
use tokio::time::Instant;

/// Exponential backoff between attempts, with jitter, so that competing writers don't collide again.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins with a wait of at most `first`, which doubles up to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// How long to wait this time; about twice as long the next time.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(self.longest);
        longest.mul_f32(0.5 + fastrand::f32() / 2.0)
    }

    /// Waits, but not beyond the deadline: the time after it is for something else.
    pub(crate) async fn wait(&mut self, deadline: Instant) {
        tokio::time::sleep_until(deadline.min(Instant::now() + self.next())).await;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_millis(500))
    }
}

/// Runs an AWS request until it succeeds, fails for good, or `deadline` has come.
pub(crate) async fn retry_until<T, E, F>(deadline: Instant, attempt: impl Fn() -> F) -> Result<T, RetryError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    let mut last = None;
    let attempts = async {
        let mut backoff = Backoff::default();
        loop {
            match attempt().await {
                Err(error) if is_transient(&error) => last = Some(error),
                result => return result,
            }
            backoff.wait(deadline).await;
        }
    };
    match tokio::time::timeout_at(deadline, attempts).await {
        Ok(result) => result.map_err(|error| RetryError::Failed(Box::new(error))),
        Err(_) => Err(match last {
            Some(error) => RetryError::Transient(Box::new(error)),
            None => RetryError::TimedOut,
        }),
    }
}

/// Whether a request that failed like this may succeed if it is sent again: it got no answer, one that can't be read, or
/// one that tells of throttling, of a conflict, or of a fault of the service.
fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ServiceError(context) => {
            let (code, status) = (context.err().code().unwrap_or_default(), context.raw().status());
            status.is_server_error()
                || status.is_success()
                || code == "TransactionConflictException"
                || THROTTLING_ERRORS.contains(&code)
                || TRANSIENT_ERRORS.contains(&code)
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        _ => false,
    }
}

/// Runs `attempt`; if it takes longer than `after`, runs it once more beside the first, and takes the first success,
/// else the last failure. A connection that died in silence then costs `after` and not the whole budget, and a service
/// that is slow still has the whole budget. Only for requests that are idempotent.
pub(crate) async fn hedged<T, E, F>(after: Duration, attempt: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    match select(Box::pin(attempt()), pin!(tokio::time::sleep(after))).await {
        Either::Left((result, _)) => result,
        Either::Right((_, first)) => select_ok([first, Box::pin(attempt())]).await.map(|(value, _)| value),
    }
}

/// Why there was no success.
#[derive(Debug, Error)]
pub enum RetryError {
    /// No attempt was answered before the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// Every attempt before the deadline failed; the last one like this.
    #[error("no success in time")]
    Transient(#[source] Box<dyn Error + Send + Sync>),
    #[error("refused")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
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
