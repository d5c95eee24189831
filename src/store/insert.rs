//! The first try of many items that are likely absent: PartiQL batches, each statement run by itself.
//!
//! A batch costs one request, and the write units of plain puts. Its status says nothing: each statement has a result
//! of its own, in the order of the statements.

use aws_sdk_dynamodb::types::{BatchStatementErrorCodeEnum as ErrorCode, BatchStatementRequest};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::{HEDGE_AFTER, Own, Seen, Store, StoreError, Write, chunks, stamp};
use crate::event::Attributes;
use crate::retry::{Backoff, RetryError, hedged, retry_until};

/// The most statements in one batch.
pub(super) const BATCH_MAX_STATEMENTS: usize = 25;

/// How many batches of one event are under way at once. One partition key takes 1,000 write units a second.
const MAX_PARALLEL: usize = 4;

impl Store {
    /// Inserts items, and returns those that were refused: what is there is not known then.
    pub(super) async fn insert<'a>(
        &self,
        writes: Vec<Write<'a>>,
        deadline: Instant,
    ) -> Result<Vec<Write<'a>>, StoreError> {
        let batches = chunks(writes, BATCH_MAX_STATEMENTS).map(|batch| self.insert_batch(batch, deadline));
        let batches: Vec<_> = batches.collect();
        let refused: Vec<_> = stream::iter(batches).buffer_unordered(MAX_PARALLEL).try_collect().await?;
        Ok(refused.into_iter().flatten().collect())
    }

    async fn insert_batch<'a>(
        &self,
        writes: Vec<Write<'a>>,
        deadline: Instant,
    ) -> Result<Vec<Write<'a>>, StoreError> {
        let mut pending = Vec::with_capacity(writes.len());
        for mut write in writes {
            let (item, revision) = stamp(write.key.write(write.said, None), write.said);
            (write.seen, write.own) = (Seen::Unknown, Some(Own { revision, is_new_life: false }));
            pending.push((write, self.statement(item)?));
        }
        let (mut refused, mut backoff) = (Vec::new(), Backoff::default());
        loop {
            let codes = self.execute(&pending, deadline).await?;
            let (mut again, mut reason) = (Vec::new(), String::new());
            for ((write, statement), code) in pending.into_iter().zip(codes) {
                match code {
                    None => {}
                    // Perhaps by our own write, whose answer was lost.
                    Some(ErrorCode::DuplicateItem) => refused.push(write),
                    Some(code) if is_transient(&code) => {
                        again.push((write, statement));
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

    /// Runs a batch; the error code of each statement, in their order.
    async fn execute(
        &self,
        pending: &[(Write<'_>, BatchStatementRequest)],
        deadline: Instant,
    ) -> Result<Vec<Option<ErrorCode>>, StoreError> {
        let attempt = || {
            let statements = pending.iter().map(|(_, statement)| statement.clone()).collect();
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

    /// Puts an item if there is none. The names are this program's own; every value is a parameter. Sorted, so that items
    /// of the same attributes have the same statement.
    fn statement(&self, item: Attributes) -> Result<BatchStatementRequest, StoreError> {
        let mut text = format!("INSERT INTO \"{}\" VALUE ", self.table_name);
        let mut values = Vec::with_capacity(item.len());
        let mut attributes: Vec<_> = item.into_iter().collect();
        attributes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in attributes {
            text.extend([if values.is_empty() { "{'" } else { ",'" }, &name, "':?"]);
            values.push(value);
        }
        text.push('}');
        let statement = BatchStatementRequest::builder().statement(text).set_parameters(Some(values)).build();
        statement.map_err(|error| StoreError::Refused(error.to_string()))
    }
}

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
