//! The pages of a group's list of members.

use std::mem;

use serde_json::{Value, json};

use super::answer::MemberPage;
use super::error::ChatError;

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

/// Where the next page of members begins.
pub(super) struct PageCursor {
    pub paging: Paging,
    pub limit: u32,
    offset: usize,
    next: String,
}

impl PageCursor {
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

    /// Moves behind a page; `false` if it is the last.
    pub(super) fn advance(&mut self, page: &MemberPage) -> Result<bool, ChatError> {
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
                if !self.next.is_empty() && self.next == last {
                    return Err(ChatError::unreadable("Next", "a page after the last one"));
                }
                Ok(!self.next.is_empty())
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::super::answer::Member;
    use super::*;

    fn page(members: usize, member_num: Option<u64>, next: &str) -> MemberPage {
        let members = vec![(String::new(), Member::default()); members];
        MemberPage { members, member_num, next: next.to_owned() }
    }

    /// Whether the page of 200 that begins at 200 has a successor.
    fn more(read: usize, member_num: Option<u64>) -> bool {
        let mut cursor = PageCursor::first(Paging::Offset, 200);
        assert!(cursor.advance(&page(200, Some(900), "")).unwrap());
        assert_eq!(cursor.question("g"), json!({ "GroupId": "g", "Limit": 200, "Offset": 200 }));
        cursor.advance(&page(read, member_num, "ignored")).unwrap()
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
        let mut cursor = PageCursor::first(Paging::Next, 200);
        assert_eq!(cursor.question("g"), json!({ "GroupId": "g", "Limit": 200, "Next": "" }));
        assert!(cursor.advance(&page(0, Some(1), "x")).unwrap());
        assert_eq!(cursor.question("g"), json!({ "GroupId": "g", "Limit": 200, "Next": "x" }));
        assert!(cursor.advance(&page(1, Some(1), "x")).is_err());
        let mut cursor = PageCursor::first(Paging::Next, 200);
        assert!(!cursor.advance(&page(200, Some(900), "")).unwrap());
    }
}
