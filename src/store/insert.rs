//! The first try of many items that are likely absent: PartiQL batches, each statement run by itself.
//!
//! A batch costs one request, and the write units of plain puts. Its status says nothing: each statement has a result
//! of its own, in the order of the statements.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::types::{BatchStatementErrorCodeEnum as ErrorCode, BatchStatementRequest};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::write::{Attempt, Expected, ItemWrite, new_revision, stamp};
use super::{Effect, HEDGE_AFTER, Store, StoreError, chunks, item};
use crate::retry::{Backoff, RetryError, hedged, retry_until};

/// The most statements in one batch.
const BATCH_MAX_STATEMENTS: usize = 25;

/// How many batches of one event are under way at once. One partition key takes 1,000 write units a second.
const MAX_PARALLEL: usize = 4;

impl Store {
    /// Inserts items, and returns those that are not written: they have to be read first. Once an item is refused, no
    /// further batch is tried, as a repeat of the same event is probably being written.
    pub(super) async fn insert<'a>(
        &self,
        writes: Vec<ItemWrite<'a>>,
        deadline: Instant,
    ) -> Result<Vec<ItemWrite<'a>>, StoreError> {
        let has_rival = &AtomicBool::new(false);
        let insert = async |mut batch: Vec<ItemWrite<'a>>| {
            if !has_rival.load(Ordering::Relaxed) {
                batch = self.insert_batch(batch, deadline).await?;
                has_rival.fetch_or(!batch.is_empty(), Ordering::Relaxed);
            }
            batch.iter_mut().for_each(|write| write.expected = Expected::Unread);
            Ok::<_, StoreError>(batch)
        };
        let mut batches = chunks(writes, BATCH_MAX_STATEMENTS).map(insert);
        // The first one alone: a rival costs it, and no more.
        let Some(first) = batches.next() else { return Ok(Vec::new()) };
        let mut left = first.await?;
        let batches: Vec<_> = batches.collect();
        let others: Vec<_> = stream::iter(batches).buffer_unordered(MAX_PARALLEL).try_collect().await?;
        left.extend(others.into_iter().flatten());
        Ok(left)
    }

    /// Inserts a batch, and returns the refused items.
    async fn insert_batch<'a>(
        &self,
        mut pending: Vec<ItemWrite<'a>>,
        deadline: Instant,
    ) -> Result<Vec<ItemWrite<'a>>, StoreError> {
        for write in &mut pending {
            write.attempt = Some(Attempt { revision: new_revision(), effect: Effect::Stored });
        }
        let (mut refused, mut backoff) = (Vec::new(), Backoff::default());
        loop {
            let codes = self.execute(&pending, deadline).await?;
            let (mut again, mut reason) = (Vec::new(), String::new());
            for (write, code) in pending.into_iter().zip(codes) {
                match code {
                    None => {}
                    // Perhaps by our own write, whose answer was lost.
                    Some(ErrorCode::DuplicateItem) => refused.push(write),
                    Some(code) if is_transient(&code) => {
                        again.push(write);
                        code.as_str().clone_into(&mut reason);
                    }
                    Some(code) => return Err(StoreError::Refused(code.as_str().to_owned())),
                }
            }
            if again.is_empty() {
                return Ok(refused);
            }
            pending = again;
            backoff.wait(deadline).await;
            if Instant::now() >= deadline {
                return Err(RetryError::Transient(reason.into()).into());
            }
        }
    }

    /// Runs a batch; returns the error code of each statement, in their order.
    async fn execute(
        &self,
        pending: &[ItemWrite<'_>],
        deadline: Instant,
    ) -> Result<Vec<Option<ErrorCode>>, StoreError> {
        let attempt = || {
            let statements = pending.iter().filter_map(|write| self.statement(write)).collect();
            self.client.batch_execute_statement().set_statements(Some(statements)).send()
        };
        let answer = retry_until(deadline, || hedged(HEDGE_AFTER, attempt)).await?;
        let results = answer.responses.unwrap_or_default();
        if results.len() != pending.len() {
            let counts = format!("{} results for {} statements", results.len(), pending.len());
            return Err(StoreError::Refused(counts));
        }
        let code = |error: aws_sdk_dynamodb::types::BatchStatementError| {
            error.code.unwrap_or_else(|| ErrorCode::from("none"))
        };
        Ok(results.into_iter().map(|result| result.error.map(code)).collect())
    }

    /// Puts an item if there is none. The names are this program's own; every value is a parameter.
    fn statement(&self, write: &ItemWrite<'_>) -> Option<BatchStatementRequest> {
        let mut text = String::with_capacity(STATEMENT_CAPACITY);
        text.extend(["INSERT INTO \"", &self.table_name, "\" VALUE "]);
        let mut values = Vec::with_capacity(VALUES_CAPACITY);
        let mut put = |name: &str, value| {
            text.extend([if values.is_empty() { "{'" } else { ",'" }, name, "':?"]);
            values.push(value);
        };
        let facts = &*item::cut(write.incoming).map_or(Cow::Borrowed(write.incoming), Cow::Owned);
        write.key.write(facts, &mut put);
        stamp(facts, write.attempt.as_ref()?.revision, &mut put);
        text.push('}');
        BatchStatementRequest::builder().statement(text).set_parameters(Some(values)).build().ok()
    }
}

/// The typical length of a statement, and the number of its values: room that need not grow.
const STATEMENT_CAPACITY: usize = 256;
const VALUES_CAPACITY: usize = 12;

/// Whether a statement that failed like this may succeed if it is sent again.
fn is_transient(code: &ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InternalServerError
            | ErrorCode::ProvisionedThroughputExceeded
            | ErrorCode::RequestLimitExceeded
            | ErrorCode::ThrottlingError
            | ErrorCode::TransactionConflict
    )
}
