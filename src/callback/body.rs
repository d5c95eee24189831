//! The one way to read JSON from outside: callbacks and the answers of Chat's REST API.
//!
//! Strict first, so that a right text costs nothing more. Where that fails, the text is mended as far as its meaning is
//! certain, and read again: a byte order mark is skipped, a raw control character in a string is that character, and bytes
//! that are not UTF-8 become U+FFFD.

use std::str::from_utf8;

use super::{BodyError, Fields};

/// A JSON object as it came.
#[derive(Debug)]
pub struct Body<'a> {
    bytes: &'a [u8],
    mended: String,
}

impl<'a> Body<'a> {
    /// Takes the bytes as received.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, mended: String::new() }
    }

    /// Reads the object's fields.
    ///
    /// # Errors
    ///
    /// For anything else than a JSON object, even mended.
    pub fn fields(&mut self) -> Result<Fields<'_>, BodyError> {
        if let Some(fields) = from_utf8(self.bytes).ok().and_then(|text| Fields::parse(text).ok()) {
            return Ok(fields);
        }
        self.mended = mend(self.bytes);
        Fields::parse(&self.mended).map(Fields::mended)
    }
}

/// Mends a text. A U+FFFD that was sent becomes an escape, so that a bare one always stands for broken bytes.
///
/// An escape that a control character or broken bytes follow stays as it is, and so unreadable: its meaning is not certain.
pub(super) fn mend(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    let (mut in_string, mut is_escaped) = (false, false);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let is_plain = in_string && !is_escaped;
            if is_plain && (character < ' ' || character == char::REPLACEMENT_CHARACTER) {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                text.push(character);
            }
            in_string ^= character == '"' && !is_escaped;
            is_escaped = is_plain && character == '\\';
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            is_escaped = false;
        }
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn mended(bytes: &[u8]) -> Option<Value> {
        serde_json::from_str(&mend(bytes)).ok()
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_alone() {
        assert_eq!(
            Body::new("\u{feff}{\"a\":\"\u{feff}\"}".as_bytes())
                .fields()
                .unwrap()
                .text("a")
                .unwrap()
                .as_deref(),
            Some("\u{feff}")
        );
        assert!(Body::new("\u{feff}\u{feff}{}".as_bytes()).fields().is_err());
        assert!(Body::new(" \u{feff}{}".as_bytes()).fields().is_err());
    }

    #[test]
    fn a_raw_control_character_in_a_string_is_that_character() {
        for control in (0..0x20).map(char::from) {
            let text = format!("{{\r\n\t\"a\": \"x{control}\\\"{control}\\\\{control}\"\n}}");
            let expected = format!("x{control}\"{control}\\{control}");
            assert_eq!(Body::new(text.as_bytes()).fields().unwrap().text("a").unwrap(), Some(expected));
        }
        assert_eq!(mended(b"{\"a\"\x00:1}"), None, "outside of strings it means nothing");
        assert_eq!(mended(b"{\"a\":\"\\\n\"}"), None, "an escape of it means nothing");
    }

    #[test]
    fn bytes_that_are_not_utf_8_become_replacement_characters() {
        let text = |bytes: &[u8]| Some(mended(bytes)?["a"].as_str()?.to_owned());
        assert_eq!(text(b"{\"a\":\"\x01\xff\x80>\"}").as_deref(), Some("\u{1}\u{fffd}\u{fffd}>"));
        assert_eq!(text(b"{\"a\":\"cut \xe6\xb5\"}").as_deref(), Some("cut \u{fffd}"));
        assert_eq!(text(b"{\"a\":\"\\\xff\"}"), None, "an escape of it means nothing");
        assert_eq!(text(b"{\"a\":\xff\"\"}"), None, "outside of strings it means nothing");
    }

    #[test]
    fn a_replacement_character_that_was_sent_is_told_from_one_that_mends() {
        let text = "{\"sent\":\"\u{fffd}\",\"escaped\":\"\\ufffd\",\"broken\":\"?\",\"Broken\":\"\\\\?\"}";
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        let mut body = Body::new(&bytes);
        let mut fields = body.fields().unwrap();
        for (name, is_broken) in [("sent", false), ("escaped", false), ("broken", true), ("Broken", true)] {
            let raw = fields.take(name).unwrap();
            assert_eq!(fields.is_broken(raw), is_broken, "{name}");
        }
        let mut strict = Body::new("{\"sent\":\"\u{fffd}\"}".as_bytes());
        assert_eq!(strict.fields().unwrap().exact("sent").unwrap().as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn what_is_really_wrong_is_not_mended() {
        for text in [
            "{\"a\":1,// comment\n\"b\":2}",
            "{\"a:1}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":\"x\"y\"}",
            "{\"a\":01}",
            "{} {}",
        ] {
            assert!(Body::new(text.as_bytes()).fields().is_err(), "{text}");
        }
    }
}
