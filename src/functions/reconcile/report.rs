//! The results of a call: its answer, and its log lines.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::ReconcileError;
use crate::event::{Event, FactName};
use crate::log::error_chain;
use crate::time::rfc3339;

/// The answer to one call. A dry run counts the corrections that it would have made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct Report {
    pub dry_run: bool,
    /// Whether nothing is left to do: the pass has come to its end, or the next one is not due. If not, the next call goes
    /// on.
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
    /// Groups that could not be compared.
    pub skipped: u64,
}

impl Report {
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

/// The kind of a correction.
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
    /// The group's id.
    pub group_id: String,
    /// The kind of the correction.
    pub change: Change,
    /// The names of the fields that differed.
    pub fields: Vec<FactName>,
    /// The accounts that the table lacked; in the log, their number.
    #[serde(serialize_with = "count")]
    pub members_added: Vec<String>,
    /// The accounts that are no members any more; in the log, their number.
    #[serde(serialize_with = "count")]
    pub members_removed: Vec<String>,
    /// The accounts whose role or name card differed; in the log, their number.
    #[serde(serialize_with = "count")]
    pub members_changed: Vec<String>,
}

impl Correction {
    /// Reads the correction out of the event that was written.
    pub(super) fn new(event: Event, dry_run: bool) -> Self {
        let change = match (&event.group.ended, &event.group.began) {
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
            let list = match (&facts.ended, &facts.began) {
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

/// News of a pass that is under way.
#[derive(Debug)]
pub enum Note<'a> {
    /// A group is corrected.
    Corrected(&'a Correction),
    /// A group could not be compared.
    Skipped {
        /// The group's id.
        group_id: &'a str,
        /// The reason.
        error: &'a str,
    },
    /// Some more groups were compared.
    Progress(&'a Report),
}

impl Note<'_> {
    /// The log line, if there is one.
    pub fn to_line(&self, now: SystemTime) -> Option<String> {
        match self {
            Note::Corrected(correction) => Some(line(now, "INFO", "corrected", json!(correction))),
            Note::Skipped { group_id, error } => {
                Some(line(now, "WARN", "skipped", json!({ "group_id": group_id, "error": error })))
            }
            Note::Progress(_) => None,
        }
    }
}

/// The result of one call. One that failed has done a part of its work.
#[derive(Debug, Default)]
pub struct Run {
    /// The call's answer.
    pub report: Report,
    /// Whether it was called for named groups alone.
    pub named: bool,
    /// Whether no pass has come to its end before: its additions are no drift.
    pub first_pass: bool,
    /// Why a scheduled call had nothing to do.
    pub waiting: Option<Waiting>,
    /// Why it failed.
    pub error: Option<ReconcileError>,
    /// How long it took.
    pub duration: Duration,
}

/// Why a scheduled call had nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// The next pass is not due.
    NotDue,
    /// Another pass is under way.
    Busy,
}

impl Run {
    /// A call that was refused.
    pub fn refused(error: impl Into<ReconcileError>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// The log line of the call: outcome `reconciled`, `waiting` or `failed`.
    pub fn to_line(&self, now: SystemTime) -> String {
        let mut content = json!(self.report);
        content["named"] = json!(self.named);
        content["first_pass"] = json!(self.first_pass);
        content["duration_ms"] = json!(u64::try_from(self.duration.as_millis()).ok());
        let (level, outcome) = match (&self.error, self.waiting) {
            (Some(error), _) => {
                content["error"] = json!(error_chain(error));
                ("ERROR", "failed")
            }
            (None, Some(waiting)) => {
                content["waiting"] = json!(waiting);
                ("INFO", "waiting")
            }
            (None, None) => ("INFO", "reconciled"),
        };
        line(now, level, outcome, content)
    }
}

/// A line that begins like those of callbacks.
fn line(now: SystemTime, level: &'static str, outcome: &'static str, content: Value) -> String {
    #[derive(Serialize)]
    struct Line {
        timestamp: String,
        level: &'static str,
        outcome: &'static str,
        #[serde(flatten)]
        content: Value,
    }
    // Strings and numbers always serialize.
    serde_json::to_string(&Line { timestamp: rfc3339(now), level, outcome, content }).unwrap_or_default()
}
