//! Bodies as they occur on the wire, and bodies that are really wrong.

use chat_groups::attribute::MAX_DEPTH;
use chat_groups::group::{ACCOUNT_MAX_BYTES, GROUP_ID_MAX_BYTES};
use serde_json::{Value, json};

use crate::harness::{NOW, SDK_APP_ID, Table, body, deliver, genuine_query, post, send};

/// Delivers a body to a table of its own and returns its group item and its members' items.
async fn stored(body: &Value) -> (Value, Vec<Value>) {
    stored_text(&body.to_string()).await
}

async fn stored_text(body: &str) -> (Value, Vec<Value>) {
    let table = Table::start().await;
    let answered = send(&table.webhook(), &post(&genuine_query(), body)).await;
    assert_eq!(answered.record.outcome, "stored", "{answered:?}");
    let (group, members): (Vec<_>, Vec<_>) =
        table.items().await.into_values().partition(|item| item["sk"] == "GROUP");
    assert_eq!(group.len(), 1);
    assert_eq!(group[0]["member_count"], members.len());
    (group[0].clone(), members)
}

async fn changed(field: &str, value: Value) -> (Value, Vec<Value>) {
    let mut body = body("g", 1_682_914_763_569, &["m"]);
    body[field] = value;
    stored(&body).await
}

#[tokio::test]
async fn event_time_is_read_as_number_string_null_or_absent() {
    for (value, expected) in [
        (json!(1_682_914_763_569_u64), 1_682_914_763_569),
        (json!("1670574414123"), 1_670_574_414_123),
        (json!(null), NOW * 1000),
    ] {
        assert_eq!(changed("EventTime", value).await.0["event_time"], expected);
    }
    let mut absent = body("g", 1, &[]);
    absent.as_object_mut().unwrap().remove("EventTime");
    assert_eq!(stored(&absent).await.0["event_time"], NOW * 1000);

    // Without RequestTime too, the time of receipt counts.
    let table = Table::start().await;
    let query = format!("SdkAppid={SDK_APP_ID}&CallbackCommand=Group.CallbackAfterCreateGroup");
    let webhook = table.webhook_with(&[("ALLOW_UNSIGNED", "true")]);
    send(&webhook, &post(&query, absent.to_string())).await;
    let items = table.items().await;
    assert_eq!(items.values().next().unwrap()["event_time"], NOW * 1000);
}

#[tokio::test]
async fn a_member_list_may_be_absent_null_or_empty() {
    for value in [json!(null), json!([])] {
        assert!(changed("MemberList", value).await.1.is_empty());
    }
    let mut absent = body("g", 1, &[]);
    absent.as_object_mut().unwrap().remove("MemberList");
    assert!(stored(&absent).await.1.is_empty());
}

#[tokio::test]
async fn repeated_accounts_are_one_member_and_extra_keys_are_kept() {
    let (_, members) = changed(
        "MemberList",
        json!([
            { "Member_Account": "b", "Level": 3 },
            { "Member_Account": "owner" },
            { "Member_Account": "b", "Tag": { "x": [1] } },
        ]),
    )
    .await;
    let told: Vec<_> =
        members.iter().map(|member| (&member["account"], &member["role"], member.get("extra"))).collect();
    let extra = json!({ "Level": 3, "Tag": { "x": [1] } });
    assert_eq!(
        told,
        [(&json!("b"), &json!("Member"), Some(&extra)), (&json!("owner"), &json!("Owner"), None)]
    );
}

#[tokio::test]
async fn a_group_can_have_no_owner() {
    for value in [json!(null), json!("")] {
        let (group, members) = changed("Owner_Account", value).await;
        assert!(group.get("owner_account").is_none() && group.get("account_key").is_none());
        assert_eq!(members[0]["role"], "Member");
    }
}

#[tokio::test]
async fn what_was_not_sent_is_absent() {
    let (group, _) = stored(&json!({
        "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": "g", "Name": null,
    }))
    .await;
    let names: Vec<&String> = group.as_object().unwrap().keys().collect();
    let always = [
        "client_ip",
        "event_time",
        "group_id",
        "member_count",
        "opt_platform",
        "pk",
        "received_at",
        "request_id",
        "sdk_app_id",
        "sk",
    ];
    assert_eq!(names, always);
}

#[tokio::test]
async fn unknown_types_and_fields_are_kept() {
    let (group, _) = changed("Type", json!("HoloDeck")).await;
    assert_eq!(group["type"], "HoloDeck");
    let deepest = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    for value in [
        json!("NeedPermission"),
        json!(-1.5e-7),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!([1, "a", { "b": [null, {}] }]),
        deepest,
    ] {
        assert_eq!(changed("InviteOption", value.clone()).await.0["extra"], json!({ "InviteOption": value }));
    }
}

#[tokio::test]
async fn numbers_keep_their_digits_and_what_dynamodb_cannot_hold_stays_text() {
    let text = body("g", 1, &[]).to_string();
    let with = |number: &str| text.replacen('{', &format!("{{\"N\":{number},"), 1);
    let digits = "12345678901234567890123456789012345678";
    let table = Table::start().await;
    send(&table.webhook(), &post(&genuine_query(), with(digits))).await;
    let group = table.store().group(SDK_APP_ID, "g").await.unwrap().unwrap().group;
    assert_eq!(group["extra"].as_m().unwrap()["N"].as_n().unwrap(), digits);
    let (group, _) = stored_text(&with("1e999")).await;
    assert_eq!(group["extra"]["N"], "1e999");
}

#[tokio::test]
async fn custom_fields_hold_any_character() {
    let list = json!([{ "Key": "k", "Value": "a\u{0}b\u{ffff}😀\"" }, { "Key": "empty", "Value": "" }]);
    let (group, _) = changed("UserDefinedDataList", list).await;
    assert_eq!(group["user_defined"], json!({ "k": "a\u{0}b\u{ffff}😀\"", "empty": "" }));
    for nothing in [json!(null), json!([])] {
        assert!(changed("UserDefinedDataList", nothing).await.0.get("user_defined").is_none());
    }
}

#[tokio::test]
async fn any_group_id_and_account_is_a_key() {
    let longest_group = "g".repeat(GROUP_ID_MAX_BYTES);
    let longest_account = "é".repeat(ACCOUNT_MAX_BYTES / 2);
    for group_id in ["@TGS#_abc@TOPIC#_xyz", "a b/c#d%e\"", "#", "😀\u{0}", &longest_group] {
        for account in ["a#b", "GROUP", "#", "\u{0}", "用户", &longest_account] {
            let (group, members) = stored(&body(group_id, 1, &[account])).await;
            assert_eq!(group["pk"], format!("{SDK_APP_ID}#{group_id}"));
            assert_eq!(members[0]["sk"], format!("MEMBER#{account}"));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_really_wrong_is_refused_with_the_fields_name() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let with = |field: &str, value: Value| {
        let mut body = body("g", 1, &["m"]);
        body[field] = value;
        body.to_string().into_bytes()
    };
    let nested = |levels: usize| {
        let nest = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        body("g", 1, &[]).to_string().replacen('{', &format!("{{\"Deep\":{nest},"), 1).into_bytes()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "body: expected JSON"),
        (b"{".to_vec(), "body: expected JSON"),
        (b"{} x".to_vec(), "body: expected JSON"),
        (b"\"text\"".to_vec(), "body: expected a JSON object"),
        (b"[]".to_vec(), "body: expected a JSON object"),
        (b"\xff{}".to_vec(), "body: expected UTF-8"),
        (b"{}".to_vec(), "CallbackCommand: expected a string"),
        (with("GroupId", json!(null)), "GroupId: expected a string"),
        (with("GroupId", json!("")), "GroupId: expected a string that is not empty"),
        (with("GroupId", json!(42)), "GroupId: expected a string"),
        (with("GroupId", json!("g".repeat(GROUP_ID_MAX_BYTES + 1))), "GroupId: expected at most 1003 bytes"),
        (with("Owner_Account", json!("a".repeat(ACCOUNT_MAX_BYTES + 1))), "Owner_Account: expected at most"),
        (with("Owner_Account", json!({})), "Owner_Account: expected a string"),
        (with("Operator_Account", json!(1)), "Operator_Account: expected a string"),
        (with("Type", json!([])), "Type: expected a string"),
        (with("Name", json!(5)), "Name: expected a string"),
        (with("EventTime", json!(-1)), "EventTime: expected milliseconds"),
        (with("EventTime", json!(1.5)), "EventTime: expected milliseconds"),
        (with("EventTime", json!("")), "EventTime: expected milliseconds"),
        (with("EventTime", json!("soon")), "EventTime: expected milliseconds"),
        (with("EventTime", json!([])), "EventTime: expected milliseconds"),
        (with("EventTime", json!("99999999999999999999")), "EventTime: expected milliseconds"),
        (with("MemberList", json!({})), "MemberList: expected an array of objects"),
        (with("MemberList", json!(["m"])), "MemberList[0]: expected an object"),
        (
            with("MemberList", json!([{ "Member_Account": "a" }, {}])),
            "MemberList[1].Member_Account: expected",
        ),
        (with("MemberList", json!([{ "Member_Account": 7 }])), "MemberList[0].Member_Account: expected"),
        (with("MemberList", json!([{ "Member_Account": "a", "": 1 }])), "MemberList[0].\"\": expected"),
        (
            with("MemberList", json!([{ "Member_Account": "a".repeat(ACCOUNT_MAX_BYTES + 1) }])),
            "MemberList[0].Member_Account: expected at most 1017 bytes",
        ),
        (with("UserDefinedDataList", json!("x")), "UserDefinedDataList: expected an array"),
        (with("UserDefinedDataList", json!([{ "Value": "v" }])), "UserDefinedDataList[0].Key: expected"),
        (
            with("UserDefinedDataList", json!([{ "Key": "k", "Value": 1 }])),
            "UserDefinedDataList[0].Value: expected",
        ),
        (with("", json!(1)), "\"\": expected a field with a name"),
        (with("Odd", json!({ "": 1 })), "Odd: expected no empty names"),
        (nested(MAX_DEPTH + 1), "Deep: expected at most 30 levels"),
        (nested(10_000), "Deep: expected at most 30 levels"),
        (body("g", 1, &[]).to_string().replace("Public", "\\ud800").into_bytes(), "Type: expected a string"),
    ];
    for (body, error_info) in cases {
        let shown = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
        let answered = send(&webhook, &post(&genuine_query(), body)).await;
        assert_eq!(answered.codes(), (400, 120_001), "{shown}");
        assert!(answered.error_info().starts_with(error_info), "{shown}: {}", answered.error_info());
        assert_eq!(answered.record.outcome, "rejected");
    }
    assert!(table.items().await.is_empty());
}

#[tokio::test]
async fn an_error_about_a_made_up_field_is_short() {
    let webhook = Table::start().await.webhook();
    let mut odd = body("g", 1, &[]);
    odd[&"n".repeat(100_000)] = json!({ "": 1 });
    assert!(deliver(&webhook, &odd).await.error_info().len() < 200);
}
