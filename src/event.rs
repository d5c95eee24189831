//! What happened in Chat: of this group, at this time, these facts.
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

use crate::callback::{Application, BodyError, Callback, Fields, Origin, RosterCommand};
use crate::time::EventTime;

/// The longest GroupId, in bytes: it is part of the key `pk`, which is also the range key of the index (at most
/// 1,024 bytes), behind a SdkAppid of up to 20 digits and a `#`.
pub const GROUP_ID_MAX_BYTES: usize = 1024 - 21;

/// The longest account, in bytes: it is part of the range key `sk` (at most 1,024 bytes), behind `MEMBER#`.
pub const ACCOUNT_MAX_BYTES: usize = 1024 - 7;

/// How far EventTime may lie ahead of the time of receipt. A later one would freeze its facts until it has come.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);

/// Chat's type of a group whose members come and go without limit: none of them is kept.
pub const AV_CHAT_ROOM: &str = "AVChatRoom";

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

/// Something that happened to a group: what it says of the group itself, and of accounts in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The group.
    pub key: GroupKey,
    /// What is said of the group.
    pub group: Facts,
    /// What is said of each account.
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
        let mut fields = Fields::parse(body)?;
        if fields.required("CallbackCommand")? != command.name() {
            return Err(BodyError::OtherCommand);
        }
        let group_type = fields.text("Type")?;
        let is_of_topic = fields.text("TopicId")?.is_some_and(|topic_id| !topic_id.is_empty());
        if is_of_topic || !is_kept(command, group_type.as_deref()) {
            return Ok(None);
        }
        let group_id = fields.id("GroupId", GROUP_ID_MAX_BYTES)?;
        let by = fields.text("Operator_Account")?.filter(|account| !account.is_empty()).map(Arc::from);
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
            RosterCommand::AfterGroupInfoChanged => info::read(&mut event.group, &mut fields, &stamp)?,
            RosterCommand::AfterChangeGroupOwner => {
                owner::read(&mut event, &mut fields, group_type.as_deref(), &stamp)?
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

fn is_kept(command: RosterCommand, group_type: Option<&str>) -> bool {
    let is_of_members = matches!(
        command,
        RosterCommand::AfterNewMemberJoin
            | RosterCommand::AfterMemberExit
            | RosterCommand::AfterMemberFieldChanged
    );
    !(is_of_members && group_type == Some(AV_CHAT_ROOM))
}

/// EventTime is a number in real bodies, a string of digits in the vendor's samples, absent in old ones. If absent,
/// RequestTime is used, then the time of receipt.
fn event_time(fields: &mut Fields<'_>, origin: &Origin<'_>) -> Result<EventTime, BodyError> {
    let latest = EventTime::from(origin.received_at + MAX_AHEAD);
    let Some(raw) = fields.take("EventTime") else {
        let sent_at = origin.request_time.map(EventTime::from).filter(|time| *time <= latest);
        return Ok(sent_at.unwrap_or(EventTime::from(origin.received_at)));
    };
    let text = raw.get();
    let digits = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let time = digits.parse().ok().filter(|_| is_number).map(EventTime::from_millis).ok_or_else(|| {
        fields
            .error("EventTime", "milliseconds since the Unix epoch, a whole number or a string of its digits")
    })?;
    if time > latest {
        return Err(fields.error("EventTime", "a time at most five minutes ahead"));
    }
    Ok(time)
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
