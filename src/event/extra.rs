//! JSON that is not known here, as native DynamoDB types.
//!
//! Numbers keep every digit that they were sent with; the few that DynamoDB can't hold
//! (over 38 significant digits, or beyond its range) are kept as their text.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::value::RawValue;

/// Attributes by name: an item, or a map inside one.
pub type Attributes = HashMap<String, AttributeValue>;

/// How many levels of lists and maps an unknown field may nest. DynamoDB takes 32 levels in all: the first
/// is the map `extra` that holds the field, the last the innermost value.
pub const MAX_DEPTH: usize = 30;

/// Turns the text of one JSON value into an attribute value.
pub fn from_json(raw: &RawValue) -> Result<AttributeValue, AttributeError> {
    nested(raw, MAX_DEPTH)
}

fn nested(raw: &RawValue, levels: usize) -> Result<AttributeValue, AttributeError> {
    let text = raw.get();
    let value = match text.as_bytes().first() {
        Some(b'{' | b'[') if levels == 0 => return Err(AttributeError::TooDeep),
        Some(b'{') => AttributeValue::M(
            read::<HashMap<String, &RawValue>>(text)?
                .into_iter()
                .map(|(name, value)| match name.is_empty() {
                    true => Err(AttributeError::EmptyName),
                    false => Ok((name, nested(value, levels - 1)?)),
                })
                .collect::<Result<_, _>>()?,
        ),
        Some(b'[') => AttributeValue::L(
            read::<Vec<&RawValue>>(text)?
                .into_iter()
                .map(|value| nested(value, levels - 1))
                .collect::<Result<_, _>>()?,
        ),
        Some(b'"') => AttributeValue::S(read(text)?),
        Some(b't' | b'f') => AttributeValue::Bool(read(text)?),
        Some(b'n') => AttributeValue::Null(true),
        _ if is_dynamodb_number(text) => AttributeValue::N(text.to_owned()),
        _ => AttributeValue::S(text.to_owned()),
    };
    Ok(value)
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, AttributeError> {
    // The text is known to be JSON; only an escape that is no Unicode character still fails.
    serde_json::from_str(text).map_err(|_| AttributeError::NotUnicode)
}

/// Whether DynamoDB holds this JSON number exactly: zero, or up to 38 significant digits
/// with a magnitude from 1E-130 to 9.9…E+125.
fn is_dynamodb_number(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>()),
        None => (text, Ok(0)),
    };
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let Some(first) = digits().position(|digit| digit != b'0') else {
        return true;
    };
    let trailing_zeros = digits().rev().take_while(|digit| *digit == b'0').count();
    let significant = whole.len() + fraction.len() - first - trailing_zeros;
    // The power of ten of the first significant digit.
    let power = i32::try_from(whole.len())
        .ok()
        .zip(i32::try_from(first).ok())
        .zip(exponent.ok())
        .and_then(|((whole, first), exponent)| exponent.checked_add(whole - first - 1));
    significant <= 38 && power.is_some_and(|power| (-130..=125).contains(&power))
}

/// Why DynamoDB can't hold a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeError {
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep,
    /// An object in it has an empty name.
    EmptyName,
    /// A string in it has an escape that is no Unicode character.
    NotUnicode,
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "at most {MAX_DEPTH} levels of nesting"),
            Self::EmptyName => f.write_str("no empty names in it"),
            Self::NotUnicode => f.write_str("Unicode text"),
        }
    }
}

impl std::error::Error for AttributeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(json: &str) -> Result<AttributeValue, AttributeError> {
        let raw: &RawValue = serde_json::from_str(json).map_err(|_| AttributeError::NotUnicode)?;
        from_json(raw)
    }

    #[test]
    fn every_json_type_has_its_native_one() {
        let expected = AttributeValue::M(HashMap::from([
            ("s".to_owned(), AttributeValue::S("a\0\u{1f600}".to_owned())),
            ("n".to_owned(), AttributeValue::N("-1.50e3".to_owned())),
            ("l".to_owned(), AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::Null(true)])),
            ("m".to_owned(), AttributeValue::M(HashMap::new())),
        ]));
        let json = r#"{"s":"a\u0000😀", "n": -1.50e3, "l":[true,null], "m":{}}"#;
        assert_eq!(convert(json), Ok(expected));
    }

    #[test]
    fn a_number_that_dynamodb_cannot_hold_is_kept_as_text() {
        let long = "1".repeat(39);
        for number in ["1e126", "1e-131", "1e99999999999", "-1e2147483647", long.as_str()] {
            assert_eq!(convert(number), Ok(AttributeValue::S(number.to_owned())));
        }
        let padded = format!("0.{}{}000", "0".repeat(60), "9".repeat(38));
        for number in ["9.99e125", "1e-130", "0", "-0.0e999", padded.as_str()] {
            assert_eq!(convert(number), Ok(AttributeValue::N(number.to_owned())));
        }
    }

    #[test]
    fn nesting_ends_where_dynamodb_ends_it() {
        let nest = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(convert(&nest(MAX_DEPTH)).is_ok());
        assert_eq!(convert(&nest(MAX_DEPTH + 1)), Err(AttributeError::TooDeep));
        assert_eq!(convert(&nest(10_000)), Err(AttributeError::TooDeep));
    }

    #[test]
    fn what_dynamodb_refuses_is_an_error() {
        assert_eq!(convert(r#"[{"":1}]"#), Err(AttributeError::EmptyName));
        assert_eq!(convert(r#"["\ud800"]"#), Err(AttributeError::NotUnicode));
    }
}
