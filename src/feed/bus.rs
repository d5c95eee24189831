//! EventBridge: events for whoever has a rule that matches them.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use tokio::time::Instant;

use super::{CloudEvent, FeedError, Owed};
use crate::retry::{Backoff, retry_until};

/// The most entries of a request.
const MAX_ENTRIES: usize = 10;

/// The most bytes of a request's entries, as EventBridge counts them.
const MAX_BYTES: usize = 240_000;

/// The source of each entry.
const SOURCE: &str = "chat-groups";

/// Why an entry is refused that will be taken later.
pub(super) const TRANSIENT: [&str; 5] =
    ["ThrottlingException", "InternalFailure", "InternalException", "ServiceUnavailable", UNKNOWN];

/// Of an entry that has no result.
const UNKNOWN: &str = "unknown";

/// An event bus.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    arn: String,
}

impl Bus {
    /// A bus that exists.
    pub fn new(client: Client, arn: String) -> Self {
        Self { client, arn }
    }

    /// Puts events onto the bus in their order, those of one item one after the other. They may arrive twice.
    pub async fn put(&self, events: &[CloudEvent], deadline: Instant) -> Result<(), Owed> {
        let mut index = 0;
        while let Some(rest) = events.get(index..).filter(|rest| !rest.is_empty()) {
            let entries = self.entries(rest);
            let count = entries.len();
            self.put_entries(entries, deadline)
                .await
                .map_err(|owed| Owed { index: index + owed.index, error: owed.error })?;
            index += count;
        }
        Ok(())
    }

    /// The entries of the next request. It holds an item once: a refused entry must not come after a later one.
    fn entries(&self, events: &[CloudEvent]) -> Vec<PutEventsRequestEntry> {
        let (mut entries, mut bytes) = (Vec::with_capacity(MAX_ENTRIES), 0);
        for (index, event) in events.iter().take(MAX_ENTRIES).enumerate() {
            let detail = event.to_json();
            bytes += SOURCE.len() + event.r#type.len() + detail.len();
            let is_repeated = events.iter().take(index).any(|earlier| is_same_item(earlier, event));
            if index > 0 && (bytes > MAX_BYTES || is_repeated) {
                break;
            }
            let entry = PutEventsRequestEntry::builder()
                .source(SOURCE)
                .detail_type(&event.r#type)
                .detail(detail)
                .event_bus_name(&self.arn);
            entries.push(entry.build());
        }
        entries
    }

    /// Sends one request, and its refused entries again.
    async fn put_entries(&self, entries: Vec<PutEventsRequestEntry>, deadline: Instant) -> Result<(), Owed> {
        let mut pending: Vec<_> = entries.into_iter().enumerate().collect();
        let mut backoff = Backoff::default();
        loop {
            let first = pending.first().map_or(0, |(index, _)| *index);
            let entries: Vec<_> = pending.iter().map(|(_, entry)| entry.clone()).collect();
            let attempt = || self.client.put_events().set_entries(Some(entries.clone())).send();
            let answer = retry_until(deadline, attempt).await;
            let answer = answer.map_err(|error| Owed { index: first, error: FeedError::Bus(error) })?;
            // The results stand in the order of the entries. An entry without one is owed.
            let results =
                answer.entries.unwrap_or_default().into_iter().map(Some).chain(std::iter::repeat(None));
            let owed = pending.into_iter().zip(results);
            let mut owed: Vec<_> =
                owed.filter_map(|(entry, result)| Some((entry, refusal(result)?))).collect();
            if owed.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline || owed.iter().any(|(_, error)| error.is_permanent()) {
                let ((index, _), error) = owed.swap_remove(0);
                return Err(Owed { index, error });
            }
            pending = owed.into_iter().map(|(entry, _)| entry).collect();
            backoff.wait(deadline).await;
        }
    }
}

/// Why an entry is owed; `None` if it was taken.
fn refusal(result: Option<PutEventsResultEntry>) -> Option<FeedError> {
    let (code, message) = match result {
        Some(result) if result.error_code.is_none() && result.event_id.is_some() => return None,
        Some(result) => (result.error_code, result.error_message),
        None => (None, None),
    };
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    Some(FeedError::Refused { code: known(code), message: known(message) })
}

fn is_same_item(a: &CloudEvent, b: &CloudEvent) -> bool {
    a.source == b.source && a.subject == b.subject && a.data.account == b.data.account
}
