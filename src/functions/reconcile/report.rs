//! The results of a call: its answer, and its log lines.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::event::{Event, FactName, Facts};
use crate::log::Level;
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

/// A group that is corrected; in a dry run, one that would be. The log has the numbers of the accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct Correction {
    pub dry_run: bool,
    pub group_id: String,
    pub change: Change,
    /// The names of the fields that differed.
    pub fields: Vec<FactName>,
    #[serde(serialize_with = "count")]
    pub members_added: Vec<String>,
    #[serde(serialize_with = "count")]
    pub members_removed: Vec<String>,
    /// Those whose role or name card differed.
    #[serde(serialize_with = "count")]
    pub members_changed: Vec<String>,
}

impl Correction {
    /// Reads the correction out of the event that was written.
    pub(super) fn new(event: Event, dry_run: bool) -> Self {
        let (change, group_id) = (Change::of(&event.group), event.key.group_id);
        let fields = event.group.values.into_keys().collect();
        let (members_added, members_removed, members_changed) = Default::default();
        let mut correction =
            Self { dry_run, group_id, change, fields, members_added, members_removed, members_changed };
        for (account, facts) in event.members {
            match Change::of(&facts) {
                Change::Added => correction.members_added.push(account),
                Change::Destroyed => correction.members_removed.push(account),
                Change::Changed => correction.members_changed.push(account),
            }
        }
        correction
    }
}

fn count<S: Serializer>(accounts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(accounts.len() as u64)
}

/// News of a call.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
#[expect(missing_docs, reason = "docs/operate.md explains the outcomes")]
pub enum Note<'a> {
    Corrected(&'a Correction),
    Skipped {
        group_id: &'a str,
        error: &'a str,
    },
    /// Some more groups were compared. It has no line in the log.
    Progress(&'a Report),
    Reconciled(Ended),
    Waiting(Ended),
    Failed(Ended),
}

/// The end of a call.
#[derive(Debug, Default, Serialize)]
pub struct Ended {
    /// Of a call that failed, the part that it has done.
    #[serde(flatten)]
    pub report: Report,
    /// Whether it was called for named groups alone.
    pub named: bool,
    /// Whether no pass has come to its end before: its additions are no drift.
    pub first_pass: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why a scheduled call had nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
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

impl Note<'_> {
    /// The log line, if there is one. It begins like those of callbacks.
    pub fn to_line(&self, now: SystemTime) -> Option<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            timestamp: String,
            level: Level,
            #[serde(flatten)]
            note: &'a Note<'a>,
        }
        let level = match self {
            Self::Progress(_) => return None,
            Self::Corrected(_) | Self::Reconciled(_) | Self::Waiting(_) => Level::Info,
            Self::Skipped { .. } => Level::Warn,
            Self::Failed(_) => Level::Error,
        };
        serde_json::to_string(&Line { timestamp: rfc3339(now), level, note: self }).ok()
    }
}

impl From<Ended> for Note<'_> {
    fn from(ended: Ended) -> Self {
        match (&ended.error, ended.waiting) {
            (Some(_), _) => Self::Failed(ended),
            (None, Some(_)) => Self::Waiting(ended),
            (None, None) => Self::Reconciled(ended),
        }
    }
}
