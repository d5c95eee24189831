//! What an item says of an account, taken out.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

type Attributes = HashMap<String, AttributeValue>;

/// The attributes that name an account, in both tables.
const NAMES: [&str; 7] =
    ["account", "by", "destroyed_by", "joined_by", "left_by", "operator_account", "owner_account"];

/// What is to be done with an item.
#[derive(Debug, PartialEq)]
pub enum Redaction {
    /// It is about the account itself.
    Remove,
    /// It names the account: this is the item without it, and the attributes that change.
    Replace(Attributes, Vec<String>),
}

/// Takes an account out of an item of either table; `account_key` is its key in the index by_account. `None` where the
/// item does not name it. Texts that people wrote (names, notices) are left as they are.
pub fn redact(item: &Attributes, account: &str, account_key: &str) -> Option<Redaction> {
    let is =
        |name: &str, text: &str| matches!(item.get(name), Some(AttributeValue::S(value)) if value == text);
    if is("account", account) || is("sk", &format!("MEMBER#{account}")) {
        return Some(Redaction::Remove);
    }
    let mut redacted = item.clone();
    if is("account_key", account_key) {
        redacted.remove("account_key");
    }
    take_out(&mut redacted, account);
    let mut changed: Vec<String> = item
        .iter()
        .filter(|(name, value)| redacted.get(*name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    changed.sort();
    (!changed.is_empty()).then_some(Redaction::Replace(redacted, changed))
}

fn take_out(item: &mut Attributes, account: &str) {
    item.retain(|name, value| {
        !(NAMES.contains(&name.as_str()) && value.as_s().is_ok_and(|text| text == account))
    });
    for (name, value) in item {
        match (name.as_str(), value) {
            // By nobody: without an entry it would be the item's operator.
            ("changed_by" | "extra", value) => blank(value, account),
            ("before" | "after", AttributeValue::M(images)) => take_out(images, account),
            _ => {}
        }
    }
}

/// Empties every string in it that is the account.
fn blank(value: &mut AttributeValue, account: &str) {
    match value {
        AttributeValue::S(text) if text == account => text.clear(),
        AttributeValue::L(values) => values.iter_mut().for_each(|value| blank(value, account)),
        AttributeValue::M(fields) => fields.values_mut().for_each(|value| blank(value, account)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn map<const N: usize>(fields: [(&str, AttributeValue); N]) -> Attributes {
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn redacted(item: &Attributes) -> Option<Redaction> {
        redact(item, "ana", "1#ana")
    }

    #[test]
    fn items_about_the_account_are_removed() {
        for item in [
            map([("sk", s("MEMBER#ana")), ("account", s("ana"))]),
            // Nothing is known yet but its role.
            map([("sk", s("MEMBER#ana"))]),
            map([("sk", s("000000000000001#1")), ("account", s("ana"))]),
        ] {
            assert_eq!(redacted(&item), Some(Redaction::Remove), "{item:?}");
        }
    }

    #[test]
    fn names_are_taken_out_of_other_items() {
        let extra = AttributeValue::L(vec![AttributeValue::M(map([("Inviter", s("ana"))])), s("anna")]);
        let item = map([
            ("sk", s("GROUP")),
            ("account_key", s("1#ana")),
            ("owner_account", s("ana")),
            ("operator_account", s("ana")),
            ("changed_by", AttributeValue::M(map([("name", s("ana")), ("face_url", s("ben"))]))),
            ("extra", extra),
        ]);
        let expected = map([
            ("sk", s("GROUP")),
            ("changed_by", AttributeValue::M(map([("name", s("")), ("face_url", s("ben"))]))),
            ("extra", AttributeValue::L(vec![AttributeValue::M(map([("Inviter", s(""))])), s("anna")])),
        ]);
        let changed = ["account_key", "changed_by", "extra", "operator_account", "owner_account"];
        assert_eq!(redacted(&item), Some(Redaction::Replace(expected, changed.map(str::to_owned).to_vec())));
    }

    #[test]
    fn both_images_of_a_change_forget_the_account() {
        let image = |owner: &str| AttributeValue::M(map([("owner_account", s(owner)), ("name", s("ana"))]));
        let item =
            map([("sk", s("0#1")), ("by", s("ana")), ("before", image("ana")), ("after", image("ben"))]);
        let before = AttributeValue::M(map([("name", s("ana"))]));
        let expected = map([("sk", s("0#1")), ("before", before), ("after", image("ben"))]);
        let changed = vec!["before".to_owned(), "by".to_owned()];
        assert_eq!(redacted(&item), Some(Redaction::Replace(expected, changed)));
    }

    #[test]
    fn what_people_wrote_and_other_accounts_stay() {
        for item in [
            map([
                ("sk", s("MEMBER#anna")),
                ("account", s("anna")),
                ("name_card", s("ana")),
                ("account_key", s("1#anna")),
            ]),
            map([
                ("sk", s("GROUP")),
                ("name", s("ana")),
                ("owner_account", s("Ana")),
                ("group_id", s("ana")),
            ]),
            map([("pk", s("1!reconcile")), ("sk", s("PLACE"))]),
        ] {
            assert_eq!(redacted(&item), None, "{item:?}");
        }
    }
}
