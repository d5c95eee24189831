//! `make console`: the page on a deployed table, read-only, with the operator's own credentials.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use chat_groups::{Aws, AwsSettings, Timeouts};
use chat_groups_dev::page::{Page, Table};
use tokio::net::TcpListener;

const DEFAULT_PORT: &str = "8790";

const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), attempt: Duration::from_secs(15) };

#[tokio::main]
async fn main() -> ExitCode {
    chat_groups_dev::exit(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let table = table().await?;
    let port = setting("PAGE_PORT").unwrap_or_else(|| DEFAULT_PORT.to_owned());
    let expected = |error: &dyn Error| format!("PAGE_PORT={port}: expected a free port: {error}");
    let number: u16 = port.parse().map_err(|error| expected(&error))?;
    let listener = TcpListener::bind(("127.0.0.1", number)).await.map_err(|error| expected(&error))?;
    println!("Page       http://{}/", listener.local_addr()?);
    println!("It only reads, and shows itself to this machine alone. Ctrl-C ends it.");
    Ok(Page::console(table).serve(listener).await?)
}

async fn table() -> Result<Table, Box<dyn Error>> {
    let name = setting("TABLE_NAME").ok_or(
        "TABLE_NAME: expected the table's name; `make console TABLE_NAME=…`, or see the stack's outputs",
    )?;
    let settings =
        AwsSettings::from_env(&|name| std::env::var(name)).map_err(|error| format!("{error}\n{HINT}"))?;
    let client = Aws::new(settings).dynamodb(TIMEOUTS);
    if let Some(sdk_app_id) = setting("SDK_APP_ID") {
        let number =
            sdk_app_id.parse().map_err(|_| "SDK_APP_ID: expected the application's SdkAppid, decimal")?;
        return Ok(Table::new(client, name, number));
    }
    match Table::of_first_items(client, name).await {
        Ok(Some(table)) => Ok(table),
        Ok(None) => Err("the table is empty; set SDK_APP_ID to look at it anyway".into()),
        Err(trouble) => {
            Err(format!("{trouble}\nSDK_APP_ID is not set, so it was looked for in the table.").into())
        }
    }
}

/// How to get what the SDK's variables hold.
const HINT: &str = "Credentials come from the environment. With a profile or SSO, export them first:\n\
    eval \"$(aws configure export-credentials --format env)\"; export AWS_REGION=…";

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
