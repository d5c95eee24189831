//! `publish` on this machine: the table's stream, told into a history beside the table.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use chat_groups::feed::{Feed, History};
use chat_groups::publish::Publish;
use chat_groups_testkit::feeder::Feeder;
use chat_groups_testkit::table::HISTORY_TABLE_NAME;
use dynoxide::Database;
use tokio::time::Instant;

/// How long a change stays in the history, in days.
const HISTORY_DAYS: u32 = 90;

/// The time between two looks at the stream.
const INTERVAL: Duration = Duration::from_millis(200);

/// The time that a batch has, as in Lambda.
const BUDGET: Duration = Duration::from_secs(45);

/// Follows the stream until the process ends. It begins at the first record each time: a change that is told again makes the
/// same item.
pub async fn follow(database: Database, client: Client) -> Result<(), String> {
    let history = History::new(client, HISTORY_TABLE_NAME.to_owned(), HISTORY_DAYS);
    let publish = Publish::new(Feed { history: Some(history), bus: None }, None);
    let mut feeder = Feeder::new(database)?;
    loop {
        while let Some(batch) = feeder.batch()? {
            let (answer, _) = publish.run(&batch, SystemTime::now(), Instant::now() + BUDGET).await;
            feeder.answered(answer.map_err(|error| error.to_string()))?;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
