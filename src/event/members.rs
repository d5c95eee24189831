//! AfterNewMemberJoin and AfterMemberExit: these accounts are members, or are not.

use std::collections::BTreeMap;

use super::{ACCOUNT_MAX_BYTES, Attributes, Facts, extra, fact, role};
use crate::callback::{BodyError, Fields};
use crate::time::EventTime;

/// Reads a list of accounts that joined. An account that is listed twice is one member; what else its entries carry is
/// kept.
pub(super) fn read_joined(
    fields: &mut Fields<'_>,
    list: &str,
    details: &Attributes,
    time: EventTime,
) -> Result<BTreeMap<String, Facts>, BodyError> {
    let mut members = BTreeMap::<String, Vec<_>>::new();
    for mut entry in fields.entries(list)? {
        let account = entry.id("Member_Account", ACCOUNT_MAX_BYTES)?;
        members.entry(account).or_default().extend(entry.rest());
    }
    let joined = |(account, rest): (_, Vec<_>)| {
        let mut details = details.clone();
        extra::add(&mut details, rest.into_iter());
        (account, joined(time, details))
    };
    Ok(members.into_iter().map(joined).collect())
}

/// Reads the accounts of AfterNewMemberJoin.
pub(super) fn read_new(
    fields: &mut Fields<'_>,
    time: EventTime,
) -> Result<BTreeMap<String, Facts>, BodyError> {
    let join_type = fields.text("JoinType")?;
    let details = join_type.map(|join_type| ("join_type".to_owned(), extra::text(join_type)));
    read_joined(fields, "NewMemberList", &details.into_iter().collect(), time)
}

/// Reads the accounts of AfterMemberExit.
pub(super) fn read_left(
    fields: &mut Fields<'_>,
    time: EventTime,
) -> Result<BTreeMap<String, Facts>, BodyError> {
    let entries = fields.entries("ExitMemberList")?.into_iter();
    entries
        .map(|mut entry| Ok((entry.id("Member_Account", ACCOUNT_MAX_BYTES)?, Facts::departed(time))))
        .collect()
}

/// An account that joined: an ordinary member, without a name card.
fn joined(time: EventTime, details: Attributes) -> Facts {
    let mut facts = Facts::present(time, details);
    facts.set(fact::ROLE, Some(role::MEMBER.to_owned()), time);
    facts
}
