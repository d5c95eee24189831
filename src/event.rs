//! Events in Chat: of this group, at this time, these facts.
//!
//! Every source (a callback, a queued callback, Chat's REST API) makes events; [`crate::store::Store`] writes them.

mod created;
mod extra;
mod facts;
mod info;
mod members;
mod owner;
mod role;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use extra::{Attributes, MAX_DEPTH, number, text};
pub(crate) use extra::{map_name, size};
pub use facts::{Fact, FactName, Facts, Stamp, fact};
pub(crate) use info::TEXTS;
pub(crate) use role::normal as normal_role;

use crate::callback::{Application, Body, BodyError, Callback, Fields, Origin, RosterCommand};
use crate::time::EventTime;

/// The longest GroupId, in bytes: it is part of the key `pk`, which is also the range key of the index (at most
/// 1,024 bytes), behind a SdkAppid of up to 20 digits and a `#`.
pub const GROUP_ID_MAX_BYTES: usize = 1024 - 21;

/// The longest account, in bytes: it is part of the range key `sk` (at most 1,024 bytes), behind `MEMBER#`.
pub const ACCOUNT_MAX_BYTES: usize = 1024 - 7;

/// How far EventTime may lie ahead of the time of receipt. A later one would freeze its facts until it has come.
pub(crate) const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);

/// Whether members of this type of group come and go without limit: none of them is kept.
pub fn is_av_chat_room(group_type: &str) -> bool {
    group_type.eq_ignore_ascii_case("AVChatRoom")
}

/// Whether an account is nobody's: empty, or the placeholder that Chat sends in its place.
pub fn is_nobody(account: &str) -> bool {
    account.is_empty() || account == "@TLS#NOT_FOUND"
}

/// A group of an application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The application's SdkAppid.
    pub sdk_app_id: u64,
    /// The group's id.
    pub group_id: String,
}

/// Facts about members, by their accounts. Many members of one event share the same facts.
pub type Members = BTreeMap<String, Arc<Facts>>;

/// Facts about a group and about accounts in it, said at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The group.
    pub key: GroupKey,
    /// The facts about the group.
    pub group: Facts,
    /// The facts about each account.
    pub members: Members,
}

impl Callback<'_> {
    /// Reads the event of a command that is kept; `None` where this callback is not: it speaks of a topic, or of the members
    /// of an AVChatRoom.
    pub fn event(
        &self,
        command: RosterCommand,
        application: &Application,
    ) -> Result<Option<Event>, BodyError> {
        Event::parse(command, self.body, &Origin::new(self, application))
    }
}

impl Event {
    fn parse(command: RosterCommand, body: &[u8], origin: &Origin<'_>) -> Result<Option<Self>, BodyError> {
        let mut body = Body::new(body);
        let mut fields = body.fields()?;
        if fields.required("CallbackCommand")? != command.name() {
            return Err(BodyError::OtherCommand);
        }
        let group_type = fields.text("Type")?;
        let is_of_topic = fields.text("TopicId")?.is_some_and(|topic_id| !topic_id.is_empty());
        let has_members = !group_type.as_deref().is_some_and(is_av_chat_room);
        if is_of_topic || !(has_members || is_of_group(command)) {
            return Ok(None);
        }
        let group_id = fields.id("GroupId", GROUP_ID_MAX_BYTES)?;
        let by = fields.exact("Operator_Account")?.filter(|account| !account.is_empty()).map(Arc::from);
        let stamp = Stamp { time: event_time(&mut fields, origin)?, by };
        let mut event = Self {
            key: GroupKey { sdk_app_id: origin.sdk_app_id, group_id },
            group: Facts::default(),
            members: BTreeMap::new(),
        };
        match command {
            RosterCommand::AfterCreateGroup => created::read(&mut event, fields, group_type, &stamp, origin)?,
            RosterCommand::AfterNewMemberJoin => event.members = members::read_joined(&mut fields, &stamp)?,
            RosterCommand::AfterMemberExit => event.members = members::read_departed(&mut fields, &stamp)?,
            RosterCommand::AfterGroupDestroyed => event.group = Facts::destroyed(stamp),
            RosterCommand::AfterGroupInfoChanged => {
                // Of custom data that is no custom field, a creation alone keeps something.
                info::read(&mut event.group, &mut fields, &stamp)?;
            }
            RosterCommand::AfterChangeGroupOwner => {
                owner::read(&mut event, &mut fields, has_members, &stamp)?;
            }
            RosterCommand::AfterMemberFieldChanged => role::read(&mut event, &mut fields, &stamp)?,
        }
        Ok(Some(event))
    }

    /// Whether it says nothing: an empty list, no known field.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.members.values().all(|facts| facts.is_empty())
    }
}

/// Whether a command speaks of the group itself, and perhaps of members beside it.
fn is_of_group(command: RosterCommand) -> bool {
    !matches!(
        command,
        RosterCommand::AfterNewMemberJoin
            | RosterCommand::AfterMemberExit
            | RosterCommand::AfterMemberFieldChanged
    )
}

/// EventTime is a number in real bodies, a string of digits in the vendor's samples, absent in old ones. If it is absent or
/// 0, RequestTime is used, then the time of receipt.
fn event_time(fields: &mut Fields<'_>, origin: &Origin<'_>) -> Result<EventTime, BodyError> {
    let latest = EventTime::from(origin.received_at + MAX_AHEAD);
    let sent = fields.number("EventTime")?.filter(|millis| *millis != 0).map(EventTime::from_millis);
    match sent {
        Some(time) if time > latest => Err(fields.error("EventTime", "a time at most five minutes ahead")),
        Some(time) => Ok(time),
        None => {
            let requested_at = origin.request_time.map(EventTime::from).filter(|time| *time <= latest);
            Ok(requested_at.unwrap_or(EventTime::from(origin.received_at)))
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
