//! The lost events that a log holds: what put-back sends, and what the soak and the tests have to find whole.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::Deserialize;
use serde_json::Value;

/// Far more than the largest callback makes, for the table and the downstream.
const EVENT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// A lost event.
#[derive(Debug, PartialEq)]
pub enum Lost {
    /// The queue message.
    Event(Value),
    /// A message without a body, as the log never holds that of a callback that is only forwarded.
    WithoutBody(Value),
    /// An event of which some lines are missing.
    Incomplete { lost_id: String, found: usize, parts: usize },
}

/// Reads log lines in JSON, one a line, or as an array of strings, as the AWS CLI prints them. Lines with other outcomes
/// are passed over.
pub fn parse(text: &str) -> Result<Vec<Lost>, String> {
    let mut lines = Lines::default();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        value.and_then(|value| lines.take(value)).map_err(|error| error.to_string())?;
    }
    lines.lost()
}

/// What the lines hold, in whatever order they come.
#[derive(Default)]
struct Lines {
    lost: Vec<Lost>,
    /// The events that are spread over several lines, by their `lost_id`.
    parts: BTreeMap<String, Parts>,
}

/// The parts of one event.
#[derive(Default)]
struct Parts {
    count: usize,
    data: BTreeMap<usize, String>,
}

/// A line with outcome `lost_part`.
#[derive(Deserialize)]
struct Part {
    lost_id: String,
    part: usize,
    parts: usize,
    data: String,
}

impl Lines {
    fn take(&mut self, value: Value) -> Result<(), serde_json::Error> {
        match value {
            Value::Array(values) => values.into_iter().try_for_each(|value| self.take(value)),
            Value::String(line) => self.take(serde_json::from_str(&line)?),
            Value::Object(_) if value["outcome"] == "lost" => {
                self.take_lost(value);
                Ok(())
            }
            Value::Object(_) if value["outcome"] == "lost_part" => {
                let Part { lost_id, part, parts, data } = serde_json::from_value(value)?;
                let event = self.parts.entry(lost_id).or_default();
                event.count = parts;
                event.data.insert(part, data);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_lost(&mut self, mut line: Value) {
        match (line["event"].take(), line["lost_id"].as_str()) {
            // Its parts may be missing altogether.
            (Value::Null, Some(lost_id)) => drop(self.parts.entry(lost_id.to_owned()).or_default()),
            (event, _) => self.lost.extend(events(event)),
        }
    }

    fn lost(mut self) -> Result<Vec<Lost>, String> {
        for (lost_id, parts) in self.parts {
            match parts.join() {
                Some(data) => {
                    let event = unpack(&data).map_err(|error| format!("lost_id {lost_id}: {error}"))?;
                    self.lost.extend(events(event));
                }
                None => {
                    let (found, parts) = (parts.data.len(), parts.count);
                    self.lost.push(Lost::Incomplete { lost_id, found, parts });
                }
            }
        }
        Ok(self.lost)
    }
}

impl Parts {
    /// The data of all parts, from 1 on; `None` where one is missing.
    fn join(&self) -> Option<String> {
        let all = (1..=self.count).map(|part| self.data.get(&part).map(String::as_str));
        all.collect::<Option<String>>().filter(|data| !data.is_empty())
    }
}

/// The JSON that the parts hold: base64 of a zlib stream.
fn unpack(data: &str) -> Result<Value, String> {
    let zlib = BASE64_STANDARD.decode(data).map_err(|error| error.to_string())?;
    let json =
        decompress_to_vec_zlib_with_limit(&zlib, EVENT_MAX_BYTES).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

/// The messages of one event: a list where both the table and the downstream are owed it.
fn events(event: Value) -> impl Iterator<Item = Lost> {
    let messages = match event {
        Value::Array(messages) => messages,
        message => vec![message],
    };
    messages.into_iter().map(|message| {
        match ["body", "body_base64", "body_zlib"].iter().any(|name| message.get(name).is_some()) {
            true => Lost::Event(message),
            false => Lost::WithoutBody(message),
        }
    })
}

/// The event as SQS takes it. JSON may hold U+FFFE and U+FFFF as they are, an SQS message may not.
pub fn to_message(event: &Value) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(event)?.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"))
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec_zlib;
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_found_one_a_line_and_in_an_array_of_strings() {
        let line = json!({ "outcome": "lost", "event": { "body": "{}" } }).to_string();
        let other = json!({ "outcome": "stored" }).to_string();
        let expected = [Lost::Event(json!({ "body": "{}" }))];
        assert_eq!(parse(&format!("{line}\n{other}\n")).as_deref(), Ok(&expected[..]));
        let array = json!([other, line]).to_string();
        assert_eq!(parse(&array).as_deref(), Ok(&expected[..]));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn a_line_may_hold_an_event_for_each_queue() {
        let events = [json!({ "body": "{}" }), json!({ "body_zlib": "", "pending": "forward" })];
        let line = json!({ "outcome": "lost", "event": events });
        assert_eq!(parse(&line.to_string()), Ok(Vec::from(events.map(Lost::Event))));
    }

    #[test]
    fn an_event_without_a_body_is_told_apart() {
        let line = json!({ "outcome": "lost", "event": { "query": "a=b" } });
        assert_eq!(parse(&line.to_string()), Ok(vec![Lost::WithoutBody(json!({ "query": "a=b" }))]));
    }

    /// The lines of an event in so many parts, as the log holds them.
    fn in_parts(lost_id: &str, event: &Value, parts: usize) -> Vec<String> {
        let data = BASE64_STANDARD.encode(compress_to_vec_zlib(event.to_string().as_bytes(), 6));
        let size = data.len().div_ceil(parts);
        let pieces = data.as_bytes().chunks(size).map(String::from_utf8_lossy).enumerate();
        let line = |(n, data)| json!({ "outcome": "lost_part", "lost_id": lost_id, "part": n + 1, "parts": parts, "data": data });
        pieces.map(|piece| line(piece).to_string()).collect()
    }

    #[test]
    fn parts_are_joined_whatever_their_order_and_however_often_they_come() {
        let (one, both) =
            (json!({ "body": "é" }), json!([{ "body": "1" }, { "body": "2", "pending": "forward" }]));
        let lost = |id: &str| json!({ "outcome": "lost", "lost_id": id }).to_string();
        let mut lines = [in_parts("a", &both, 3), in_parts("b", &one, 1)].concat();
        lines.extend([lost("a"), lost("b")]);
        lines.reverse();
        lines.extend(in_parts("a", &both, 3));
        let expected = [both[0].clone(), both[1].clone(), one].map(Lost::Event);
        assert_eq!(parse(&lines.join("\n")).as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn an_event_that_lacks_a_part_is_named() {
        let mut lines = in_parts("a", &json!({ "body": "some text" }), 3);
        lines.remove(1);
        lines.push(json!({ "outcome": "lost", "lost_id": "b" }).to_string());
        let incomplete = |id: &str, found, parts| Lost::Incomplete { lost_id: id.to_owned(), found, parts };
        assert_eq!(parse(&lines.join("\n")), Ok(vec![incomplete("a", 2, 3), incomplete("b", 0, 0)]));
    }

    #[test]
    fn what_is_not_a_log_line_is_an_error() {
        for text in
            ["2025-01-01 START", r#"["START"]"#, r#"{"outcome":"lost_part","lost_id":"a","part":"1"}"#]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        let broken = json!({ "outcome": "lost_part", "lost_id": "a", "part": 1, "parts": 1, "data": "AAAA" });
        assert!(parse(&broken.to_string()).is_err_and(|error| error.starts_with("lost_id a: ")));
    }

    #[test]
    fn characters_that_sqs_refuses_stay_escaped() {
        let event = json!({ "body": "\u{fffe}\u{ffff}\u{1fffe}\u{0}" });
        assert_eq!(to_message(&event).ok().as_deref(), Some("{\"body\":\"\\ufffe\\uffff\u{1fffe}\\u0000\"}"));
    }
}
