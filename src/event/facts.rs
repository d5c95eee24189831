//! Facts about a group or a member, each with the time of the event that said it and the account that did.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Attributes;
use crate::time::EventTime;

/// The name of a fact: the attribute that holds it or, of a custom field, `user_defined.<key>`.
pub type FactName = Cow<'static, str>;

/// The names of fields.
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

    /// The prefix of a custom field's name.
    pub const USER_DEFINED: &str = "user_defined.";

    /// The name of a custom field.
    pub fn user_defined(key: &str) -> super::FactName {
        format!("{USER_DEFINED}{key}").into()
    }
}

/// The time and the author that an event gives to all of its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// EventTime.
    pub time: EventTime,
    /// Operator_Account; `None` if it was absent or empty, and for the findings of `reconcile`.
    pub by: Option<Arc<str>>,
}

/// Without an author.
impl From<EventTime> for Stamp {
    fn from(time: EventTime) -> Self {
        Self { time, by: None }
    }
}

/// A value, its time and its author, compared in this order: the newest fact is the greatest. For two of the same time,
/// an absent value comes before `""` and text, and no author before any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// The time of the event that said it.
    pub time: EventTime,
    /// `None` says that the value is absent.
    pub value: Option<String>,
    /// The account that said it, if an event named one.
    pub by: Option<Arc<str>>,
}

impl Fact {
    fn new(stamp: Stamp, value: Option<String>) -> Self {
        Self { time: stamp.time, value, by: stamp.by }
    }
}

/// Facts about a group or a member. Stored and incoming facts share this type, so writing is merging.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The creation of the group, or the account's last join (the value is its JoinType) or departure. A field without a
    /// fact of its own is absent since this time.
    pub began: Option<Fact>,
    /// The destruction of the group, or the account's departure (the value is its ExitType) if it did not come back.
    pub ended: Option<Fact>,
    /// The fields.
    pub values: BTreeMap<FactName, Fact>,
    /// Attributes that are no facts: they come with the creation or the join. `None` leaves the stored ones.
    pub details: Option<Attributes>,
}

impl Facts {
    /// A creation, or a join without a JoinType.
    pub fn present(stamp: impl Into<Stamp>) -> Self {
        Self::joined(stamp, None, Attributes::new())
    }

    /// A join.
    pub fn joined(stamp: impl Into<Stamp>, join_type: Option<String>, details: Attributes) -> Self {
        let began = Some(Fact::new(stamp.into(), join_type));
        Self { began, details: Some(details), ..Self::default() }
    }

    /// A departure.
    pub fn departed(stamp: impl Into<Stamp>, exit_type: Option<String>) -> Self {
        let stamp = stamp.into();
        let began = Some(Fact::new(stamp.time.into(), None));
        Self { began, ended: Some(Fact::new(stamp, exit_type)), ..Self::default() }
    }

    /// A group's destruction.
    pub fn destroyed(stamp: impl Into<Stamp>) -> Self {
        Self { ended: Some(Fact::new(stamp.into(), None)), ..Self::default() }
    }

    /// Sets a field.
    pub fn set(&mut self, name: impl Into<FactName>, value: Option<String>, stamp: impl Into<Stamp>) {
        self.values.insert(name.into(), Fact::new(stamp.into(), value));
    }

    /// The attribute `event_time`.
    pub fn event_time(&self) -> Option<EventTime> {
        self.began.as_ref().map(|fact| fact.time)
    }

    /// The attribute `destroyed_at` or `left_at`.
    pub fn ended_at(&self) -> Option<EventTime> {
        self.ended.as_ref().map(|fact| fact.time)
    }

    /// A field's fact; without one, its absence since `event_time`.
    pub fn fact(&self, name: &str) -> Option<Fact> {
        let set = self.values.get(name).cloned();
        set.or_else(|| self.event_time().map(|time| Fact::new(time.into(), None)))
    }

    /// The value of a field.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.value.as_deref()
    }

    /// Whether nothing is said at all.
    pub fn is_empty(&self) -> bool {
        self.began.is_none() && self.ended.is_none() && self.values.is_empty()
    }
}
