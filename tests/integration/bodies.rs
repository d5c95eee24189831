//! What a body says, read back from the table.

use chat_groups::event::{ACCOUNT_MAX_BYTES, GROUP_ID_MAX_BYTES, MAX_DEPTH};
use serde_json::{Value, json};

use crate::harness::{NOW, SDK_APP_ID, Table, body, deliver, genuine_query, post, send};

/// Delivers a body to a table of its own and returns its group item and its members' items.
async fn stored(body: &str) -> (Value, Vec<Value>) {
    let table = Table::start().await;
    let answered = send(&table.webhook(), &post(&genuine_query(), body)).await;
    assert_eq!(answered.outcome(), "stored", "{answered:?}");
    let (group, members): (Vec<_>, Vec<_>) =
        table.items().await.into_values().partition(|item| item["sk"] == "GROUP");
    assert_eq!(group.len(), 1);
    assert_eq!(group[0]["initial_member_count"], members.len());
    (group[0].clone(), members)
}

async fn changed(field: &str, value: Value) -> (Value, Vec<Value>) {
    let mut body = body("g", 1_669_872_112_000, &["m"]);
    body[field] = value;
    stored(&body.to_string()).await
}

#[tokio::test]
async fn what_was_not_sent_is_absent() {
    let body = json!({ "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": "g", "Name": null });
    let (group, _) = stored(&body.to_string()).await;
    let names: Vec<&String> = group.as_object().unwrap().keys().collect();
    let always = [
        "event_time",
        "group_id",
        "initial_member_count",
        "opt_platform",
        "pk",
        "received_at",
        "request_id",
        "revision",
        "sdk_app_id",
        "sk",
    ];
    assert_eq!(names, always);
    assert_eq!(group["event_time"], NOW * 1000);
}

#[tokio::test]
async fn unknown_types_and_fields_are_kept_and_never_cost_an_event() {
    assert_eq!(changed("Type", json!("HoloDeck")).await.0["type"], "HoloDeck");
    let deepest = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    for value in
        [json!(-1.5e-7), json!(true), json!([]), json!({}), json!([1, "a", { "b": [null, {}] }]), deepest]
    {
        assert_eq!(changed("InviteOption", value.clone()).await.0["extra"], json!({ "InviteOption": value }));
    }
    assert_eq!(changed("Odd", json!({ "": 1 })).await.0["extra"], json!({ "Odd": "{\"\":1}" }));
    assert_eq!(changed("", json!(1)).await.0["extra"], json!({ "\"\"": 1 }));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let text = body("g", 1, &[]).to_string().replacen('{', &format!("{{\"Deep\":{nested},"), 1);
    assert!(stored(&text).await.0["extra"]["Deep"].is_array());
}

#[tokio::test]
async fn an_unknown_field_that_has_no_room_in_the_item_is_left_out() {
    let mut event = body("g", 1, &["m"]);
    (event["Padding"], event["Small"]) = ("x".repeat(480_000).into(), json!([1]));
    event["MemberList"][0]["Padding"] = "x".repeat(10_000).into();
    let (group, members) = stored(&event.to_string()).await;
    assert_eq!(group["extra"], json!({ "Small": [1] }));
    assert_eq!(members[0]["extra"]["Padding"].as_str().map(str::len), Some(10_000));
    let entry = |name: &str| json!({ "Member_Account": "m", name: "x".repeat(200_000) });
    event["MemberList"] = json!([entry("First"), entry("Second")]);
    event["Padding"] = json!(null);
    let (group, members) = stored(&event.to_string()).await;
    assert_eq!(group["extra"], json!({ "Padding": null, "Small": [1] }));
    let names: Vec<&String> = members[0]["extra"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["First"]);
}

#[tokio::test]
async fn a_body_of_ever_so_many_fields_is_answered_in_time() {
    let table = Table::start().await;
    let text = body("g", 1, &[]).to_string();
    let fields: String = (0..15_000).map(|n| format!("\"{n:x}\":1,")).collect();
    let entries: Vec<Value> =
        (0..7_000).map(|n| json!({ "Member_Account": "m", format!("{n:x}"): 1 })).collect();
    let mut repeated = body("h", 1, &[]);
    repeated["MemberList"] = json!(entries);
    for body in [text.replacen('{', &format!("{{{fields}"), 1), repeated.to_string()] {
        assert!((100_000..512 * 1024).contains(&body.len()), "{}", body.len());
        let start = tokio::time::Instant::now();
        let answered = send(&table.webhook(), &post(&genuine_query(), body)).await;
        let took = start.elapsed();
        assert!(answered.status == 200 && took < std::time::Duration::from_millis(1500), "{took:?}");
    }
}

#[tokio::test]
async fn numbers_keep_their_digits_and_what_dynamodb_cannot_hold_stays_text() {
    let text = body("g", 1, &[]).to_string();
    let with = |number: &str| text.replacen('{', &format!("{{\"N\":{number},"), 1);
    let digits = "12345678901234567890123456789012345678";
    let table = Table::start().await;
    send(&table.webhook(), &post(&genuine_query(), with(digits))).await;
    let group = table.group("g").await.unwrap().group;
    assert_eq!(group["extra"].as_m().unwrap()["N"].as_n().unwrap(), digits);
    assert_eq!(stored(&with("1e999")).await.0["extra"]["N"], "1e999");
}

#[tokio::test]
async fn custom_fields_hold_any_character() {
    let list = json!([
        { "Key": "k", "Value": "a\u{0}b\u{ffff}😀\"" }, { "Key": "empty", "Value": "" }, { "Key": "", "Value": "e" },
        { "Key": "number", "Value": 1 }, { "Key": "absent" },
    ]);
    let (group, _) = changed("UserDefinedDataList", list.clone()).await;
    assert_eq!(group["user_defined"], json!({ "k": "a\u{0}b\u{ffff}😀\"", "empty": "", "\"\"": "e" }));
    assert_eq!(group["extra"], json!({ "UserDefinedDataList": [list[3], list[4]] }));
    for nothing in [json!(null), json!([]), json!({})] {
        assert!(changed("UserDefinedDataList", nothing).await.0.get("user_defined").is_none());
    }
}

#[tokio::test]
async fn any_group_id_and_account_is_a_key() {
    let longest_group = "g".repeat(GROUP_ID_MAX_BYTES);
    let longest_account = "é".repeat(ACCOUNT_MAX_BYTES / 2);
    for group_id in ["@TGS#_abc@TOPIC#_xyz", "a b/c#d%e\"", "#", "😀\u{0}", &longest_group] {
        for account in ["a#b", "GROUP", "#", "\u{0}", "用户", &longest_account] {
            let (group, members) = stored(&body(group_id, 1, &[account]).to_string()).await;
            assert_eq!(group["pk"], format!("{SDK_APP_ID}#{group_id}"));
            assert_eq!(members[0]["sk"], format!("MEMBER#{account}"));
        }
    }
    let text = body("NOT_TEXT", 1, &["m"]).to_string().replace("NOT_TEXT", "\\ud800");
    assert_eq!(stored(&text).await.0["group_id"], r#""\ud800""#);
}

#[tokio::test]
async fn a_body_that_is_really_wrong_is_refused_and_writes_nothing() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let mut wrong = body("g", 1, &["m"]);
    wrong["MemberList"][0]["Member_Account"] = json!(7);
    for body in [wrong.to_string(), "no JSON".to_owned(), "{}".to_owned()] {
        let answered = send(&webhook, &post(&genuine_query(), body)).await;
        assert_eq!((answered.codes(), answered.outcome()), ((400, 120_001), "rejected"));
    }
    assert!(table.items().await.is_empty());
}

#[tokio::test]
async fn an_event_of_more_than_five_minutes_ahead_is_refused() {
    let webhook = Table::start().await.webhook();
    let ahead = async |seconds: u64| deliver(&webhook, &body("g", (NOW + seconds) * 1000, &[])).await;
    assert_eq!(ahead(301).await.codes(), (400, 120_001));
    assert_eq!(ahead(300).await.codes(), (200, 0));
}
