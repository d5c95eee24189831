//! What is delivered: events made from a seed, with duplicates, late repeats and groups made again.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

/// One event, which may be delivered more than once.
#[derive(Debug, Clone)]
pub struct Event {
    pub group_id: String,
    pub event_time: u64,
    pub accounts: BTreeSet<String>,
}

impl Event {
    pub fn body(&self) -> Value {
        let members: Vec<Value> =
            self.accounts.iter().map(|account| json!({ "Member_Account": account })).collect();
        json!({
            "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": self.group_id, "Type": "Work",
            "Name": "soak", "Operator_Account": "op", "Owner_Account": "op", "MemberList": members,
            "EventTime": self.event_time,
        })
    }
}

/// The events, and the order in which they are delivered, by their index.
pub fn plan(deliveries: usize, rng: &mut Rng) -> (Vec<Event>, Vec<usize>) {
    let mut events: Vec<Event> = Vec::new();
    let mut order = Vec::with_capacity(deliveries);
    while order.len() < deliveries {
        let delivered = match rng.u32(0..100) {
            // Sent again at once, or long after.
            0..8 if !events.is_empty() => rng.usize(events.len().saturating_sub(20)..events.len()),
            8..14 if !events.is_empty() => rng.usize(..events.len()),
            // A group of the same id, made again later.
            14..19 if !events.is_empty() => {
                let earlier = rng.usize(..events.len());
                let group_id = events[earlier].group_id.clone();
                events.push(event(group_id, events.len(), rng));
                events.len() - 1
            }
            _ => {
                events.push(event(format!("@TGS#{:06}", events.len()), events.len(), rng));
                events.len() - 1
            }
        };
        order.push(delivered);
    }
    (events, order)
}

fn event(group_id: String, index: usize, rng: &mut Rng) -> Event {
    let count = match rng.u32(0..100) {
        0..70 => rng.usize(1..=5),
        70..90 => rng.usize(6..=50),
        90..98 => rng.usize(51..=120),
        _ => rng.usize(121..=600),
    };
    let first = rng.usize(..1000);
    let accounts = (first..first + count).map(|number| format!("user-{number:04}")).collect();
    let event_time = 1_700_000_000_000 + u64::try_from(index).unwrap_or_default();
    Event { group_id, event_time, accounts }
}
