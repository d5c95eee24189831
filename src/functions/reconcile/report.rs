//! What a pass has found, as the answer and in the log.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::event::{Event, Name};
use crate::time::rfc3339;

/// The answer: what one call has done. A dry run counts what it would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct Report {
    pub dry_run: bool,
    /// Whether the pass has come to its end; if not, the next call goes on.
    pub finished: bool,
    /// Groups that Chat's list has named.
    pub groups_listed: u64,
    /// Groups that were compared.
    pub groups_checked: u64,
    pub groups_added: u64,
    /// Groups of which a field or the owner was corrected.
    pub groups_changed: u64,
    pub groups_destroyed: u64,
    /// Those of added groups included.
    pub members_added: u64,
    pub members_removed: u64,
    /// Members whose role or name card was corrected.
    pub members_changed: u64,
    /// Groups that could not be compared this time.
    pub skipped: u64,
}

impl Report {
    /// Counts a correction.
    pub(super) fn count(&mut self, correction: &Correction) {
        match correction.change {
            Change::Added => self.groups_added += 1,
            Change::Destroyed => self.groups_destroyed += 1,
            Change::Changed => self.groups_changed += u64::from(!correction.fields.is_empty()),
        }
        self.members_added += correction.members_added.len() as u64;
        self.members_removed += correction.members_removed.len() as u64;
        self.members_changed += correction.members_changed.len() as u64;
    }
}

/// What is corrected about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The table lacked the group, or its present life.
    Added,
    /// Something about the group, or its members, differed.
    Changed,
    /// The group is gone.
    Destroyed,
}

/// A group that is corrected; in a dry run, one that would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Correction {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// GroupId.
    pub group_id: String,
    /// What happened to the group.
    pub change: Change,
    /// The names of the fields that differed.
    pub fields: Vec<Name>,
    /// The accounts that the table lacked; in the log, their number.
    #[serde(serialize_with = "count")]
    pub members_added: Vec<String>,
    /// The accounts that are no members any more.
    #[serde(serialize_with = "count")]
    pub members_removed: Vec<String>,
    /// The accounts whose role or name card differed.
    #[serde(serialize_with = "count")]
    pub members_changed: Vec<String>,
}

impl Correction {
    /// Reads what is news out of the event that was written.
    pub(super) fn new(event: Event, dry_run: bool) -> Self {
        let change = match (event.group.gone_at, event.group.event_time) {
            (Some(_), _) => Change::Destroyed,
            (None, Some(_)) => Change::Added,
            (None, None) => Change::Changed,
        };
        let mut correction = Self {
            dry_run,
            group_id: event.key.group_id,
            change,
            fields: event.group.values.into_keys().collect(),
            members_added: Vec::new(),
            members_removed: Vec::new(),
            members_changed: Vec::new(),
        };
        for (account, facts) in event.members {
            let list = match (facts.gone_at, facts.event_time) {
                (Some(_), _) => &mut correction.members_removed,
                (None, Some(_)) => &mut correction.members_added,
                (None, None) => &mut correction.members_changed,
            };
            list.push(account);
        }
        correction
    }
}

fn count<S: Serializer>(accounts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(accounts.len() as u64)
}

/// What a pass tells while it goes on.
#[derive(Debug)]
pub enum Note<'a> {
    /// A group is corrected.
    Corrected(&'a Correction),
    /// A group could not be compared.
    Skipped {
        /// GroupId.
        group_id: &'a str,
        /// Why.
        error: &'a str,
    },
    /// Some more groups were compared.
    Progress(&'a Report),
}

#[derive(Serialize)]
struct Line<'a, T> {
    timestamp: String,
    level: &'static str,
    outcome: &'static str,
    #[serde(flatten)]
    content: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<T: Serialize> Line<'_, T> {
    fn text(&self) -> String {
        // Strings and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Skipped<'a> {
    group_id: &'a str,
}

impl Note<'_> {
    /// The log line, if there is one.
    pub fn to_line(&self, now: SystemTime) -> Option<String> {
        let timestamp = rfc3339(now);
        match self {
            Note::Corrected(content) => {
                let (level, outcome) = ("INFO", "corrected");
                Some(Line { timestamp, level, outcome, content, duration_ms: None, error: None }.text())
            }
            Note::Skipped { group_id, error } => {
                let (level, outcome, content) = ("WARN", "skipped", Skipped { group_id });
                let error = Some(*error);
                Some(Line { timestamp, level, outcome, content, duration_ms: None, error }.text())
            }
            Note::Progress(_) => None,
        }
    }
}

/// What one call came to. A pass that failed has done a part of its work.
#[derive(Debug)]
pub struct Reconciled<E> {
    /// What was done.
    pub report: Report,
    /// Why it failed, if it did.
    pub error: Option<E>,
    /// How long it took.
    pub duration: Duration,
}

impl<E: std::error::Error + 'static> Reconciled<E> {
    /// The log line of the call.
    pub fn to_line(&self, now: SystemTime) -> String {
        let error = self.error.as_ref().map(|error| crate::log::causes(error));
        let (level, outcome) = if error.is_some() { ("ERROR", "failed") } else { ("INFO", "reconciled") };
        let duration_ms = u64::try_from(self.duration.as_millis()).ok();
        let (timestamp, content) = (rfc3339(now), &self.report);
        Line { timestamp, level, outcome, content, duration_ms, error: error.as_deref() }.text()
    }
}
