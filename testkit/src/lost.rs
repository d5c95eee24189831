//! Lost events, joined of the log lines that hold them.

use std::collections::BTreeMap;
use std::error::Error;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use miniz_oxide::inflate::decompress_to_vec_zlib;
use serde_json::Value;

/// The queue messages of the lost events in these lines. Of each event, the parts are expected in order.
pub fn messages(lines: &[Value]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut events = BTreeMap::<&str, String>::new();
    for line in lines.iter().filter(|line| line["outcome"] == "lost_part") {
        let (id, data) = (line["lost_id"].as_str(), line["data"].as_str());
        events.entry(id.ok_or("no lost_id")?).or_default().push_str(data.ok_or("no data")?);
    }
    let mut messages = Vec::new();
    for base64 in events.values() {
        let json =
            decompress_to_vec_zlib(&BASE64_STANDARD.decode(base64)?).map_err(|error| error.to_string())?;
        match serde_json::from_slice(&json)? {
            Value::Array(list) => messages.extend(list.iter().map(Value::to_string)),
            message => messages.push(message.to_string()),
        }
    }
    Ok(messages)
}
