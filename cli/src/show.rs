//! What the local run prints.

use aws_sdk_dynamodb::types::AttributeValue;
use chat_groups::event::Attributes;
use chat_groups::log::Record;
use chat_groups::store::{Group, text_of};
use serde_json::Value;

/// Prints one line for a callback.
pub fn callback(record: &Record) {
    let group = record.group_id.as_deref().unwrap_or("-");
    let members = record.member_count.map(|count| format!("{count} members")).unwrap_or_default();
    let why = record.error_info.as_deref().or(record.error.as_deref()).unwrap_or_default();
    println!(
        "{}  {:<9}  ErrorCode {:<6}  {:>7.2} ms  {group}  {members}{why}",
        record.timestamp, record.outcome, record.error_code, record.duration_ms
    );
}

/// Prints the items of a group, one attribute a line.
pub fn group(group: &Group) {
    for item in std::iter::once(&group.group).chain(&group.members) {
        let of = |name| text_of(item, name).unwrap_or_default();
        println!("\n  pk {}   sk {}", of("pk"), of("sk"));
        let mut names: Vec<&String> = item.keys().filter(|name| *name != "pk" && *name != "sk").collect();
        names.sort();
        for name in names {
            println!("    {name:<17} {}", item.get(name).map(value).unwrap_or_default());
        }
    }
}

/// Prints a group in the form of [`chat_groups_testkit::model::view`]: its fields, and a line for each member.
pub fn roster(roster: &Value) {
    let Some(group) = roster.as_object() else {
        println!("    no group is there");
        return;
    };
    for (name, value) in group.iter().filter(|(name, _)| *name != "members") {
        println!("    {name:<26} {}", plain(value));
    }
    for (account, member) in group.get("members").and_then(Value::as_object).into_iter().flatten() {
        let account = format!("member {account}");
        let line = format!("{account:<26} {}  {}", plain(&member["role"]), plain(&member["name_card"]));
        println!("    {}", line.trim_end());
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Prints the groups of an account.
pub fn groups_of(account: &str, groups: &[Attributes]) {
    println!("\nThe groups of {account}, from the index by_account:\n");
    for group in groups {
        let of = |name| text_of(group, name).unwrap_or_default();
        println!("  {}   {}   {}", of("group_id"), of("type"), of("name"));
    }
}

fn value(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => text.clone(),
        AttributeValue::N(digits) => digits.clone(),
        AttributeValue::M(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(name, entry)| format!("{name} = {}", self::value(entry))).collect();
            entries.sort();
            format!("{{ {} }}", entries.join(", "))
        }
        other => format!("{other:?}"),
    }
}
