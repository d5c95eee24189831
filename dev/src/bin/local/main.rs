//! `make run`: the receiver on loopback, on an embedded DynamoDB.

mod server;

use std::env::VarError;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::{
    Attributes, Aws, Behind, Group, GroupKey, Kept, Record, Store, Timeouts, Token, Webhook, WebhookSettings,
    causes, text_of, webhook,
};
use chat_groups_dev::page::{Feed, Page, Sender, Table};
use chat_groups_dev::{show, table as database};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lambda_http::http::{Request, StatusCode};
use tokio::net::TcpListener;

/// The sample request of the vendor's page, without its comments.
const SAMPLE: &str = include_str!("../../sample.json");
const CREATE: &str = Kept::AfterCreateGroup.name();
const SAMPLE_GROUP: &str = "@TGS#2J4SZEAEL";
const SAMPLE_OWNER: &str = "leckie";
const SAMPLE_MEMBERS: [&str; 2] = ["bob", "peter"];
const SAMPLE_EVENT_TIME: u64 = 1_670_574_414_123;

/// The token of the vendor's own signature example.
const SAMPLE_TOKEN: &str = "xxxxyyyy";

const NO_TOKEN: &str = "CALLBACK_TOKENS: expected a token";

const DATA_FILE: &str = "target/local/groups.db";

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
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let page = listen("127.0.0.1", "PAGE_PORT").await?;
    println!("Page       http://{}/", page.local_addr()?);
    let listener = listen("127.0.0.1", "PORT").await?;
    let dynamodb = listen(&setting("DYNAMODB_HOST"), "DYNAMODB_PORT").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let dynamodb_url = format!("http://{}", dynamodb.local_addr()?);
    let database = database::open(Path::new(DATA_FILE))?;
    tokio::spawn(dynoxide::server::serve_on(dynamodb, database));

    let env = move |name: &str| environment(name, &dynamodb_url);
    let settings = WebhookSettings::from_env(&env)?;
    let aws = Aws::new(settings.aws);
    let store = Store::new(aws.dynamodb(webhook::TABLE_TIMEOUTS), settings.table_name);
    let webhook =
        Arc::new(Webhook::new(settings.sdk_app_id, settings.verifier, store.clone(), Behind::default()));
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
    let table = Table::new(aws.dynamodb(PAGE_TIMEOUTS), database::TABLE_NAME.to_owned(), app_id);
    tokio::spawn(Page::local(table, feed, sender).serve(page));
    println!("Receiver   {url}   SdkAppid {app_id}, token {}", shown(token));
    println!("DynamoDB   {}   table {}, kept in {DATA_FILE}", env("AWS_ENDPOINT_URL")?, database::TABLE_NAME);

    try_sample(&url, app_id, token, &store).await?;
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

/// The sample's token is known to everybody; any other one is not printed.
fn shown(token: &str) -> &str {
    if token == SAMPLE_TOKEN { token } else { "$CALLBACK_TOKENS" }
}

/// Posts the vendor's sample as Chat would sign it, and shows and checks what comes of it.
async fn try_sample(url: &str, app_id: u64, token: &str, store: &Store) -> Result<(), Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string();
    let sign = Token::new(token).ok_or(NO_TOKEN)?.sign(&now);
    let target = format!(
        "{url}?CallbackCommand={CREATE}&ClientIP=127.0.0.1&OptPlatform=RESTAPI\
         &RequestTime={now}&SdkAppid={app_id}&Sign={sign}&contenttype=json"
    );
    println!("\nThe vendor's sample, signed as Chat would sign it:\n\nPOST {target}\n\n{SAMPLE}");

    let client = Client::builder(TokioExecutor::new()).build_http::<Full<axum::body::Bytes>>();
    let response = client.request(Request::post(target).body(Full::from(SAMPLE))?).await?;
    let status = response.status();
    let answer = String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned();
    println!("\nThe answer:\n\n{status}\n{answer}\n\nThe items in the table:");

    let group = store
        .group(&GroupKey { sdk_app_id: app_id, group_id: SAMPLE_GROUP.to_owned() })
        .await?
        .ok_or("the sample's group is not in the table")?;
    show::group(&group);
    let groups = store.groups_of(app_id, SAMPLE_OWNER).await?;
    show::groups_of(SAMPLE_OWNER, &groups);

    let is_sample = |group: &Attributes| text_of(group, "group_id") == Some(SAMPLE_GROUP);
    let promised = status == StatusCode::OK
        && answer == r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#
        && is_sample_group(&group)
        && groups.iter().any(is_sample);
    if promised { Ok(()) } else { Err("the answer or the items are not as promised".into()) }
}

fn is_sample_group(group: &Group) -> bool {
    let accounts = group.members.iter().filter_map(|member| text_of(member, "account"));
    text_of(&group.group, "owner_account") == Some(SAMPLE_OWNER)
        && group.group.get("event_time").and_then(|value| value.as_n().ok())
            == Some(&SAMPLE_EVENT_TIME.to_string())
        && accounts.eq(SAMPLE_MEMBERS)
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
