//! Facts: what is known of one group or of one account in it, each with the time of the event that said it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Attributes;
use crate::time::EventTime;

/// The name of a fact: the attribute that holds it or, of a custom field, `user_defined.<key>`.
pub type FactName = Cow<'static, str>;

/// The names of the facts that are known here.
pub mod fact {
    #![expect(missing_docs, reason = "each is an attribute of the table")]

    pub const TYPE: &str = "type";
    pub const NAME: &str = "name";
    pub const INTRODUCTION: &str = "introduction";
    pub const NOTIFICATION: &str = "notification";
    pub const FACE_URL: &str = "face_url";
    pub const OWNER_ACCOUNT: &str = "owner_account";
    pub const ROLE: &str = "role";
    pub const NAME_CARD: &str = "name_card";

    /// The fields of a group, the custom ones left out.
    pub const GROUP_FIELDS: [&str; 6] = [TYPE, NAME, INTRODUCTION, NOTIFICATION, FACE_URL, OWNER_ACCOUNT];
    /// The fields of a member.
    pub const MEMBER_FIELDS: [&str; 2] = [ROLE, NAME_CARD];

    /// What the name of a custom field begins with.
    pub const USER_DEFINED: &str = "user_defined.";

    /// The name of a custom field.
    pub fn user_defined(key: &str) -> super::FactName {
        format!("{USER_DEFINED}{key}").into()
    }
}

/// One value, and since when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// The time of the event that said it. It comes first: the newest fact is the greatest.
    pub time: EventTime,
    /// The value; `None` says that there is none.
    pub value: Option<String>,
}

/// What is known, or what an event says, of one group or of one account in it. Both are the same kind of thing, so
/// that writing an event is merging it into what is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// When the group was created; when the account last joined or left. Every field that has no fact of its own is
    /// absent since then.
    pub event_time: Option<EventTime>,
    /// When the group was destroyed; when the account left, if it did not come back.
    pub gone_at: Option<EventTime>,
    /// The fields.
    pub values: BTreeMap<FactName, Fact>,
    /// Attributes that are no facts: they come with the creation, or the join, of `event_time`. `None` leaves those
    /// that are there.
    pub details: Option<Attributes>,
}

impl Facts {
    /// Says that a group was created, or that an account joined.
    pub fn present(time: EventTime, details: Attributes) -> Self {
        Self { event_time: Some(time), details: Some(details), ..Self::default() }
    }

    /// Says that an account left.
    pub fn departed(time: EventTime) -> Self {
        Self { event_time: Some(time), gone_at: Some(time), ..Self::default() }
    }

    /// Says one thing more.
    pub fn set(&mut self, name: impl Into<FactName>, value: Option<String>, time: EventTime) {
        self.values.insert(name.into(), Fact { time, value });
    }

    /// A field: what was said of it or, if nothing was, its absence since `event_time`.
    pub fn fact(&self, name: &str) -> Option<Fact> {
        let said = self.values.get(name).cloned();
        said.or_else(|| self.event_time.map(|time| Fact { time, value: None }))
    }

    /// The value of a field.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.value.as_deref()
    }

    /// Whether nothing is said at all.
    pub fn is_empty(&self) -> bool {
        self.event_time.is_none() && self.gone_at.is_none() && self.values.is_empty()
    }
}
