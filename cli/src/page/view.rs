//! What is there, by the readers' rule, as the JSON that the page shows.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chat_groups::event::Attributes;
use chat_groups::store::{GROUP_SK, MEMBER_PREFIX, Reader, text_of};
use serde_json::{Value, json};

use crate::words::Told;

/// What a group's fields are already shown as, or what serves the table alone.
const UNSHOWN: [&str; 11] = [
    "pk",
    "sk",
    "account_key",
    "group_id",
    "type",
    "name",
    "owner_account",
    "event_time",
    "destroyed_at",
    "expires_at",
    "revision",
];

/// Counts the members of one group while its items are read, the group item first.
#[derive(Default)]
pub(super) struct Tally {
    pk: String,
    group: Option<Attributes>,
    members: u64,
    others: u64,
}

impl Tally {
    /// Counts an item. One of another group begins a new count and gives back the one that is complete.
    pub(super) fn add(&mut self, item: Attributes) -> Option<Self> {
        let pk = text_of(&item, "pk").unwrap_or_default();
        let complete = (pk != self.pk).then(|| std::mem::replace(self, Self::of(pk)));
        match &self.group {
            _ if text_of(&item, "sk") == Some(GROUP_SK) => self.group = Some(item),
            Some(group) if Reader::is_member(&item, group) => self.members += 1,
            _ if is_member_item(&item) => self.others += 1,
            _ => {}
        }
        complete
    }

    /// The group as a line of the list.
    pub(super) fn row(&self) -> Value {
        match &self.group {
            Some(group) => row(group, Some(self.members)),
            None if self.others > 0 => json!({ "state": "unannounced" }),
            None => json!({ "state": "absent" }),
        }
    }

    fn of(pk: &str) -> Self {
        Self { pk: pk.to_owned(), ..Self::default() }
    }
}

/// The items of one group as a line of the list.
pub(super) fn row_of(items: &[Attributes]) -> Value {
    let mut tally = Tally::default();
    for item in items {
        tally.add(item.clone());
    }
    tally.row()
}

/// A group in which the index names an account, with what the account is there; `None` where it is not in it.
pub(super) fn row_of_account(group: &Attributes, entries: &[Attributes], account: &str) -> Option<Value> {
    let is_owner = |entry: &Attributes| text_of(entry, "sk") == Some(GROUP_SK);
    let entry = entries.iter().find(|entry| is_owner(entry) || Reader::is_member(entry, group))?;
    let mut row = row(group, None);
    row["role"] = json!(role(entry, Some(group), account));
    (row["state"] == "there").then_some(row)
}

/// One group with everything that the table holds of it.
pub(super) fn group(items: &[Attributes]) -> Value {
    let is_group = |item: &&Attributes| text_of(item, "sk") == Some(GROUP_SK);
    let group = items.iter().find(is_group);
    let details = group.into_iter().flatten().filter(|(name, _)| !UNSHOWN.contains(&name.as_str()));
    let row = row_of(items);
    let members: Vec<Value> = match group {
        Some(group) if row["state"] == "there" => {
            items.iter().filter_map(|item| member(item, group)).collect()
        }
        _ => Vec::new(),
    };
    json!({
        "row": row,
        "details": details.map(|(name, value)| (name.clone(), json(value))).collect::<serde_json::Map<_, _>>(),
        "members": members,
    })
}

/// A change of the history, in words and with its values.
pub(super) fn change(change: &Attributes) -> Value {
    let told = Told::of_change(change);
    let plain = |name: &str| change.get(name).map(json);
    json!({
        "id": format!("{}/{}", text_of(change, "pk").unwrap_or_default(), text_of(change, "sk").unwrap_or_default()),
        "order": text_of(change, "sk"),
        "type": text_of(change, "type"),
        "group_id": text_of(change, "group_id"),
        "account": text_of(change, "account"),
        "words": told.words,
        "by": told.by,
        "at": told.at.as_millis(),
        "changed": plain("changed"),
        "before": plain("before"),
        "after": plain("after"),
        "omitted": plain("omitted"),
    })
}

fn row(group: &Attributes, members: Option<u64>) -> Value {
    json!({
        "state": state(group),
        "group_id": text_of(group, "group_id").or_else(|| text_of(group, "pk")?.split_once('#').map(|(_, id)| id)),
        "type": text_of(group, "type"),
        "name": text_of(group, "name"),
        "owner": text_of(group, "owner_account"),
        // Of an AVChatRoom no member is kept, so that nobody is there to count.
        "members": members.filter(|_| text_of(group, "type") != Some("AVChatRoom")),
        "created": time(group, "event_time"),
        "changed": newest_change(group),
        "destroyed": time(group, "destroyed_at"),
    })
}

fn state(group: &Attributes) -> &'static str {
    match (group.contains_key("event_time"), group.contains_key("destroyed_at")) {
        (_, true) => "destroyed",
        (true, false) => "there",
        (false, false) => "unannounced",
    }
}

/// A member, or the mark of one who left this life of the group; `None` for what an earlier life left downstream.
fn member(item: &Attributes, group: &Attributes) -> Option<Value> {
    let since = time(item, "event_time")?;
    let left = time(item, "left_at");
    let created = time(group, "event_time")?;
    if !is_member_item(item) || left.unwrap_or(since) < created {
        return None;
    }
    let account = text_of(item, "account")
        .or_else(|| text_of(item, "sk")?.split_once('#').map(|(_, account)| account))?;
    Some(json!({
        "account": account,
        "role": if left.is_none() { role(item, Some(group), account) } else { None },
        "name_card": text_of(item, "name_card"),
        "joined": if left.is_none() { Some(since) } else { None },
        "left": left,
        "join_type": text_of(item, "join_type"),
        "changed": newest_change(item),
        "extra": item.get("extra").map(json),
    }))
}

fn is_member_item(item: &Attributes) -> bool {
    text_of(item, "sk").is_some_and(|sk| sk.starts_with(MEMBER_PREFIX))
}

/// Who owns a group stands in the group item alone.
fn role<'a>(item: &'a Attributes, group: Option<&Attributes>, account: &str) -> Option<&'a str> {
    match group.and_then(|group| text_of(group, "owner_account")) {
        Some(owner) if owner == account => Some("Owner"),
        _ => text_of(item, "role").map(|role| if role == "Owner" { "Member" } else { role }),
    }
}

fn newest_change(item: &Attributes) -> Option<u64> {
    let changes = item.get("changed_at")?.as_m().ok()?;
    changes.keys().filter_map(|name| time(changes, name)).max()
}

/// A time in milliseconds since the Unix epoch.
fn time(item: &Attributes, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Any attribute as JSON. A number that JavaScript would round stays text.
fn json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(digits) => match digits.parse::<i64>() {
            Ok(number) if number.unsigned_abs() < 1 << 53 => json!(number),
            _ => json!(digits),
        },
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::L(list) => list.iter().map(json).collect(),
        AttributeValue::M(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        AttributeValue::Ss(texts) | AttributeValue::Ns(texts) => json!(texts),
        AttributeValue::B(bytes) => json!(BASE64_STANDARD.encode(bytes)),
        AttributeValue::Null(_) => Value::Null,
        other => json!(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: u64 = 2_000;

    fn item(sk: &str, numbers: &[(&str, u64)]) -> Attributes {
        let texts = [("pk", "1#g"), ("sk", sk)];
        let texts = texts.map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned())));
        let numbers =
            numbers.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::N(value.to_string())));
        texts.into_iter().chain(numbers).collect()
    }

    #[test]
    fn members_are_those_of_the_present_life_who_have_not_left() {
        let shown = group(&[
            item(GROUP_SK, &[("event_time", CREATED)]),
            item("MEMBER#early", &[("event_time", CREATED - 1)]),
            item("MEMBER#founder", &[("event_time", CREATED)]),
            item("MEMBER#gone", &[("event_time", CREATED + 2), ("left_at", CREATED + 2)]),
            item("MEMBER#gone-before", &[("event_time", CREATED - 1), ("left_at", CREATED - 1)]),
            item("MEMBER#joined", &[("event_time", CREATED + 1)]),
            item("MEMBER#spoken-of", &[]),
        ]);
        assert_eq!((&shown["row"]["state"], &shown["row"]["members"]), (&json!("there"), &json!(2)));
        let named =
            |name: &str| shown["members"].as_array().into_iter().flatten().map(|m| m[name].clone()).collect();
        let (accounts, left): (Vec<Value>, Vec<Value>) = (named("account"), named("left"));
        assert_eq!(accounts, ["founder", "gone", "joined"]);
        assert_eq!(left, [Value::Null, json!(CREATED + 2), Value::Null]);
    }

    #[test]
    fn a_destroyed_group_shows_no_members_and_one_without_creation_is_unannounced() {
        let member = item("MEMBER#a", &[("event_time", CREATED)]);
        let destroyed = item(GROUP_SK, &[("event_time", CREATED), ("destroyed_at", CREATED + 1)]);
        let shown = group(&[destroyed, member.clone()]);
        assert_eq!((&shown["row"]["state"], &shown["members"]), (&json!("destroyed"), &json!([])));
        assert_eq!(row_of(&[item(GROUP_SK, &[])])["state"], "unannounced");
        assert_eq!(row_of(&[member])["state"], "unannounced");
        assert_eq!(row_of(&[])["state"], "absent");
    }

    #[test]
    fn a_number_that_javascript_would_round_stays_text() {
        let number = |digits: &str| json(&AttributeValue::N(digits.to_owned()));
        assert_eq!(number("9007199254740991"), json!(9_007_199_254_740_991_i64));
        assert_eq!(number("9007199254740992"), json!("9007199254740992"));
        assert_eq!(number("-1.50"), json!("-1.50"));
    }
}
