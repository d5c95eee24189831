//! The bodies of callbacks, as Chat sends them.

use chat_groups::callback::RosterCommand;
use serde_json::{Value, json};

/// Who changes a group by the REST API.
const ADMIN: &str = "administrator";

/// A group that callbacks speak of.
#[derive(Debug, Clone)]
pub struct Group {
    pub id: String,
    pub group_type: String,
}

impl Group {
    pub fn new(id: impl Into<String>, group_type: &str) -> Self {
        Self { id: id.into(), group_type: group_type.to_owned() }
    }

    /// It was created, with these members.
    pub fn created(&self, time: u64, owner: &str, accounts: &[&str]) -> Value {
        let fields = json!({ "Owner_Account": owner, "Name": "A group", "MemberList": members(accounts) });
        self.body(RosterCommand::AfterCreateGroup, time, fields)
    }

    pub fn joined(&self, time: u64, accounts: &[&str]) -> Value {
        let fields = json!({ "JoinType": "Invited", "NewMemberList": members(accounts) });
        self.body(RosterCommand::AfterNewMemberJoin, time, fields)
    }

    pub fn left(&self, time: u64, accounts: &[&str]) -> Value {
        let fields = json!({ "ExitType": "Kicked", "ExitMemberList": members(accounts) });
        self.body(RosterCommand::AfterMemberExit, time, fields)
    }

    /// It was destroyed, with these members.
    pub fn destroyed(&self, time: u64, accounts: &[&str]) -> Value {
        let fields = json!({ "Owner_Account": "", "Name": "A group", "MemberList": members(accounts) });
        self.body(RosterCommand::AfterGroupDestroyed, time, fields)
    }

    /// Some of its fields have new values.
    pub fn changed(&self, time: u64, fields: Value) -> Value {
        self.body(RosterCommand::AfterGroupInfoChanged, time, fields)
    }

    pub fn handed_over(&self, time: u64, old_owner: &str, new_owner: &str) -> Value {
        let fields = json!({ "OldOwner_Account": old_owner, "NewOwner_Account": new_owner });
        self.body(RosterCommand::AfterChangeGroupOwner, time, fields)
    }

    /// An account's role or name card has a new value.
    pub fn member_changed(&self, time: u64, account: &str, mut fields: Value) -> Value {
        fields["Modified_Account"] = account.into();
        self.body(RosterCommand::AfterMemberFieldChanged, time, fields)
    }

    fn body(&self, command: RosterCommand, time: u64, mut fields: Value) -> Value {
        fields["CallbackCommand"] = command.name().into();
        fields["GroupId"] = self.id.as_str().into();
        fields["Type"] = self.group_type.as_str().into();
        fields["Operator_Account"] = ADMIN.into();
        fields["EventTime"] = time.into();
        fields
    }
}

fn members(accounts: &[&str]) -> Value {
    accounts.iter().map(|account| json!({ "Member_Account": account })).collect()
}
