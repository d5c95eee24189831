//! Questions that take several requests.

use std::mem;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::answer::{Answer, MemberPage, Results};
use super::error::{ChatError, Class, Reason};

/// How often names are asked about in smaller parts, before all of them are given up.
const MAX_REFUSALS: usize = 100;

/// Asks about names in parts that are small enough for one question. A part that is refused, or whose answer is too large,
/// is asked in halves: one name that Chat can't read must not hold up the others. Each name has a result.
pub(super) async fn in_parts<T>(
    names: &[&str],
    max: usize,
    ask: impl AsyncFn(&[&str]) -> Result<Answer<Results<T>>, ChatError>,
) -> Result<Answer<Results<T>>, ChatError> {
    let mut parts: Vec<&[&str]> = names.chunks(max).rev().collect();
    let (mut results, mut asked_at, mut refusals) = (Results::new(), None, 0);
    while let Some(part) = parts.pop() {
        match (ask(part).await, part) {
            (Ok(answer), _) => {
                asked_at.get_or_insert(answer.asked_at);
                results.extend(answer.value);
            }
            (Err(error), _) if !matches!(error.class(), Class::TooLarge | Class::Other) => return Err(error),
            (Err(error), _) if refusals == MAX_REFUSALS => return Err(error),
            (Err(error), [name]) => drop(results.insert((*name).to_owned(), Err(error))),
            (Err(_), part) => {
                refusals += 1;
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(Answer { asked_at: asked_at.unwrap_or_else(SystemTime::now), value: results })
}

/// How the pages of a group's members follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// By a number of members to skip.
    Offset,
    /// By a mark in each answer.
    Next,
}

impl Paging {
    /// The paging of groups of this type.
    pub fn of(group_type: &str) -> Self {
        if group_type == "Community" { Self::Next } else { Self::Offset }
    }
}

/// The place in a group's list of members.
pub(super) struct Place {
    pub paging: Paging,
    pub limit: u32,
    offset: usize,
    next: String,
}

impl Place {
    pub(super) fn first(paging: Paging, limit: u32) -> Self {
        Self { paging, limit, offset: 0, next: String::new() }
    }

    /// The question for the page that begins here.
    pub(super) fn question(&self, group_id: &str) -> Value {
        match self.paging {
            Paging::Offset => json!({ "GroupId": group_id, "Limit": self.limit, "Offset": self.offset }),
            Paging::Next => json!({ "GroupId": group_id, "Limit": self.limit, "Next": self.next }),
        }
    }

    /// Goes on to the end of a page; `false` if it is the last.
    pub(super) fn advance(&mut self, page: &MemberPage) -> Result<bool, Reason> {
        match self.paging {
            Paging::Offset => {
                let read = page.members.len();
                self.offset += read;
                // A full page may have a successor, whatever MemberNum says: it was counted at another time.
                let all = page.member_num.is_some_and(|member_num| self.offset as u64 >= member_num);
                Ok(read > 0 && !(all && read < self.limit as usize))
            }
            Paging::Next => {
                let last = mem::replace(&mut self.next, page.next.clone());
                match !self.next.is_empty() && self.next == last {
                    true => Err(Reason::unreadable("Next", "a place after the last one")),
                    false => Ok(!self.next.is_empty()),
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use super::super::Command;
    use super::super::answer::Member;
    use super::*;

    /// The results for names of which some are never answered, and the parts that were asked for.
    async fn ask(names: &[&str], refused: &str) -> (Vec<(String, bool)>, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let ask = async |part: &[&str]| {
            asked.borrow_mut().push(part.concat());
            match part.contains(&refused) {
                true => Err(ChatError { command: Command::Role, reason: Reason::unreadable("x", "y") }),
                false => {
                    let value = part.iter().map(|name| ((*name).to_owned(), Ok(()))).collect();
                    Ok(Answer { asked_at: SystemTime::now(), value })
                }
            }
        };
        let results = in_parts(names, 3, ask).await.unwrap().value;
        (results.into_iter().map(|(name, result)| (name, result.is_ok())).collect(), asked.into_inner())
    }

    #[tokio::test]
    async fn a_part_that_was_refused_is_asked_in_halves_and_in_order() {
        let (results, asked) = ask(&["a", "b", "c", "d", "e"], "b").await;
        assert_eq!(asked, ["abc", "a", "bc", "b", "c", "de"]);
        let expected = [("a", true), ("b", false), ("c", true), ("d", true), ("e", true)];
        assert_eq!(results, expected.map(|(name, is_ok)| (name.to_owned(), is_ok)));
        assert_eq!(ask(&[], "b").await, (Vec::new(), Vec::new()));
    }

    fn page(members: usize, member_num: Option<u64>, next: &str) -> MemberPage {
        let members = vec![(String::new(), Member::default()); members];
        MemberPage { members, member_num, next: next.to_owned() }
    }

    /// Whether the page of 200 that begins at 200 has a successor.
    fn more(read: usize, member_num: Option<u64>) -> bool {
        let mut place = Place::first(Paging::Offset, 200);
        assert!(place.advance(&page(200, Some(900), "")).unwrap());
        assert_eq!(place.question("g"), json!({ "GroupId": "g", "Limit": 200, "Offset": 200 }));
        place.advance(&page(read, member_num, "ignored")).unwrap()
    }

    #[test]
    fn offsets_end_with_an_empty_page_or_with_a_short_one_once_all_are_read() {
        assert!(!more(0, Some(900)));
        assert!(!more(10, Some(210)));
        assert!(more(10, Some(211)));
        assert!(more(10, None));
        assert!(more(200, Some(400)));
        assert!(more(200, Some(0)));
    }

    #[test]
    fn marks_end_with_an_empty_one_and_must_change() {
        let mut place = Place::first(Paging::Next, 200);
        assert_eq!(place.question("g"), json!({ "GroupId": "g", "Limit": 200, "Next": "" }));
        assert!(place.advance(&page(0, Some(1), "x")).unwrap());
        assert_eq!(place.question("g"), json!({ "GroupId": "g", "Limit": 200, "Next": "x" }));
        assert!(place.advance(&page(1, Some(1), "x")).is_err());
        let mut place = Place::first(Paging::Next, 200);
        assert!(!place.advance(&page(200, Some(900), "")).unwrap());
    }
}
