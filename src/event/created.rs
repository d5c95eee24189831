//! AfterCreateGroup: the group is there, with these members.

use super::{
    ACCOUNT_MAX_BYTES, Attributes, Event, Facts, Stamp, extra, fact, info, is_av_chat_room, is_nobody,
    members,
};
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
    if !group_type.as_deref().is_some_and(is_av_chat_room) {
        event.members = listed;
    }
    let mut group = Facts::present(stamp.clone());
    let unknown_custom_data = info::read(&mut group, &mut fields, stamp)?;
    let owner_account = fields.optional_id("Owner_Account", ACCOUNT_MAX_BYTES)?;
    if let Some(owner_account) = owner_account.filter(|account| !is_nobody(account)) {
        group.set(fact::OWNER_ACCOUNT, Some(owner_account), stamp.clone());
    }
    if group_type.is_some() {
        group.set(fact::TYPE, group_type, stamp.clone());
    }
    let mut details = details(origin);
    details.insert("initial_member_count".to_owned(), extra::number(event.members.len()));
    let unknown_custom_data = unknown_custom_data.iter().map(|raw| (info::CUSTOM.to_owned(), &**raw));
    extra::add(&mut details, fields.rest().chain(unknown_custom_data));
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
