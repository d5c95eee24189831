//! AfterChangeGroupOwner: another account owns the group.

use std::sync::Arc;

use super::{ACCOUNT_MAX_BYTES, AV_CHAT_ROOM, Event, Facts, Stamp, fact, role};
use crate::callback::{BodyError, Fields};

/// Reads who owns the group now, and whose role is an ordinary member's from then on: who the owner is stands in the
/// group alone.
pub(super) fn read(
    event: &mut Event,
    fields: &mut Fields<'_>,
    group_type: Option<&str>,
    stamp: &Stamp,
) -> Result<(), BodyError> {
    let old_owner = fields.optional_id("OldOwner_Account", ACCOUNT_MAX_BYTES)?;
    let new_owner = fields.optional_id("NewOwner_Account", ACCOUNT_MAX_BYTES)?;
    let is_named = |account: &String| !account.is_empty();
    if new_owner.is_some() {
        event.group.set(fact::OWNER_ACCOUNT, new_owner.clone().filter(is_named), stamp.clone());
    }
    if group_type == Some(AV_CHAT_ROOM) {
        return Ok(());
    }
    for account in [old_owner, new_owner].into_iter().flatten().filter(is_named) {
        let mut member = Facts::default();
        member.set(fact::ROLE, Some(role::MEMBER.to_owned()), stamp.clone());
        event.members.insert(account, Arc::new(member));
    }
    Ok(())
}
