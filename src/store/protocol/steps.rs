//! The steps that writers, sweeps and the reader can take.

use super::*;

impl Search {
    /// All states that can come next, each with the step that leads there.
    pub(super) fn next(&mut self, state: &State) -> Vec<(String, State)> {
        let mut next = Vec::new();
        for number in 0..state.writers.len() {
            self.write(state, number, &mut next);
        }
        for number in 0..state.sweeps.len() {
            self.sweep(state, number, &mut next);
        }
        if let Some(page) = READ_PAGES.get(state.reader.page) {
            let mut after = state.clone();
            page.iter().for_each(|item| after.reader.seen[*item] = state.table[*item]);
            after.reader.page += 1;
            next.push((format!("reader reads page {}", state.reader.page), after));
        }
        next
    }

    fn write(&mut self, state: &State, number: usize, next: &mut Vec<(String, State)>) {
        let writer = &state.writers[number];
        let Some(&item) = self.order(writer.event).get(writer.done) else { return };
        let Some(incoming) = self.events[writer.event][item].clone() else { return };
        let is_arrival = incoming.began.is_some() && incoming.ended.is_none();
        let name = |step: &str| format!("writer {number} of event {} {step} {}", writer.event, NAMES[item]);
        let mut step = |label: String, change: &dyn Fn(&mut State, &mut Writer)| {
            let (mut after, mut changed) = (state.clone(), writer.clone());
            change(&mut after, &mut changed);
            after.writers[number] = changed;
            next.push((label, after));
        };
        let go_on = |writer: &mut Writer| {
            writer.done += 1;
            (writer.expected, writer.own) = (None, None);
        };
        if state.crashes_left > 0 {
            step(name("crashes before"), &|after, writer| {
                after.crashes_left -= 1;
                let (event, puts) = (writer.event, writer.puts);
                *writer = Writer { puts, ..Writer::new(event) };
            });
        }
        let expected = writer.expected.clone();
        let expected = expected.unwrap_or(if is_arrival { Expected::Read(None) } else { Expected::Unread });
        let Expected::Read(stored) = expected else {
            return step(name("reads"), &|after, writer| {
                writer.expected = Some(Expected::Read(after.table[item]));
            });
        };
        if writer.own.is_some() && stored.map(|stored| stored.revision) == writer.own {
            return step(name("recognizes its write of"), &|_, writer| go_on(writer));
        }
        let Some((facts, ends_life)) = self.merge(stored, &incoming) else {
            return step(name("finds nothing new for"), &|_, writer| {
                writer.is_mistaken |=
                    writer.lost.is_some() && stored.map(|item| item.revision) == writer.lost;
                go_on(writer);
            });
        };
        let is_swept =
            if item == GROUP && ends_life { Some(false) } else { stored.and_then(|item| item.is_swept) };
        let revision = u16::try_from(number).unwrap_or_default() * 100 + writer.puts + 1;
        let put = Item { facts, revision, is_swept };
        let (guards, present) = (self.guards, state.table[item]);
        let is_taken = !guards.puts_check_the_revision
            || present.map(|item| item.revision) == stored.map(|item| item.revision);
        if !is_taken {
            return step(name("is refused"), &|_, writer| writer.expected = Some(Expected::Read(present)));
        }
        let wrote = |after: &mut State, writer: &mut Writer| {
            after.table[item] = Some(put);
            writer.puts += 1;
        };
        step(name("puts"), &|after, writer| {
            wrote(after, writer);
            go_on(writer);
        });
        if state.losses_left > 0 {
            // The same put again is refused, and answered with the present item.
            step(name("gets no answer for its put of"), &|after, writer| {
                wrote(after, writer);
                after.losses_left -= 1;
                writer.lost = Some(revision);
                writer.own = guards.own_write_is_recognized.then_some(revision);
                writer.expected = Some(Expected::Read(stored));
            });
        }
    }

    fn sweep(&mut self, state: &State, number: usize, next: &mut Vec<(String, State)>) {
        let mut step = |label: String, change: &dyn Fn(&mut State) -> Sweep| {
            let mut after = state.clone();
            after.sweeps[number] = change(&mut after);
            next.push((label, after));
        };
        match state.sweeps[number].clone() {
            Sweep::Done => {}
            Sweep::Idle => {
                let is_due = |group: &Item| match group.is_swept {
                    Some(is_swept) => !is_swept,
                    None => self.facts(Some(*group)).ended.is_some(),
                };
                // A sweep waits for 5 s in the queue: no reader pages for so long.
                let is_read = (1..READ_PAGES.len()).contains(&state.reader.page);
                if let Some(group) = state.table[GROUP].filter(is_due).filter(|_| !is_read) {
                    let found = Vec::new();
                    step("the sweep reads the group".to_owned(), &|_| Sweep::Pages {
                        group,
                        page: 0,
                        found: found.clone(),
                    });
                }
            }
            Sweep::Pages { group, page, mut found } => {
                if let Some((item, leftover)) = found.pop() {
                    let is_checked = self.guards.deletes_check_the_revision;
                    return step(format!("the sweep deletes {}", NAMES[item]), &|after| {
                        let is_same = |present: &Item| present.revision == leftover.revision;
                        if !is_checked || after.table[item].as_ref().is_some_and(is_same) {
                            after.table[item] = None;
                        }
                        Sweep::Pages { group, page, found: found.clone() }
                    });
                }
                if let Some(items) = SWEEP_PAGES.get(page) {
                    let facts = self.facts(Some(group));
                    let is_leftover = |item: &Item| is_of_earlier_life(&self.facts(Some(*item)), &facts);
                    let found: Vec<_> = items
                        .iter()
                        .filter_map(|item| Some((*item, state.table[*item].filter(is_leftover)?)))
                        .collect();
                    return step(format!("the sweep reads page {page}"), &|_| Sweep::Pages {
                        group,
                        page: page + 1,
                        found: found.clone(),
                    });
                }
                step("the sweep marks the group".to_owned(), &|after| {
                    if after.table[GROUP].is_some_and(|present| present.revision == group.revision) {
                        let revision = 10_000 + u16::try_from(number).unwrap_or_default();
                        after.table[GROUP] = Some(Item { is_swept: Some(true), revision, ..group });
                    }
                    Sweep::Done
                });
            }
        }
    }
}
