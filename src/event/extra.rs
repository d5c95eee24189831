//! Attributes of the table, and JSON that is not known here as such.
//!
//! Custom data never costs an event. Numbers keep every digit; values that DynamoDB can't hold
//! natively (a number of over 38 significant digits or beyond its range, an object with an empty name, nesting beyond
//! its limit, a string that is no Unicode text) is kept as its JSON text.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::value::RawValue;

use super::fact;
use crate::callback::{JsonName, string};

/// Attributes by name: an item, or a map inside one.
pub type Attributes = HashMap<String, AttributeValue>;

/// How many levels of lists and maps an unknown field may nest. DynamoDB takes 32 levels in all: the first is the map
/// `extra` that holds the field, the last the innermost value.
pub const MAX_DEPTH: usize = 30;

/// The longest name of an attribute inside a map, in bytes.
const NAME_MAX_BYTES: usize = 65_535;

/// A string attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Adds unknown fields to the map `extra` of an item, if there are any.
pub(super) fn add<'a>(item: &mut Attributes, rest: impl Iterator<Item = (String, &'a RawValue)>) {
    let mut rest = rest.peekable();
    if rest.peek().is_some() {
        let extra = item.entry("extra".to_owned()).or_insert_with(|| AttributeValue::M(Attributes::new()));
        if let AttributeValue::M(extra) = extra {
            extra.extend(rest.map(|(name, raw)| (map_name(name), from_json(raw, MAX_DEPTH))));
        }
    }
}

/// About how many bytes a value takes, and no fewer.
pub(crate) fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len() + 1,
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size(value)).sum::<usize>(),
        AttributeValue::M(fields) => {
            3 + fields.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>()
        }
        _ => 1,
    }
}

/// A name that DynamoDB holds: an empty one becomes its JSON text, and the end of an endless one is cut off.
pub(crate) fn map_name(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(NAME_MAX_BYTES - fact::USER_DEFINED.len()));
    if name.is_empty() { "\"\"".to_owned() } else { name }
}

/// Turns one JSON value into an attribute value.
fn from_json(raw: &RawValue, levels: usize) -> AttributeValue {
    let native = match raw.get().as_bytes().first() {
        Some(b'{') => object(raw, levels),
        Some(b'[') => list(raw, levels),
        Some(b'"') => string(raw).map(AttributeValue::S),
        Some(b't') => Some(AttributeValue::Bool(true)),
        Some(b'f') => Some(AttributeValue::Bool(false)),
        Some(b'n') => Some(AttributeValue::Null(true)),
        _ => is_dynamodb_number(raw.get()).then(|| number(raw.get())),
    };
    native.unwrap_or_else(|| text(raw.get()))
}

fn object(raw: &RawValue, levels: usize) -> Option<AttributeValue> {
    let levels = levels.checked_sub(1)?;
    let fields: BTreeMap<JsonName<'_>, &RawValue> = serde_json::from_str(raw.get()).ok()?;
    let is_held = |name: &JsonName<'_>| (1..=NAME_MAX_BYTES).contains(&name.0.len());
    fields.keys().all(is_held).then(|| {
        let entries = fields.into_iter();
        AttributeValue::M(entries.map(|(name, raw)| (name.0.into_owned(), from_json(raw, levels))).collect())
    })
}

fn list(raw: &RawValue, levels: usize) -> Option<AttributeValue> {
    let levels = levels.checked_sub(1)?;
    let values: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    Some(AttributeValue::L(values.into_iter().map(|raw| from_json(raw, levels)).collect()))
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

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn convert(json: &str) -> AttributeValue {
        from_json(serde_json::from_str(json).unwrap(), MAX_DEPTH)
    }

    #[test]
    fn every_json_type_has_its_native_one() {
        let expected = AttributeValue::M(HashMap::from([
            ("s".to_owned(), text("a\0\u{1f600}")),
            ("n".to_owned(), number("-1.50e3")),
            ("l".to_owned(), AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::Null(true)])),
            ("m".to_owned(), AttributeValue::M(HashMap::new())),
        ]));
        assert_eq!(convert(r#"{"s":"a\u0000😀", "n": -1.50e3, "l":[true,null], "m":{}}"#), expected);
    }

    #[test]
    fn a_number_that_dynamodb_cannot_hold_is_kept_as_text() {
        let long = "1".repeat(39);
        for json in ["1e126", "1e-131", "1e99999999999", "-1e2147483647", long.as_str()] {
            assert_eq!(convert(json), text(json));
        }
        let padded = format!("0.{}{}000", "0".repeat(60), "9".repeat(38));
        for json in ["9.99e125", "1e-130", "0", "-0.0e999", padded.as_str()] {
            assert_eq!(convert(json), number(json));
        }
    }

    #[test]
    fn what_nests_too_deep_is_kept_as_text_from_the_last_level_on() {
        let nest = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let depth = |mut value: AttributeValue| {
            let mut levels = 0;
            while let AttributeValue::L(mut list) = value {
                levels += 1;
                value = list.pop().unwrap_or(AttributeValue::Null(true));
            }
            (levels, value)
        };
        assert_eq!(depth(convert(&nest(MAX_DEPTH))), (MAX_DEPTH, AttributeValue::Null(true)));
        assert_eq!(depth(convert(&nest(MAX_DEPTH + 2))), (MAX_DEPTH, text("[[]]")));
        assert_eq!(depth(convert(&nest(100))), (MAX_DEPTH, text(nest(100 - MAX_DEPTH))));
    }

    #[test]
    fn an_object_with_an_empty_name_and_a_string_that_is_no_text_are_kept_as_json() {
        let kept = AttributeValue::L(vec![text(r#"{"":1}"#), number(2)]);
        assert_eq!(convert(r#"[{"":1},2]"#), kept);
        assert_eq!(convert(r#"["\ud800"]"#), AttributeValue::L(vec![text(r#""\ud800""#)]));
    }

    #[test]
    fn unknown_fields_are_added_if_there_are_any() {
        let mut item = Attributes::new();
        add(&mut item, [].into_iter());
        assert!(item.is_empty());
        let raw: BTreeMap<String, &RawValue> = serde_json::from_str(r#"{"":1,"a":true}"#).unwrap();
        add(&mut item, raw.into_iter());
        let extra =
            HashMap::from([("\"\"".to_owned(), number(1)), ("a".to_owned(), AttributeValue::Bool(true))]);
        assert_eq!(item["extra"], AttributeValue::M(extra));
    }
}
