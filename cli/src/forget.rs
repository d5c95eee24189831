//! An account, taken out of the table and the history.

mod redact;

use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chat_groups::event::Attributes;
use chat_groups::store::text_of;
use clap::builder::BoolishValueParser;
use redact::{Redaction, redact};

use crate::aws;

/// How often an item is read again that others change meanwhile.
const MAX_ATTEMPTS: usize = 10;

/// Removes an account's items and names from the table and the history; a dry run unless --apply
///
/// Delete the account in Chat first, or reconcile brings it back. Its memberships, tombstones included, are
/// removed, and its name as an owner, operator or inviter is taken out of other items. What people wrote (names,
/// notices, name cards of others) stays, and so do queues, logs and backups until they expire.
///
/// Both tables are read whole: $0.25 for 4 GB on demand. Publish may record changes of this very run, so
/// run it once more a few minutes later: it should find nothing.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The account's UserID
    account: String,
    /// Removes and changes what a dry run shows
    #[arg(long, env = "APPLY", value_parser = BoolishValueParser::new())]
    apply: bool,
    /// The table's name
    #[arg(long, env = "TABLE_NAME")]
    table_name: String,
    /// The name of the history's table, if there is one
    #[arg(long, env = "HISTORY_TABLE_NAME")]
    history_table_name: Option<String>,
    /// The application's SdkAppid
    #[arg(long, env = "SDK_APP_ID")]
    sdk_app_id: u64,
}

/// Reads both tables, and prints a line for each item that names the account.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let eraser = Eraser {
        client: aws::dynamodb()?,
        account_key: format!("{}#{}", args.sdk_app_id, args.account),
        account: args.account,
        apply: args.apply,
    };
    let mut found = eraser.erase(&args.table_name).await?;
    if let Some(history) = &args.history_table_name {
        found += eraser.erase(history).await?;
    }
    match (found, args.apply) {
        (0, _) => println!("nothing names the account"),
        (_, true) => println!("{found} items; run it once more in a few minutes"),
        (_, false) => println!("{found} items; a dry run: --apply removes and changes them"),
    }
    Ok(())
}

/// Takes one account out of tables.
struct Eraser {
    client: Client,
    account: String,
    account_key: String,
    apply: bool,
}

impl Eraser {
    /// Returns the number of items that name the account.
    async fn erase(&self, table: &str) -> Result<usize, Box<dyn Error>> {
        let mut found = 0;
        let scan = self.client.scan().table_name(table).consistent_read(true);
        let mut items = scan.into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item?;
            let Some(redaction) = redact(&item, &self.account, &self.account_key) else { continue };
            found += 1;
            let (pk, sk) =
                (text_of(&item, "pk").unwrap_or_default(), text_of(&item, "sk").unwrap_or_default());
            match &redaction {
                Redaction::Remove => println!("{table}  remove  {pk}  {sk}"),
                Redaction::Replace(_, changed) => {
                    println!("{table}  change  {pk}  {sk}  {}", changed.join(", "))
                }
            }
            if self.apply {
                self.write(table, item, redaction).await?;
            }
        }
        Ok(found)
    }

    /// Writes what was read, as long as nobody else changes it; else looks at what is there by then.
    async fn write(
        &self,
        table: &str,
        mut item: Attributes,
        redaction: Redaction,
    ) -> Result<(), Box<dyn Error>> {
        let mut next = Some(redaction);
        for _ in 0..MAX_ATTEMPTS {
            let Some(redaction) = next else { return Ok(()) };
            if self.try_write(table, &item, redaction).await? {
                return Ok(());
            }
            let get =
                self.client.get_item().table_name(table).consistent_read(true).set_key(Some(key(&item)));
            item = get.send().await?.item.unwrap_or_default();
            next = redact(&item, &self.account, &self.account_key);
        }
        Err("others change it all the time; try again".into())
    }

    /// Whether the item was still the one that was read.
    async fn try_write(
        &self,
        table: &str,
        item: &Attributes,
        redaction: Redaction,
    ) -> Result<bool, aws_sdk_dynamodb::Error> {
        // An item of the history has no revision, and nobody changes it.
        let revision = item.get("revision").cloned();
        let condition = if revision.is_some() { "revision = :revision" } else { "attribute_exists(pk)" };
        let values = revision.map(|revision| Attributes::from([(":revision".to_owned(), revision)]));
        let written = match redaction {
            Redaction::Remove => {
                let delete = self.client.delete_item().table_name(table).set_key(Some(key(item)));
                let delete = delete.condition_expression(condition).set_expression_attribute_values(values);
                delete.send().await.map(drop).map_err(aws_sdk_dynamodb::Error::from)
            }
            Redaction::Replace(mut redacted, _) => {
                if values.is_some() {
                    // Who reads the stream or merges an event has to see that it is another item.
                    redacted.insert(
                        "revision".to_owned(),
                        AttributeValue::N(fastrand::u64(1..1 << 53).to_string()),
                    );
                }
                let put = self.client.put_item().table_name(table).set_item(Some(redacted));
                let put = put.condition_expression(condition).set_expression_attribute_values(values);
                put.send().await.map(drop).map_err(aws_sdk_dynamodb::Error::from)
            }
        };
        match written {
            Ok(()) => Ok(true),
            Err(aws_sdk_dynamodb::Error::ConditionalCheckFailedException(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn key(item: &Attributes) -> Attributes {
    ["pk", "sk"].iter().filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone()))).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use chat_groups::config::aws_settings;
    use chat_groups_testkit::{local, table as database};
    use dynoxide::Database;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    const HISTORY: &str = "history";

    /// A history's table, as far as it matters here.
    fn create_history(database: &Database) {
        let request = json!({
            "TableName": HISTORY, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }],
            "AttributeDefinitions": [
                { "AttributeName": "pk", "AttributeType": "S" }, { "AttributeName": "sk", "AttributeType": "S" },
            ],
        });
        database.create_table(serde_json::from_value(request).unwrap()).unwrap();
    }

    /// Both tables on an embedded DynamoDB, and who takes `ana` out of them.
    async fn eraser(apply: bool, items: &[(&str, Value)]) -> (Eraser, Database) {
        let database = Database::memory().unwrap();
        database::create_table(&database, database::Stream::Off).unwrap();
        create_history(&database);
        for (table, item) in items {
            let put = json!({ "TableName": table, "Item": item });
            database.put_item(serde_json::from_value(put).unwrap()).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(dynoxide::server::serve_on(listener, database.clone()));
        let settings = aws_settings(&|name| local::variable(name, &url));
        let client = aws::of(settings.unwrap());
        let (account, account_key) = ("ana".to_owned(), "1#ana".to_owned());
        (Eraser { client, account, account_key, apply }, database)
    }

    fn items(database: &Database, table: &str) -> Vec<Value> {
        let scan = json!({ "TableName": table });
        let answer = database.scan(serde_json::from_value(scan).unwrap()).unwrap();
        serde_json::to_value(answer).unwrap()["Items"].as_array().unwrap().clone()
    }

    fn group(owner: &str) -> Value {
        json!({
            "pk": { "S": "1#g" }, "sk": { "S": "GROUP" }, "group_id": { "S": "g" }, "event_time": { "N": "1" },
            "account_key": { "S": format!("1#{owner}") }, "owner_account": { "S": owner },
            "operator_account": { "S": "ana" }, "name": { "S": "ana" }, "revision": { "N": "7" },
        })
    }

    fn member(account: &str) -> Value {
        json!({
            "pk": { "S": "1#g" }, "sk": { "S": format!("MEMBER#{account}") }, "account": { "S": account },
            "joined_by": { "S": "ana" }, "event_time": { "N": "1" }, "revision": { "N": "7" },
        })
    }

    fn change(sk: &str, account: &str) -> Value {
        json!({
            "pk": { "S": "1#g" }, "sk": { "S": sk }, "account": { "S": account }, "by": { "S": "ana" },
            "after": { "M": { "joined_by": { "S": "ana" }, "role": { "S": "Member" } } },
        })
    }

    #[tokio::test]
    async fn an_account_is_taken_out_of_both_tables_and_the_rest_stays() {
        let table = database::TABLE_NAME;
        let stored = [
            (table, group("ana")),
            (table, member("ana")),
            (table, member("ben")),
            (HISTORY, change("1", "ana")),
            (HISTORY, change("2", "ben")),
        ];
        let (eraser, database) = eraser(true, &stored).await;
        assert_eq!((eraser.erase(table).await.unwrap(), eraser.erase(HISTORY).await.unwrap()), (3, 2));
        let left = [items(&database, table), items(&database, HISTORY)].concat();
        assert_eq!(left.len(), 3);
        for item in &left {
            let mut shown = item.clone();
            shown.as_object_mut().unwrap().retain(|name, _| name != "name");
            assert!(!shown.to_string().contains("ana"), "{shown}");
            assert_ne!(item["revision"]["N"], "7");
        }
        assert!(left.iter().any(|item| item["name"]["S"] == "ana" && item["event_time"]["N"] == "1"));
        assert_eq!((eraser.erase(table).await.unwrap(), eraser.erase(HISTORY).await.unwrap()), (0, 0));
    }

    #[tokio::test]
    async fn a_dry_run_writes_nothing() {
        let table = database::TABLE_NAME;
        let (eraser, database) = eraser(false, &[(table, group("ana")), (table, member("ana"))]).await;
        let before = items(&database, table);
        assert_eq!(eraser.erase(table).await.unwrap(), 2);
        assert_eq!(items(&database, table), before);
    }

    #[tokio::test]
    async fn an_item_that_changed_meanwhile_is_read_again() {
        let table = database::TABLE_NAME;
        let (eraser, database) = eraser(true, &[(table, group("ana"))]).await;
        let scan = eraser.client.scan().table_name(table).send().await.unwrap();
        let read = scan.items.unwrap().remove(0);
        // The group has another owner by now, and another revision.
        let mut changed = group("ben");
        changed["revision"]["N"] = "8".into();
        let put = json!({ "TableName": table, "Item": changed });
        database.put_item(serde_json::from_value(put).unwrap()).unwrap();
        let redaction = redact(&read, "ana", "1#ana").unwrap();
        eraser.write(table, read, redaction).await.unwrap();
        let item = items(&database, table).remove(0);
        assert_eq!((&item["owner_account"]["S"], &item["operator_account"]), (&json!("ben"), &Value::Null));
    }
}
