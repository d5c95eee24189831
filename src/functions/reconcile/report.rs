//! The results of a call: its answer, and its log lines.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::ReconcileError;
use crate::event::{Event, FactName, Facts};
use crate::log::{Level, error_chain};
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

impl Change {
    /// The kind of a correction that writes these facts of a group, or of a member.
    fn of(facts: &Facts) -> Self {
        match (&facts.ended, &facts.began) {
            (Some(_), _) => Self::Destroyed,
            (None, Some(_)) => Self::Added,
            (None, None) => Self::Changed,
        }
    }
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
        let change = Change::of(&event.group);
        let fields = event.group.values.into_keys().collect();
        let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for (account, facts) in event.members {
            match Change::of(&facts) {
                Change::Added => added.push(account),
                Change::Destroyed => removed.push(account),
                Change::Changed => changed.push(account),
            }
        }
        Self {
            dry_run,
            group_id: event.key.group_id,
            change,
            fields,
            members_added: added,
            members_removed: removed,
            members_changed: changed,
        }
    }
}

fn count<S: Serializer>(accounts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(accounts.len() as u64)
}

/// News of a pass that is under way.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
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
    /// Some more groups were compared. It has no line in the log.
    Progress(&'a Report),
}

impl Note<'_> {
    /// The log line, if there is one.
    pub fn to_line(&self, now: SystemTime) -> Option<String> {
        match self {
            Self::Corrected(_) => Some(line(now, Level::Info, self)),
            Self::Skipped { .. } => Some(line(now, Level::Warn, self)),
            Self::Progress(_) => None,
        }
    }
}

/// The result of one call. One that failed has done a part of its work.
#[derive(Debug, Default, Serialize)]
pub struct Run {
    /// Its kind, or the error.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The call's answer.
    #[serde(flatten)]
    pub report: Report,
    /// Whether it was called for named groups alone.
    pub named: bool,
    /// Whether no pass has come to its end before: its additions are no drift.
    pub first_pass: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// The kind of a call's result.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It has compared groups.
    #[default]
    Reconciled,
    /// It was a scheduled one, and had nothing to do.
    Waiting {
        /// The reason.
        waiting: Waiting,
    },
    /// It failed.
    Failed {
        /// The reason.
        #[serde(serialize_with = "chain")]
        error: ReconcileError,
    },
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
    /// The answer, unless the call failed.
    pub fn into_result(self) -> Result<Report, ReconcileError> {
        match self.outcome {
            Outcome::Failed { error } => Err(error),
            Outcome::Reconciled | Outcome::Waiting { .. } => Ok(self.report),
        }
    }

    /// The log line of the call.
    pub fn to_line(&self, now: SystemTime) -> String {
        let is_failed = matches!(self.outcome, Outcome::Failed { .. });
        line(now, if is_failed { Level::Error } else { Level::Info }, self)
    }
}

fn chain<S: Serializer>(error: &ReconcileError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&error_chain(error))
}

/// A line that begins like those of callbacks.
fn line(now: SystemTime, level: Level, content: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Line<'a, T> {
        timestamp: String,
        level: Level,
        #[serde(flatten)]
        content: &'a T,
    }
    // Strings and numbers always serialize.
    serde_json::to_string(&Line { timestamp: rfc3339(now), level, content }).unwrap_or_default()
}
