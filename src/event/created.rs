//! The body of the callback, from bytes to checked values.
//!
//! What is known is checked, what is not known is kept: a field that Chat adds tomorrow
//! ends in `extra` and never costs an event.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::attribute::{self, Attributes};
use crate::callback::{AFTER_CREATE_GROUP, Delivery};

/// The longest GroupId, in bytes: it is part of the key `pk`, which is also the range key
/// of the index (at most 1,024 bytes), behind a SdkAppid of up to 20 digits and a `#`.
pub const GROUP_ID_MAX_BYTES: usize = 1024 - 21;

/// The longest account, in bytes: it is part of the range key `sk` (at most 1,024 bytes), behind `MEMBER#`.
pub const ACCOUNT_MAX_BYTES: usize = 1024 - 7;

/// How much of a field's path an error repeats, in characters.
const FIELD_MAX_CHARS: usize = 100;

/// A group that was created, with its initial members.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupCreated {
    /// The group's id.
    pub group_id: String,
    /// The group's type: Work, Public, Meeting, AVChatRoom, Community or one to come.
    pub group_type: Option<String>,
    /// The group's name.
    pub name: Option<String>,
    /// The group's owner; a group made through the REST API can be without one.
    pub owner_account: Option<String>,
    /// Who created the group; `@TLS#NOT_FOUND` occurs for REST calls.
    pub operator_account: Option<String>,
    /// When the group was created, in milliseconds since the Unix epoch. Together with the
    /// GroupId it identifies the event. Not sent, RequestTime counts, else the time of receipt.
    pub event_time: u64,
    /// The distinct accounts of MemberList, each with what else its entry carried.
    pub members: BTreeMap<String, Attributes>,
    /// The custom fields of UserDefinedDataList.
    pub user_defined: BTreeMap<String, String>,
    /// Every field that is not known here.
    pub extra: Attributes,
    /// How the event came.
    pub delivery: Delivery,
}

impl GroupCreated {
    /// Reads a body that belongs to `delivery`.
    pub fn parse(body: &[u8], delivery: Delivery) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            BodyError::new("body", format!("UTF-8, not so at byte {}", error.valid_up_to()))
        })?;
        let mut fields = Fields::parse(text)?;

        let command = fields.required("CallbackCommand")?;
        if command != AFTER_CREATE_GROUP {
            return Err(BodyError::OtherCommand);
        }
        let group_id = fields.required("GroupId")?;
        if group_id.len() > GROUP_ID_MAX_BYTES {
            return Err(fields.error("GroupId", format!("at most {GROUP_ID_MAX_BYTES} bytes")));
        }
        let owner_account = fields.text("Owner_Account")?.filter(|account| !account.is_empty());
        if owner_account.as_ref().is_some_and(|account| account.len() > ACCOUNT_MAX_BYTES) {
            return Err(fields.error("Owner_Account", format!("at most {ACCOUNT_MAX_BYTES} bytes")));
        }

        Ok(Self {
            group_id,
            group_type: fields.text("Type")?,
            name: fields.text("Name")?,
            owner_account,
            operator_account: fields.text("Operator_Account")?,
            event_time: match event_time(&mut fields)? {
                Some(milliseconds) => milliseconds,
                None => {
                    delivery.request_time.map_or(delivery.received_at, |seconds| seconds.saturating_mul(1000))
                }
            },
            members: members(&mut fields)?,
            user_defined: user_defined(&mut fields)?,
            extra: fields.rest()?,
            delivery,
        })
    }
}

/// EventTime is a number in real bodies, a string of digits in the vendor's sample, absent in old ones.
fn event_time(fields: &mut Fields<'_>) -> Result<Option<u64>, BodyError> {
    let Some(raw) = fields.take("EventTime") else {
        return Ok(None);
    };
    let text = raw.get();
    let digits = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
    let expected = "milliseconds since the Unix epoch, a whole number or a string of its digits";
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fields.error("EventTime", expected));
    }
    digits.parse().map(Some).map_err(|_| fields.error("EventTime", expected))
}

fn members(fields: &mut Fields<'_>) -> Result<BTreeMap<String, Attributes>, BodyError> {
    let mut members = BTreeMap::<String, Attributes>::new();
    for mut entry in fields.entries("MemberList")? {
        let account = entry.required("Member_Account")?;
        if account.len() > ACCOUNT_MAX_BYTES {
            return Err(entry.error("Member_Account", format!("at most {ACCOUNT_MAX_BYTES} bytes")));
        }
        members.entry(account).or_default().extend(entry.rest()?);
    }
    Ok(members)
}

fn user_defined(fields: &mut Fields<'_>) -> Result<BTreeMap<String, String>, BodyError> {
    fields
        .entries("UserDefinedDataList")?
        .into_iter()
        .map(|mut entry| Ok((entry.required("Key")?, entry.text("Value")?.unwrap_or_default())))
        .collect()
}

/// The fields of one JSON object, taken out one by one, each still as its text.
struct Fields<'a> {
    /// Where the object stands: empty for the body, `MemberList[3].` for an entry of a list.
    path: String,
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    fn parse(body: &'a str) -> Result<Self, BodyError> {
        let expected_json = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            BodyError::new("body", format!("JSON, not so at line {line}, column {column}"))
        };
        let raw: &RawValue = serde_json::from_str(body).map_err(expected_json)?;
        Self::of(raw, String::new()).ok_or_else(|| BodyError::new("body", "a JSON object"))
    }

    fn of(raw: &'a RawValue, path: String) -> Option<Self> {
        let fields = serde_json::from_str(raw.get()).ok()?;
        Some(Self { path, fields })
    }

    /// The value of a field, out of its object; null counts as not sent.
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.fields.remove(name).filter(|raw| raw.get() != "null")
    }

    fn read<T: Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Result<Option<T>, BodyError> {
        self.take(name)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| self.error(name, expected)))
            .transpose()
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, BodyError> {
        self.read(name, "a string")
    }

    fn required(&mut self, name: &str) -> Result<String, BodyError> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.error(name, "a string that is not empty"))
    }

    /// The objects of a list; none where the list was not sent.
    fn entries(&mut self, name: &str) -> Result<Vec<Fields<'a>>, BodyError> {
        let list: Vec<&RawValue> = self.read(name, "an array of objects")?.unwrap_or_default();
        list.into_iter()
            .enumerate()
            .map(|(index, raw)| {
                Fields::of(raw, format!("{name}[{index}]."))
                    .ok_or_else(|| BodyError::new(format!("{name}[{index}]"), "an object"))
            })
            .collect()
    }

    /// What was not taken.
    fn rest(self) -> Result<Attributes, BodyError> {
        let convert = |(name, raw): (&String, &&RawValue)| -> Result<(String, AttributeValue), BodyError> {
            let value = attribute::from_json(raw).map_err(|error| self.error(name, error.to_string()))?;
            if name.is_empty() {
                return Err(self.error("\"\"", "a field with a name"));
            }
            Ok((name.clone(), value))
        };
        self.fields.iter().map(convert).collect()
    }

    fn error(&self, name: &str, expected: impl Into<String>) -> BodyError {
        BodyError::new(format!("{}{name}", self.path), expected)
    }
}

/// Why a body is not what the callback sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// A field can't be read.
    Field {
        /// The field, as a path into the body; `body` for the whole.
        field: String,
        /// What should have been there.
        expected: String,
    },
    /// The body's CallbackCommand is not the one in the URL, the only one that is covered by a check.
    OtherCommand,
}

impl BodyError {
    fn new(field: impl Into<String>, expected: impl Into<String>) -> Self {
        // A name that the caller made up may be as long as the body.
        let field = field.into().chars().take(FIELD_MAX_CHARS).collect();
        Self::Field { field, expected: expected.into() }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, expected } => write!(f, "{field}: expected {expected}"),
            Self::OtherCommand => {
                f.write_str("CallbackCommand: expected the same command in the URL and in the body")
            }
        }
    }
}

impl std::error::Error for BodyError {}
