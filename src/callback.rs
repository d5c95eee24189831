//! Chat's callback protocol: commands, URL parameters, bodies, signatures and answers.
//!
//! Pure: no network, no clock, no table.

mod answer;
mod body;
mod fields;
#[cfg(test)]
#[expect(clippy::unwrap_used)]
pub(crate) mod fuzz;
mod query;
mod signature;

use std::time::SystemTime;

pub use answer::{fail, ok, relayed};
pub use body::Body;
pub use fields::{BodyError, Entries, Fields, JsonName, string};
pub(crate) use query::Origin;
pub use query::{ParameterError, Query, RequestTime, decimal};
pub use signature::{Sender, SignatureError, SignedBy, Token, Unsigned, Verifier};

/// The largest body that is read, in bytes: about as much as fits into a request of Lambda's, which is at most 6 MB.
pub const BODY_MAX_BYTES: usize = 5 * 1024 * 1024;

/// A callback whose sender is accepted: on its way through `webhook`, or later out of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Callback<'a> {
    /// The parameters of the URL.
    pub query: &'a Query<'a>,
    /// The body as received.
    pub body: &'a [u8],
    /// When it first arrived here.
    pub received_at: SystemTime,
    /// Who sent it.
    pub sender: Sender,
}

/// The application whose callbacks are taken.
#[derive(Debug, Clone, Copy)]
pub struct Application {
    /// Its SdkAppid.
    pub sdk_app_id: u64,
    /// Whether ClientIP, an end user's address, is stored.
    pub keep_client_ip: bool,
}

/// The kinds of CallbackCommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It changes a group or its members.
    Roster(RosterCommand),
    /// Chat waits for a decision: allow, refuse or change.
    Decision,
    /// It tells of something else that has happened.
    Other,
}

/// The commands that change a group or its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the vendor's name")]
pub enum RosterCommand {
    AfterCreateGroup,
    AfterNewMemberJoin,
    AfterMemberExit,
    AfterGroupDestroyed,
    AfterGroupInfoChanged,
    AfterChangeGroupOwner,
    AfterMemberFieldChanged,
}

impl RosterCommand {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::AfterCreateGroup,
        Self::AfterNewMemberJoin,
        Self::AfterMemberExit,
        Self::AfterGroupDestroyed,
        Self::AfterGroupInfoChanged,
        Self::AfterChangeGroupOwner,
        Self::AfterMemberFieldChanged,
    ];

    /// The CallbackCommand, as it stands in the URL and in the body.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterCreateGroup => "Group.CallbackAfterCreateGroup",
            Self::AfterNewMemberJoin => "Group.CallbackAfterNewMemberJoin",
            Self::AfterMemberExit => "Group.CallbackAfterMemberExit",
            Self::AfterGroupDestroyed => "Group.CallbackAfterGroupDestroyed",
            Self::AfterGroupInfoChanged => "Group.CallbackAfterGroupInfoChanged",
            Self::AfterChangeGroupOwner => "Group.CallbackAfterChangeGroupOwner",
            Self::AfterMemberFieldChanged => "Group.CallbackAfterMemberFieldChanged",
        }
    }
}

impl Command {
    /// Reads the name of a command: all callbacks that ask for a decision are called `Before…` or `Prev…`.
    pub fn parse(name: &str) -> Self {
        if let Some(kept) = RosterCommand::ALL.into_iter().find(|kept| kept.name() == name) {
            return Self::Roster(kept);
        }
        match name.split_once("Callback") {
            Some((_, what)) if what.starts_with("Before") || what.starts_with("Prev") => Self::Decision,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_kept_or_a_decision_or_neither() {
        for kept in RosterCommand::ALL {
            assert_eq!(Command::parse(kept.name()), Command::Roster(kept));
        }
        for name in
            ["Group.CallbackBeforeCreateGroup", "Sns.CallbackPrevFriendAdd", "C2C.CallbackBeforeSendMsg"]
        {
            assert_eq!(Command::parse(name), Command::Decision, "{name}");
        }
        for name in
            ["Group.CallbackAfterSendMsg", "State.StateChange", "Group.CallbackOnMemberStateChange", "Before"]
        {
            assert_eq!(Command::parse(name), Command::Other, "{name}");
        }
    }
}
