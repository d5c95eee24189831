//! Changes in words: each by itself, and together as the answer to "why is this account not in that group?".

use std::fmt;

use super::moment;
use crate::event::{Attributes, Fact, Facts, GroupKey, fact, is_av_chat_room, text};
use crate::store::{ItemKey, is_member, is_there, join, read, text_of};
use crate::time::EventTime;

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
        write!(f, " on {}", moment(self.at))
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

/// Whatever is known of an account and a group.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The group.
    pub key: &'a GroupKey,
    /// The account.
    pub account: &'a str,
    /// The group's item, if there is one.
    pub group: Option<&'a Attributes>,
    /// The account's item in the group, if there is one.
    pub member: Option<&'a Attributes>,
    /// The items of the history with the group's `pk`, or with the account's `account_key`; others do no harm.
    pub history: &'a [Attributes],
    /// For how long a change stays in the history, in days; `None` without a history.
    pub days: Option<u32>,
}

/// Says whether an account is in a group, since when and by whom; or why it is not.
pub fn why(known: &Known<'_>) -> String {
    let (account, group_id) = (known.account, &known.key.group_id);
    let group = known.facts(None, known.group);
    let member = known.facts(Some(account), known.member);
    let began =
        member.began.as_ref().map(|fact| Told::of_fact(joined(fact.value.as_deref()), fact, Some(account)));
    let ended =
        member.ended.as_ref().map(|fact| Told::of_fact(departed(fact.value.as_deref()), fact, Some(account)));
    if let Some(joined) = &began
        && is_there(&group)
        && is_member(&member, &group)
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
        nothing_told(known.days)
    };
    format!("{account} is not in {group_id}: {reason}")
}

impl Known<'_> {
    /// The facts of an item, and of whatever the history has of it: a tombstone stays in the table for 30 days only.
    fn facts(&self, account: Option<&str>, item: Option<&Attributes>) -> Facts {
        let sk = ItemKey { group: self.key, account }.sk();
        let is_of = |change: &&Attributes| {
            text_of(change, "group_id") == Some(&self.key.group_id) && text_of(change, "account") == account
        };
        let told = self.history.iter().filter(is_of).filter_map(|change| {
            let mut after = change.get("after")?.as_m().ok()?.clone();
            after.insert("sk".to_owned(), text(&sk));
            Some(read(&after))
        });
        told.chain(item.map(read)).fold(Facts::default(), |known, facts| join(&known, &facts))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;
    use crate::event::Stamp;

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

    /// The answer from items of these facts, in the table and in the history.
    fn answer(group: Option<Facts>, member: Option<Facts>, told: &[(Option<&str>, Facts)]) -> String {
        let key = GroupKey { sdk_app_id: 1, group_id: "g".to_owned() };
        let item = |account, facts: &Facts| ItemKey { group: &key, account }.item(facts);
        let history: Vec<_> = told
            .iter()
            .map(|(account, facts)| {
                let after = AttributeValue::M(item(*account, facts));
                let mut change =
                    Attributes::from([("group_id".to_owned(), text("g")), ("after".to_owned(), after)]);
                change.extend(account.map(|account| ("account".to_owned(), text(account))));
                change
            })
            .collect();
        let group = group.map(|facts| item(None, &facts));
        let member = member.map(|facts| item(Some("bob"), &facts));
        why(&Known {
            key: &key,
            account: "bob",
            group: group.as_ref(),
            member: member.as_ref(),
            history: &history,
            days: Some(90),
        })
    }

    fn group() -> Option<Facts> {
        Some(Facts::present(stamp(10, "ana")))
    }

    #[test]
    fn each_reason_is_one_line_with_its_time_and_author() {
        let on = |millis: u64| format!("on 1970-01-01T00:00:00.{millis:03}Z");
        for (found, expected) in [
            (
                answer(group(), Some(joined(20, "ana", "Invited")), &[]),
                format!("bob is in g: invited by ana {}", on(20)),
            ),
            (answer(group(), Some(joined(20, "", "Apply")), &[]), format!("bob is in g: joined {}", on(20))),
            (
                answer(group(), Some(left(20, "ana", "Kicked")), &[]),
                format!("bob is not in g: kicked by ana {}", on(20)),
            ),
            (
                answer(group(), Some(left(20, "bob", "Quit")), &[]),
                format!("bob is not in g: left {}", on(20)),
            ),
            (answer(group(), Some(left(20, "", "Quit")), &[]), format!("bob is not in g: left {}", on(20))),
            (
                answer(
                    Some(Facts {
                        began: group().and_then(|group| group.began),
                        ..Facts::destroyed(stamp(30, "cy"))
                    }),
                    Some(joined(20, "", "Apply")),
                    &[],
                ),
                format!("bob is not in g: the group was destroyed by cy {}", on(30)),
            ),
            (
                answer(group(), Some(joined(5, "ana", "Invited")), &[]),
                format!("bob is not in g: invited by ana {}; the id was used again by ana {}", on(5), on(10)),
            ),
            (
                answer(group(), None, &[]),
                "bob is not in g: nothing told in 90 days: ask reconcile".to_owned(),
            ),
            (
                answer(None, None, &[]),
                "bob is not in g: no creation of the group was told: ask reconcile".to_owned(),
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_history_remembers_whoever_the_table_has_forgotten() {
        let told = [
            (Some("bob"), joined(15, "ana", "Invited")),
            (Some("bob"), left(20, "ana", "Kicked")),
            (Some("ben"), left(30, "cy", "Quit")),
        ];
        let answer = |told: &[_]| answer(group(), None, told);
        assert_eq!(answer(&told), "bob is not in g: kicked by ana on 1970-01-01T00:00:00.020Z");
        let [joined, left, other] = told;
        assert_eq!(
            answer(&[other, left, joined]),
            "bob is not in g: kicked by ana on 1970-01-01T00:00:00.020Z"
        );
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
        assert_eq!(answer(Some(room), None, &[]), "bob is not in g: members of an AVChatRoom are not kept");
    }
}
