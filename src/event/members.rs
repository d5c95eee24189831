//! AfterNewMemberJoin and AfterMemberExit: these accounts are members, or are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ACCOUNT_MAX_BYTES, Attributes, Facts, Members, Stamp, extra, fact, role};
use crate::callback::{BodyError, Fields};

/// Reads a list of accounts that joined. An account that is listed twice is one member; the other keys of its entries are
/// kept.
pub(super) fn read(
    fields: &mut Fields<'_>,
    list: &str,
    join_type: Option<String>,
    stamp: &Stamp,
) -> Result<Members, BodyError> {
    let mut entries = BTreeMap::<String, Vec<_>>::new();
    for mut entry in fields.entries(list)? {
        let account = entry.id("Member_Account", ACCOUNT_MAX_BYTES)?;
        entries.entry(account).or_default().extend(entry.rest());
    }
    // An ordinary member, without a name card.
    let mut joined = Facts::joined(stamp.clone(), join_type, Attributes::new());
    joined.set(fact::ROLE, Some(role::MEMBER.to_owned()), stamp.clone());
    let joined = Arc::new(joined);
    let facts = |rest: Vec<_>| {
        let mut facts = Arc::clone(&joined);
        if !rest.is_empty() {
            let details = &mut Arc::make_mut(&mut facts).details;
            extra::add(details.get_or_insert_default(), rest.into_iter());
        }
        facts
    };
    Ok(entries.into_iter().map(|(account, rest)| (account, facts(rest))).collect())
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
    let entries = fields.entries("ExitMemberList")?.into_iter();
    entries
        .map(|mut entry| Ok((entry.id("Member_Account", ACCOUNT_MAX_BYTES)?, Arc::clone(&departed))))
        .collect()
}
