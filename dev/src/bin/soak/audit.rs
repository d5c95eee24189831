//! Whether the table holds what was answered OK.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use aws_sdk_dynamodb::Client;
use chat_groups::{GROUP_SK, text_of};

use crate::plan::Event;

/// What the table holds of one group.
#[derive(Debug, Default)]
struct Held {
    group_time: Option<u64>,
    members: BTreeMap<String, u64>,
}

/// Compares every group with the events that were delivered, `kept` those of them that were answered OK.
/// Returns a line for each group that is not as it should be.
pub async fn audit(
    client: &Client,
    table_name: &str,
    events: &[Event],
    kept: &BTreeSet<usize>,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut held = BTreeMap::<String, Held>::new();
    let mut items = client.scan().table_name(table_name).into_paginator().items().send();
    while let Some(item) = items.next().await.transpose()? {
        let text = |name| text_of(&item, name).unwrap_or_default();
        let group_id = text("pk").split_once('#').map_or("", |(_, group_id)| group_id);
        let group = held.entry(group_id.to_owned()).or_default();
        match text("sk") {
            GROUP_SK => group.group_time = Some(time(&item)),
            _ => drop(group.members.insert(text("account").to_owned(), time(&item))),
        }
    }
    // An event that was not answered OK may be there all the same: it was written, and the answer was lost.
    let mut newest_kept = BTreeMap::<&str, u64>::new();
    for event in kept.iter().map(|index| &events[*index]) {
        let newest = newest_kept.entry(&event.group_id).or_default();
        *newest = event.event_time.max(*newest);
    }
    let wrong = newest_kept.into_iter().filter_map(|(group_id, newest)| {
        let found = held.get(group_id);
        let time = found.and_then(|found| found.group_time);
        let event = events.iter().find(|event| event.group_id == group_id && Some(event.event_time) == time);
        let exact = found.zip(event).is_some_and(|(found, event)| {
            event.event_time >= newest
                && found.members.keys().eq(&event.accounts)
                && found.members.values().all(|time| *time == event.event_time)
        });
        (!exact).then(|| format!("{group_id}: expected the event of {newest}, found {time:?}: {found:?}"))
    });
    Ok(wrong.collect())
}

fn time(item: &std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>) -> u64 {
    item.get("event_time").and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default()
}
