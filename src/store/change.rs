//! The change that readers see in an item: a pure function of its old and its new image.

use std::cmp::Ordering;
use std::sync::Arc;

use thiserror::Error;

use super::item::{self, ItemKey};
use super::merge::is_there;
use crate::event::{Attributes, Fact, FactName, Facts, GroupKey};
use crate::time::EventTime;

/// A change of one item that readers can see.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The group.
    pub key: GroupKey,
    /// The account; `None` if the group itself changed.
    pub account: Option<String>,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The fields that have other values now, of an update.
    pub changed: Vec<FactName>,
    /// The facts before, if the group was there, or the account was a member.
    pub before: Option<Facts>,
    /// The facts now.
    pub after: Facts,
    /// The time of the newest fact that changed.
    pub at: EventTime,
    /// The author of that fact.
    pub by: Option<Arc<str>>,
}

/// The kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// The group was created, or the account joined.
    Began,
    /// Fields have other values.
    Updated,
    /// The group was destroyed, or the account left.
    Ended,
    /// Nothing: the item as it is.
    Snapshot,
}

impl Change {
    /// The key of the item.
    pub(crate) fn item_key(&self) -> ItemKey<'_> {
        ItemKey { group: &self.key, account: self.account.as_deref() }
    }
}

/// The change that readers see between two images of an item, by that item alone. `None` if they see none: the item
/// was removed, a tombstone was renewed, authors or details changed, or it is no item of a group or a member.
pub(crate) fn change(
    old: Option<&Attributes>,
    new: Option<&Attributes>,
) -> Result<Option<Change>, MisshapenItem> {
    let Some(new) = new else { return Ok(None) };
    let Some((key, account)) = item::parse_key(new)? else { return Ok(None) };
    let before = old.map(facts).transpose()?.filter(is_there);
    let after = facts(new)?;
    let mut changed = Vec::new();
    let kind = match (&before, is_there(&after)) {
        (None, false) => return Ok(None),
        (None, true) => ChangeKind::Began,
        (Some(_), false) => ChangeKind::Ended,
        (Some(before), true) => match after.event_time().cmp(&before.event_time()) {
            Ordering::Greater => ChangeKind::Began,
            Ordering::Less => return Ok(None),
            Ordering::Equal => {
                changed = differences(before, &after);
                if changed.is_empty() {
                    return Ok(None);
                }
                ChangeKind::Updated
            }
        },
    };
    let newest = match kind {
        ChangeKind::Ended => after.ended.clone(),
        ChangeKind::Updated => changed.iter().filter_map(|name| after.fact(name)).max_by(by_time_and_author),
        ChangeKind::Began | ChangeKind::Snapshot => after.began.clone(),
    };
    Ok(newest.map(|Fact { time: at, by, .. }| Change { key, account, kind, changed, before, after, at, by }))
}

/// The item as it is; `None` if it is no item of a group or a member, or holds no fact.
pub(crate) fn snapshot(item: &Attributes) -> Result<Option<Change>, MisshapenItem> {
    let Some((key, account)) = item::parse_key(item)? else { return Ok(None) };
    let after = facts(item)?;
    let newest =
        after.values.values().chain(&after.began).chain(&after.ended).max_by(|a, b| by_time_and_author(a, b));
    let newest = newest.map(|fact| (fact.time, fact.by.clone()));
    let kind = ChangeKind::Snapshot;
    Ok(newest.map(|(at, by)| Change { key, account, kind, changed: vec![], before: None, after, at, by }))
}

fn facts(item: &Attributes) -> Result<Facts, MisshapenItem> {
    item::misshapen(item).map_or_else(|| Ok(item::read(item)), |name| Err(MisshapenItem(name)))
}

fn by_time_and_author(a: &Fact, b: &Fact) -> Ordering {
    (a.time, &a.by).cmp(&(b.time, &b.by))
}

/// The fields whose values differ, by name.
fn differences(before: &Facts, after: &Facts) -> Vec<FactName> {
    let names = before.values.keys().chain(after.values.keys());
    let mut names: Vec<_> = names.filter(|name| before.value(name) != after.value(name)).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// An item that this service did not write: it says nothing that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("attribute {0}: expected the type and the form of docs/table.md")]
pub(crate) struct MisshapenItem(pub(super) &'static str);
