//! A body's fields, taken out of their JSON object one by one.
//!
//! Known fields are validated. A string that is no Unicode text (a lone surrogate) is kept as its JSON text, quotes
//! included, so that it never costs an event.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// The fields of one JSON object, each still as its text.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Where the object stands: empty for the body, `MemberList[3].` for an entry of a list.
    path: String,
    fields: BTreeMap<JsonName<'a>, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            BodyError::field("body", format!("UTF-8, not so at byte {}", error.valid_up_to()))
        })?;
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            BodyError::field("body", format!("JSON, not so at line {line}, column {column}"))
        })?;
        Self::of(raw, String::new()).ok_or_else(|| BodyError::field("body", "a JSON object"))
    }

    fn of(raw: &'a RawValue, path: String) -> Option<Self> {
        let fields = serde_json::from_str(raw.get()).ok()?;
        Some(Self { path, fields })
    }

    /// The text of a field's value, out of its object; null counts as not sent.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.fields.remove(name).filter(|raw| raw.get() != "null")
    }

    /// A string, if it was sent.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, BodyError> {
        self.take(name).map(|raw| string(raw).ok_or_else(|| self.error(name, "a string"))).transpose()
    }

    /// A string that must be there and must not be empty.
    pub fn required(&mut self, name: &str) -> Result<String, BodyError> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.error(name, "a string that is not empty"))
    }

    /// An id that must be there and that becomes part of a key.
    pub fn id(&mut self, name: &str, max_bytes: usize) -> Result<String, BodyError> {
        let id = self.optional_id(name, max_bytes)?.filter(|id| !id.is_empty());
        id.ok_or_else(|| self.error(name, "a string that is not empty"))
    }

    /// An id that may be absent, `null` or empty; `Some("")` says that it was sent empty.
    pub fn optional_id(&mut self, name: &str, max_bytes: usize) -> Result<Option<String>, BodyError> {
        let id = self.text(name)?;
        match &id {
            Some(id) if id.len() > max_bytes => Err(self.error(name, format!("at most {max_bytes} bytes"))),
            _ => Ok(id),
        }
    }

    /// The objects of a list; none where the list was not sent.
    pub fn entries(&mut self, name: &str) -> Result<Vec<Fields<'a>>, BodyError> {
        let Some(raw) = self.take(name) else {
            return Ok(Vec::new());
        };
        let list: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| self.error(name, "an array of objects"))?;
        list.into_iter()
            .enumerate()
            .map(|(index, raw)| {
                Fields::of(raw, format!("{}{name}[{index}].", self.path))
                    .ok_or_else(|| BodyError::field(format!("{name}[{index}]"), "an object"))
            })
            .collect()
    }

    /// What was not taken.
    pub fn rest(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.fields.into_iter().map(|(name, raw)| (name.0.into_owned(), raw))
    }

    /// An error about a field of this object.
    pub fn error(&self, name: &str, expected: impl Into<String>) -> BodyError {
        BodyError::field(format!("{}{name}", self.path), expected)
    }
}

/// A field's name. A lone surrogate in it, which serde_json refuses in a string, becomes U+FFFD.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonName<'a>(pub Cow<'a, str>);

impl Borrow<str> for JsonName<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for JsonName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = JsonName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(JsonName(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(JsonName(String::from_utf8_lossy(bytes).into_owned().into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The text of a JSON string; `None` for any other value.
pub fn string(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    text.starts_with('"').then(|| String::deserialize(raw).unwrap_or_else(|_| text.to_owned()))
}

/// Why a body is not what the callback sends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A field can't be read.
    #[error("{field}: expected {expected}")]
    Field {
        /// The field, as a path into the body; `body` for the whole.
        field: String,
        /// What should have been there.
        expected: String,
    },
    /// The body's CallbackCommand is not the one in the URL, the only one that the checks cover.
    #[error("CallbackCommand: expected the same command in the URL and in the body")]
    OtherCommand,
}

impl BodyError {
    fn field(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Field { field: field.into(), expected: expected.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T>(result: Result<T, BodyError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_body_is_a_json_object_in_utf_8() {
        for (body, expected) in [
            (&b""[..], "body: expected JSON"),
            (b"{", "body: expected JSON"),
            (b"{} x", "body: expected JSON"),
            (b"\"text\"", "body: expected a JSON object"),
            (b"[]", "body: expected a JSON object"),
            (b"null", "body: expected a JSON object"),
            (b"\xff{}", "body: expected UTF-8, not so at byte 0"),
        ] {
            let said = error(Fields::parse(body));
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn null_is_not_sent_and_empty_is() -> Result<(), BodyError> {
        let mut fields = Fields::parse(br#"{"a":null,"b":"","c":"x"}"#)?;
        assert_eq!((fields.text("a")?, fields.text("b")?), (None, Some(String::new())));
        assert_eq!((fields.text("c")?, fields.text("c")?), (Some("x".to_owned()), None));
        Ok(())
    }

    #[test]
    fn a_string_that_is_no_unicode_text_is_kept_as_its_json_text() -> Result<(), BodyError> {
        let mut fields = Fields::parse(br#"{"Name":"a\ud800\n"}"#)?;
        assert_eq!(fields.text("Name")?.as_deref(), Some(r#""a\ud800\n""#));
        Ok(())
    }

    #[test]
    fn a_name_that_is_no_unicode_text_costs_nothing() -> Result<(), BodyError> {
        let names = |body| Ok(Fields::parse(body)?.rest().map(|(name, _)| name).collect::<Vec<_>>());
        assert_eq!(names(br#"{"\ud800":1,"a\n":2}"#)?, ["a\n", "\u{fffd}\u{fffd}\u{fffd}"]);
        Ok(())
    }

    #[test]
    fn an_error_names_the_field_and_what_was_expected() -> Result<(), BodyError> {
        let mut fields = Fields::parse(br#"{"a":1,"b":"","list":[{"Member_Account":7},3],"long":"xxxx"}"#)?;
        assert_eq!(error(fields.text("a")), "a: expected a string");
        assert_eq!(error(fields.required("b")), "b: expected a string that is not empty");
        assert_eq!(error(fields.id("long", 3)), "long: expected at most 3 bytes");
        assert_eq!(error(fields.entries("list")), "list[1]: expected an object");
        let mut fields = Fields::parse(br#"{"list":[{"Member_Account":7}]}"#)?;
        let mut entries = fields.entries("list")?;
        assert_eq!(error(entries[0].required("Member_Account")), "list[0].Member_Account: expected a string");
        Ok(())
    }
}
