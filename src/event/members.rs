//! AfterNewMemberJoin and AfterMemberExit: these accounts are members, or are not.

use std::sync::Arc;

use super::{ACCOUNT_MAX_BYTES, Attributes, Facts, Members, Stamp, extra, fact, is_nobody, role};
use crate::callback::{BodyError, Fields};

/// Reads a list of accounts that joined. An account that is listed twice is one member; the other keys of its entries are
/// kept.
pub(super) fn read(
    fields: &mut Fields<'_>,
    list: &'static str,
    join_type: Option<String>,
    stamp: &Stamp,
) -> Result<Members, BodyError> {
    // An ordinary member, without a name card.
    let mut joined = Facts::joined(stamp.clone(), join_type, Attributes::new());
    joined.set(fact::ROLE, Some(role::MEMBER.to_owned()), stamp.clone());
    let joined = Arc::new(joined);
    let mut members = Members::new();
    for entry in accounts(fields, list)? {
        let (account, entry) = entry?;
        let facts = members.entry(account).or_insert_with(|| Arc::clone(&joined));
        if entry.has_rest() {
            extra::add(Arc::make_mut(facts).details.get_or_insert_default(), entry.rest());
        }
    }
    Ok(members)
}

/// Reads the accounts of AfterNewMemberJoin.
pub(super) fn read_joined(fields: &mut Fields<'_>, stamp: &Stamp) -> Result<Members, BodyError> {
    let join_type = fields.text("JoinType")?.filter(|join_type| !join_type.is_empty());
    read(fields, "NewMemberList", join_type, stamp)
}

/// Reads the accounts of AfterMemberExit.
pub(super) fn read_departed(fields: &mut Fields<'_>, stamp: &Stamp) -> Result<Members, BodyError> {
    let exit_type = fields.text("ExitType")?.filter(|exit_type| !exit_type.is_empty());
    let departed = Arc::new(Facts::departed(stamp.clone(), exit_type));
    let accounts = accounts(fields, "ExitMemberList")?;
    accounts.map(|entry| entry.map(|(account, _)| (account, Arc::clone(&departed)))).collect()
}

/// The accounts of a list, each with the rest of its entry. The placeholder is left out: it is nobody.
fn accounts<'a>(
    fields: &mut Fields<'a>,
    list: &'static str,
) -> Result<impl Iterator<Item = Result<(String, Fields<'a>), BodyError>>, BodyError> {
    let accounts = fields.entries(list)?.map(|entry| {
        let mut entry = entry?;
        Ok((entry.id("Member_Account", ACCOUNT_MAX_BYTES)?, entry))
    });
    Ok(accounts.filter(|entry| !matches!(entry, Ok((account, _)) if is_nobody(account))))
}
