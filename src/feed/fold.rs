//! The fold of events: the readers' view, from events alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::CloudEvent;
use super::event::attributes;
use crate::event::{FactName, Facts, GroupKey, text};
use crate::store::{ItemKey, is_member, is_there, join, read};
use crate::time::EventTime;

/// The groups of events that came so far: in any order, repeated, and even with some missing as long as the last one
/// of each item came.
#[derive(Debug, Clone, Default)]
pub struct Roster(BTreeMap<GroupKey, BTreeMap<Option<String>, Item>>);

/// The facts of all events about one item.
#[derive(Debug, Clone, Default)]
struct Item {
    facts: Facts,
    /// The values that an event had no room for, and since when they are the item's.
    omitted: BTreeMap<FactName, EventTime>,
}

/// A group as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RosterGroup {
    /// When it was created, in milliseconds since the Unix epoch.
    pub event_time: u64,
    /// Its fields by name, the owner and the custom ones (`user_defined.<key>`) included.
    pub fields: BTreeMap<String, String>,
    /// Its members by account.
    pub members: BTreeMap<String, RosterMember>,
    /// The fields whose values stand in the table alone, as no event had room for them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub omitted: BTreeSet<String>,
}

/// A member as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RosterMember {
    /// When the account joined, in milliseconds since the Unix epoch.
    pub event_time: u64,
    /// Its role and name card.
    pub fields: BTreeMap<String, String>,
    /// The fields whose values stand in the table alone, as no event had room for them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub omitted: BTreeSet<String>,
}

impl Roster {
    /// Takes an event.
    pub fn apply(&mut self, event: &CloudEvent) {
        let data = &event.data;
        let key = GroupKey { sdk_app_id: data.sdk_app_id, group_id: data.group_id.clone() };
        let mut image = attributes(&data.after);
        let sk = ItemKey { group: &key, account: data.account.as_deref() }.sk();
        image.insert("sk".to_owned(), text(sk));
        let facts = read(&image);
        let item = self.0.entry(key).or_default().entry(data.account.clone()).or_default();
        for name in &data.omitted {
            if let Some(fact) = facts.fact(name) {
                let time = item.omitted.entry(name.clone().into()).or_insert(fact.time);
                *time = fact.time.max(*time);
            }
        }
        item.facts = join(&item.facts, &facts);
    }

    /// A group with its members; `None` if it is not there.
    pub fn group(&self, key: &GroupKey) -> Option<RosterGroup> {
        let items = self.0.get(key)?;
        let group = items.get(&None).filter(|group| is_there(&group.facts))?;
        let members = items.iter().filter_map(|(account, item)| {
            let account = account.clone().filter(|_| is_member(&item.facts, &group.facts))?;
            let (event_time, fields, omitted) = item.view()?;
            Some((account, RosterMember { event_time, fields, omitted }))
        });
        let (event_time, fields, omitted) = group.view()?;
        Some(RosterGroup { event_time, fields, members: members.collect(), omitted })
    }

    /// The groups of which any event came.
    pub fn keys(&self) -> impl Iterator<Item = &GroupKey> {
        self.0.keys()
    }
}

impl Item {
    fn view(&self) -> Option<(u64, BTreeMap<String, String>, BTreeSet<String>)> {
        let values = self.facts.values.iter();
        let fields = values.filter_map(|(name, fact)| Some((name.to_string(), fact.value.clone()?)));
        let is_omitted = |(name, since): &(&FactName, &EventTime)| {
            self.facts.fact(name).is_some_and(|fact| fact.value.is_none() && fact.time <= **since)
        };
        let omitted = self.omitted.iter().filter(is_omitted).map(|(name, _)| name.to_string());
        Some((self.facts.event_time()?.as_millis(), fields.collect(), omitted.collect()))
    }
}
