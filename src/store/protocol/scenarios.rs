//! The deliveries that race.

use super::*;

fn at(millis: u64) -> EventTime {
    EventTime::from_millis(millis)
}

fn created(time: u64, members: &[usize]) -> Event {
    let mut event = joined(time, members);
    let mut group = Facts::present(at(time));
    group.set(fact::NAME, Some(format!("name {time}")), at(time));
    event[GROUP] = Some(group);
    event
}

fn joined(time: u64, members: &[usize]) -> Event {
    let mut event = Event::default();
    for member in members {
        let mut facts = Facts::present(at(time));
        facts.set(fact::ROLE, Some("Member".to_owned()), at(time));
        event[*member] = Some(facts);
    }
    event
}

fn departed(time: u64, member: usize) -> Event {
    let mut event = Event::default();
    event[member] = Some(Facts::departed(at(time), None));
    event
}

fn raised(time: u64, member: usize) -> Event {
    let mut event = Event::default();
    let mut facts = Facts::default();
    facts.set(fact::ROLE, Some("Admin".to_owned()), at(time));
    event[member] = Some(facts);
    event
}

fn destroyed(time: u64) -> Event {
    [Some(Facts::destroyed(at(time))), None, None, None]
}

/// The deliveries that race, and the number of sweeps beside them.
pub(super) fn scenarios() -> Vec<(&'static str, Vec<Event>, Vec<usize>, usize)> {
    vec![
        ("a repeat", vec![created(5, &[1, 2, 3])], vec![0, 0], 0),
        ("a new life", vec![created(5, &[1, 2]), created(8, &[2, 3])], vec![0, 1], 1),
        (
            "a member who comes again",
            vec![created(5, &[1]), destroyed(6), created(7, &[1, 2])],
            vec![0, 1, 2],
            1,
        ),
        ("a new life, repeated", vec![created(5, &[1]), created(8, &[1, 2])], vec![0, 1, 1], 1),
        ("a late creation", vec![created(5, &[1]), destroyed(8)], vec![0, 1, 0], 1),
        ("facts of one member", vec![created(5, &[1]), departed(7, 1), raised(6, 1)], vec![0, 1, 2, 2], 0),
        ("a join of a new life", vec![created(5, &[1]), created(8, &[2]), joined(9, &[1])], vec![0, 1, 2], 1),
    ]
}
