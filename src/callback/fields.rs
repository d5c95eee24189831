//! A JSON object, taken apart field by field.
//!
//! Known fields are validated. A string that is no Unicode text (a lone surrogate) is kept as its JSON text, quotes
//! included, so that it never costs an event.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use thiserror::Error;

use super::decimal;

const NOT_EMPTY: &str = "a string that is not empty";

/// The fields of one JSON object, each still as its text.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    object: Object<'a>,
    /// The list that the object is an entry of, and its index there.
    entry_of: Option<(&'static str, usize)>,
    is_mended: bool,
}

/// Fields in their order; `None` once one is taken.
#[derive(Debug, Default)]
struct Object<'a>(Vec<(JsonName<'a>, Option<&'a RawValue>)>);

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// For anything else than a JSON object.
    pub fn parse(text: &'a str) -> Result<Self, BodyError> {
        let object = serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => BodyError::field("body", "a JSON object"),
            _ => {
                let (line, column) = (error.line(), error.column());
                BodyError::field("body", format!("JSON, not so at line {line}, column {column}"))
            }
        })?;
        Ok(Self { object, ..Self::default() })
    }

    /// The same fields, out of a text that was mended: a bare U+FFFD stands for broken bytes in it.
    pub(super) fn mended(self) -> Self {
        Self { is_mended: true, ..self }
    }

    /// The text of a field's value, out of its object; null counts as not sent. Of a repeated field the last one counts.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let mut taken = None;
        for (other, raw) in &mut self.object.0 {
            if other.0 == name {
                taken = raw.take().or(taken);
            }
        }
        taken.filter(|raw| raw.get() != "null")
    }

    /// A string, if it was sent.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, BodyError> {
        self.take(name).map(|raw| string(raw).ok_or_else(|| self.error(name, "a string"))).transpose()
    }

    /// A string that names something, if it was sent: no byte of it may be broken.
    pub fn exact(&mut self, name: &str) -> Result<Option<String>, BodyError> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        if self.is_broken(raw) {
            return Err(self.error(name, "a string of UTF-8"));
        }
        string(raw).map(Some).ok_or_else(|| self.error(name, "a string"))
    }

    /// A string that must be there and must not be empty.
    pub fn required(&mut self, name: &str) -> Result<String, BodyError> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.error(name, NOT_EMPTY))
    }

    /// An id that must be there and that becomes part of a key.
    pub fn id(&mut self, name: &str, max_bytes: usize) -> Result<String, BodyError> {
        let id = self.optional_id(name, max_bytes)?.filter(|id| !id.is_empty());
        id.ok_or_else(|| self.error(name, NOT_EMPTY))
    }

    /// An id that may be absent, null or empty; `Some("")` says that it was sent empty.
    pub fn optional_id(&mut self, name: &str, max_bytes: usize) -> Result<Option<String>, BodyError> {
        let id = self.exact(name)?;
        match &id {
            Some(id) if id.len() > max_bytes => Err(self.error(name, format!("at most {max_bytes} bytes"))),
            _ => Ok(id),
        }
    }

    /// A whole number that is not negative, or a string of one, if it was sent; also with a fraction of zeros or an exponent.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, BodyError> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        let number = whole(unquoted(raw).unwrap_or(raw.get()));
        number.map(Some).ok_or_else(|| self.error(name, "a whole number that is not negative"))
    }

    /// The objects of a list. One that was not sent is empty, and so is `{}`.
    ///
    /// # Errors
    ///
    /// For anything else than a list; each entry has an error of its own if it is no object.
    pub fn entries(&mut self, name: &'static str) -> Result<Entries<'a>, BodyError> {
        let text = self.take(name).map_or("[]", RawValue::get);
        let inside =
            |open, close| text.strip_prefix(open).and_then(|text| text.strip_suffix(close)).map(str::trim);
        let rest = inside('[', ']').or_else(|| inside('{', '}').filter(|inside| inside.is_empty()));
        let rest = rest.ok_or_else(|| self.error(name, "an array of objects"))?;
        Ok(Entries { rest, name, index: 0, is_mended: self.is_mended })
    }

    /// Whether there are fields that were not taken.
    pub fn has_rest(&self) -> bool {
        self.object.0.iter().any(|(_, raw)| raw.is_some())
    }

    /// The fields that were not taken, in their order.
    pub fn rest(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.object.0.into_iter().filter_map(|(name, raw)| Some((name.0.into_owned(), raw?)))
    }

    /// Whether bytes of a value were not UTF-8.
    pub fn is_broken(&self, raw: &RawValue) -> bool {
        self.is_mended && raw.get().contains(char::REPLACEMENT_CHARACTER)
    }

    /// An error about a field of this object.
    pub fn error(&self, name: &str, expected: impl Into<String>) -> BodyError {
        match self.entry_of {
            Some((list, index)) => BodyError::field(format!("{list}[{index}].{name}"), expected),
            None => BodyError::field(name, expected),
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, raw)) = map.next_entry()? {
                    fields.push((name, Some(raw)));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The objects of a list, each read as it is reached: however long the list is, one takes memory at a time.
#[derive(Debug)]
pub struct Entries<'a> {
    /// The list's text from the next entry on, known to be JSON.
    rest: &'a str,
    name: &'static str,
    index: usize,
    is_mended: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Fields<'a>, BodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut objects = serde_json::Deserializer::from_str(self.rest).into_iter();
        let Ok(object) = objects.next()? else {
            self.rest = "";
            return Some(Err(BodyError::field(format!("{}[{}]", self.name, self.index), "an object")));
        };
        let rest = self.rest.get(objects.byte_offset()..).unwrap_or_default().trim_start();
        self.rest = rest.strip_prefix(',').unwrap_or(rest);
        let entry_of = Some((self.name, self.index));
        self.index += 1;
        Some(Ok(Fields { object, entry_of, is_mended: self.is_mended }))
    }
}

/// A field's name. A lone surrogate in it, which serde_json refuses in a string, becomes U+FFFD.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonName<'a>(pub Cow<'a, str>);

impl<'de> Deserialize<'de> for JsonName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = JsonName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(JsonName(lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(JsonName(lossy(bytes).into_owned().into()))
            }
        }
        /// Like `String::from_utf8_lossy`, which reads right text, too, on its slow path.
        fn lossy(bytes: &[u8]) -> Cow<'_, str> {
            str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The text of a JSON string; `None` for any other value.
pub fn string(raw: &RawValue) -> Option<String> {
    let text = unquoted(raw)?;
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    Some(String::deserialize(raw).unwrap_or_else(|_| raw.get().to_owned()))
}

/// The inside of a JSON string, its escapes as they are.
fn unquoted(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

/// Reads a whole number as JSON writes numbers: digits, perhaps with a fraction and an exponent that leave it whole.
fn whole(text: &str) -> Option<u64> {
    if let Some(number) = decimal(text) {
        return Some(number);
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = i32::try_from(digits.len() - significant.len()).ok()?;
    let power =
        exponent.parse::<i32>().ok()?.checked_add(zeros)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    match decimal(if significant.is_empty() { "0" } else { significant })? {
        0 => Some(0),
        number => number.checked_mul(10_u64.checked_pow(u32::try_from(power).ok()?)?),
    }
}

/// Why a body can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A field can't be read.
    #[error("{field}: expected {expected}")]
    Field {
        /// The field, as a path into the body; `body` for the whole.
        field: String,
        /// The expected value.
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
#[expect(clippy::unwrap_used)]
mod tests;
