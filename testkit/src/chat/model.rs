//! The groups that the stand-in for Chat knows.

use std::collections::BTreeMap;

/// Everything that Chat knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// The groups by GroupId.
    pub groups: BTreeMap<String, Group>,
    /// The ErrorCode with which get_group_info answers for a group, whether it is there or not.
    pub errors: BTreeMap<String, u32>,
    /// The ErrorCode with which get_group_info refuses every question that names a group.
    pub refused: BTreeMap<String, u32>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    pub group_type: String,
    pub name: String,
    pub introduction: String,
    pub notification: String,
    pub face_url: String,
    /// A member, or nobody.
    pub owner: Option<String>,
    /// In seconds since the Unix epoch.
    pub create_time: u64,
    pub members: BTreeMap<String, Member>,
    /// The custom fields.
    pub app_defined: BTreeMap<String, String>,
}

impl Group {
    /// A public group with these plain members, the first of them its owner.
    pub fn public(name: &str, create_time: u64, accounts: &[&str]) -> Self {
        let member = |account: &&str| ((*account).to_owned(), Member::joined(create_time));
        Self {
            group_type: "Public".to_owned(),
            name: name.to_owned(),
            owner: accounts.first().map(|account| (*account).to_owned()),
            create_time,
            members: accounts.iter().map(member).collect(),
            ..Self::default()
        }
    }

    /// What Chat calls an account's role; `None` for those outside.
    pub fn role(&self, account: &str) -> Option<&str> {
        let member = self.members.get(account)?;
        Some(if self.owner.as_deref() == Some(account) { "Owner" } else { &member.role })
    }
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    /// `Admin` or `Member`; the owner's is told apart by the group.
    pub role: String,
    pub name_card: String,
    /// In seconds since the Unix epoch.
    pub join_time: u64,
}

impl Member {
    /// A plain member.
    pub fn joined(join_time: u64) -> Self {
        Self { role: "Member".to_owned(), name_card: String::new(), join_time }
    }
}
