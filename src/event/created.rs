//! AfterCreateGroup: the group is there, with these members.

use super::{ACCOUNT_MAX_BYTES, AV_CHAT_ROOM, Attributes, Event, Facts, Stamp, extra, fact, info, members};
use crate::callback::{BodyError, Fields, Origin};
use crate::time::to_millis;

/// The JoinType of an initial member, which the vendor does not send.
const JOIN_TYPE: &str = "Created";

/// Reads a body's fields, `Type` apart, which was read before.
pub(super) fn read(
    event: &mut Event,
    mut fields: Fields<'_>,
    group_type: Option<String>,
    stamp: &Stamp,
    origin: &Origin<'_>,
) -> Result<(), BodyError> {
    let listed = members::read(&mut fields, "MemberList", Some(JOIN_TYPE.to_owned()), stamp)?;
    if group_type.as_deref() != Some(AV_CHAT_ROOM) {
        event.members = listed;
    }
    let mut group = Facts::present(stamp.clone());
    info::read(&mut group, &mut fields, stamp)?;
    let owner_account = fields.optional_id("Owner_Account", ACCOUNT_MAX_BYTES)?;
    for (name, value) in
        [(fact::TYPE, group_type), (fact::OWNER_ACCOUNT, owner_account.filter(|account| !account.is_empty()))]
    {
        if value.is_some() {
            group.set(name, value, stamp.clone());
        }
    }
    let mut details = details(origin);
    details.insert("initial_member_count".to_owned(), extra::number(event.members.len()));
    extra::add(&mut details, fields.rest());
    group.details = Some(details);
    event.group = group;
    Ok(())
}

/// How the event came.
fn details(origin: &Origin<'_>) -> Attributes {
    let texts = [
        ("client_ip", origin.client_ip),
        ("opt_platform", origin.query.opt_platform()),
        ("request_id", origin.query.request_id()),
    ];
    let mut details: Attributes =
        texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), extra::text(value?)))).collect();
    details.insert("received_at".to_owned(), extra::number(to_millis(origin.received_at)));
    details
}
