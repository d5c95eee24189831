//! Why an account is not in a group, in one line.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use chat_groups::event::{Attributes, GroupKey, text};
use chat_groups::feed::{Known, why};
use chat_groups::store::{GROUP_SK, MEMBER_PREFIX, partition_key};

use crate::aws;

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
    /// The name of the history's table, if there is one
    #[arg(long, env = "HISTORY_TABLE_NAME")]
    history_table_name: Option<String>,
    /// For how many days a change stays in the history
    #[arg(long, env = "HISTORY_DAYS", default_value_t = 90)]
    history_days: u32,
    /// The application's SdkAppid
    #[arg(long, env = "SDK_APP_ID")]
    sdk_app_id: u64,
}

/// Prints the line.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    println!("{}", answer(&aws::dynamodb()?, &args).await?);
    Ok(())
}

async fn answer(client: &Client, args: &Args) -> Result<String, Box<dyn Error>> {
    let key = GroupKey { sdk_app_id: args.sdk_app_id, group_id: args.group_id.clone() };
    let item = async |sk: String| -> Result<Option<Attributes>, Box<dyn Error>> {
        let key = HashMap::from([("pk".to_owned(), text(partition_key(&key))), ("sk".to_owned(), text(sk))]);
        let request = client.get_item().table_name(&args.table_name).consistent_read(true);
        Ok(request.set_key(Some(key)).send().await?.item)
    };
    let group = item(GROUP_SK.to_owned()).await?;
    let member = item(format!("{MEMBER_PREFIX}{}", args.account)).await?;
    let mut history = Vec::new();
    if let Some(table_name) = &args.history_table_name {
        history = changes(client, table_name, &key, &args.account).await?;
        if group.is_none() {
            history.extend(changes_of_group(client, table_name, &key).await?);
        }
    }
    Ok(why(&Known {
        key: &key,
        account: &args.account,
        group: group.as_ref(),
        member: member.as_ref(),
        history: &history,
        days: args.history_table_name.is_some().then_some(args.history_days),
    }))
}

/// The changes of an account in a group.
async fn changes(
    client: &Client,
    table_name: &str,
    key: &GroupKey,
    account: &str,
) -> Result<Vec<Attributes>, Box<dyn Error>> {
    let query = client
        .query()
        .table_name(table_name)
        .index_name("by_account")
        .key_condition_expression("account_key = :account_key")
        .filter_expression("group_id = :group_id")
        .expression_attribute_values(":account_key", text(format!("{}#{account}", key.sdk_app_id)))
        .expression_attribute_values(":group_id", text(&key.group_id));
    Ok(query.into_paginator().items().send().try_collect().await?)
}

/// The changes of the group itself.
async fn changes_of_group(
    client: &Client,
    table_name: &str,
    key: &GroupKey,
) -> Result<Vec<Attributes>, Box<dyn Error>> {
    let query = client
        .query()
        .table_name(table_name)
        .key_condition_expression("pk = :pk")
        .filter_expression("attribute_not_exists(account)")
        .expression_attribute_values(":pk", text(partition_key(key)));
    Ok(query.into_paginator().items().send().try_collect().await?)
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
        let args = Args {
            account: account.to_owned(),
            group_id: "g".to_owned(),
            table_name: TABLE_NAME.to_owned(),
            history_table_name: has_history.then(|| HISTORY_TABLE_NAME.to_owned()),
            history_days: 30,
            sdk_app_id: 1,
        };
        answer(&aws::of(settings.unwrap()), &args).await.unwrap()
    }

    fn change(sk: &str, account: Option<&str>, group_id: &str, after: Value) -> (&'static str, Value) {
        let mut item = json!({
            "pk": { "S": format!("1#{group_id}") }, "sk": { "S": sk }, "group_id": { "S": group_id }, "after": { "M": after },
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
        let destroyed = json!({ "event_time": { "N": "10" }, "destroyed_at": { "N": "30" } });
        let group = json!({ "pk": { "S": "1#g" }, "sk": { "S": "GROUP" }, "event_time": { "N": "10" } });
        let member = json!({ "pk": { "S": "1#g" }, "sk": { "S": "MEMBER#ana" }, "event_time": { "N": "11" }, "joined_by": { "S": "cy" } });
        let mut items = vec![
            (TABLE_NAME, group),
            (TABLE_NAME, member),
            change("1", Some("bob"), "g", left("ana")),
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
