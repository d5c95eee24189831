//! AfterChangeGroupOwner: another account owns the group.

use std::sync::Arc;

use super::{ACCOUNT_MAX_BYTES, Event, Facts, Stamp, fact, is_nobody, role};
use crate::callback::{BodyError, Fields};

/// Sets the owner on the group and the role `Member` on both accounts: an owner stands in the group alone.
pub(super) fn read(
    event: &mut Event,
    fields: &mut Fields<'_>,
    has_members: bool,
    stamp: &Stamp,
) -> Result<(), BodyError> {
    let old_owner = fields.optional_id("OldOwner_Account", ACCOUNT_MAX_BYTES)?;
    let new_owner = fields.optional_id("NewOwner_Account", ACCOUNT_MAX_BYTES)?;
    let is_named = |account: &String| !is_nobody(account);
    if new_owner.is_some() {
        event.group.set(fact::OWNER_ACCOUNT, new_owner.clone().filter(is_named), stamp.clone());
    }
    for account in
        [old_owner, new_owner].into_iter().flatten().filter(|account| has_members && is_named(account))
    {
        let mut member = Facts::default();
        member.set(fact::ROLE, Some(role::MEMBER.to_owned()), stamp.clone());
        event.members.insert(account, Arc::new(member));
    }
    Ok(())
}
