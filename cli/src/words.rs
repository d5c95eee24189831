//! Changes in words: each by itself, and together as the answer to "why is this account not in that group?".

use std::fmt;

use chat_groups::event::{Attributes, Fact, Facts, fact, is_av_chat_room};
use chat_groups::store::{is_member, is_there, text_of};
use chat_groups::time::{EventTime, from_millis, rfc3339};

/// A creation in the place of a group that was there.
const USED_AGAIN: &str = "the id was used again";

/// A change in words, such as `kicked by ana on 2023-05-01T04:19:24.569Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The change: `kicked`.
    pub words: String,
    /// Its author, if one is known, and not the account that joined or left.
    pub by: Option<String>,
    /// Its time.
    pub at: EventTime,
}

impl Told {
    /// An item of the history in words.
    pub fn of_change(change: &Attributes) -> Self {
        let after = |name| text_of(change.get("after")?.as_m().ok()?, name);
        let words = match text_of(change, "type").unwrap_or_default() {
            "group.created" if change.contains_key("before") => USED_AGAIN.to_owned(),
            "group.created" => "created".to_owned(),
            "group.destroyed" => "destroyed".to_owned(),
            "member.joined" => joined(after("join_type")).to_owned(),
            "member.left" => departed(after("exit_type")).to_owned(),
            _ => format!("{} changed", changed(change).join(", ")),
        };
        let at = change.get("at").and_then(|at| at.as_n().ok()?.parse().ok()).unwrap_or_default();
        let is_other = |by: &&str| change.contains_key("changed") || Some(*by) != text_of(change, "account");
        let by = text_of(change, "by").filter(is_other).map(str::to_owned);
        Self { words, by, at: EventTime::from_millis(at) }
    }

    fn of_fact(words: &str, fact: &Fact, account: Option<&str>) -> Self {
        let by = fact.by.as_deref().filter(|by| Some(*by) != account).map(str::to_owned);
        Self { words: words.to_owned(), by, at: fact.time }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        if let Some(by) = &self.by {
            write!(f, " by {by}")?;
        }
        write!(f, " on {}", rfc3339(from_millis(self.at.as_millis())))
    }
}

/// The changed fields, named for people.
fn changed(change: &Attributes) -> Vec<String> {
    let names = change.get("changed").and_then(|names| names.as_l().ok()).into_iter().flatten();
    let name = |name: &str| match name.strip_prefix(fact::USER_DEFINED) {
        Some(key) => key.to_owned(),
        None => name.trim_end_matches("_account").replace('_', " "),
    };
    names.filter_map(|text| Some(name(text.as_s().ok()?))).collect()
}

fn joined(join_type: Option<&str>) -> &'static str {
    match join_type {
        Some("Invited") => "invited",
        Some("Created") => "added at its creation",
        _ => "joined",
    }
}

fn departed(exit_type: Option<&str>) -> &'static str {
    if exit_type == Some("Kicked") { "kicked" } else { "left" }
}

/// The answer if neither the table nor a history of so many days knows anything.
pub fn nothing_told(days: Option<u32>) -> String {
    match days {
        Some(days) => format!("nothing told in {days} days: ask reconcile"),
        None => "nothing told, and there is no history: ask reconcile".to_owned(),
    }
}

/// Says whether an account is in a group, since when and by whom; or why it is not.
pub fn why(account: &str, group_id: &str, member: &Facts, group: &Facts, days: Option<u32>) -> String {
    let began =
        member.began.as_ref().map(|fact| Told::of_fact(joined(fact.value.as_deref()), fact, Some(account)));
    let ended =
        member.ended.as_ref().map(|fact| Told::of_fact(departed(fact.value.as_deref()), fact, Some(account)));
    if let Some(joined) = &began
        && is_there(group)
        && is_member(member, group)
    {
        return format!("{account} is in {group_id}: {joined}");
    }
    let reason = if let Some(destroyed) = &group.ended {
        Told::of_fact("the group was destroyed", destroyed, None).to_string()
    } else if group.value(fact::TYPE).is_some_and(is_av_chat_room) {
        "members of an AVChatRoom are not kept".to_owned()
    } else if let Some(created) = &group.began
        && let Some(last) = ended.as_ref().or(began.as_ref())
        && member.event_time() < group.event_time()
    {
        format!("{last}; {}", Told::of_fact(USED_AGAIN, created, None))
    } else if let Some(left) = ended {
        left.to_string()
    } else if group.began.is_none() {
        "no creation of the group was told: ask reconcile".to_owned()
    } else {
        nothing_told(days)
    };
    format!("{account} is not in {group_id}: {reason}")
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use chat_groups::event::{Stamp, text};

    use super::*;

    fn stamp(millis: u64, by: &str) -> Stamp {
        let by = Some(by).filter(|by| !by.is_empty()).map(Into::into);
        Stamp { time: EventTime::from_millis(millis), by }
    }

    fn joined(millis: u64, by: &str, join_type: &str) -> Facts {
        Facts::joined(stamp(millis, by), Some(join_type.to_owned()), Attributes::new())
    }

    fn left(millis: u64, by: &str, exit_type: &str) -> Facts {
        Facts::departed(stamp(millis, by), Some(exit_type.to_owned()))
    }

    fn answer(group: &Facts, member: &Facts) -> String {
        why("bob", "g", member, group, Some(90))
    }

    fn group() -> Facts {
        Facts::present(stamp(10, "ana"))
    }

    #[test]
    fn each_reason_is_one_line_with_its_time_and_author() {
        let on = |millis: u64| format!("on 1970-01-01T00:00:00.{millis:03}Z");
        for (found, expected) in [
            (
                answer(&group(), &joined(20, "ana", "Invited")),
                format!("bob is in g: invited by ana {}", on(20)),
            ),
            (answer(&group(), &joined(20, "", "Apply")), format!("bob is in g: joined {}", on(20))),
            (
                answer(&group(), &left(20, "ana", "Kicked")),
                format!("bob is not in g: kicked by ana {}", on(20)),
            ),
            (answer(&group(), &left(20, "bob", "Quit")), format!("bob is not in g: left {}", on(20))),
            (answer(&group(), &left(20, "", "Quit")), format!("bob is not in g: left {}", on(20))),
            (
                answer(
                    &Facts { began: group().began, ..Facts::destroyed(stamp(30, "cy")) },
                    &joined(20, "", "Apply"),
                ),
                format!("bob is not in g: the group was destroyed by cy {}", on(30)),
            ),
            (
                answer(&group(), &joined(5, "ana", "Invited")),
                format!("bob is not in g: invited by ana {}; the id was used again by ana {}", on(5), on(10)),
            ),
            (
                answer(&group(), &Facts::default()),
                "bob is not in g: nothing told in 90 days: ask reconcile".to_owned(),
            ),
            (
                answer(&Facts::default(), &Facts::default()),
                "bob is not in g: no creation of the group was told: ask reconcile".to_owned(),
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_item_of_the_history_is_told_in_the_same_words() {
        let map = |pairs: &[(&str, &str)]| {
            AttributeValue::M(pairs.iter().map(|(name, value)| ((*name).to_owned(), text(*value))).collect())
        };
        for (r#type, others, expected) in [
            ("group.created", vec![], "created by ana"),
            ("group.created", vec![("before", map(&[]))], "the id was used again by ana"),
            ("group.destroyed", vec![], "destroyed by ana"),
            ("member.joined", vec![("after", map(&[("join_type", "Invited")]))], "invited by ana"),
            ("member.joined", vec![("after", map(&[]))], "joined by ana"),
            ("member.left", vec![("after", map(&[("exit_type", "Kicked")]))], "kicked by ana"),
            ("member.left", vec![("account", text("ana"))], "left"),
            (
                "member.updated",
                vec![("account", text("ana")), ("changed", AttributeValue::L(vec![text("name_card")]))],
                "name card changed by ana",
            ),
            (
                "group.updated",
                vec![(
                    "changed",
                    AttributeValue::L(
                        ["owner_account", "face_url", "user_defined.my_key"].map(text).to_vec(),
                    ),
                )],
                "owner, face url, my_key changed by ana",
            ),
        ] {
            let fixed =
                [("type", text(r#type)), ("by", text("ana")), ("at", AttributeValue::N("20".to_owned()))];
            let change =
                fixed.into_iter().chain(others).map(|(name, value)| (name.to_owned(), value)).collect();
            assert_eq!(
                Told::of_change(&change).to_string(),
                format!("{expected} on 1970-01-01T00:00:00.020Z")
            );
        }
        assert_eq!(Told::of_change(&Attributes::new()).by, None);
    }

    #[test]
    fn members_of_an_av_chat_room_are_not_kept() {
        let mut room = Facts::present(stamp(10, "ana"));
        room.set(fact::TYPE, Some("AVChatRoom".to_owned()), stamp(10, "ana"));
        assert_eq!(
            answer(&room, &Facts::default()),
            "bob is not in g: members of an AVChatRoom are not kept"
        );
    }
}
