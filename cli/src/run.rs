//! `make run`: the receiver on loopback, on an embedded DynamoDB.

mod play;
mod reconcile;
mod server;

use std::env::VarError;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chat_groups::{Aws, Kept, Record, Timeouts, Token, Webhook, WebhookSettings};
use chat_groups_dev::page::{Feed, Page, Sender, Table};
use chat_groups_dev::reader::Reader;
use chat_groups_dev::{samples, show, table as database};
use play::Stage;
use tokio::net::TcpListener;

const CREATE: &str = Kept::AfterCreateGroup.name();

/// The token of the vendor's own signature example.
const SAMPLE_TOKEN: &str = samples::TOKEN;

const NO_TOKEN: &str = "CALLBACK_TOKENS: expected a token";

/// Settings that the environment may replace.
const DEFAULTS: [(&str, &str); 7] = [
    ("PAGE_PORT", "8789"),
    ("PORT", "8787"),
    ("DYNAMODB_HOST", "127.0.0.1"),
    ("DYNAMODB_PORT", "8788"),
    ("ONCE", ""),
    ("SDK_APP_ID", "1400000001"),
    ("CALLBACK_TOKENS", SAMPLE_TOKEN),
];

#[tokio::main]
async fn main() -> ExitCode {
    chat_groups_dev::exit(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let page = listen("127.0.0.1", "PAGE_PORT").await?;
    println!("Page       http://{}/", page.local_addr()?);
    let listener = listen("127.0.0.1", "PORT").await?;
    let dynamodb = listen(&setting("DYNAMODB_HOST"), "DYNAMODB_PORT").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let dynamodb_url = format!("http://{}", dynamodb.local_addr()?);
    let data_file = data_file();
    let database = database::open(&data_file)?;
    tokio::spawn(dynoxide::server::serve_on(dynamodb, database));

    let env = move |name: &str| environment(name, &dynamodb_url);
    let settings = WebhookSettings::from_env(&env)?;
    let table = Aws::new(settings.aws.clone()).dynamodb(PAGE_TIMEOUTS);
    let reader = Reader::new(table.clone(), settings.table_name.clone());
    let webhook = Arc::new(Webhook::from_settings(settings));
    let feed = Feed::default();
    let published = feed.clone();
    let report = move |record: &Record, body: &[u8]| {
        show::callback(record);
        published.publish(record, body);
    };
    let server = tokio::spawn(server::serve(listener, webhook, report));

    let app_id: u64 = setting("SDK_APP_ID").parse()?;
    let token = setting("CALLBACK_TOKENS");
    let token = token.split_whitespace().next().unwrap_or_default();
    let sender = Sender::new(url.clone(), app_id, Token::new(token).ok_or(NO_TOKEN)?);
    let shown_table = Table::new(table.clone(), database::TABLE_NAME.to_owned(), app_id);
    tokio::spawn(Page::local(shown_table, feed, sender).serve(page));
    println!("Receiver   {url}   SdkAppid {app_id}, token {}", shown(token));
    let (dynamodb_url, table_name) = (env("AWS_ENDPOINT_URL")?, database::TABLE_NAME);
    println!("DynamoDB   {dynamodb_url}   table {table_name}, kept in {}", data_file.display());

    let stage = Stage { url: url.clone(), sdk_app_id: app_id, token: token.to_owned(), table, reader };
    stage.sample().await?;
    stage.life().await?;
    reconcile::play(&env, &stage.reader).await?;
    if !setting("ONCE").is_empty() {
        return Ok(());
    }
    print_curl(&url, app_id, token);
    tokio::select! {
        ended = server => ended?.map_err(Into::into),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    }
}

/// Nobody's two seconds run out while the page reads the whole table.
const PAGE_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(15) };
/// Where the table is kept: below `CARGO_TARGET_DIR`, or the folder `target` where the program runs.
fn data_file() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    PathBuf::from(set.unwrap_or_else(|| "target".into())).join("local/groups.db")
}

/// The sample's token is known to everybody; any other one is not printed.
fn shown(token: &str) -> &str {
    if token == SAMPLE_TOKEN { token } else { "$CALLBACK_TOKENS" }
}

fn print_curl(url: &str, app_id: u64, token: &str) {
    let token = shown(token);
    println!(
        "\nTry it: another group, from a second terminal\n\n\
         t=$(date +%s); sign=$(printf %s \"{token}$t\" | sha256sum | cut -c1-64); \
         curl -d '{{\"CallbackCommand\":\"{CREATE}\",\"GroupId\":\"mine\",\"MemberList\":[{{\"Member_Account\":\"me\"}}]}}' \
         \"{url}?SdkAppid={app_id}&CallbackCommand={CREATE}&RequestTime=$t&Sign=$sign\"\n\n\
         Serving until Ctrl-C.\n"
    );
}

async fn listen(host: &str, variable: &str) -> Result<TcpListener, String> {
    let port = setting(variable);
    let expected = |error: &dyn Error| format!("{variable}={port}: expected a free port on {host}: {error}");
    let number: u16 = port.parse().map_err(|error| expected(&error))?;
    TcpListener::bind((host, number)).await.map_err(|error| expected(&error))
}

fn setting(name: &str) -> String {
    let default = DEFAULTS.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// The receiver's environment: what the user set, and the embedded DynamoDB.
fn environment(name: &str, dynamodb_url: &str) -> Result<String, VarError> {
    match name {
        "TABLE_NAME" => Ok(database::TABLE_NAME.to_owned()),
        "AWS_ENDPOINT_URL" => Ok(dynamodb_url.to_owned()),
        "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Ok("local".to_owned()),
        "SDK_APP_ID" | "CALLBACK_TOKENS" => Ok(setting(name)),
        "ALLOW_UNSIGNED" | "MAX_REQUEST_AGE_SECONDS" => std::env::var(name),
        _ => Err(VarError::NotPresent),
    }
}
