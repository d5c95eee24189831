//! The first try of many items that are likely absent: PartiQL batches, each statement run by itself.
//!
//! A batch costs one request, and the write units of plain puts. Its status says nothing: each statement has a result
//! of its own, in the order of the statements.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum as ErrorCode, BatchStatementRequest,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::write::{Attempt, Expected, ItemWrite, new_revision, stamp};
use super::{Effect, HEDGE_AFTER, Store, StoreError, chunks, item};
use crate::retry::{Backoff, RetryError, hedged, retry_until};

/// The most statements in one batch.
const BATCH_MAX_STATEMENTS: usize = 25;

/// An error code for a failed statement without one.
const NO_CODE: &str = "no code";

/// How many batches of one event are under way at once. One partition key takes 1,000 write units a second.
const MAX_PARALLEL_BATCHES: usize = 4;

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
        let others: Vec<_> =
            stream::iter(batches).buffer_unordered(MAX_PARALLEL_BATCHES).try_collect().await?;
        left.extend(others.into_iter().flatten());
        Ok(left)
    }

    /// Inserts a batch, and returns the refused items.
    async fn insert_batch<'a>(
        &self,
        batch: Vec<ItemWrite<'a>>,
        deadline: Instant,
    ) -> Result<Vec<ItemWrite<'a>>, StoreError> {
        let mut pending: Vec<_> = batch.into_iter().map(|write| (write, new_revision())).collect();
        let (mut refused, mut backoff) = (Vec::new(), Backoff::default());
        loop {
            let codes = self.execute(&pending, deadline).await?;
            let (mut again, mut last) = (Vec::new(), ErrorCode::from(NO_CODE));
            for ((mut write, revision), code) in pending.into_iter().zip(codes) {
                match code {
                    None => {}
                    Some(ErrorCode::DuplicateItem) => {
                        // Perhaps by our own write, whose answer was lost.
                        write.attempt = Some(Attempt { revision, effect: Effect::Stored });
                        refused.push(write);
                    }
                    Some(code) if is_transient(&code) => {
                        again.push((write, revision));
                        last = code;
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
                return Err(RetryError::Transient(last.as_str().into()).into());
            }
        }
    }

    /// Runs a batch; returns the error code of each statement, in their order.
    async fn execute(
        &self,
        pending: &[(ItemWrite<'_>, u64)],
        deadline: Instant,
    ) -> Result<Vec<Option<ErrorCode>>, StoreError> {
        let attempt =
            || self.client.batch_execute_statement().set_statements(Some(self.statements(pending))).send();
        let answer = retry_until(deadline, || hedged(HEDGE_AFTER, attempt)).await?;
        let results = answer.responses.unwrap_or_default();
        if results.len() != pending.len() {
            let counts = format!("{} results for {} statements", results.len(), pending.len());
            return Err(StoreError::Refused(counts));
        }
        let code = |error: BatchStatementError| error.code.unwrap_or_else(|| ErrorCode::from(NO_CODE));
        Ok(results.into_iter().map(|result| result.error.map(code)).collect())
    }

    /// An INSERT for each item, which fails if there is one. Attribute names are fixed in this program; every value is a
    /// parameter.
    ///
    /// The members of a creation share their facts: the text and all values but a few are made once and copied.
    fn statements(&self, pending: &[(ItemWrite<'_>, u64)]) -> Vec<BatchStatementRequest> {
        let mut statements = Vec::with_capacity(pending.len());
        for pending in pending.chunk_by(|(a, _), (b, _)| std::ptr::eq(a.incoming, b.incoming)) {
            let Some(first) = pending.first() else { continue };
            let facts = &*item::cut(first.0.incoming).map_or(Cow::Borrowed(first.0.incoming), Cow::Owned);
            let write_own = |(write, revision): &(ItemWrite<'_>, u64), mut put: Put<'_>| {
                write.key.write_own(facts, &mut put);
                stamp(facts, *revision, put);
            };
            let mut text = format!("INSERT INTO \"{}\" VALUE {{", self.table_name);
            let mut add = |name: &str| text.extend(["'", name, "':?,"]);
            let mut shared = Vec::new();
            first.0.key.write_shared(facts, |name, value| {
                add(name);
                shared.push(value);
            });
            write_own(first, &mut |name, _| add(name));
            text.pop();
            text.push('}');
            for write in pending {
                let mut values = Vec::with_capacity(shared.len() + OWN_VALUES);
                values.extend_from_slice(&shared);
                write_own(write, &mut |_, value| values.push(value));
                let statement =
                    BatchStatementRequest::builder().statement(&text).set_parameters(Some(values));
                statements.extend(statement.build());
            }
        }
        statements
    }
}

/// Receives the attributes of an item.
type Put<'a> = &'a mut dyn FnMut(&str, AttributeValue);

/// The most values that an item has of its own: `sk`, `account`, `account_key`, `revision`, `expires_at`.
const OWN_VALUES: usize = 5;

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
