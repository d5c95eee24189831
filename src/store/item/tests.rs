use proptest::prelude::*;

use super::super::merge::{join, tests::any_facts};
use super::*;

impl ItemKey<'_> {
    /// The item of these facts alone.
    pub(crate) fn item(&self, facts: &Facts) -> Attributes {
        let mut item = Attributes::new();
        self.write(facts, |name, value| drop(item.insert(name.to_owned(), value)));
        item
    }
}

fn group() -> GroupKey {
    GroupKey { sdk_app_id: 1_400_000_000, group_id: "@TGS#1".to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_item_holds_its_facts(incoming in proptest::collection::vec(any_facts(), 1..6), is_member: bool) {
        let group = group();
        let key = ItemKey { group: &group, account: is_member.then_some("ana") };
        let mut facts = incoming.iter().fold(Facts::default(), |stored, incoming| join(&stored, incoming));
        // A creation has no JoinType, a member no name, and details are no facts.
        let names: &[&str] = if is_member { &["role", "user_defined.k"] } else { &["name", "user_defined.k"] };
        facts.values.retain(|name, _| names.contains(&&**name));
        facts.details = None;
        for fact in [&mut facts.began, &mut facts.ended].into_iter().flatten().filter(|_| !is_member) {
            fact.value = None;
        }
        prop_assert_eq!(read(&key.item(&facts)), facts);
    }
}

#[test]
fn a_member_of_the_vendors_sample_takes_at_most_300_bytes() {
    let group = group();
    let stamp =
        crate::event::Stamp { time: EventTime::from_millis(1_682_914_763_569), by: Some("admin".into()) };
    let mut facts = Facts::joined(stamp.clone(), Some("Invited".to_owned()), Attributes::new());
    facts.set(fact::ROLE, Some("Member".to_owned()), stamp);
    let mut bytes = 0;
    let mut put = |name: &str, value| bytes += name.len() + size(&value);
    ItemKey { group: &group, account: Some("jared") }.write(&facts, &mut put);
    super::super::write::stamp(&facts, 1 << 53, &mut put);
    assert!((150..=300).contains(&bytes), "{bytes}");
}

#[test]
fn facts_without_room_are_cut_and_unknown_fields_first() {
    let time = EventTime::from_millis(5);
    let long = |count| AttributeValue::S("x".repeat(count));
    let extra = [("a".to_owned(), long(10)), ("b".to_owned(), long(300_000))];
    let mut facts = Facts::present(time);
    facts.details = Some([("extra".to_owned(), AttributeValue::M(extra.into()))].into());
    facts.set("user_defined.k", Some("v".repeat(99_000)), time);
    assert_eq!(cut(&facts), None);
    facts.set("user_defined.l", Some("v".repeat(150_000)), time);
    let fitting = cut(&facts).unwrap_or_default();
    assert_eq!(fitting.values, facts.values);
    let extra = AttributeValue::M([("a".to_owned(), long(10))].into());
    assert_eq!(fitting.details, Some([("extra".to_owned(), extra)].into()));
    facts.set(fact::NAME, Some("n".repeat(200_000)), time);
    let fitting = cut(&facts).unwrap_or_default();
    assert_eq!(fitting.value(fact::NAME), None);
    assert_eq!(fitting.value("user_defined.l").map(str::len), Some(150_000));
}
