//! The commands of Chat's REST API that are used.

use std::fmt;

/// A command of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Which groups there are.
    GroupList,
    /// The fields of groups.
    GroupInfo,
    /// Who is in a group.
    MemberInfo,
    /// The roles of accounts in a group.
    Role,
}

/// Its name in the URL.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GroupList => "get_appid_group_list",
            Self::GroupInfo => "get_group_info",
            Self::MemberInfo => "get_group_member_info",
            Self::Role => "get_role_in_group",
        })
    }
}
