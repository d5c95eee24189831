//! `publish`: tells of changes. A batch of the table's stream becomes events, and so do the items of a snapshot.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::Instant;

use crate::aws::{Aws, Timeouts};
use crate::config::PublishSettings;
use crate::event::GroupKey;
use crate::feed::{Bus, CloudEvent, Feed, FeedError, History, Record};
use crate::log::{Level, Outcome, error_chain};
use crate::store::{ScanKey, Store, StoreError, snapshot, text_of};
use crate::time::{EventTime, rfc3339};

/// Nobody waits for an answer here.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Some(Duration::from_secs(5)) };

/// The time that a snapshot leaves for the page under way, before its deadline.
const PAGE_BUDGET: Duration = Duration::from_secs(15);

/// Tells of changes.
#[derive(Debug)]
pub struct Publish {
    feed: Feed,
    table: Option<(Store, u64)>,
}

/// The log line of one call. It never holds contents of an item.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "docs/operate.md explains the fields")]
pub struct PublishRecord {
    pub timestamp: String,
    /// `INFO`, `WARN` (it comes again) or `ERROR` (somebody has to act).
    pub level: Level,
    pub outcome: Outcome,
    /// How many records came.
    pub records: usize,
    /// How many events the records, or the items of the snapshot, made.
    pub events: usize,
    /// The sequence number of the first record that is still owed.
    pub failed_at: Option<String>,
    /// How long ago the oldest record was written.
    pub age_ms: Option<u64>,
    pub error: Option<String>,
}

impl PublishRecord {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        // Strings and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// `{"snapshot": …}`: the items that are to be told as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    /// The groups that are still to be told; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_ids: Option<Vec<String>>,
    /// The key of the last item that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<ScanKey>,
}

impl Publish {
    /// Puts the parts together. A snapshot needs the table and the application.
    pub fn new(feed: Feed, table: Option<(Store, u64)>) -> Self {
        Self { feed, table }
    }

    /// Puts the parts together that the settings name. Nothing is connected yet.
    pub fn from_settings(settings: PublishSettings) -> Self {
        let aws = Aws::new(settings.aws);
        let history = settings.history;
        let history = history.map(|kept| History::new(aws.dynamodb(TIMEOUTS), kept.table_name, kept.days));
        let bus = settings.event_bus_arn.map(|arn| Bus::new(aws.eventbridge(TIMEOUTS), arn));
        let store = settings.table_name.map(|name| Store::new(aws.dynamodb(TIMEOUTS), name));
        Self::new(Feed { history, bus }, store.zip(settings.sdk_app_id))
    }

    /// Answers one call before the deadline: a batch of the table's stream, or a snapshot. Another payload is answered
    /// null.
    ///
    /// # Errors
    ///
    /// If a snapshot is asked for that can't be told. A batch that fails is no error: the answer names the first record
    /// that is still owed.
    pub async fn run(
        &self,
        payload: &Value,
        now: SystemTime,
        deadline: Instant,
    ) -> (Result<Value, PublishError>, PublishRecord) {
        let record = PublishRecord { timestamp: rfc3339(now), ..Default::default() };
        if let Some(records) = payload["Records"].as_array() {
            let (answer, record) = self.tell(records, record, now, deadline).await;
            return (Ok(answer), record);
        }
        let Some(request) = payload.get("snapshot") else {
            return (
                Ok(Value::Null),
                PublishRecord { level: Level::Warn, outcome: Outcome::Ignored, ..record },
            );
        };
        let mut events = 0;
        let result = self.tell_snapshot(request, &mut events, deadline).await;
        let error = result.as_ref().err().map(|error| error_chain(error));
        let (level, outcome) = match result {
            Ok(_) => (Level::Info, Outcome::Published),
            Err(_) => (Level::Error, Outcome::Failed),
        };
        (result, PublishRecord { level, outcome, events, error, ..record })
    }

    /// Tells a batch of records; the answer names the first one that is still owed.
    async fn tell(
        &self,
        records: &[Value],
        record: PublishRecord,
        now: SystemTime,
        deadline: Instant,
    ) -> (Value, PublishRecord) {
        let records: Vec<_> = records.iter().map(Record::read).collect();
        let age = |written: EventTime| EventTime::from(now).as_millis().saturating_sub(written.as_millis());
        let age_ms = records.iter().filter_map(|record| record.recorded_at).min().map(age);
        let count = records.len();
        let (numbers, events): (Vec<_>, Vec<_>) =
            records.into_iter().filter_map(|record| Some((record.sequence_number?, record.event?))).unzip();
        let record = PublishRecord { records: count, events: events.len(), age_ms, ..record };
        match self.feed.deliver(&events, deadline).await {
            Ok(()) => {
                let record = PublishRecord { level: Level::Info, outcome: Outcome::Published, ..record };
                (json!({ "batchItemFailures": [] }), record)
            }
            Err(owed) => {
                let failed_at = numbers.get(owed.index).cloned();
                let level = if owed.error.is_permanent() { Level::Error } else { Level::Warn };
                let answer = json!({ "batchItemFailures": [{ "itemIdentifier": failed_at }] });
                let error = Some(error_chain(&owed.error));
                (answer, PublishRecord { level, outcome: Outcome::Failed, failed_at, error, ..record })
            }
        }
    }

    /// Tells items as they are, as far as there is time; the answer says where the next call has to go on.
    async fn tell_snapshot(
        &self,
        request: &Value,
        events: &mut usize,
        deadline: Instant,
    ) -> Result<Value, PublishError> {
        let mut rest: Snapshot = Deserialize::deserialize(request).map_err(PublishError::Request)?;
        let bus = self.feed.bus.as_ref().ok_or(PublishError::NoBus)?;
        let (store, sdk_app_id) = self.table.as_ref().ok_or(PublishError::NoTable)?;
        loop {
            let group_id = rest.group_ids.as_ref().map(|group_ids| group_ids.first().cloned());
            let (items, next) = match group_id {
                Some(Some(group_id)) => {
                    let key = GroupKey { sdk_app_id: *sdk_app_id, group_id };
                    store.group_page(&key, rest.after.as_ref(), deadline).await?
                }
                Some(None) => return Ok(json!({ "finished": true, "events": events })),
                None => store.application_page(*sdk_app_id, rest.after.as_ref(), deadline).await?,
            };
            let page: Vec<_> = items.iter().filter_map(snapshot_event).collect();
            bus.put(&page, deadline).await.map_err(|owed| PublishError::Feed(owed.error))?;
            *events += page.len();
            rest.after = next;
            if rest.after.is_none() {
                match &mut rest.group_ids {
                    Some(group_ids) => drop(group_ids.remove(0)),
                    None => return Ok(json!({ "finished": true, "events": events })),
                }
            }
            if Instant::now() + PAGE_BUDGET > deadline {
                return Ok(json!({ "finished": false, "events": events, "next": { "snapshot": rest } }));
            }
        }
    }
}

/// The event of an item as it is; `None` if there is nothing to tell.
fn snapshot_event(item: &crate::event::Attributes) -> Option<CloudEvent> {
    let change = snapshot(item).unwrap_or_else(|error| {
        tracing::warn!(%error, "an item is passed over: it is of another shape");
        None
    })?;
    let revision = item.get("revision").and_then(|revision| revision.as_n().ok());
    let id = format!("{}/{}/{}", text_of(item, "pk")?, text_of(item, "sk")?, revision.map_or("", |n| n));
    Some(CloudEvent::new(&change, id, None))
}

/// Why a snapshot could not be told.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PublishError {
    #[error(
        "snapshot: expected an object with group_ids (a list of GroupIds) or nothing, or the next of an answer"
    )]
    Request(#[source] serde_json::Error),
    #[error("EVENT_BUS_ARN: expected the bus that a snapshot goes to")]
    NoBus,
    #[error("TABLE_NAME and SDK_APP_ID: expected the table and the application that a snapshot is of")]
    NoTable,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Feed(FeedError),
}
