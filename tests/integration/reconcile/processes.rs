//! The binary, behind the Runtime API.

use std::path::Path;

use super::*;
use crate::function::Function;
use crate::secrets::Secrets;

const RECONCILE: &str = env!("CARGO_BIN_EXE_reconcile");
const SECRET_ID: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat-key-AbCdEf";

async fn start(world: &World, secrets: &Secrets, more: &[(&str, &str)]) -> Function {
    let mut env = vec![
        ("TABLE_NAME", "groups"),
        ("SDK_APP_ID", crate::samples::SDK_APP_ID),
        ("CHAT_API_URL", world.chat.url.as_str()),
        ("CHAT_ADMIN_ACCOUNT", ADMIN),
        ("CHAT_SECRET_KEY_ID", SECRET_ID),
        ("CHAT_REQUESTS_PER_SECOND", "1000"),
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &world.table.url),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url),
    ];
    env.extend(more.iter().copied());
    Function::start(Path::new(RECONCILE), &env).await.unwrap()
}

async fn lines(function: &Function) -> Vec<Value> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = function.lines();
    lines.iter().for_each(|line| assert_keeps_secrets(line));
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_key_is_read_from_secrets_manager_and_the_answer_has_the_fields_of_the_contract() {
    let world = World::start().await;
    world.group("g", group(&["a", "b"]));
    let secrets = Secrets::start(SECRET_ID, &format!("{KEY}\n")).await.unwrap();
    let function = start(&world, &secrets, &[]).await;
    let answer = function.invoke(json!({ "dry_run": true })).await.unwrap();
    let expected = json!({
        "dry_run": true, "finished": true, "groups_listed": 1, "groups_checked": 1, "groups_added": 1,
        "groups_changed": 0, "groups_destroyed": 0, "members_added": 2, "members_removed": 0,
        "members_changed": 0, "skipped": 0,
    });
    assert_eq!(answer, expected);
    assert_eq!(function.invoke(json!({})).await.unwrap()["members_added"], 2);
    let answer = function.invoke(json!({})).await.unwrap();
    assert_eq!((&answer["finished"], &answer["groups_checked"]), (&json!(true), &json!(0)), "none is due");
    let error = function.invoke(json!({ "group_ids": "g" })).await.unwrap_err();
    assert!(error.contains("group_ids: ") && error.contains("expected a sequence"), "{error}");
    world.chat.script("get_appid_group_list", Script::always(Fault::Code(60010)));
    let error = function.invoke(json!({ "now": true })).await.unwrap_err();
    assert!(error.contains("CHAT_ADMIN_ACCOUNT"), "{error}");
    let mut lines = lines(&function).await;
    // The runtime has lines of its own about the calls that failed.
    lines.retain(|line| line.get("outcome").is_some());
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(
        outcomes,
        ["corrected", "reconciled", "corrected", "reconciled", "waiting", "failed", "failed"]
    );
    assert!(lines[5]["error"].as_str().unwrap().starts_with("group_ids: "));
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string());
    }
    assert_eq!(lines[3]["groups_added"], 1);
}

#[tokio::test]
async fn at_its_default_rates_no_call_is_too_frequent() {
    let world = World::start().await;
    for number in 0..30 {
        world.group(&format!("g{number}"), group(&["a"]));
    }
    world.chat.behave(|behavior| {
        behavior.list_interval = Duration::from_secs(1);
        // Twenty a second on average; some may be late.
        behavior.calls_per_second = 30;
    });
    let secrets = Secrets::start(SECRET_ID, KEY).await.unwrap();
    let function = start(&world, &secrets, &[("CHAT_REQUESTS_PER_SECOND", "")]).await;
    let start = Instant::now();
    assert_eq!(function.invoke(json!({})).await.unwrap()["groups_added"], 30);
    let again = function.invoke(json!({ "members": "all" })).await.unwrap();
    assert_eq!((&again["finished"], &again["skipped"]), (&json!(true), &json!(0)));
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    let commands = ["get_appid_group_list", "get_group_info", "get_group_member_info"];
    assert_eq!(commands.map(|command| world.chat.calls(command)), [2, 2, 60], "none was refused");
}

#[tokio::test]
async fn a_secret_that_is_not_there_stops_the_start() {
    let world = World::start().await;
    let secrets = Secrets::start("another", KEY).await.unwrap();
    let mut function = start(&world, &secrets, &[]).await;
    assert!(!function.ended().await.unwrap());
    assert!(lines(&function).await[0].to_string().contains("CHAT_SECRET_KEY_ID"));
    let mut function = start(&world, &secrets, &[("CHAT_SECRET_KEY_ID", "")]).await;
    assert!(!function.ended().await.unwrap());
    let line = lines(&function).await[0].to_string();
    assert!(line.contains("environment variable CHAT_SECRET_KEY: expected"), "{line}");
}

#[tokio::test]
async fn a_process_that_is_killed_holds_the_lease_and_keeps_its_place() {
    let world = World::start().await;
    for number in 0..30 {
        world.group(&format!("g{number:02}"), group(&["a"]));
    }
    let secrets = Secrets::start(SECRET_ID, KEY).await.unwrap();
    let mut first = start(&world, &secrets, &[]).await;
    world
        .chat
        .script("get_group_member_info", Script { first: vec![Fault::None; 10].into(), then: Fault::Hang });
    let killed = {
        let invocation = first.invoke(json!({}));
        tokio::select! {
            answer = invocation => panic!("answered {answer:?}"),
            () = async {
                while world.chat.calls("get_group_member_info") < 20 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            } => {}
        }
        first.kill().await
    };
    killed.unwrap();
    world.chat.script("get_group_member_info", Script::default());
    let second = start(&world, &secrets, &[]).await;
    assert_eq!(second.invoke(json!({})).await.unwrap()["finished"], false);
    let error = second.invoke(json!({ "now": true })).await.unwrap_err();
    assert!(error.contains("another pass"), "{error}");
    forget_the_lease(&world).await;
    assert_eq!(second.invoke(json!({})).await.unwrap()["finished"], true);
    let ids: Vec<String> = expected(&world.chat).into_keys().collect();
    assert_eq!(world.shown(&ids).await, expected(&world.chat));
}

#[tokio::test]
async fn a_warm_instance_reads_the_key_again_once_chat_refuses_its_user_sig() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    let secrets = Secrets::start(SECRET_ID, "the key before it was changed").await.unwrap();
    let function = start(&world, &secrets, &[]).await;
    let error = function.invoke(json!({})).await.unwrap_err();
    assert!(error.contains("70009") && error.contains("CHAT_SECRET_KEY_ID"), "{error}");
    secrets.set(KEY);
    assert_eq!(function.invoke(json!({})).await.unwrap()["groups_added"], 1);
}
