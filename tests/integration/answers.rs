//! The contract's answers, and the order of the checks behind them.

use chat_groups::callback::BODY_MAX_BYTES;
use chat_groups::log::{Level, Outcome};
use lambda_http::http::Method;
use serde_json::{Value, json};

use crate::harness::{NOW, SIGN, Table, body, deliver, genuine_query, post, send};

#[tokio::test]
async fn the_checks_run_in_the_contracts_order() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let too_large = "x".repeat(BODY_MAX_BYTES + 1);
    let good = body("g", 1, &[]).to_string();

    // Each request is wrong in one way less than the one before it.
    let mut get = post("", too_large.clone());
    *get.method_mut() = Method::GET;
    let other_app = format!("SdkAppid=1400000002&RequestTime={NOW}");
    let no_sign = format!("SdkAppid=1400000001&RequestTime={NOW}");
    let not_fresh = format!("SdkAppid=1400000001&RequestTime=1&Sign={SIGN}");
    let no_command = format!("SdkAppid=1400000001&RequestTime={NOW}&Sign={SIGN}");
    let other_command = format!("{no_command}&CallbackCommand=State.StateChange");
    let requests = [
        (get, (405, 120_005)),
        (post("", too_large.clone()), (400, 120_002)),
        (post("SdkAppid=one", too_large.clone()), (400, 120_002)),
        (post("SdkAppid=1400000001&SdkAppid=1400000002", too_large.clone()), (400, 120_002)),
        (post(&other_app, too_large.clone()), (403, 120_003)),
        (post(&no_sign, too_large.clone()), (403, 120_004)),
        (post(&not_fresh, too_large.clone()), (403, 120_004)),
        (post(&no_command, too_large), (413, 120_006)),
        (post(&no_command, "no JSON"), (400, 120_002)),
        (post(&other_command, "no JSON"), (200, 0)),
        (post(&genuine_query(), "no JSON"), (400, 120_001)),
        (post(&genuine_query(), good), (200, 0)),
    ];
    for (request, codes) in requests {
        let answered = send(&webhook, &request).await;
        assert_eq!(answered.codes(), codes, "{} {}: {answered:?}", request.method(), request.uri());
    }
}

#[tokio::test]
async fn only_post_is_allowed() {
    let webhook = Table::start().await.webhook();
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS, Method::DELETE, Method::PATCH] {
        let mut request = post(&genuine_query(), body("g", 1, &[]).to_string());
        *request.method_mut() = method;
        let answered = send(&webhook, &request).await;
        assert_eq!(answered.codes(), (405, 120_005));
        assert_eq!(answered.allow.as_deref(), Some("POST"));
    }
}

#[tokio::test]
async fn a_body_may_have_5_mib_and_not_a_byte_more() {
    let webhook = Table::start().await.webhook();
    let mut text = body("g", 1, &[]).to_string();
    text.push_str(&" ".repeat(BODY_MAX_BYTES - text.len()));
    assert_eq!(send(&webhook, &post(&genuine_query(), text.clone())).await.codes(), (200, 0));
    text.push(' ');
    assert_eq!(send(&webhook, &post(&genuine_query(), text)).await.codes(), (413, 120_006));
}

#[tokio::test]
async fn the_command_in_the_body_is_bound_to_the_one_in_the_url() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let mut other = body("g", 1, &["m"]);
    other["CallbackCommand"] = "Group.CallbackAfterGroupDestroyed".into();
    let answered = send(&webhook, &post(&genuine_query(), other.to_string())).await;
    assert_eq!(answered.codes(), (400, 120_002));
    assert!(answered.error_info().contains("CallbackCommand"));
    assert!(table.items().await.is_empty());
}

#[tokio::test]
async fn parameters_are_taken_in_any_order_repeated_encoded_and_beside_the_operators_own() {
    let webhook = Table::start().await.webhook();
    let query = format!(
        "tenant=a%26Sign%3D0&Sign={SIGN}&contenttype=JSON&S%64kAppid=14%300000001&SdkAppid=1400000001&tenant=b\
         &RequestTime={NOW}&RequestTime={NOW}&CallbackCommand=Group%2ECallbackAfterCreateGroup&x&=&%ff=%ff"
    );
    let answered = send(&webhook, &post(&query, body("g", 1, &["m"]).to_string())).await;
    assert_eq!((answered.codes(), answered.outcome()), ((200, 0), "stored"));
    for repeated in ["SdkAppid=1", "RequestTime=1", "Sign=0", "CallbackCommand=a"] {
        let query = format!("{}&{repeated}", genuine_query());
        let answered = send(&webhook, &post(&query, body("g", 1, &["m"]).to_string())).await;
        assert_eq!(answered.codes(), (400, 120_002), "{repeated}");
    }
}

#[tokio::test]
async fn either_token_signs_while_it_is_being_changed() {
    let table = Table::start().await;
    for (tokens, codes, token) in [
        ("xxxxyyyy", (200, 0), Value::Null),
        ("xxxxyyyy new", (200, 0), json!("first")),
        ("new xxxxyyyy", (200, 0), json!("last")),
        ("new newer", (403, 120_004), Value::Null),
    ] {
        let webhook = table.webhook_with(&[("CALLBACK_TOKENS", tokens)]);
        let answered = deliver(&webhook, &body("g", 1, &[])).await;
        assert_eq!((answered.codes(), &answered.line["token"]), (codes, &token), "{tokens}");
    }
}

#[tokio::test]
async fn an_unsigned_request_is_accepted_only_where_that_is_set() {
    let table = Table::start().await;
    let query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup";
    let request = post(query, body("g", 1, &[]).to_string());
    assert_eq!(send(&table.webhook(), &request).await.codes(), (403, 120_004));
    let lenient = table.webhook_with(&[("ALLOW_UNSIGNED", "true")]);
    assert_eq!(send(&lenient, &request).await.codes(), (200, 0));
    // A Sign that is there is checked all the same.
    let wrong = post(&format!("{query}&RequestTime={NOW}&Sign=0"), body("g", 1, &[]).to_string());
    assert_eq!(send(&lenient, &wrong).await.codes(), (403, 120_004));
    let tokenless = table.webhook_with(&[("ALLOW_UNSIGNED", "true"), ("CALLBACK_TOKENS", "")]);
    assert_eq!(send(&tokenless, &request).await.codes(), (200, 0));
}

#[tokio::test]
async fn a_request_time_that_is_missing_or_malformed_is_a_broken_url() {
    let webhook = Table::start().await.webhook();
    for request_time in ["", "&RequestTime=", "&RequestTime=soon", "&RequestTime=-5"] {
        let query = format!(
            "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup&Sign={SIGN}{request_time}"
        );
        let answered = send(&webhook, &post(&query, body("g", 1, &[]).to_string())).await;
        assert_eq!(answered.codes(), (400, 120_002), "{request_time}");
        assert!(answered.error_info().contains("RequestTime"));
    }
}

#[tokio::test]
async fn how_far_request_time_may_lie_from_now_is_a_setting() {
    let table = Table::start().await;
    let token = chat_groups::callback::Token::new(crate::harness::TOKEN).unwrap();
    for (age, codes) in [(10, (200, 0)), (11, (403, 120_004))] {
        let time = (NOW - age).to_string();
        let query = genuine_query()
            .replace(&format!("RequestTime={NOW}"), &format!("RequestTime={time}"))
            .replace(SIGN, &token.sign(&time));
        let webhook = table.webhook_with(&[("MAX_REQUEST_AGE_SECONDS", "10")]);
        assert_eq!(send(&webhook, &post(&query, body("g", 1, &[]).to_string())).await.codes(), codes);
    }
}

#[tokio::test]
async fn the_log_line_tells_what_became_of_the_callback() {
    let webhook = Table::start().await.webhook();
    let first = deliver(&webhook, &body("g", 1, &["a", "b"])).await.record;
    let expected = (Outcome::Stored, Level::Info, 0, Some("g"), Some(2), Some("iOS"), Some("r-1"), true);
    let of = |record: &chat_groups::log::Record| {
        let record = record.clone();
        let (outcome, level, cold) = (record.outcome, record.level, record.cold_start);
        let texts = (record.group_id, record.opt_platform, record.request_id);
        (outcome, level, record.error_code, texts, record.member_count, cold)
    };
    let text = |text: Option<&str>| text.map(str::to_owned);
    let texts = (text(expected.3), text(expected.5), text(expected.6));
    assert_eq!(of(&first), (expected.0, expected.1, expected.2, texts.clone(), expected.4, expected.7));
    let second = deliver(&webhook, &body("g", 1, &["a", "b"])).await.record;
    assert_eq!(of(&second), (Outcome::Duplicate, Level::Info, 0, texts, Some(2), false));
    assert!(first.timestamp.starts_with("2022-12-01T05:21:52"), "{}", first.timestamp);
    assert_eq!(first.callback_command.as_deref(), Some("Group.CallbackAfterCreateGroup"));
    assert!(first.duration_ms > 0.0);
}
