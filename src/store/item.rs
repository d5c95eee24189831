//! The items of the table: keys, attributes, and what is read back of them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::attribute::Attributes;
use crate::group::GroupCreated;

/// The range key of a group item.
pub const GROUP_SK: &str = "GROUP";

/// What the range key of a member item begins with.
pub const MEMBER_PREFIX: &str = "MEMBER#";

/// The hash key of a group and all of its members.
pub fn partition_key(sdk_app_id: u64, group_id: &str) -> String {
    format!("{sdk_app_id}#{group_id}")
}

/// The hash key of the index `by_account`.
pub fn account_key(sdk_app_id: u64, account: &str) -> String {
    format!("{sdk_app_id}#{account}")
}

/// The key of one item.
pub fn key(pk: &str, sk: &str) -> Attributes {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// The group item of an event: what was not sent is absent.
pub fn group(event: &GroupCreated) -> Attributes {
    let delivery = &event.delivery;
    let mut item = key(&partition_key(delivery.sdk_app_id, &event.group_id), GROUP_SK);
    let mut put = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    let optional = |value: &Option<String>| value.as_deref().map(text);
    put("group_id", Some(text(&event.group_id)));
    put("sdk_app_id", Some(number(delivery.sdk_app_id)));
    put("type", optional(&event.group_type));
    put("name", optional(&event.name));
    put("owner_account", optional(&event.owner_account));
    put("operator_account", optional(&event.operator_account));
    put("event_time", Some(number(event.event_time)));
    put("member_count", Some(number(event.members.len())));
    put("client_ip", optional(&delivery.client_ip));
    put("opt_platform", optional(&delivery.opt_platform));
    put("request_id", optional(&delivery.request_id));
    put("received_at", Some(number(delivery.received_at)));
    let owner = event.owner_account.as_deref();
    put("account_key", owner.map(|owner| text(account_key(delivery.sdk_app_id, owner))));
    let user_defined = event.user_defined.iter().map(|(key, value)| (key.clone(), text(value)));
    put("user_defined", map(user_defined.collect()));
    put("extra", map(event.extra.clone()));
    item
}

/// The item of one member of an event's group.
pub fn member(event: &GroupCreated, account: &str) -> Attributes {
    let sdk_app_id = event.delivery.sdk_app_id;
    let is_owner = event.owner_account.as_deref() == Some(account);
    let mut item = key(&partition_key(sdk_app_id, &event.group_id), &member_sk(account));
    item.insert("account_key".to_owned(), text(account_key(sdk_app_id, account)));
    item.insert("account".to_owned(), text(account));
    item.insert("group_id".to_owned(), text(&event.group_id));
    item.insert("role".to_owned(), text(if is_owner { "Owner" } else { "Member" }));
    item.insert("event_time".to_owned(), number(event.event_time));
    if let Some(extra) = event.members.get(account).cloned().and_then(map) {
        item.insert("extra".to_owned(), extra);
    }
    item
}

/// The range key of a member item.
pub fn member_sk(account: &str) -> String {
    format!("{MEMBER_PREFIX}{account}")
}

/// The `event_time` of an item that was read; 0, older than any event, where it has none.
pub fn event_time(item: &Attributes) -> u64 {
    item.get("event_time")
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_default()
}

/// A text attribute of an item that was read.
pub fn text_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A string attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn map(attributes: Attributes) -> Option<AttributeValue> {
    (!attributes.is_empty()).then_some(AttributeValue::M(attributes))
}
