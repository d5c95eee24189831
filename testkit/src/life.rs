//! A short life of a group, one callback of each command: what the local run and `make verify` play.

use serde_json::{Value, json};

use crate::bodies::Group;

/// One step of a life.
#[derive(Debug, Clone)]
pub struct Step {
    /// What happens, in a word or two.
    pub name: &'static str,
    /// The callback that tells of it.
    pub body: Value,
}

/// The life that begins with this creation, a step a millisecond: one account joins, the first member leaves, the group
/// gets another name, the account that joined becomes an admin and then the owner, and the group is destroyed.
pub fn life(created: Value, newcomer: &str) -> Vec<Step> {
    let text = |field: &str| created[field].as_str().unwrap_or_default();
    let start = created["EventTime"].as_u64().unwrap_or_default();
    let group = Group::new(text("GroupId"), text("Type"));
    let members = created["MemberList"].as_array().into_iter().flatten();
    let mut members: Vec<&str> = members.filter_map(|member| member["Member_Account"].as_str()).collect();
    let first = members.first().copied().unwrap_or_default();
    let new_name = json!({ "Name": format!("{}, renamed", text("Name")), "Notification": "Welcome" });
    let admin = json!({ "Role": "Admin", "NameCard": "The new one" });
    let bodies = [
        ("joined", group.joined(start + 1, &[newcomer])),
        ("left", group.left(start + 2, &[first])),
        ("renamed", group.changed(start + 3, new_name)),
        ("made an admin", group.member_changed(start + 4, newcomer, admin)),
        ("handed over", group.handed_over(start + 5, text("Owner_Account"), newcomer)),
        ("destroyed", {
            members.retain(|account| *account != first);
            members.push(newcomer);
            group.destroyed(start + 6, &members)
        }),
    ];
    let rest: Vec<Step> = bodies.into_iter().map(|(name, body)| Step { name, body }).collect();
    [Step { name: "created", body: created }].into_iter().chain(rest).collect()
}
