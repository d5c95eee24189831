//! Texts from outside, made from parts that are right and parts that are wrong: nothing panics, a right text is read as
//! strict JSON reads it, and a mended one holds every field.
//!
//! `PROPTEST_CASES` says how many of each are tried.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::body::mend;
use super::*;

/// A string as a sender writes it, its bytes as they stand between the quotes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Literal {
    pub(crate) bytes: Vec<u8>,
    /// The text that it means.
    pub(crate) text: String,
    /// Whether bytes of it are no UTF-8.
    pub(crate) is_broken: bool,
}

impl Literal {
    fn new(bytes: impl Into<Vec<u8>>, text: impl Into<String>) -> Self {
        Self { bytes: bytes.into(), text: text.into(), is_broken: false }
    }
}

/// Strings that strict JSON reads, and strings that it does not.
pub(crate) fn literal() -> impl Strategy<Value = Literal> {
    let right = any::<char>().prop_map(|character| {
        let json = Value::from(character.to_string()).to_string();
        Literal::new(&json.as_bytes()[1..json.len() - 1], character)
    });
    let escaped = any::<u16>().prop_filter_map("a surrogate", |code| {
        let character = char::from_u32(code.into())?;
        Some(Literal::new(format!("\\u{code:04X}"), character))
    });
    let control = (0_u8..0x20).prop_map(|byte| Literal::new([byte], char::from(byte)));
    let broken = select(vec![&b"\xff"[..], b"\xc3", b"\xe6\xb5", b"\xf0\x9f\xa6", b"\xed\xa0\x80"])
        .prop_map(|bytes| Literal { is_broken: true, ..Literal::new(bytes, String::from_utf8_lossy(bytes)) });
    let sent = Just(Literal::new("\u{fffd}", '\u{fffd}'));
    let part = prop_oneof![8 => right, 2 => escaped, 1 => control, 1 => broken, 1 => sent];
    vec(part, 0..12).prop_map(|parts| {
        parts.into_iter().fold(Literal::default(), |mut whole, part| {
            whole.bytes.extend(part.bytes);
            whole.text += &part.text;
            whole.is_broken |= part.is_broken;
            whole
        })
    })
}

/// An object of the fields `0`, `1`, …, with white space and perhaps a byte order mark before it.
pub(crate) fn object(is_marked: bool, literals: &[Literal]) -> Vec<u8> {
    let mut bytes = if is_marked { "\u{feff}{".as_bytes().to_vec() } else { b"\t{\r\n".to_vec() };
    for (index, literal) in literals.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        bytes.extend([format!("{separator}\"{index}\" : \"").as_bytes(), &literal.bytes, b"\"\n"].concat());
    }
    bytes.push(b'}');
    bytes
}

/// Any JSON value.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((any::<String>(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Reads everything that can be read of a body.
fn read_all(bytes: &[u8]) {
    let mut body = Body::new(bytes);
    let Ok(mut fields) = body.fields() else { return };
    fields.number("0").ok();
    fields.exact("1").ok();
    for name in ["2", "MemberList"] {
        for entry in fields.entries(name).into_iter().flatten().flatten() {
            entry.rest().for_each(|(_, raw)| drop(string(raw)));
        }
    }
    fields.rest().for_each(|(_, raw)| drop(string(raw)));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    #[test]
    fn no_change_of_a_body_panics(
        literals in vec(literal(), 0..4),
        list in json(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = object(false, &literals);
        bytes.pop();
        bytes.extend(format!(",\"MemberList\":[{list},{{}}]}}").as_bytes());
        read_all(&bytes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
        bytes.truncate(end.index(bytes.len()));
        read_all(&bytes);
    }

    #[test]
    fn a_right_text_is_read_as_strict_json_reads_it(value in json(), is_pretty: bool) {
        let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
        let strict: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&mend(text.as_bytes())).unwrap(), strict.clone());
        let mut body = Body::new(text.as_bytes());
        let read = body.fields().ok().map(|fields| {
            let value = |raw: &serde_json::value::RawValue| serde_json::from_str(raw.get()).unwrap();
            fields.rest().map(|(name, raw)| (name, value(raw))).collect::<serde_json::Map<String, Value>>()
        });
        prop_assert_eq!(read.as_ref(), strict.as_object());
    }

    #[test]
    fn every_field_of_a_mended_text_is_read(is_marked: bool, literals in vec(literal(), 0..6)) {
        let bytes = object(is_marked, &literals);
        let is_broken = std::str::from_utf8(&bytes).is_err();
        for (index, literal) in literals.iter().enumerate() {
            let (mut body, name) = (Body::new(&bytes), index.to_string());
            prop_assert_eq!(body.fields().unwrap().text(&name), Ok(Some(literal.text.clone())));
            prop_assert_eq!(body.fields().unwrap().exact(&name).is_err(), literal.is_broken && is_broken);
        }
    }

    #[test]
    fn no_query_string_panics_and_every_parameter_is_read(
        noise in "[^&]{0,20}",
        values in vec(any::<String>(), 3),
    ) {
        let [ip, platform, id] = [0, 1, 2].map(|index| Some(values[index].as_str()).filter(|value| !value.is_empty()));
        let pairs = [("ClientIP", &values[0]), ("OptPlatform", &values[1]), ("RequestID", &values[2])];
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let raw = format!("{noise}&{encoded}&{noise}=");
        let query = Query::parse(&raw);
        prop_assert_eq!((query.client_ip(), query.opt_platform(), query.request_id()), (ip, platform, id));
        prop_assert!(query.sdk_app_id().is_err() && query.command().is_err());
        prop_assert_eq!(query.without(&[]), raw.clone());
        let noise = Query::parse(&noise);
        prop_assert!(noise.sign().is_ok() || noise.request_time().is_ok());
    }
}
