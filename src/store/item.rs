//! The items of the table: their keys, and the attributes that hold facts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;

use super::change::MisshapenItem;
use crate::event::{Attributes, Fact, FactName, Facts, GroupKey, fact, number, size, text};
use crate::time::EventTime;

/// The range key of a group item.
pub const GROUP_SK: &str = "GROUP";

/// The prefix of a member item's range key.
pub const MEMBER_PREFIX: &str = "MEMBER#";

/// The most bytes that facts may take in an item. DynamoDB's items have 409,600; the rest is for keys and numbers.
const FACTS_MAX_BYTES: usize = 400_000;

/// The most bytes that the numbers and the overhead of one fact take.
const FACT_BYTES: usize = 32;

/// The key of an item: a group's, or that of an account in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemKey<'a> {
    /// The group.
    pub group: &'a GroupKey,
    /// The account; `None` for the group item.
    pub account: Option<&'a str>,
}

/// The attributes in which group items differ from member items.
struct Kind {
    began: Life,
    ended: Life,
    fields: &'static [&'static str],
    details: &'static [&'static str],
}

/// The attributes of [`Facts::began`] or [`Facts::ended`].
struct Life {
    time: &'static str,
    value: Option<&'static str>,
    by: &'static str,
}

const GROUP: Kind = Kind {
    began: Life { time: "event_time", value: None, by: "operator_account" },
    ended: Life { time: "destroyed_at", value: None, by: "destroyed_by" },
    fields: &fact::GROUP_FIELDS,
    details: &["initial_member_count", "extra", "client_ip", "opt_platform", "request_id", "received_at"],
};

const MEMBER: Kind = Kind {
    began: Life { time: "event_time", value: Some("join_type"), by: "joined_by" },
    ended: Life { time: "left_at", value: Some("exit_type"), by: "left_by" },
    fields: &fact::MEMBER_FIELDS,
    details: &["extra"],
};

/// The other managed attributes of both kinds.
const COMMON: [&str; 5] = ["account_key", "user_defined", "changed_at", "changed_by", "expires_at"];

impl Kind {
    /// Whether facts and details alone decide about an attribute.
    fn manages(&self, name: &str) -> bool {
        let is_of = |life: &Life| name == life.time || name == life.by || Some(name) == life.value;
        let names = [&COMMON[..], self.fields, self.details];
        is_of(&self.began) || is_of(&self.ended) || names.iter().any(|names| names.contains(&name))
    }

    fn details_of<'a>(
        &self,
        item: &'a Attributes,
    ) -> impl Iterator<Item = (&'static str, &'a AttributeValue)> {
        self.details.iter().filter_map(|name| Some((*name, item.get(*name)?)))
    }
}

/// The hash key of a group and all of its members.
pub fn partition_key(group: &GroupKey) -> String {
    scoped_key(group.sdk_app_id, &group.group_id)
}

/// `<SdkAppid>#<id>`, the form of all hash keys.
pub(crate) fn scoped_key(sdk_app_id: u64, id: &str) -> String {
    [&sdk_app_id.to_string(), "#", id].concat()
}

/// The primary key of one item.
pub(crate) fn key(pk: &str, sk: &str) -> Attributes {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// The account of a member item's range key.
pub(crate) fn account(sk: &str) -> Option<&str> {
    sk.strip_prefix(MEMBER_PREFIX)
}

/// The group and the account of an item; `None` if it is neither a group's nor a member's.
pub(super) fn parse_key(item: &Attributes) -> Result<Option<(GroupKey, Option<String>)>, MisshapenItem> {
    let sk = text_of(item, "sk").ok_or(MisshapenItem("sk"))?;
    let account = account(sk).map(str::to_owned);
    if account.is_none() && sk != GROUP_SK {
        return Ok(None);
    }
    let pk = text_of(item, "pk").ok_or(MisshapenItem("pk"))?;
    let key = pk.split_once('#').and_then(|(sdk_app_id, group_id)| {
        Some(GroupKey { sdk_app_id: sdk_app_id.parse().ok()?, group_id: group_id.to_owned() })
    });
    let key = key.filter(|key| partition_key(key) == pk).ok_or(MisshapenItem("pk"))?;
    Ok(Some((key, account)))
}

/// The first attribute with facts that has another type than the one that is written.
pub(super) fn misshapen(item: &Attributes) -> Option<&'static str> {
    let kind = if text_of(item, "sk").and_then(account).is_some() { &MEMBER } else { &GROUP };
    let lives = [&kind.began, &kind.ended];
    let is_text = |map: &Attributes, name: &str| text_of(map, name).is_some();
    let is_time = |map: &Attributes, name: &str| time_of(map, name).is_some();
    let holds = |name: &str, is_valid: fn(&Attributes, &str) -> bool| {
        map_of(item, name).is_some_and(|map| map.keys().all(|key| is_valid(map, key)))
    };
    let times = lives.map(|life| (life.time, is_time(item, life.time)));
    let texts = lives.into_iter().flat_map(|life| life.value.into_iter().chain([life.by]));
    let texts = texts.chain(kind.fields.iter().copied()).map(|name| (name, is_text(item, name)));
    let maps =
        [("user_defined", is_text as fn(&_, &_) -> _), ("changed_at", is_time), ("changed_by", is_text)];
    let maps = maps.map(|(name, is_valid)| (name, holds(name, is_valid)));
    let mut wrong = times.into_iter().chain(texts).chain(maps);
    wrong.find(|(name, is_valid)| !is_valid && item.contains_key(*name)).map(|(name, _)| name)
}

impl ItemKey<'_> {
    /// The range key.
    pub(crate) fn sk(&self) -> String {
        self.account.map_or_else(|| GROUP_SK.to_owned(), |account| [MEMBER_PREFIX, account].concat())
    }

    /// The primary key.
    pub(crate) fn attributes(&self) -> Attributes {
        key(&partition_key(self.group), &self.sk())
    }

    fn kind(&self) -> &'static Kind {
        if self.account.is_some() { &MEMBER } else { &GROUP }
    }

    /// The account whose index entry leads here: a member, or the owner.
    fn indexed_account<'a>(&'a self, facts: &'a Facts) -> Option<&'a str> {
        let account = match self.account {
            Some(account) => facts.began.as_ref().map(|_| account),
            None => facts.value(fact::OWNER_ACCOUNT),
        };
        account.filter(|_| facts.ended.is_none())
    }

    /// Gives the attributes of these facts one by one, each with its name.
    pub(crate) fn write(&self, facts: &Facts, mut put: impl FnMut(&str, AttributeValue)) {
        self.write_shared(facts, &mut put);
        self.write_own(facts, put);
    }

    /// Those that depend on the account.
    pub(super) fn write_own(&self, facts: &Facts, mut put: impl FnMut(&str, AttributeValue)) {
        put("sk", text(self.sk()));
        if let Some(account) = self.account {
            put("account", text(account));
        }
        if let Some(account) = self.indexed_account(facts) {
            put("account_key", text(scoped_key(self.group.sdk_app_id, account)));
        }
    }

    /// Those that all accounts with the same facts share.
    pub(super) fn write_shared(&self, facts: &Facts, mut put: impl FnMut(&str, AttributeValue)) {
        let kind = self.kind();
        put("pk", text(partition_key(self.group)));
        put("group_id", text(&self.group.group_id));
        if self.account.is_none() {
            put("sdk_app_id", number(self.group.sdk_app_id));
        }
        for (life, fact) in [(&kind.began, &facts.began), (&kind.ended, &facts.ended)] {
            let Some(fact) = fact else { continue };
            put(life.time, number(fact.time));
            life.value.zip(fact.value.as_ref()).into_iter().for_each(|(name, value)| put(name, text(value)));
            fact.by.iter().for_each(|account| put(life.by, text(&**account)));
        }
        let [mut user_defined, mut changed_at, mut changed_by] = [const { None::<Attributes> }; 3];
        for (name, fact) in &facts.values {
            match (custom_key(name), &fact.value) {
                (Some(key), Some(value)) => add(&mut user_defined, key, text(value)),
                (None, Some(value)) => put(name, text(value)),
                (_, None) => {}
            }
            if Some(fact.time) != facts.event_time() {
                add(&mut changed_at, name, number(fact.time));
            }
            // An absent value without an entry has no author: nobody said so.
            let is_only_here = fact.value.is_none() && Some(fact.time) == facts.event_time();
            if is_only_here || fact.by != default_author(facts, fact.time) {
                add(&mut changed_by, name, text(fact.by.as_deref().unwrap_or_default()));
            }
        }
        let maps = [("user_defined", user_defined), ("changed_at", changed_at), ("changed_by", changed_by)];
        for (name, map) in maps {
            map.into_iter().for_each(|map| put(name, AttributeValue::M(map)));
        }
        for (name, value) in facts.details.iter().flat_map(|details| kind.details_of(details)) {
            put(name, value.clone());
        }
    }

    /// The attributes of a stored item that are not known here: they stay.
    pub(crate) fn unmanaged<'a>(
        &self,
        stored: &'a Attributes,
    ) -> impl Iterator<Item = (&'a String, &'a AttributeValue)> {
        let kind = self.kind();
        stored.iter().filter(|(name, _)| !kind.manages(name))
    }
}

fn add(map: &mut Option<Attributes>, name: &str, value: AttributeValue) {
    map.get_or_insert_default().insert(name.to_owned(), value);
}

fn custom_key(name: &str) -> Option<&str> {
    name.strip_prefix(fact::USER_DEFINED)
}

/// The author of a fact that has no entry in `changed_by`.
fn default_author(facts: &Facts, time: EventTime) -> Option<Arc<str>> {
    facts.began.as_ref().filter(|began| began.time == time)?.by.clone()
}

/// The facts of a stored item. Attributes of another type than the one that is written count as absent.
pub fn read(item: &Attributes) -> Facts {
    let kind = if text_of(item, "sk").and_then(account).is_some() { &MEMBER } else { &GROUP };
    let life = |life: &Life| {
        let value = life.value.and_then(|name| text_of(item, name)).map(str::to_owned);
        Some(Fact { time: time_of(item, life.time)?, value, by: text_of(item, life.by).map(Arc::from) })
    };
    let details: Attributes =
        kind.details_of(item).map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let mut facts = Facts {
        began: life(&kind.began),
        ended: life(&kind.ended),
        values: BTreeMap::new(),
        details: (!details.is_empty()).then_some(details),
    };
    let [user_defined, changed_at, changed_by] =
        ["user_defined", "changed_at", "changed_by"].map(|name| map_of(item, name));
    let keys = |map: Option<_>| map.into_iter().flat_map(Attributes::keys);
    let custom = keys(user_defined).map(|key| fact::user_defined(key));
    // A field that was taken away has a time or an author, and no value.
    let changed = keys(changed_at).chain(keys(changed_by)).map(|name| FactName::from(name.clone()));
    let fields =
        kind.fields.iter().filter(|name| item.contains_key(**name)).map(|name| FactName::from(*name));
    for name in fields.chain(custom).chain(changed) {
        let value = match custom_key(&name) {
            Some(key) => user_defined.and_then(|map| text_of(map, key)),
            None => text_of(item, &name),
        };
        let time = changed_at.and_then(|map| time_of(map, &name)).or(facts.event_time());
        let time = time.unwrap_or(EventTime::from_millis(0));
        let by = match changed_by.and_then(|map| text_of(map, &name)) {
            Some(by) => Some(by).filter(|by| !by.is_empty()).map(Arc::from),
            None => default_author(&facts, time),
        };
        facts.values.insert(name, Fact { time, value: value.map(str::to_owned), by });
    }
    facts
}

/// Cuts facts for which an item has no room: `extra` first, then the longest values. `None` if all of them fit.
pub(super) fn cut(facts: &Facts) -> Option<Facts> {
    let size_of = |name: &str, fact: &Fact| {
        let by = fact.by.as_ref().map_or(0, |by| name.len() + by.len());
        2 * name.len() + by + fact.value.as_ref().map_or(0, String::len) + FACT_BYTES
    };
    let values = facts.values.iter().map(|(name, fact)| (size_of(name, fact), name.clone()));
    let details = facts.details.iter().flatten().map(|(_, value)| size(value)).sum::<usize>();
    let bytes = details + values.clone().map(|(bytes, _)| bytes).sum::<usize>();
    let mut excess = bytes.checked_sub(FACTS_MAX_BYTES + 1)?;
    tracing::warn!(bytes, "an item has no room for all fields: the longest are cut, unknown ones first");
    let mut facts = facts.clone();
    if let Some(AttributeValue::M(extra)) =
        facts.details.as_mut().and_then(|details| details.get_mut("extra"))
    {
        let sizes = extra.iter().map(|(name, value)| (name.len() + size(value), name.clone())).collect();
        for name in longest(sizes, &mut excess) {
            extra.remove(&name);
        }
    }
    for name in longest(values.collect(), &mut excess) {
        facts.values.entry(name).and_modify(|fact| fact.value = None);
    }
    Some(facts)
}

/// The names of the longest entries that have to go until there is no excess.
fn longest<N: Ord>(mut sizes: Vec<(usize, N)>, excess: &mut usize) -> Vec<N> {
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let needed = sizes.into_iter().map_while(|(bytes, name)| {
        let is_needed = *excess > 0;
        *excess = excess.saturating_sub(bytes);
        is_needed.then_some(name)
    });
    needed.collect()
}

fn map_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a Attributes> {
    item.get(name)?.as_m().ok()
}

/// A time of an item.
fn time_of(item: &Attributes, name: &str) -> Option<EventTime> {
    item.get(name)?.as_n().ok()?.parse().ok().map(EventTime::from_millis)
}

/// A text attribute of an item.
pub fn text_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

#[cfg(test)]
mod tests;
