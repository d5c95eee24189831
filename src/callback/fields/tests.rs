use super::*;

fn fields(text: &str) -> Fields<'_> {
    Fields::parse(text).unwrap()
}

fn error<T>(result: Result<T, BodyError>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_body_is_a_json_object() {
    for (text, expected) in [
        ("", "body: expected JSON, not so at line 1, column 0"),
        ("{", "body: expected JSON"),
        ("{} x", "body: expected JSON"),
        ("{\"a\": tru}", "body: expected JSON"),
        ("\"text\"", "body: expected a JSON object"),
        ("[]", "body: expected a JSON object"),
        ("null", "body: expected a JSON object"),
    ] {
        let error = error(Fields::parse(text));
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn null_is_not_sent_and_empty_is() {
    let mut fields = fields(r#"{"a":null,"b":"","c":"x"}"#);
    assert_eq!((fields.text("a").unwrap(), fields.text("b").unwrap()), (None, Some(String::new())));
    assert_eq!((fields.text("c").unwrap().as_deref(), fields.text("c").unwrap()), (Some("x"), None));
}

#[test]
fn of_a_repeated_field_the_last_one_counts() {
    let mut fields = fields(r#"{"a":1,"b":"x","a":"2","b":null,"c":1,"c":2}"#);
    assert_eq!((fields.text("a").unwrap().as_deref(), fields.text("b").unwrap()), (Some("2"), None));
    assert!(
        fields.rest().map(|(name, raw)| (name, raw.get())).eq([("c".to_owned(), "1"), ("c".to_owned(), "2")])
    );
}

#[test]
fn a_string_is_read_with_its_escapes() {
    let mut fields = fields(r#"{"a":"\u00e9\/\"","b":"\"","c":"é"}"#);
    let mut text = |name| fields.text(name).unwrap().unwrap();
    assert_eq!([text("a"), text("b"), text("c")], ["é/\"", "\"", "é"]);
}

#[test]
fn a_string_that_is_no_unicode_text_is_kept_as_its_json_text() {
    let text = fields(r#"{"Name":"a\ud800\n"}"#).text("Name").unwrap();
    assert_eq!(text.as_deref(), Some(r#""a\ud800\n""#));
}

#[test]
fn a_name_that_is_no_unicode_text_costs_nothing() {
    let names = fields(r#"{"\ud800":1,"a\n":2}"#).rest().map(|(name, _)| name);
    assert!(names.eq(["\u{fffd}\u{fffd}\u{fffd}", "a\n"]));
}

#[test]
fn a_whole_number_is_read_in_all_its_forms() {
    for (text, expected) in [
        ("0", 0),
        ("0.0", 0),
        ("0e7", 0),
        ("\"0\"", 0),
        ("1716000000000", 1_716_000_000_000),
        ("1716000000000.000", 1_716_000_000_000),
        ("1.716E12", 1_716_000_000_000),
        ("\"1.716e+12\"", 1_716_000_000_000),
        ("\"1716000000000.0\"", 1_716_000_000_000),
        ("17160000000000e-1", 1_716_000_000_000),
        ("1716.0000000000e9", 1_716_000_000_000),
        ("18446744073709551615", u64::MAX),
        ("1.8446744073709551615e19", u64::MAX),
    ] {
        let number = fields(&format!("{{\"n\":{text}}}")).number("n");
        assert_eq!(number, Ok(Some(expected)), "{text}");
    }
    for text in ["-1", "1.5", "15e-1", "1e20", "18446744073709551616", "1e99999999999", "true", "[]", "{}"] {
        let number = fields(&format!("{{\"n\":{text}}}")).number("n");
        assert_eq!(error(number), "n: expected a whole number that is not negative", "{text}");
    }
    for text in ["", "+5", " 5", "5 ", "1.", ".5", "1e", "e5", "0x5", "1_000", "１", "1.5e0"] {
        let number = fields(&format!("{{\"n\":\"{text}\"}}")).number("n");
        assert_eq!(error(number), "n: expected a whole number that is not negative", "{text}");
    }
    assert_eq!(fields(r#"{"n":null}"#).number("n"), Ok(None));
}

#[test]
fn a_list_is_read_entry_by_entry() {
    let indices = |text: &str| {
        let text = format!("{{\"list\":{text}}}");
        let entries = fields(&text).entries("list").unwrap();
        entries.map(|entry| entry.unwrap().number("i").unwrap().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(indices(r#"[{"i":1},{"i":2,"list":[{}]},{"i":3,"":"],["}]"#), [1, 2, 3]);
    assert_eq!(indices(" [ \t{ \"i\" : 1 }\r\n , {\"i\":2} ] "), [1, 2]);
    for empty in ["[]", "[ ]", "{}", "{\n}", "null"] {
        assert!(indices(empty).is_empty(), "{empty}");
    }
    assert_eq!(fields("{}").entries("list").unwrap().count(), 0);
}

#[test]
fn an_error_names_the_field_and_what_was_expected() {
    let mut fields =
        fields(r#"{"a":1,"b":"","list":[{"Member_Account":7},3,{}],"map":{"a":1},"long":"xxxx"}"#);
    assert_eq!(error(fields.text("a")), "a: expected a string");
    assert_eq!(error(fields.required("b")), "b: expected a string that is not empty");
    assert_eq!(error(fields.id("none", 3)), "none: expected a string that is not empty");
    assert_eq!(error(fields.id("long", 3)), "long: expected at most 3 bytes");
    assert_eq!(error(fields.entries("map")), "map: expected an array of objects");
    let mut entries = fields.entries("list").unwrap();
    let account = entries.next().unwrap().unwrap().required("Member_Account");
    assert_eq!(error(account), "list[0].Member_Account: expected a string");
    assert_eq!(error(entries.next().unwrap()), "list[1]: expected an object");
    assert!(entries.next().is_none(), "the first error ends a list");
}
