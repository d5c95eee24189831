//! The answer to "why is this account not in that group?", in one line.

use crate::event::{Attributes, Fact, Facts, GroupKey, fact, is_av_chat_room, text};
use crate::store::{ItemKey, is_member, is_there, join, read, text_of};
use crate::time::{EventTime, from_millis, rfc3339};

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
    if is_there(&group) && is_member(&member, &group) {
        let joined = member.began.as_ref().map(joined).unwrap_or_default();
        return format!("{account} is in {group_id}: {joined}");
    }
    let reason = if let Some(destroyed) = &group.ended {
        format!("the group was destroyed{}", by_and_time(destroyed))
    } else if group.value(fact::TYPE).is_some_and(is_av_chat_room) {
        "members of an AVChatRoom are not kept".to_owned()
    } else if let Some(created) = group.began.as_ref().filter(|_| joined_before_creation(&member, &group)) {
        format!("{}; the id was used again{}", last(&member), by_and_time(created))
    } else if let Some(left) = &member.ended {
        departed(left)
    } else if group.began.is_none() {
        "no creation of the group was told: ask reconcile".to_owned()
    } else {
        match known.days {
            Some(days) => format!("nothing told in {days} days: ask reconcile"),
            None => "nothing told, and there is no history: ask reconcile".to_owned(),
        }
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

fn joined_before_creation(member: &Facts, group: &Facts) -> bool {
    member.began.is_some() && member.event_time() < group.event_time()
}

/// The end of a membership, or its beginning if nobody ended it.
fn last(member: &Facts) -> String {
    member.ended.as_ref().map(departed).or_else(|| member.began.as_ref().map(joined)).unwrap_or_default()
}

fn joined(began: &Fact) -> String {
    let verb = match began.value.as_deref() {
        Some("Invited") => "invited",
        Some("Created") => "a member since its creation",
        _ => "joined",
    };
    format!("{verb}{}", by_and_time(began))
}

fn departed(ended: &Fact) -> String {
    let verb = if ended.value.as_deref() == Some("Kicked") { "kicked" } else { "left" };
    format!("{verb}{}", by_and_time(ended))
}

fn by_and_time(fact: &Fact) -> String {
    let by = fact.by.as_deref().map(|account| format!(" by {account}")).unwrap_or_default();
    format!("{by} on {}", moment(fact.time))
}

fn moment(time: EventTime) -> String {
    rfc3339(from_millis(time.as_millis()))
}

#[cfg(test)]
mod tests {
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
                let after = aws_sdk_dynamodb::types::AttributeValue::M(item(*account, facts));
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
    fn members_of_an_av_chat_room_are_not_kept() {
        let mut room = Facts::present(stamp(10, "ana"));
        room.set(fact::TYPE, Some("AVChatRoom".to_owned()), stamp(10, "ana"));
        assert_eq!(answer(Some(room), None, &[]), "bob is not in g: members of an AVChatRoom are not kept");
    }
}
