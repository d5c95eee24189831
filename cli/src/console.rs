//! The page on a deployed table, read-only, with the operator's own credentials.

use std::error::Error;

use aws_sdk_dynamodb::Client;
use tokio::net::TcpListener;

use crate::aws;
use crate::history::HistoryArgs;
use crate::page::{Page, Table};

/// Shows a deployed table on a page of this machine, read-only
///
/// Nothing is deployed for it, and it has no route that writes. It takes the rights dynamodb:Query and
/// dynamodb:GetItem, dynamodb:Query on the history too; to list all groups dynamodb:Scan, and to say what that costs
/// dynamodb:DescribeTable.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The table's name
    #[arg(long, env = "TABLE_NAME")]
    table_name: String,
    #[command(flatten)]
    history: HistoryArgs,
    /// The application's SdkAppid; without it that of the table's first items, which takes dynamodb:Scan
    #[arg(long, env = "SDK_APP_ID")]
    sdk_app_id: Option<u64>,
    /// The port of the page; 0 takes any that is free
    #[arg(long, env = "PAGE_PORT", default_value_t = 8790)]
    page_port: u16,
}

/// Serves the page until the process ends.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let port = args.page_port;
    let client = aws::dynamodb()?;
    let table = table(&client, args.table_name, args.sdk_app_id).await?;
    let history = args.history.history(&client);
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(|error| format!("PAGE_PORT={port}: expected a free port: {error}"))?;
    println!("Page       http://{}/", listener.local_addr()?);
    println!("It only reads, and shows itself to this machine alone. Ctrl-C ends it.");
    Ok(Page::new(table, history).serve(listener).await?)
}

async fn table(client: &Client, name: String, sdk_app_id: Option<u64>) -> Result<Table, Box<dyn Error>> {
    let client = client.clone();
    if let Some(sdk_app_id) = sdk_app_id {
        return Ok(Table::new(client, name, sdk_app_id));
    }
    match Table::of_first_items(client, name).await {
        Ok(Some(table)) => Ok(table),
        Ok(None) => Err("the table is empty; set SDK_APP_ID to look at it anyway".into()),
        Err(trouble) => {
            Err(format!("{trouble}\nSDK_APP_ID is not set, so it was looked for in the table.").into())
        }
    }
}
