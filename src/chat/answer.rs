//! The answers of Chat's REST API, read as leniently as callbacks are: a number may come as a string, null counts as
//! absent, an absent list as empty, and unknown fields are ignored.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

use super::command::Command;
use super::error::ChatError;
use crate::callback::{Body, BodyError, Fields, string};
use crate::event::{FactName, TEXTS, fact, is_nobody, map_name};

/// An answer of Chat's, and its moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// When the (first) question was asked: the earlier of our clock and Chat's. Nothing in the answer is older, save for
    /// the differences between the clocks of Chat's own servers.
    pub asked_at: SystemTime,
    /// Its content.
    pub value: T,
}

/// A page of the application's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupList {
    /// The groups' ids.
    pub ids: Vec<String>,
    /// Where the next page begins; 0 after the last one.
    pub next: u64,
    /// How many groups there are, if Chat says so.
    pub total: Option<u64>,
}

/// A group's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// The fields and the custom fields, under the names of the table. A field that Chat leaves out is empty.
    pub values: BTreeMap<FactName, String>,
    /// CreateTime, in seconds since the Unix epoch.
    pub create_time: Option<u64>,
    /// MemberNum.
    pub member_num: Option<u64>,
}

/// The result for each name that was asked about.
pub type Results<T> = BTreeMap<String, Result<T, ChatError>>;

/// The members of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The members by their account.
    pub members: BTreeMap<String, Member>,
    /// The greatest MemberNum of its pages, if Chat says so.
    pub member_num: Option<u64>,
    /// Whether it came in one page. Several are no snapshot: while accounts come and go, a member may be missed.
    pub is_snapshot: bool,
}

impl Roster {
    /// How many of the members that Chat counts it lacks. An empty one without a count lacks somebody.
    pub fn missing(&self) -> u64 {
        let none_expected = u64::from(self.members.is_empty());
        self.member_num.unwrap_or(none_expected).saturating_sub(self.members.len() as u64)
    }
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Role: Owner, Admin, Member or an unknown one.
    pub role: Option<String>,
    /// NameCard; empty if Chat leaves it out.
    pub name_card: String,
}

/// A page of a group's members.
pub(super) struct MemberPage {
    pub members: Vec<(String, Member)>,
    pub member_num: Option<u64>,
    pub next: String,
}

impl GroupList {
    /// Reads the page that begins at `asked`.
    pub(super) fn read(fields: &mut Fields<'_>, asked: u64) -> Result<Self, ChatError> {
        let mut ids = Vec::new();
        for entry in fields.entries("GroupIdList")? {
            // Nobody can ask about an id with broken bytes: it must not hold up the others.
            ids.extend(id(&mut entry?, "GroupId").ok());
        }
        let list = Self {
            ids,
            next: fields.number("Next")?.unwrap_or_default(),
            total: fields.number("TotalCount")?,
        };
        if list.next != 0 && list.next == asked {
            return Err(ChatError::unreadable("Next", "a page after the last one"));
        }
        Ok(list)
    }
}

impl GroupInfo {
    /// The names of the fields to ask for.
    pub(super) fn fields() -> impl Serialize {
        let texts = TEXTS.map(|(field, _)| field);
        [&["Type", "Owner_Account", "CreateTime", "MemberNum"], &texts[..]].concat()
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, ChatError> {
        // Every group has a type: an entry without one is incomplete, and its missing fields are not empty.
        let mut values = BTreeMap::from([(fact::TYPE.into(), required(fields, "Type")?)]);
        for (field, name) in TEXTS.into_iter().chain([("Owner_Account", fact::OWNER_ACCOUNT)]) {
            values.insert(name.into(), text(fields, field)?.unwrap_or_default());
        }
        if values.get(fact::OWNER_ACCOUNT).is_some_and(|owner| is_nobody(owner)) {
            values.insert(fact::OWNER_ACCOUNT.into(), String::new());
        }
        // A custom field of another shape is not compared.
        for mut entry in fields.entries("AppDefinedData").into_iter().flatten().flatten() {
            if let (Ok(key), Ok(value)) = (required(&mut entry, "Key"), text(&mut entry, "Value")) {
                values.insert(fact::user_defined(&map_name(key)), value.unwrap_or_default());
            }
        }
        Ok(Self {
            values,
            create_time: fields.number("CreateTime")?,
            member_num: fields.number("MemberNum")?,
        })
    }

    /// Its type.
    pub fn group_type(&self) -> &str {
        self.values.get(fact::TYPE).map(String::as_str).unwrap_or_default()
    }
}

impl MemberPage {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, ChatError> {
        let entries = fields.entries("MemberList")?;
        let member = |entry: Result<Fields<'_>, BodyError>| {
            let mut entry = entry?;
            let name_card = text(&mut entry, "NameCard")?.unwrap_or_default();
            let member = Member { role: text(&mut entry, "Role")?, name_card };
            Ok((id(&mut entry, "Member_Account")?, member))
        };
        let is_somebody = |member: &Result<(String, Member), ChatError>| {
            member.as_ref().map_or(true, |(account, _)| !is_nobody(account))
        };
        Ok(Self {
            members: entries.map(member).filter(is_somebody).collect::<Result<_, ChatError>>()?,
            member_num: fields.number("MemberNum")?,
            next: text(fields, "Next")?.unwrap_or_default(),
        })
    }
}

/// The list of an answer, which has an entry for each name.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResultList {
    pub command: Command,
    /// The list's field.
    pub list: &'static str,
    /// The field of an entry that holds its name.
    pub name: &'static str,
}

/// Reads the result for each of these names. A name missing from the answer gets an error, never a default.
pub(super) fn results_by_name<T>(
    fields: &mut Fields<'_>,
    of: ResultList,
    names: &[&str],
    read: impl Fn(&mut Fields<'_>) -> Result<T, ChatError>,
) -> Result<Results<T>, ChatError> {
    let mut results = Results::new();
    for entry in fields.entries(of.list)? {
        let mut entry = entry?;
        if let Ok(name) = id(&mut entry, of.name)
            && names.contains(&name.as_str())
        {
            let result = check(&mut entry, of.command, Some(0)).and_then(|()| read(&mut entry));
            results.insert(name, result);
        }
    }
    for name in names {
        let missing = || Err(ChatError::unreadable(of.list, "an entry for each name"));
        results.entry((*name).to_owned()).or_insert_with(missing);
    }
    Ok(results)
}

/// A body with the secret cut out, should Chat repeat it.
pub(super) fn redact(body: &[u8], secret: &str) -> Vec<u8> {
    let (mut redacted, mut rest) = (Vec::with_capacity(body.len()), body);
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret.as_bytes()) {
        redacted.extend([&rest[..at], b"[UserSig]"].concat());
        rest = &rest[at + secret.len()..];
    }
    redacted.extend(rest);
    redacted
}

/// Reads an answer, unless Chat refuses to give one.
pub(super) fn parse<'a>(body: &'a mut Body<'_>, command: Command) -> Result<Fields<'a>, ChatError> {
    let mut fields = body.fields().map_err(|_| ChatError::NotChat)?;
    check(&mut fields, command, None)?;
    Ok(fields)
}

/// Checks the ErrorCode of an answer or, with a default, of an entry.
fn check(fields: &mut Fields<'_>, command: Command, default: Option<u64>) -> Result<(), ChatError> {
    let code = fields.number("ErrorCode")?.or(default).ok_or(ChatError::NotChat)?;
    let failed = fields.take("ActionStatus").and_then(string).is_some_and(|status| status == "FAIL");
    let info = fields.take("ErrorInfo").and_then(string).unwrap_or_default();
    if code == 0 && !failed { Ok(()) } else { Err(ChatError::refused(command, code, &info)) }
}

/// A string, or a number as its digits.
fn text(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, ChatError> {
    let Some(raw) = fields.take(name) else { return Ok(None) };
    text_of(raw).map(Some).ok_or_else(|| fields.error(name, "a string").into())
}

fn text_of(raw: &RawValue) -> Option<String> {
    let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if is_number { Some(raw.get().to_owned()) } else { string(raw) }
}

/// A text that must be there.
pub(super) fn required(fields: &mut Fields<'_>, name: &str) -> Result<String, ChatError> {
    let text = text(fields, name)?.filter(|text| !text.is_empty());
    text.ok_or_else(|| fields.error(name, "a string that is not empty").into())
}

/// A GroupId or an account, which must be there as Chat knows it: one with broken bytes would be another's.
fn id(fields: &mut Fields<'_>, name: &str) -> Result<String, ChatError> {
    let raw = fields.take(name).filter(|raw| !fields.is_broken(raw));
    let id = raw.and_then(text_of).filter(|id| !id.is_empty());
    id.ok_or_else(|| fields.error(name, "a string of UTF-8 that is not empty").into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
