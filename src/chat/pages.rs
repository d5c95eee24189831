//! Questions that take several requests.

use std::mem;

use serde_json::{Value, json};

use super::answer::MemberPage;
use super::error::Reason;

/// A list of names, in parts that are small enough for one question.
pub(super) struct Parts<'a>(Vec<&'a [&'a str]>);

impl<'a> Parts<'a> {
    pub fn new(names: &'a [&'a str], max: usize) -> Self {
        Self(names.chunks(max).rev().collect())
    }

    pub fn take(&mut self) -> Option<&'a [&'a str]> {
        self.0.pop()
    }

    /// Puts a part back in two halves; `false` if it can't be smaller.
    pub fn split(&mut self, part: &'a [&'a str]) -> bool {
        let (first, second) = part.split_at(part.len() / 2);
        if first.is_empty() {
            return false;
        }
        self.0.extend([second, first]);
        true
    }
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
    pub fn first(paging: Paging, limit: u32) -> Self {
        Self { paging, limit, offset: 0, next: String::new() }
    }

    /// The question for the page that begins here.
    pub fn question(&self, group_id: &str) -> Value {
        match self.paging {
            Paging::Offset => json!({ "GroupId": group_id, "Limit": self.limit, "Offset": self.offset }),
            Paging::Next => json!({ "GroupId": group_id, "Limit": self.limit, "Next": self.next }),
        }
    }

    /// Goes on to the end of a page; `false` if it is the last.
    pub fn advance(&mut self, page: &MemberPage) -> Result<bool, Reason> {
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
    use super::super::answer::Member;
    use super::*;

    #[test]
    fn a_part_that_was_too_much_comes_back_in_halves_and_in_order() {
        let names = ["a", "b", "c", "d", "e"];
        let mut parts = Parts::new(&names, 3);
        let first = parts.take().unwrap();
        assert_eq!(first, ["a", "b", "c"]);
        assert!(parts.split(first));
        let rest: Vec<_> = std::iter::from_fn(|| parts.take()).collect();
        assert_eq!(rest, [&["a"][..], &["b", "c"], &["d", "e"]]);
        assert!(!parts.split(&["a"]));
        assert!(Parts::new(&[], 3).take().is_none());
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
