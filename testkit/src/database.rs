//! The embedded DynamoDB as a service on loopback, and large groups in it that no function has written.

use std::error::Error;

use dynoxide::types::Item;
use dynoxide::{Database, ImportOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{samples, table};

/// How many items one transaction takes.
const IMPORT_ITEMS: usize = 10_000;

/// Starts a DynamoDB with the table, which starts empty; returns it with its URL.
pub async fn start() -> Result<(Database, String), Box<dyn Error>> {
    let database = Database::memory()?;
    table::create_table(&database, table::Stream::Off)?;
    let url = serve(&database).await?;
    Ok((database, url))
}

/// Starts a DynamoDB with the table, its stream and the history, in a new file beside this program: in memory the stream
/// would keep all records, and each write would take longer than the last one.
pub async fn start_with_stream() -> Result<(Database, String), Box<dyn Error>> {
    let folder = std::env::current_exe()?.with_extension("data");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let database = table::open(&folder.join("groups.db"))?;
    // Nobody needs the file after a crash: no write waits for the disk.
    database.enable_bulk_loading()?;
    let url = serve(&database).await?;
    Ok((database, url))
}

/// Serves a database on loopback; returns its URL.
pub async fn serve(database: &Database) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(dynoxide::server::serve_on(listener, database.clone()));
    Ok(url)
}

/// Stores the accounts of an AfterNewMemberJoin as `webhook` would.
pub fn fill(database: &Database, joined: &Value) -> Result<(), Box<dyn Error>> {
    let members = joined["NewMemberList"].as_array().ok_or("NewMemberList: expected a list")?;
    for members in members.chunks(IMPORT_ITEMS) {
        let items = members.iter().map(|member| member_item(joined, member));
        database.import_items(
            table::TABLE_NAME,
            items.collect::<Result<_, _>>()?,
            ImportOptions::default(),
        )?;
    }
    Ok(())
}

fn member_item(joined: &Value, member: &Value) -> Result<Item, Box<dyn Error>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("expected text");
    let (group_id, account) = (text(&joined["GroupId"])?, text(&member["Member_Account"])?);
    let scoped = |id: &str| format!("{}#{id}", samples::SDK_APP_ID);
    Ok(serde_json::from_value(json!({
        "pk": { "S": scoped(&group_id) },
        "sk": { "S": format!("MEMBER#{account}") },
        "group_id": { "S": group_id },
        "account": { "S": account },
        "account_key": { "S": scoped(&account) },
        "event_time": { "N": joined["EventTime"].to_string() },
        "join_type": { "S": text(&joined["JoinType"])? },
        "joined_by": { "S": text(&joined["Operator_Account"])? },
        "role": { "S": "Member" },
        "revision": { "N": "1" },
    }))?)
}
