//! The function `reconcile`, between the table and a stand-in for Chat's REST API.

use std::env::VarError;
use std::error::Error;
use std::time::{Duration, SystemTime};

use chat_groups::config::{Environment, ReconcileSettings};
use chat_groups::event::GroupKey;
use chat_groups::reconcile::{Note, Reconcile, ReconcileRequest, end_within};
use chat_groups::store::Reader;
use chat_groups::time::rfc3339;
use chat_groups_testkit::chat::{Application, Chat, Group};
use chat_groups_testkit::model::seen;
use serde_json::json;

use crate::show;

/// Unlike the receiver's groups, this one is made in Chat alone.
const GROUP: &str = "never announced";
const ACCOUNTS: [&str; 2] = ["dora", "emil"];
const CREATE_TIME: u64 = 1_682_914_763;

const ADMIN: &str = "administrator";
const SECRET_KEY: &str = "a key for this run alone";

/// Reconciles one group, whose name is another in each run, and shows and checks what comes of it.
pub async fn play(env: Environment<'_>, reader: &Reader) -> Result<(), Box<dyn Error>> {
    let sdk_app_id: u64 = env("SDK_APP_ID")?.parse()?;
    let admin_account = ADMIN.to_owned();
    let chat =
        Chat::start(Application { sdk_app_id, admin_account, secret_key: SECRET_KEY.to_owned() }).await?;
    let name = format!("as Chat has it at {}", rfc3339(SystemTime::now()));
    let group = Group::public(&name, CREATE_TIME, &ACCOUNTS);
    chat.groups(|model| model.groups.insert(GROUP.to_owned(), group));

    println!("\nReconcile asks a stand-in for Chat's REST API about a group that no callback announced:\n");
    let env = |name: &str| -> Result<String, VarError> {
        match name {
            "CHAT_API_URL" => Ok(chat.url.clone()),
            "CHAT_ADMIN_ACCOUNT" => Ok(ADMIN.to_owned()),
            "CHAT_SECRET_KEY" => Ok(SECRET_KEY.to_owned()),
            _ => env(name),
        }
    };
    let reconcile = Reconcile::from_settings(ReconcileSettings::from_env(&env)?).await?;
    let request = ReconcileRequest { group_ids: Some(vec![GROUP.to_owned()]), ..ReconcileRequest::default() };
    let print =
        |note: &Note<'_>| note.to_line(SystemTime::now()).into_iter().for_each(|line| println!("{line}"));
    reconcile.run(&request, end_within(Duration::from_secs(60)), &print).await?;
    let key = GroupKey { sdk_app_id, group_id: GROUP.to_owned() };
    let roster = seen(reader.group(&key).await?.as_ref());
    println!();
    show::roster(&roster);
    let accounts = roster["members"].as_object().map(|members| members.keys().cloned().collect::<Vec<_>>());
    if roster["name"] != json!(name) || accounts.is_none_or(|accounts| accounts != ACCOUNTS) {
        return Err("the table does not have the group as Chat has it".into());
    }
    Ok(())
}
