//! The receiver on loopback, on an embedded DynamoDB.

mod changes;
mod play;
mod reconcile;
mod server;

use std::env::VarError;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use chat_groups::callback::{RosterCommand, Token};
use chat_groups::config::WebhookSettings;
use chat_groups::http::Trust;
use chat_groups::log::Record;
use chat_groups::store::Reader;
use chat_groups::webhook::Webhook;
use chat_groups_testkit::{local, samples, table as database};
use play::Stage;
use tokio::net::TcpListener;
use tokio::sync::watch;

const CREATE: &str = RosterCommand::AfterCreateGroup.name();
use crate::page::{Arrivals, Page, Sender, Table};
use crate::post::Poster;
use crate::{aws, show};
use clap::builder::BoolishValueParser;

/// The token of the vendor's own signature example.
const SAMPLE_TOKEN: &str = samples::TOKEN;

const NO_TOKEN: &str = "CALLBACK_TOKENS: expected a token";

/// Runs the receiver and a page on loopback, and plays the vendor's sample and a group's life
///
/// Nothing leaves this machine: DynamoDB is embedded and Chat's REST API a stand-in. The table stays in
/// target/local/groups.db. ALLOW_UNSIGNED and MAX_REQUEST_AGE_SECONDS count as in the function webhook.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The port of the receiver, which Chat's callbacks are posted to; 0 takes any that is free, here and below
    #[arg(long, env = "PORT", default_value_t = 8787)]
    port: u16,
    /// The port of the embedded DynamoDB
    #[arg(long, env = "DYNAMODB_PORT", default_value_t = 8788)]
    dynamodb_port: u16,
    /// The address of the embedded DynamoDB: 0.0.0.0 lets containers in, such as those of `sam local`
    #[arg(long, env = "DYNAMODB_HOST", default_value = "127.0.0.1")]
    dynamodb_host: String,
    /// The port of the page
    #[arg(long, env = "PAGE_PORT", default_value_t = 8789)]
    page_port: u16,
    /// The application's SdkAppid
    #[arg(long, env = "SDK_APP_ID", default_value_t = 1_400_000_001)]
    sdk_app_id: u64,
    /// One or two callback authentication tokens, separated by white space
    #[arg(long, env = "CALLBACK_TOKENS", hide_env_values = true, default_value = SAMPLE_TOKEN)]
    callback_tokens: String,
    /// Ends once all is played, instead of serving until Ctrl-C
    #[arg(long, env = "ONCE", value_parser = BoolishValueParser::new())]
    once: bool,
}

/// Plays, and serves until Ctrl-C.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let page = listen("127.0.0.1", "PAGE_PORT", args.page_port).await?;
    println!("Page       http://{}/", page.local_addr()?);
    let listener = listen("127.0.0.1", "PORT", args.port).await?;
    let dynamodb = listen(&args.dynamodb_host, "DYNAMODB_PORT", args.dynamodb_port).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let dynamodb_url = format!("http://{}", dynamodb.local_addr()?);
    let data_file = data_file();
    let database = database::open(&data_file)?;
    tokio::spawn(dynoxide::server::serve_on(dynamodb, database.clone()));

    let env = |name: &str| environment(name, &args, &dynamodb_url);
    let settings = WebhookSettings::from_env(&env)?;
    let table = aws::of(settings.aws.clone());
    let reader = Reader::new(table.clone(), settings.table_name.clone());
    let history = changes::history(&table);
    let (told, new_changes) = watch::channel(());
    let changes = Box::pin(changes::follow(database, history.clone(), told));
    tokio::spawn(async move {
        if let Err(error) = changes.await {
            println!("Changes    not followed: {error}");
        }
    });
    let webhook = Arc::new(Webhook::from_settings(settings));
    let arrivals = Arrivals::default();
    let arrived = arrivals.clone();
    let report = move |record: &Record, body: &[u8]| {
        show::callback(record);
        arrived.add(record, body);
    };
    let server = tokio::spawn(server::serve(listener, webhook, report));

    let app_id = args.sdk_app_id;
    let token = args.callback_tokens.split_whitespace().next().unwrap_or_default();
    let poster = Poster::new(url.clone(), Trust::none());
    let sender = Sender::new(poster.clone(), app_id, Token::new(token).ok_or(NO_TOKEN)?);
    let shown_table = Table::new(table.clone(), database::TABLE_NAME.to_owned(), app_id);
    let local = Page::new(shown_table, Some(history)).with_run(arrivals, new_changes, sender);
    tokio::spawn(local.serve(page));
    println!("Receiver   {url}   SdkAppid {app_id}, token {}", shown(token));
    println!(
        "DynamoDB   {dynamodb_url}   tables {} and {}, kept in {}",
        database::TABLE_NAME,
        database::HISTORY_TABLE_NAME,
        data_file.display()
    );

    let stage = Stage { poster, sdk_app_id: app_id, token: token.to_owned(), table, reader };
    stage.sample().await?;
    stage.life().await?;
    reconcile::play(&env, &stage.reader).await?;
    if args.once {
        return Ok(());
    }
    print_curl(&url, app_id, token);
    tokio::select! {
        ended = server => ended?.map_err(Into::into),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    }
}

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

async fn listen(host: &str, variable: &str, port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((host, port)).await;
    listener.map_err(|error| format!("{variable}={port}: expected a free port on {host}: {error}"))
}

/// The receiver's environment: the arguments, and the embedded DynamoDB.
fn environment(name: &str, args: &Args, dynamodb_url: &str) -> Result<String, VarError> {
    match name {
        "TABLE_NAME" => Ok(database::TABLE_NAME.to_owned()),
        "SDK_APP_ID" => Ok(args.sdk_app_id.to_string()),
        "CALLBACK_TOKENS" => Ok(args.callback_tokens.clone()),
        "ALLOW_UNSIGNED" | "MAX_REQUEST_AGE_SECONDS" => std::env::var(name),
        _ => local::variable(name, dynamodb_url),
    }
}
