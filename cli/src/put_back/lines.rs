//! The log lines of lost events: one a line, or as an array of strings, as the AWS CLI prints them.

use std::io::Read;

use serde_json::Value;

/// What a line with outcome `lost` holds.
#[derive(Debug, PartialEq)]
pub enum Lost {
    /// The queue message.
    Event(Value),
    /// A callback that was only to be passed on: the log never holds its body. This is its command.
    WithoutBody(String),
}

/// Reads a file, or standard input for `-`. Lines with other outcomes are passed over.
pub fn read(path: &str) -> Result<Vec<Lost>, String> {
    let mut text = String::new();
    let read = match path {
        "-" => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| format!("LINES: {path}: {error}"))?;
    parse(&text).map_err(|error| format!("LINES: {path}: expected log lines in JSON ({error})"))
}

fn parse(text: &str) -> Result<Vec<Lost>, serde_json::Error> {
    let mut lost = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        collect(value?, &mut lost)?;
    }
    Ok(lost)
}

fn collect(value: Value, lost: &mut Vec<Lost>) -> Result<(), serde_json::Error> {
    match value {
        Value::Array(values) => values.into_iter().try_for_each(|value| collect(value, lost)),
        Value::String(line) => collect(serde_json::from_str(&line)?, lost),
        Value::Object(mut line) if line.get("outcome").is_some_and(|outcome| outcome == "lost") => {
            // A list where both the table and the downstream receiver are owed it.
            let events = match line.remove("event").unwrap_or_default() {
                Value::Array(events) => events,
                event => vec![event],
            };
            let command = line.get("callback_command").and_then(Value::as_str).unwrap_or("(no command)");
            lost.extend(events.into_iter().map(
                |event| match event.get("body").or(event.get("body_base64")) {
                    Some(_) => Lost::Event(event),
                    None => Lost::WithoutBody(command.to_owned()),
                },
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The event as SQS takes it. JSON may hold U+FFFE and U+FFFF as they are, an SQS message may not.
pub fn to_message(event: &Value) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(event)?.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_found_one_a_line_and_in_an_array_of_strings() {
        let line = json!({ "outcome": "lost", "event": { "body": "{}" } }).to_string();
        let other = json!({ "outcome": "stored" }).to_string();
        let expected = [Lost::Event(json!({ "body": "{}" }))];
        assert_eq!(parse(&format!("{line}\n{other}\n")).ok().as_deref(), Some(&expected[..]));
        let array = json!([other, line]).to_string();
        assert_eq!(parse(&array).ok().as_deref(), Some(&expected[..]));
        assert_eq!(parse("").ok(), Some(Vec::new()));
    }

    #[test]
    fn a_line_may_hold_an_event_for_each_queue() {
        let events = [json!({ "body": "{}" }), json!({ "body": "{}", "pending": "forward" })];
        let line = json!({ "outcome": "lost", "event": events });
        assert_eq!(parse(&line.to_string()).ok(), Some(Vec::from(events.map(Lost::Event))));
    }

    #[test]
    fn a_line_without_a_body_is_named_by_its_command() {
        let line = json!({ "outcome": "lost", "callback_command": "C", "event": { "query": "a=b" } });
        assert_eq!(parse(&line.to_string()).ok(), Some(vec![Lost::WithoutBody("C".to_owned())]));
    }

    #[test]
    fn what_is_not_a_log_line_is_an_error() {
        assert!(parse("2025-01-01 START").is_err());
        assert!(parse(r#"["START"]"#).is_err());
    }

    #[test]
    fn characters_that_sqs_refuses_stay_escaped() {
        let event = json!({ "body": "\u{fffe}\u{ffff}\u{1fffe}\u{0}" });
        assert_eq!(to_message(&event).ok().as_deref(), Some("{\"body\":\"\\ufffe\\uffff\u{1fffe}\\u0000\"}"));
    }
}
