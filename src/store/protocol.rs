//! An exhaustive search through the ways in which writers, a sweep and a reader can interleave: the real merge and the
//! real rule of sweeps, over a table of four items that takes conditional writes of single items.
//!
//! Writers may crash at any step and are started again; answers may be lost. In each scenario, every interleaving keeps
//! the promises: readers see whole groups, the end does not depend on the order, and a write is told as one. Each guard
//! of the protocol is then taken away, and the search has to find the interleaving that breaks a promise.

mod scenarios;
mod steps;

use std::collections::HashMap;
use std::fmt::Write;

use self::scenarios::scenarios;
use super::merge::{Merged, is_member, is_of_earlier_life, is_there, join, merge};
use crate::event::{Facts, fact};
use crate::time::EventTime;

/// The group item, and those of the members a, b and c.
const ITEMS: usize = 4;
const GROUP: usize = 0;
const NAMES: [&str; ITEMS] = ["group", "a", "b", "c"];

/// The pages in which a sweep reads the members, and a reader the whole partition.
const SWEEP_PAGES: [&[usize]; 2] = [&[1, 2], &[3]];
const READ_PAGES: [&[usize]; 2] = [&[0, 1], &[2, 3]];

/// The guards of the protocol. Without any one of them a promise is broken.
#[derive(Clone, Copy)]
struct Guards {
    puts_check_the_revision: bool,
    group_goes_last: bool,
    deletes_check_the_revision: bool,
    own_write_is_recognized: bool,
}

const ALL: Guards = Guards {
    puts_check_the_revision: true,
    group_goes_last: true,
    deletes_check_the_revision: true,
    own_write_is_recognized: true,
};

/// A number that stands for facts: states are compared and hashed millions of times.
type Id = u16;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    facts: Id,
    revision: u16,
    is_swept: Option<bool>,
}

type Table = [Option<Item>; ITEMS];

#[derive(Clone, PartialEq, Eq, Hash)]
enum Expected {
    Unread,
    Read(Option<Item>),
}

/// A delivery of an event.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Writer {
    event: usize,
    /// The number of items that are done.
    done: usize,
    expected: Option<Expected>,
    own: Option<u16>,
    puts: u16,
    /// The revision of a put whose answer was lost.
    lost: Option<u16>,
    /// Whether it took an item of its own for another's.
    is_mistaken: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Sweep {
    Idle,
    Pages { group: Item, page: usize, found: Vec<(usize, Item)> },
    Done,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Reader {
    page: usize,
    seen: Table,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    table: Table,
    writers: Vec<Writer>,
    sweeps: Vec<Sweep>,
    reader: Reader,
    crashes_left: u8,
    losses_left: u8,
}

/// The facts that an event says of each item.
type Event = [Option<Facts>; ITEMS];

struct Search {
    guards: Guards,
    events: Vec<Event>,
    facts: Vec<Facts>,
    merged: HashMap<(Id, Id), Option<(Id, bool)>>,
}

impl Search {
    fn id(&mut self, facts: &Facts) -> Id {
        let found = self.facts.iter().position(|known| known == facts).unwrap_or_else(|| {
            self.facts.push(facts.clone());
            self.facts.len() - 1
        });
        Id::try_from(found).unwrap_or(Id::MAX)
    }

    fn facts(&self, item: Option<Item>) -> Facts {
        item.map(|item| self.facts[usize::from(item.facts)].clone()).unwrap_or_default()
    }

    /// The merged facts, if they are news, and whether a life of the group ends.
    fn merge(&mut self, stored: Option<Item>, incoming: &Facts) -> Option<(Id, bool)> {
        let facts = self.facts(stored);
        let key = (self.id(&facts), self.id(incoming));
        if let Some(merged) = self.merged.get(&key) {
            return *merged;
        }
        let merged = match merge(&facts, incoming) {
            Merged::Changed { facts: merged, is_new_life } => {
                let ends_life = is_new_life || merged.ended_at() != facts.ended_at();
                Some((self.id(&merged), ends_life))
            }
            Merged::Unchanged | Merged::Stale => None,
        };
        self.merged.insert(key, merged);
        merged
    }

    /// The items that an event writes, in their order.
    fn order(&self, event: usize) -> Vec<usize> {
        let mut items: Vec<usize> = (0..ITEMS).filter(|item| self.events[event][*item].is_some()).collect();
        if self.guards.group_goes_last && items.first() == Some(&GROUP) {
            items.rotate_left(1);
        }
        items
    }

    /// The promise that a state breaks.
    fn broken(&self, state: &State, is_end: bool) -> Option<String> {
        let group = self.facts(state.reader.seen[GROUP]);
        if state.reader.page == READ_PAGES.len() && is_there(&group) {
            for event in self.events.iter().filter(|event| {
                let created = event[GROUP].as_ref().and_then(Facts::event_time);
                created.is_some() && created == group.event_time()
            }) {
                for item in (1..ITEMS).filter(|item| event[*item].is_some()) {
                    if self.facts(state.reader.seen[item]).event_time() < group.event_time() {
                        return Some(format!("the reader sees the group without {}", NAMES[item]));
                    }
                }
            }
        }
        if !is_end {
            return None;
        }
        if state.writers.iter().any(|writer| writer.is_mistaken) {
            return Some("a writer has written and takes its event for a duplicate".to_owned());
        }
        let whole: Vec<Facts> = (0..ITEMS)
            .map(|item| {
                let incoming = self.events.iter().filter_map(|event| event[item].as_ref());
                incoming.fold(Facts::default(), |stored, incoming| join(&stored, incoming))
            })
            .collect();
        let stored: Vec<Facts> = state.table.iter().map(|item| self.facts(*item)).collect();
        (view(&stored) != view(&whole)).then(|| format!("readers see {:?}", view(&stored)))
    }

    /// Walks through all states; returns the number of them, or the steps to one that breaks a promise.
    fn run(&mut self, start: State) -> Result<usize, String> {
        let mut states = vec![(start.clone(), 0, String::new())];
        let mut numbers = HashMap::from([(start, 0)]);
        let mut at = 0;
        while at < states.len() {
            let state = states[at].0.clone();
            let next = self.next(&state);
            // A sweep that has nothing to do is no step that is still to come.
            let is_end = next.is_empty();
            if let Some(broken) = self.broken(&state, is_end) {
                let (mut trace, mut number) = (Vec::new(), at);
                while number != 0 {
                    trace.push(states[number].2.clone());
                    number = states[number].1;
                }
                trace.reverse();
                return Err(format!("{}\n=> {broken}", trace.join("\n")));
            }
            for (label, state) in next {
                if !numbers.contains_key(&state) {
                    numbers.insert(state.clone(), states.len());
                    states.push((state, at, label));
                }
            }
            at += 1;
        }
        Ok(states.len())
    }
}

impl Writer {
    fn new(event: usize) -> Self {
        Self { event, done: 0, expected: None, own: None, puts: 0, lost: None, is_mistaken: false }
    }
}

/// The readers' view: the group's name, and each member with its role.
fn view(items: &[Facts]) -> Option<String> {
    let group = &items[GROUP];
    let mut text = format!("{:?} {:?}", group.event_time(), group.value(fact::NAME));
    for (facts, name) in items.iter().zip(NAMES).skip(1).filter(|(facts, _)| is_member(facts, group)) {
        write!(text, " {name}: {:?} {:?}", facts.event_time(), facts.value(fact::ROLE)).ok()?;
    }
    is_there(group).then_some(text)
}

fn search(guards: Guards) -> Result<usize, String> {
    let mut states = 0;
    for (name, events, deliveries, sweeps) in scenarios() {
        let mut search = Search { guards, events, facts: Vec::new(), merged: HashMap::new() };
        let start = State {
            table: [None; ITEMS],
            writers: deliveries.into_iter().map(Writer::new).collect(),
            sweeps: vec![Sweep::Idle; sweeps],
            reader: Reader { page: 0, seen: [None; ITEMS] },
            crashes_left: 1,
            losses_left: 1,
        };
        let count = search.run(start).map_err(|trace| format!("{name}:\n{trace}"))?;
        println!("{count} states of {name}");
        states += count;
    }
    Ok(states)
}

#[test]
fn every_interleaving_keeps_the_promises() {
    match search(ALL) {
        Ok(states) => assert!(states > 100_000, "{states} states are not all of them"),
        Err(trace) => panic!("{trace}"),
    }
}

#[test]
fn without_any_one_guard_a_promise_is_broken() {
    for (guards, name, broken) in [
        (Guards { puts_check_the_revision: false, ..ALL }, "the condition of puts", "without b"),
        (Guards { group_goes_last: false, ..ALL }, "the group last", "the group without"),
        (
            Guards { deletes_check_the_revision: false, ..ALL },
            "the condition of deletes",
            "the group without a",
        ),
        (Guards { own_write_is_recognized: false, ..ALL }, "the own write recognized", "takes its event for"),
    ] {
        let trace = search(guards).expect_err(name);
        println!("Without {name}, in the scenario of {trace}\n");
        let last = trace.lines().last().unwrap_or_default();
        assert!(last.starts_with("=> ") && last.contains(broken), "{last}");
    }
}
