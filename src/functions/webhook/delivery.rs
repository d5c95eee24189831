//! The results of each step for a callback, and their consequences: the work that is left, the answer, the log line.

use std::error::Error;

use http::Response;

use crate::callback::{self, Query};
use crate::event::Event;
use crate::forward::ForwardError;
use crate::functions::Refusal;
use crate::log::{Forwarded, Level, Outcome, Record, error_chain};
use crate::queue::{Message, Pending, QueueError};
use crate::store::{Applied, StoreError};

/// The results of each step for one callback. `None` and empty stand for a step that was not tried.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Why it was refused before anything was tried, or because its body can't be read.
    pub refusal: Option<Refusal>,
    /// Whether Chat waits for a decision.
    pub is_decision: bool,
    /// The event of a command that is kept.
    pub event: Option<Event>,
    /// The result of writing it to the table.
    pub table: Option<Result<Applied, StoreError>>,
    /// The downstream receiver's answer, if it is to be relayed.
    pub forward: Option<Result<Option<String>, ForwardError>>,
    /// The messages for the queues.
    pub queued: Vec<(Message, Result<(), QueueError>)>,
}

impl Delivery {
    /// A callback that is refused.
    pub(super) fn refused(refusal: impl Into<Refusal>) -> Self {
        Self { refusal: Some(refusal.into()), ..Self::default() }
    }

    /// The work that is left for `redrive`. A decision is never made late.
    pub(super) fn owed(&self) -> Vec<Pending> {
        let has_leftovers = matches!(&self.table, Some(Ok(applied)) if applied.has_leftovers);
        let is_forward_owed = matches!(&self.forward, Some(Err(_))) && !self.is_decision;
        [
            (Pending::Table, self.refusal.is_some() || matches!(&self.table, Some(Err(_)))),
            (Pending::Sweep, has_leftovers),
            (Pending::Forward, is_forward_owed),
        ]
        .into_iter()
        .filter_map(|(pending, is_owed)| is_owed.then_some(pending))
        .collect()
    }

    /// The outcome if the answer is OK, or the reason for FAIL.
    pub(super) fn result(&self) -> Result<Outcome, &Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal);
        }
        if self.lost().next().is_some() {
            return Err(&Refusal::Unavailable);
        }
        match (&self.event, &self.table, &self.forward) {
            (_, Some(Ok(applied)), _) => Ok(applied.effect.into()),
            (_, Some(Err(_)), _) => Ok(Outcome::Queued),
            (Some(_), None, _) | (None, None, None) => Ok(Outcome::Ignored),
            (None, None, Some(Ok(_))) => Ok(Outcome::Forwarded),
            (None, None, Some(Err(_))) if self.is_decision => Err(&Refusal::Undecided),
            (None, None, Some(Err(_))) => Ok(Outcome::Queued),
        }
    }

    /// Whether it is a loss if there is no queue: an unreadable body was refused, and a sweep can wait.
    pub(super) fn needs_queue(&self, pending: Pending) -> bool {
        match pending {
            Pending::Table => self.refusal.is_none(),
            Pending::Sweep => false,
            Pending::Forward => true,
        }
    }

    /// The messages that no queue took. One of a sweep is no loss.
    fn lost(&self) -> impl Iterator<Item = &Message> {
        let refused = self.queued.iter().filter(|(_, sent)| sent.is_err()).map(|(message, _)| message);
        refused.filter(|message| message.pending != Pending::Sweep)
    }

    /// The log line, without its times.
    pub(super) fn record(&self, query: &Query<'_>) -> Record {
        let result = self.result();
        let lost: Vec<Message> = self.lost().cloned().map(|message| self.loggable(message)).collect();
        let (level, outcome) = match result {
            _ if !lost.is_empty() => (Level::Error, Outcome::Lost),
            Ok(Outcome::Queued) => (Level::Warn, Outcome::Queued),
            // Without a downstream receiver, everything is allowed.
            Ok(Outcome::Ignored) if self.is_decision => (Level::Warn, Outcome::Ignored),
            Ok(outcome) => (Level::Info, outcome),
            Err(Refusal::Undecided) => (Level::Warn, Outcome::Undecided),
            Err(_) => (Level::Warn, Outcome::Rejected),
        };
        Record {
            level,
            outcome,
            error_code: result.err().map_or(0, |refusal| refusal.codes().1),
            error_info: result.err().map(ToString::to_string),
            forward: self.forwarded(),
            error: self.errors(),
            lost,
            ..Record::new(query).about(self.event.as_ref())
        }
    }

    fn forwarded(&self) -> Option<Forwarded> {
        let is_queued = |(message, queued): &(Message, Result<(), QueueError>)| {
            message.pending == Pending::Forward && queued.is_ok()
        };
        Some(match self.forward.as_ref()? {
            Ok(_) => Forwarded::Ok,
            Err(_) if self.queued.iter().any(is_queued) => Forwarded::Queued,
            Err(_) => Forwarded::Failed,
        })
    }

    /// The errors of everything that failed.
    fn errors(&self) -> Option<String> {
        fn error<T, E: Error>(result: &Result<T, E>) -> Option<String> {
            result.as_ref().err().map(|error| error_chain(error))
        }
        let table = self.table.iter().filter_map(error);
        let forward = self.forward.iter().filter_map(error);
        let queued = self.queued.iter().filter_map(|(_, sent)| error(sent));
        let errors: Vec<String> = table.chain(forward).chain(queued).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// The bodies of callbacks that are not kept are never logged.
    fn loggable(&self, mut message: Message) -> Message {
        if self.event.is_none() && self.refusal.is_none() {
            message.drop_body();
        }
        message
    }

    /// The answer to Chat.
    pub(super) fn into_response(self) -> Response<String> {
        match self.result() {
            Err(refusal) => {
                let (status, error_code) = refusal.codes();
                callback::fail(status, error_code, &refusal.to_string())
            }
            Ok(_) => match self.forward {
                Some(Ok(Some(json))) => callback::relayed(json),
                _ => callback::ok(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::callback::{BodyError, Callback, Sender};
    use crate::event::{Facts, GroupKey};
    use crate::http::HttpError;
    use crate::retry::RetryError;
    use crate::store::Effect;

    fn kept() -> Delivery {
        let key = GroupKey { sdk_app_id: 1, group_id: "g".to_owned() };
        let event = Event { key, group: Facts::default(), members: [].into() };
        Delivery { event: Some(event), ..Delivery::default() }
    }

    fn stored(has_leftovers: bool) -> Option<Result<Applied, StoreError>> {
        Some(Ok(Applied { effect: Effect::Stored, has_leftovers }))
    }

    fn not_stored() -> Option<Result<Applied, StoreError>> {
        Some(Err(StoreError::Failed(RetryError::TimedOut)))
    }

    fn forwarded(json: Option<&str>) -> Option<Result<Option<String>, ForwardError>> {
        Some(Ok(json.map(str::to_owned)))
    }

    fn not_forwarded() -> Option<Result<Option<String>, ForwardError>> {
        Some(Err(ForwardError::Failed(HttpError::Url)))
    }

    fn unreadable() -> Delivery {
        Delivery::refused(BodyError::Field { field: "body".to_owned(), expected: "JSON".to_owned() })
    }

    /// Queues the work that is left, with this success.
    fn queued(delivery: Delivery, is_taken: bool) -> Delivery {
        let (query, body, sender) = (&Query::parse("a=b"), &b"text"[..], Sender::Genuine);
        let callback = Callback { query, body, received_at: UNIX_EPOCH, sender };
        let sent = || if is_taken { Ok(()) } else { Err(QueueError::Missing) };
        let owed = delivery.owed();
        let queued = owed.into_iter().map(|pending| (Message::new(&callback, pending), sent())).collect();
        Delivery { queued, ..delivery }
    }

    #[test]
    fn what_is_owed_follows_from_what_failed() {
        let owed = |delivery: Delivery| delivery.owed();
        assert_eq!(owed(Delivery { table: stored(false), ..kept() }), []);
        assert_eq!(owed(Delivery { table: stored(true), ..kept() }), [Pending::Sweep]);
        assert_eq!(owed(Delivery { table: not_stored(), ..kept() }), [Pending::Table]);
        let both = Delivery { table: not_stored(), forward: not_forwarded(), ..kept() };
        assert_eq!(owed(both), [Pending::Table, Pending::Forward]);
        assert_eq!(owed(Delivery { forward: not_forwarded(), ..Delivery::default() }), [Pending::Forward]);
        assert_eq!(owed(Delivery { forward: forwarded(None), ..Delivery::default() }), []);
        let decision = Delivery { forward: not_forwarded(), is_decision: true, ..Delivery::default() };
        assert_eq!(owed(decision), []);
        assert_eq!(owed(unreadable()), [Pending::Table]);
    }

    #[test]
    fn outcome_level_and_error_code_follow_from_what_was_done() {
        use Level::{Error, Info, Warn};
        let other = Delivery::default;
        let decision = || Delivery { is_decision: true, ..Delivery::default() };
        for (delivery, outcome, level, error_code) in [
            (Delivery { table: stored(false), ..kept() }, Outcome::Stored, Info, 0),
            (Delivery { table: stored(false), forward: forwarded(None), ..kept() }, Outcome::Stored, Info, 0),
            (kept(), Outcome::Ignored, Info, 0),
            (queued(Delivery { forward: not_forwarded(), ..kept() }, true), Outcome::Ignored, Info, 0),
            (queued(Delivery { table: not_stored(), ..kept() }, true), Outcome::Queued, Warn, 0),
            (queued(Delivery { table: not_stored(), ..kept() }, false), Outcome::Lost, Error, 120_007),
            (queued(Delivery { table: stored(true), ..kept() }, false), Outcome::Stored, Info, 0),
            (other(), Outcome::Ignored, Info, 0),
            (Delivery { forward: forwarded(None), ..other() }, Outcome::Forwarded, Info, 0),
            (queued(Delivery { forward: not_forwarded(), ..other() }, true), Outcome::Queued, Warn, 0),
            (queued(Delivery { forward: not_forwarded(), ..other() }, false), Outcome::Lost, Error, 120_007),
            (decision(), Outcome::Ignored, Warn, 0),
            (Delivery { forward: forwarded(Some("{}")), ..decision() }, Outcome::Forwarded, Info, 0),
            (Delivery { forward: not_forwarded(), ..decision() }, Outcome::Undecided, Warn, 120_008),
            (Delivery::refused(Refusal::Method), Outcome::Rejected, Warn, 120_005),
            (queued(unreadable(), true), Outcome::Rejected, Warn, 120_001),
            (queued(unreadable(), false), Outcome::Lost, Error, 120_001),
        ] {
            let record = delivery.record(&Query::parse(""));
            assert_eq!((record.outcome, record.level, record.error_code), (outcome, level, error_code));
            assert_eq!(delivery.into_response().status() == 200, error_code == 0, "{outcome}");
        }
    }

    #[test]
    fn forwarding_is_ok_or_queued_or_failed() {
        let forward = |delivery: Delivery| delivery.record(&Query::parse("")).forward;
        let failed = || Delivery { forward: not_forwarded(), ..Delivery::default() };
        assert_eq!(forward(kept()), None);
        assert_eq!(forward(Delivery { forward: forwarded(None), ..kept() }), Some(Forwarded::Ok));
        assert_eq!(forward(queued(failed(), true)), Some(Forwarded::Queued));
        assert_eq!(forward(queued(failed(), false)), Some(Forwarded::Failed));
        assert_eq!(forward(Delivery { is_decision: true, ..failed() }), Some(Forwarded::Failed));
    }

    #[test]
    fn a_lost_callback_is_logged_with_its_body_only_if_it_is_kept() {
        let bodies = |delivery: Delivery| -> Vec<bool> {
            let lost = queued(delivery, false).record(&Query::parse("")).lost;
            lost.iter().map(|message| message.bytes().is_some()).collect()
        };
        let both = Delivery { table: not_stored(), forward: not_forwarded(), ..kept() };
        assert_eq!(bodies(both), [true, true]);
        assert_eq!(bodies(unreadable()), [true]);
        assert_eq!(bodies(Delivery { forward: not_forwarded(), ..Delivery::default() }), [false]);
    }
}
