//! `publish` on this machine: the table's stream, told into a history beside the table.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use chat_groups::feed::Feed;
use chat_groups::publish::Publish;
use chat_groups_testkit::feeder::Feeder;
use chat_groups_testkit::table::HISTORY_TABLE_NAME;
use dynoxide::Database;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::history::History;

/// How long a change stays in the history, in days.
const HISTORY_DAYS: u32 = 90;

/// The time between two looks at the stream.
const INTERVAL: Duration = Duration::from_millis(200);

/// The time that a batch has, as in Lambda.
const BUDGET: Duration = Duration::from_secs(45);

/// The history of this machine.
pub fn history(client: &Client) -> History {
    History { client: client.clone(), table_name: HISTORY_TABLE_NAME.to_owned(), days: HISTORY_DAYS }
}

/// Follows the stream until the process ends, and notifies of each batch that stands in the history.
pub async fn follow(database: Database, history: History, told: watch::Sender<()>) -> Result<(), String> {
    let history = chat_groups::feed::History::new(history.client, history.table_name, history.days);
    let publish = Publish::new(Feed { history: Some(history), bus: None }, None);
    let mut feeder = Feeder::new(database)?;
    loop {
        while let Some(batch) = feeder.batch()? {
            let (answer, _) = publish.run(&batch, SystemTime::now(), Instant::now() + BUDGET).await;
            feeder.answered(answer.map_err(|error| error.to_string()))?;
            told.send_replace(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
