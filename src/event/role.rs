//! AfterMemberFieldChanged: an account's role or name card.

use std::sync::Arc;

use super::{ACCOUNT_MAX_BYTES, Event, Facts, Stamp, fact, is_nobody};
use crate::callback::{BodyError, Fields};

/// The role of an ordinary member.
pub(super) const MEMBER: &str = "Member";

/// Reads the fields that were sent. The vendor's mainland pages call the account `Modified_Account`, the international ones
/// `Member_Account`.
pub(super) fn read(event: &mut Event, fields: &mut Fields<'_>, stamp: &Stamp) -> Result<(), BodyError> {
    let modified = fields.optional_id("Modified_Account", ACCOUNT_MAX_BYTES)?;
    let account = match modified.filter(|account| !account.is_empty()) {
        Some(account) => account,
        None => fields.id("Member_Account", ACCOUNT_MAX_BYTES)?,
    };
    let mut member = Facts::default();
    if let Some(role) = fields.text("Role")? {
        member.set(fact::ROLE, Some(normal(role)), stamp.clone());
    }
    if let Some(name_card) = fields.text("NameCard")? {
        member.set(fact::NAME_CARD, Some(name_card), stamp.clone());
    }
    if !is_nobody(&account) {
        event.members.insert(account, Arc::new(member));
    }
    Ok(())
}

/// An owner stands in the group alone, and is an ordinary member by role.
pub(crate) fn normal(role: String) -> String {
    if role == "Owner" { MEMBER.to_owned() } else { role }
}
