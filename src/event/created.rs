//! AfterCreateGroup: the group is there, with these members.

use super::{ACCOUNT_MAX_BYTES, AV_CHAT_ROOM, Attributes, Event, Facts, extra, fact, info, members};
use crate::callback::{BodyError, Fields, Origin};
use crate::time::{EventTime, to_millis};

/// Reads a body's fields, `Type` apart, which was read before.
pub(super) fn read(
    event: &mut Event,
    mut fields: Fields<'_>,
    group_type: Option<String>,
    (time, origin): (EventTime, &Origin<'_>),
) -> Result<(), BodyError> {
    let listed = members::read_joined(&mut fields, "MemberList", &Attributes::new(), time)?;
    if group_type.as_deref() != Some(AV_CHAT_ROOM) {
        event.members = listed;
    }
    let mut group = Facts::present(time, Attributes::new());
    info::read(&mut group, &mut fields, time)?;
    let owner_account = fields.optional_id("Owner_Account", ACCOUNT_MAX_BYTES)?;
    for (name, value) in
        [(fact::TYPE, group_type), (fact::OWNER_ACCOUNT, owner_account.filter(|account| !account.is_empty()))]
    {
        if value.is_some() {
            group.set(name, value, time);
        }
    }
    let mut details = details(origin, fields.text("Operator_Account")?);
    details.insert("initial_member_count".to_owned(), extra::number(event.members.len()));
    extra::add(&mut details, fields.rest());
    group.details = Some(details);
    event.group = group;
    Ok(())
}

/// Who created the group, and how the event came.
fn details(origin: &Origin<'_>, operator_account: Option<String>) -> Attributes {
    let texts = [
        ("operator_account", operator_account.as_deref()),
        ("client_ip", origin.query.client_ip()),
        ("opt_platform", origin.query.opt_platform()),
        ("request_id", origin.query.request_id()),
    ];
    let mut details: Attributes =
        texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), extra::text(value?)))).collect();
    details.insert("received_at".to_owned(), extra::number(to_millis(origin.received_at)));
    details
}
