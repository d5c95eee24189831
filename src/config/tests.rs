use std::collections::HashMap;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<WebhookSettings, ConfigError> {
    let mut all = HashMap::from([
        ("TABLE_NAME", "groups"),
        ("SDK_APP_ID", "1400000001"),
        ("CALLBACK_TOKENS", "token"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ]);
    all.extend(variables.iter().copied());
    WebhookSettings::from_env(&|name| {
        all.get(name).map(|value| (*value).to_owned()).ok_or(VarError::NotPresent)
    })
}

fn wrong(variables: &[(&str, &str)]) -> Option<&'static str> {
    read(variables).err().map(|error| error.variable)
}

#[test]
fn tokens_are_needed_unless_unsigned_requests_are_allowed() {
    assert_eq!(wrong(&[("CALLBACK_TOKENS", "")]), Some("CALLBACK_TOKENS"));
    assert_eq!(wrong(&[("CALLBACK_TOKENS", " ")]), Some("CALLBACK_TOKENS"));
    assert_eq!(wrong(&[("CALLBACK_TOKENS", ""), ("ALLOW_UNSIGNED", "false")]), Some("CALLBACK_TOKENS"));
    assert_eq!(wrong(&[("CALLBACK_TOKENS", ""), ("ALLOW_UNSIGNED", "true")]), None);
}

#[test]
fn one_or_two_tokens_are_taken() {
    let count = |text: &str| read(&[("CALLBACK_TOKENS", text)]).map(|read| read.verifier.tokens.len()).ok();
    assert_eq!(count("a"), Some(1));
    assert_eq!(count(" a\n\tb "), Some(2));
    assert_eq!(count("a b c"), None);
    assert_eq!(count(&"é".repeat(128)), Some(1));
    assert_eq!(count(&"é".repeat(129)), None);
}

#[test]
fn no_secret_is_ever_shown() {
    let error = read(&[("CALLBACK_TOKENS", "hunter2 hunter3 hunter4")]).map_err(|error| error.to_string());
    let error = error.err().unwrap_or_default();
    assert!(error.contains("CALLBACK_TOKENS") && !error.contains("hunter"), "{error}");
    let shown = format!("{:?}", read(&[("CALLBACK_TOKENS", "hunter3")]));
    assert!(shown.contains("1400000001") && !shown.contains("hunter"), "{shown}");
}

#[test]
fn a_malformed_setting_is_named() {
    let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/groups";
    for (variable, value) in [
        ("ALLOW_UNSIGNED", "yes"),
        ("KEEP_CLIENT_IP", "1"),
        ("DEAD_LETTER_QUEUE_URL", "queue"),
        ("MAX_REQUEST_AGE_SECONDS", "-1"),
        ("MAX_REQUEST_AGE_SECONDS", "60s"),
        ("RETRY_QUEUE_URL", "arn:aws:sqs:eu-west-1:1:q"),
        ("RETRY_QUEUE_URL", "https://"),
        ("RETRY_QUEUE_URL", "https://a b/q"),
        ("FORWARD_URL", "http://example.com/"),
        ("FORWARD_QUEUE_URL", "queue"),
        ("TABLE_NAME", ""),
        ("TABLE_NAME", "a table"),
        ("TABLE_NAME", arn),
        ("SDK_APP_ID", "0x1"),
        ("SDK_APP_ID", ""),
        ("AWS_REGION", ""),
        ("AWS_CA_BUNDLE", "/nowhere"),
        ("SSL_CERT_FILE", "Cargo.toml"),
    ] {
        assert_eq!(wrong(&[(variable, value)]), Some(variable), "{value}");
    }
}

fn read_reconcile(variables: &[(&str, &str)]) -> Result<ReconcileSettings, ConfigError> {
    let mut all = HashMap::from([
        ("TABLE_NAME", "groups"),
        ("SDK_APP_ID", "1400000001"),
        ("CHAT_API_URL", "https://console.tim.qq.com"),
        ("CHAT_ADMIN_ACCOUNT", "the admin"),
        ("CHAT_SECRET_KEY", "hunter2"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "hunter3"),
    ]);
    all.extend(variables.iter().copied());
    ReconcileSettings::from_env(&|name| {
        all.get(name).map(|value| (*value).to_owned()).ok_or(VarError::NotPresent)
    })
}

#[test]
fn chats_api_is_asked_over_https_or_on_loopback() {
    let wrong = |url: &str| read_reconcile(&[("CHAT_API_URL", url)]).err().map(|error| error.variable);
    for url in
        ["https://adminapisgp.im.qcloud.com/", "http://127.0.0.1:80", "http://[::1]:80", "http://localhost"]
    {
        assert_eq!(wrong(url), None, "{url}");
    }
    for url in [
        "",
        "console.tim.qq.com",
        "http://console.tim.qq.com",
        "ftp://localhost",
        "https://a/?b=c",
        "https://a@b",
        "https://a/#b",
        "https://a:99999",
    ] {
        assert_eq!(wrong(url), Some("CHAT_API_URL"), "{url}");
    }
}

#[test]
fn the_secret_key_or_the_secret_that_holds_it_must_be_named() {
    let source = |variables| read_reconcile(variables).map(|settings| settings.secret_key);
    assert!(matches!(source(&[]), Ok(KeySource::Key(_))));
    let named = source(&[("CHAT_SECRET_KEY", ""), ("CHAT_SECRET_KEY_ID", "chat/key")]);
    assert!(matches!(named, Ok(KeySource::Secret(id)) if id == "chat/key"));
    let missing = source(&[("CHAT_SECRET_KEY", " ")]).err();
    assert_eq!(missing.map(|error| error.variable), Some("CHAT_SECRET_KEY"));
    let shown = format!("{:?}", read_reconcile(&[]));
    assert!(shown.contains("the admin") && !shown.contains("hunter"), "{shown}");
}

#[test]
fn the_share_of_the_quota_is_a_number_from_one_on() {
    let rate = |text| {
        read_reconcile(&[("CHAT_REQUESTS_PER_SECOND", text)])
            .map(|settings| settings.chat.limits.call_interval.as_millis())
            .map_err(|error| error.variable)
    };
    assert_eq!((rate(""), rate("1")), (Ok(50), Ok(1000)));
    for text in ["0", "-1", "1.5", "4294967296"] {
        assert_eq!(rate(text), Err("CHAT_REQUESTS_PER_SECOND"), "{text}");
    }
}

#[test]
fn an_error_about_a_file_names_the_file() {
    let error = read(&[("AWS_CA_BUNDLE", "/nowhere")]).map_err(|error| error.to_string()).err();
    assert!(error.is_some_and(|error| error.ends_with("not /nowhere")));
}
