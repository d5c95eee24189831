//! The change feed: each change that readers of the table can see, as an event in the history and on the bus.
//!
//! An event carries the changes and the item's facts as they are then. Facts grow in one order whatever the order of
//! events, so whoever folds events ([`Roster`]) comes to the same view as readers of the table.

mod bus;
mod event;
mod fold;
mod history;
mod stream;
#[cfg(test)]
mod tests;

use thiserror::Error;
use tokio::time::Instant;

use crate::retry::RetryError;
use crate::time::{EventTime, from_millis, rfc3339};

pub use bus::Bus;
pub(crate) use event::Written;
pub use event::{CloudEvent, Data, EVENT_MAX_BYTES, Image};
pub use fold::{Roster, RosterGroup, RosterMember};
pub use history::History;
pub(crate) use stream::Record;

/// Where events go.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The table that keeps them.
    pub history: Option<History>,
    /// The bus that tells them.
    pub bus: Option<Bus>,
}

/// The first event that is still owed, and the reason.
#[derive(Debug)]
pub struct Owed {
    /// Its index.
    pub index: usize,
    /// Why.
    pub error: FeedError,
}

impl Feed {
    /// Writes events into the history, then puts them onto the bus: a consumer that looks into the history finds them.
    pub async fn deliver(&self, events: &[CloudEvent], deadline: Instant) -> Result<(), Owed> {
        let kept = match &self.history {
            Some(history) => history.put(events, halfway(deadline)).await,
            None => Ok(()),
        };
        let count = kept.as_ref().err().map_or(events.len(), |owed| owed.index);
        if let (Some(bus), Some(events)) = (&self.bus, events.get(..count)) {
            bus.put(events, deadline).await?;
        }
        kept
    }
}

/// A time in RFC 3339.
fn moment(time: EventTime) -> String {
    rfc3339(from_millis(time.as_millis()))
}

/// A history that hangs leaves half of the time to the bus.
fn halfway(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Why an event is owed.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The history's table, or the way to it, failed.
    #[error("the history failed")]
    History(#[source] RetryError),
    /// The history's table had no capacity until the deadline.
    #[error("the history took a part of the changes alone")]
    Unprocessed,
    /// EventBridge, or the way to it, failed.
    #[error("the bus failed")]
    Bus(#[source] RetryError),
    /// An entry was refused.
    #[error("the bus refused an event: {code}: {message}")]
    #[expect(missing_docs, reason = "EventBridge's own")]
    Refused { code: String, message: String },
}

impl FeedError {
    /// Whether it lasts until somebody acts: a right or a resource is missing.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::History(error) | Self::Bus(error) => matches!(error, RetryError::Failed(_)),
            Self::Refused { code, .. } => !bus::TRANSIENT.contains(&code.as_str()),
            Self::Unprocessed => false,
        }
    }
}
