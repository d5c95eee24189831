//! The change feed beside the deliveries: the table's stream, `publish`, a bus that breaks, and the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_groups::event::GroupKey;
use chat_groups::feed::{CloudEvent, Roster};
use chat_groups_testkit::bus::Bus;
use chat_groups_testkit::feeder::Feeder;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::model::{folded, view};
use dynoxide::Database;
use serde_json::{Value, json};

/// The time between two looks at the stream, and before a batch is sent again that failed.
const INTERVAL: Duration = Duration::from_millis(100);

/// The stream up to where it is told, and whatever the events say.
pub struct Changes {
    feeder: Feeder,
    publish: Function,
    bus: Bus,
    roster: Roster,
    /// The ids of all changes.
    ids: BTreeSet<String>,
    /// How many events came, repeated ones included.
    events: usize,
}

impl Changes {
    /// Starts `publish` with its table, its history and its bus at these URLs.
    pub async fn start(
        database: &Database,
        bus: Bus,
        table_url: &str,
        bus_url: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let publish = Function::start_publish(table_url, bus_url).await?;
        let feeder = Feeder::new(database.clone())?;
        Ok(Self { feeder, publish, bus, roster: Roster::default(), ids: BTreeSet::new(), events: 0 })
    }

    /// Asks for a group whose items the stream does not have.
    pub async fn backfill(&mut self, group_id: &str) -> Result<(), Box<dyn Error>> {
        let mut request = json!({ "snapshot": { "group_ids": [group_id] } });
        while !request.is_null() {
            request = self.publish.invoke(request).await?["next"].take();
            self.fold()?;
        }
        Ok(())
    }

    /// Tells what is written until all is delivered.
    pub async fn follow(&mut self, is_delivered: &AtomicBool) -> Result<(), String> {
        while !is_delivered.load(Ordering::Relaxed) {
            self.catch_up().await?;
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Tells all that is written by now.
    pub async fn catch_up(&mut self) -> Result<(), String> {
        while let Some(batch) = self.feeder.batch()? {
            let answer = self.publish.invoke(batch).await;
            let is_told = answer.as_ref().is_ok_and(|answer| answer["batchItemFailures"] == json!([]));
            self.feeder.answered(answer)?;
            self.fold()?;
            if !is_told {
                tokio::time::sleep(INTERVAL).await;
            }
        }
        Ok(())
    }

    fn fold(&mut self) -> Result<(), String> {
        for event in self.bus.take_events() {
            let event: CloudEvent = serde_json::from_value(event).map_err(|error| error.to_string())?;
            self.roster.apply(&event);
            self.events += 1;
            if event.sequence.is_some() {
                self.ids.insert(event.id);
            }
        }
        Ok(())
    }

    /// Compares these groups with the model. Returns a line for each one that the events do not give.
    pub fn audit(&self, sdk_app_id: u64, groups: &BTreeMap<&str, Vec<&Value>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (group_id, bodies) in groups {
            let key = GroupKey { sdk_app_id, group_id: (*group_id).to_owned() };
            let found = folded(self.roster.group(&key).as_ref());
            let expected = view(bodies.iter().copied());
            if found != expected {
                wrong.push(format!("{group_id}: expected {expected}, the events give {found}"));
            }
        }
        wrong
    }

    /// How many changes were told, and how many events came.
    pub fn counts(&self) -> (usize, usize) {
        (self.ids.len(), self.events)
    }
}
