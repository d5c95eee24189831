//! The items of the table: their keys, and how facts become attributes and attributes facts.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::event::{Attributes, Fact, FactName, Facts, GroupKey, fact, number, text};
use crate::time::EventTime;

/// The range key of a group item.
pub const GROUP_SK: &str = "GROUP";

/// What the range key of a member item begins with.
pub(super) const MEMBER_PREFIX: &str = "MEMBER#";

/// Which item: a group's, or that of an account in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemKey<'a> {
    /// The group.
    pub group: &'a GroupKey,
    /// The account; `None` for the group item.
    pub account: Option<&'a str>,
}

/// What the items of groups, and those of members, hold each in their own attributes.
struct Kind {
    gone_at: &'static str,
    fields: &'static [&'static str],
    /// What comes with a creation, or with a join.
    details: &'static [&'static str],
}

const GROUP: Kind = Kind {
    gone_at: "destroyed_at",
    fields: &fact::GROUP_FIELDS,
    details: &[
        "operator_account",
        "initial_member_count",
        "extra",
        "client_ip",
        "opt_platform",
        "request_id",
        "received_at",
    ],
};

const MEMBER: Kind =
    Kind { gone_at: "left_at", fields: &fact::MEMBER_FIELDS, details: &["join_type", "extra"] };

impl Kind {
    /// Whether facts and details alone decide about an attribute.
    fn manages(&self, name: &str) -> bool {
        let managed = ["account_key", "event_time", "user_defined", "changed_at", "expires_at", self.gone_at];
        managed.iter().chain(self.fields).chain(self.details).any(|managed| *managed == name)
    }
}

/// About as many attributes as an item has, so that its map need not grow: half of what making an item costs.
const ITEM_CAPACITY: usize = 14;

/// The hash key of a group and all of its members.
pub fn partition_key(group: &GroupKey) -> String {
    scoped_key(group.sdk_app_id, &group.group_id)
}

/// The hash key of the index `by_account`, for an account; what the hash keys of groups begin with, for `""`.
pub(super) fn scoped_key(sdk_app_id: u64, id: &str) -> String {
    format!("{sdk_app_id}#{id}")
}

/// The primary key of one item.
pub(super) fn key(pk: &str, sk: &str) -> Attributes {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// The account of a member item's range key.
pub(super) fn account(sk: &str) -> Option<&str> {
    sk.strip_prefix(MEMBER_PREFIX)
}

impl ItemKey<'_> {
    /// The range key.
    pub(crate) fn sk(&self) -> String {
        self.account.map_or_else(|| GROUP_SK.to_owned(), |account| format!("{MEMBER_PREFIX}{account}"))
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
        let is_there = facts.gone_at.is_none();
        let account = match self.account {
            Some(account) => facts.event_time.map(|_| account),
            None => facts.value(fact::OWNER_ACCOUNT),
        };
        account.filter(|_| is_there)
    }

    /// The item of these facts. Attributes of `known` that are not known here stay.
    pub(crate) fn write(&self, facts: &Facts, known: Option<&Attributes>) -> Attributes {
        let kept = known.into_iter().flatten().filter(|(name, _)| !self.kind().manages(name));
        let mut item = Attributes::with_capacity(ITEM_CAPACITY);
        item.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        let mut put = |name: &str, value: AttributeValue| item.insert(name.to_owned(), value);
        put("pk", text(partition_key(self.group)));
        put("sk", text(self.sk()));
        put("group_id", text(&self.group.group_id));
        match self.account {
            Some(account) => put("account", text(account)),
            None => put("sdk_app_id", number(self.group.sdk_app_id)),
        };
        for (name, time) in [("event_time", facts.event_time), (self.kind().gone_at, facts.gone_at)] {
            time.map(|time| put(name, number(time)));
        }
        if let Some(account) = self.indexed_account(facts) {
            put("account_key", text(scoped_key(self.group.sdk_app_id, account)));
        }
        let (mut user_defined, mut changed_at) = (Attributes::new(), Attributes::new());
        for (name, Fact { time, value }) in &facts.values {
            match (name.strip_prefix(fact::USER_DEFINED), value) {
                (Some(key), Some(value)) => drop(user_defined.insert(key.to_owned(), text(value))),
                (None, Some(value)) => drop(put(name, text(value))),
                (_, None) => {}
            }
            if Some(*time) != facts.event_time {
                changed_at.insert(name.clone().into_owned(), number(time));
            }
        }
        for (name, map) in [("user_defined", user_defined), ("changed_at", changed_at)] {
            if !map.is_empty() {
                put(name, AttributeValue::M(map));
            }
        }
        item.extend(facts.details.clone().unwrap_or_default());
        item
    }
}

/// What an item that was read says.
pub(super) fn read(item: &Attributes) -> Facts {
    let kind = if text_of(item, "sk").and_then(account).is_some() { &MEMBER } else { &GROUP };
    let event_time = time_of(item, "event_time");
    let changed_at = map_of(item, "changed_at");
    let since = |name: &str| {
        changed_at.and_then(|times| time_of(times, name)).or(event_time).unwrap_or(EventTime::from_millis(0))
    };
    let fields = kind.fields.iter().map(|name| (FactName::from(*name), text_of(item, name)));
    let custom = map_of(item, "user_defined").into_iter().flatten();
    let custom = custom.map(|(key, value)| (fact::user_defined(key), value.as_s().ok().map(String::as_str)));
    let mut facts = Facts { event_time, gone_at: time_of(item, kind.gone_at), ..Facts::default() };
    for (name, value) in fields.chain(custom).filter(|(_, value)| value.is_some()) {
        let time = since(&name);
        facts.set(name, value.map(str::to_owned), time);
    }
    // What was taken away has a time and no value.
    for name in changed_at.into_iter().flat_map(Attributes::keys) {
        if facts.value(name).is_none() {
            facts.set(name.clone(), None, since(name));
        }
    }
    let details = kind.details.iter().filter_map(|name| item.get_key_value(*name));
    let details: Attributes = details.map(|(name, value)| (name.clone(), value.clone())).collect();
    facts.details = (!details.is_empty()).then_some(details);
    facts
}

/// A time of an item that was read.
fn time_of(item: &Attributes, name: &str) -> Option<EventTime> {
    item.get(name)?.as_n().ok()?.parse().ok().map(EventTime::from_millis)
}

fn map_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a Attributes> {
    item.get(name)?.as_m().ok()
}

/// A text attribute of an item that was read.
pub fn text_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}
