//! Why an account is not in a group, in one line.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use chat_groups::event::{Attributes, Facts, GroupKey, text};
use chat_groups::store::{GROUP_SK, MEMBER_PREFIX, join, partition_key, read, text_of};

use crate::aws;
use crate::history::{History, HistoryArgs};
use crate::words::why;

/// Says since when an account is in a group and by whom, or why it is not
///
/// It reads two items of the table and, with a history, the changes of the account. It takes the right dynamodb:GetItem, and
/// dynamodb:Query on the history and its index.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The account's UserID
    account: String,
    /// The GroupId
    group_id: String,
    /// The table's name
    #[arg(long, env = "TABLE_NAME")]
    table_name: String,
    #[command(flatten)]
    history: HistoryArgs,
    /// The application's SdkAppid
    #[arg(long, env = "SDK_APP_ID")]
    sdk_app_id: u64,
}

/// Prints the line.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let client = aws::dynamodb()?;
    let history = args.history.history(&client);
    let key = GroupKey { sdk_app_id: args.sdk_app_id, group_id: args.group_id };
    println!("{}", answer(&client, &args.table_name, history.as_ref(), &key, &args.account).await?);
    Ok(())
}

/// The answer, of the table and the history.
pub async fn answer(
    client: &Client,
    table_name: &str,
    history: Option<&History>,
    key: &GroupKey,
    account: &str,
) -> Result<String, Box<dyn Error>> {
    let member_sk = format!("{MEMBER_PREFIX}{account}");
    let group = item(client, table_name, key, GROUP_SK).await?;
    let member = item(client, table_name, key, &member_sk).await?;
    let (mut group_changes, mut changes) = (Vec::new(), Vec::new());
    if let Some(history) = history {
        changes = history.of_member(key, account).await?;
        if group.is_none() {
            group_changes = history.of_group_item(key).await?;
        }
    }
    // The index has changes of the owner too, which are the group's.
    changes.retain(|change| text_of(change, "account") == Some(account));
    let group = facts(GROUP_SK, group, &group_changes);
    let member = facts(&member_sk, member, &changes);
    Ok(why(account, &key.group_id, &member, &group, history.map(|history| history.days)))
}

async fn item(
    client: &Client,
    table_name: &str,
    group: &GroupKey,
    sk: &str,
) -> Result<Option<Attributes>, Box<dyn Error>> {
    let key = HashMap::from([("pk".to_owned(), text(partition_key(group))), ("sk".to_owned(), text(sk))]);
    let request = client.get_item().table_name(table_name).consistent_read(true);
    Ok(request.set_key(Some(key)).send().await?.item)
}

/// The facts of an item, and of all that its changes tell: a tombstone stays in the table for 30 days only.
fn facts(sk: &str, item: Option<Attributes>, changes: &[Attributes]) -> Facts {
    let told = changes.iter().filter_map(|change| {
        let mut after = change.get("after")?.as_m().ok()?.clone();
        after.insert("sk".to_owned(), text(sk));
        Some(after)
    });
    told.chain(item).fold(Facts::default(), |known, item| join(&known, &read(&item)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
mod tests {
    use chat_groups_testkit::table::{self as database, HISTORY_TABLE_NAME, Stream, TABLE_NAME};
    use dynoxide::Database;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    async fn answer_of(items: &[(&str, Value)], account: &str, has_history: bool) -> String {
        let database = Database::memory().unwrap();
        database::create_table(&database, Stream::Off).unwrap();
        database::create_history(&database).unwrap();
        for (table, item) in items {
            let put = json!({ "TableName": table, "Item": item });
            database.put_item(serde_json::from_value(put).unwrap()).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        let settings = chat_groups::config::aws_settings(&|name| match name {
            "AWS_ENDPOINT_URL" => Ok(url.clone()),
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Ok("local".to_owned()),
            _ => Err(std::env::VarError::NotPresent),
        });
        let client = aws::of(settings.unwrap());
        let key = GroupKey { sdk_app_id: 1, group_id: "g".to_owned() };
        let history = History { client: client.clone(), table_name: HISTORY_TABLE_NAME.to_owned(), days: 30 };
        let history = Some(history).filter(|_| has_history);
        answer(&client, TABLE_NAME, history.as_ref(), &key, account).await.unwrap()
    }

    fn change(sk: &str, account: Option<&str>, group_id: &str, after: Value) -> (&'static str, Value) {
        let expires_at = chat_groups::time::to_seconds(std::time::SystemTime::now()) + 60;
        let mut item = json!({
            "pk": { "S": format!("1#{group_id}") }, "sk": { "S": sk }, "group_id": { "S": group_id }, "after": { "M": after },
            "expires_at": { "N": expires_at.to_string() },
        });
        if let Some(account) = account {
            item["account"] = json!({ "S": account });
            item["account_key"] = json!({ "S": format!("1#{account}") });
        }
        (HISTORY_TABLE_NAME, item)
    }

    #[tokio::test]
    async fn the_table_and_the_history_answer_together() {
        let left = |by: &str| json!({ "event_time": { "N": "20" }, "left_at": { "N": "20" }, "exit_type": { "S": "Kicked" }, "left_by": { "S": by } });
        let joined = json!({ "event_time": { "N": "15" }, "joined_by": { "S": "cy" } });
        let destroyed = json!({ "event_time": { "N": "10" }, "destroyed_at": { "N": "30" } });
        let group = json!({ "pk": { "S": "1#g" }, "sk": { "S": "GROUP" }, "event_time": { "N": "10" } });
        let member = json!({ "pk": { "S": "1#g" }, "sk": { "S": "MEMBER#ana" }, "event_time": { "N": "11" }, "joined_by": { "S": "cy" } });
        let mut items = vec![
            (TABLE_NAME, group),
            (TABLE_NAME, member),
            change("1", Some("bob"), "g", left("ana")),
            change("0", Some("bob"), "g", joined),
            change("1", Some("bob"), "h", left("other")),
            change("2", None, "g", destroyed),
        ];
        let moment = "on 1970-01-01T00:00:00";
        assert_eq!(answer_of(&items, "ana", true).await, format!("ana is in g: joined by cy {moment}.011Z"));
        assert_eq!(
            answer_of(&items, "bob", true).await,
            format!("bob is not in g: kicked by ana {moment}.020Z")
        );
        let nothing = "dan is not in g: nothing told in 30 days: ask reconcile";
        assert_eq!(answer_of(&items, "dan", true).await, nothing);
        let nothing = "bob is not in g: nothing told, and there is no history: ask reconcile";
        assert_eq!(answer_of(&items, "bob", false).await, nothing);
        items.remove(0);
        let gone = format!("ana is not in g: the group was destroyed {moment}.030Z");
        assert_eq!(answer_of(&items, "ana", true).await, gone);
    }
}
