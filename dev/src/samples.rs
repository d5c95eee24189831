//! Callbacks as the AWS gateways hand them to the function.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chat_groups::Token;
use serde_json::{Value, json};

/// The token and RequestTime of the vendor's own signature example, and an application that nobody has.
pub const TOKEN: &str = "xxxxyyyy";
pub const REQUEST_TIME: &str = "1669872112";
pub const SDK_APP_ID: &str = "1400000001";

const SAMPLE: &str = include_str!("sample.json");
/// As sent by a real application: compact, with sorted keys and one field that is documented nowhere.
const REAL_BODY: &str = r#"{"CallbackCommand":"Group.CallbackAfterCreateGroup","EventTime":1682914763569,"GroupId":"@TGS#2Z4CLQE5CM","InviteOption":"NeedPermission","MemberList":[{"Member_Account":"PLNJEE0k"}],"Name":"test8888","Operator_Account":"PLNJEE0k","Owner_Account":"PLNJEE0k","Type":"Public"}"#;
const CREATE: &str = "Group.CallbackAfterCreateGroup";

/// Signs as Chat does.
#[derive(Clone)]
pub struct Signer {
    pub token: String,
    pub sdk_app_id: String,
    pub request_time: String,
}

impl Default for Signer {
    fn default() -> Self {
        let [token, sdk_app_id, request_time] = [TOKEN, SDK_APP_ID, REQUEST_TIME].map(str::to_owned);
        Self { token, sdk_app_id, request_time }
    }
}

impl Signer {
    /// The URL parameters of a genuine callback, sorted by name as Chat sorts them.
    fn parameters(&self, command: &str) -> BTreeMap<&'static str, String> {
        let sign = Token::new(&self.token).map(|token| token.sign(&self.request_time)).unwrap_or_default();
        BTreeMap::from([
            ("CallbackCommand", command.to_owned()),
            ("ClientIP", "203.0.113.7".to_owned()),
            ("OptPlatform", "RESTAPI".to_owned()),
            ("RequestID", "3847361294-144115212345678901-0".to_owned()),
            ("RequestTime", self.request_time.clone()),
            ("SdkAppid", self.sdk_app_id.clone()),
            ("Sign", sign),
            ("contenttype", "json".to_owned()),
        ])
    }
}

/// All events, by the names of their files.
pub fn events(signer: &Signer) -> BTreeMap<&'static str, Value> {
    let genuine = signer.parameters(CREATE);
    let changed = |name: &'static str, value: &str| {
        let mut parameters = genuine.clone();
        parameters.insert(name, value.to_owned());
        parameters
    };
    let stale = Signer { request_time: "1".to_owned(), ..signer.clone() };
    let unhandled = "Group.CallbackAfterSendMsg";
    BTreeMap::from([
        ("http-api", http_api(&genuine, SAMPLE)),
        ("function-url", function_url(&genuine, SAMPLE)),
        ("rest-api", rest_api(&genuine, SAMPLE)),
        ("alb", alb(&genuine, SAMPLE)),
        ("base64", base64(http_api(&genuine, SAMPLE))),
        ("real-body", http_api(&genuine, REAL_BODY)),
        ("members-500", http_api(&genuine, &members_500().to_string())),
        ("no-members", http_api(&genuine, &no_members().to_string())),
        ("no-owner", http_api(&genuine, &no_owner().to_string())),
        ("unknown-fields", http_api(&genuine, &unknown_fields().to_string())),
        ("unhandled-command", http_api(&signer.parameters(unhandled), &message_sent().to_string())),
        ("wrong-sdk-app-id", http_api(&changed("SdkAppid", "1400000002"), SAMPLE)),
        ("wrong-sign", http_api(&changed("Sign", &"0".repeat(64)), SAMPLE)),
        ("stale-request-time", http_api(&stale.parameters(CREATE), SAMPLE)),
        ("unreadable-body", http_api(&genuine, &SAMPLE.replace("\"@TGS#2J4SZEAEL\"", "42"))),
    ])
}

fn members_500() -> Value {
    let members: Vec<Value> = (0..500).map(|n| json!({ "Member_Account": format!("user-{n:03}") })).collect();
    json!({
        "CallbackCommand": CREATE, "GroupId": "@TGS#500MEMBERS", "Type": "Work", "Name": "All hands",
        "Operator_Account": "user-000", "Owner_Account": "user-000", "MemberList": members,
        "EventTime": 1_682_914_763_570_u64,
    })
}

fn no_members() -> Value {
    json!({
        "CallbackCommand": CREATE, "GroupId": "@TGS#aLIVEROOM", "Type": "AVChatRoom", "Name": "Live",
        "Operator_Account": "host", "Owner_Account": "host", "MemberList": [], "EventTime": 1_682_914_763_571_u64,
    })
}

fn no_owner() -> Value {
    json!({
        "CallbackCommand": CREATE, "GroupId": "support #1/50% \"a\"", "Type": "Meeting", "Name": "Support",
        "Operator_Account": "@TLS#NOT_FOUND", "Owner_Account": "", "MemberList": [{ "Member_Account": "agent" }],
        "EventTime": 1_682_914_763_572_u64,
    })
}

fn unknown_fields() -> Value {
    json!({
        "CallbackCommand": CREATE, "GroupId": "@TGS#_COMMUNITY", "Type": "Community", "Name": "🦀\u{0}",
        "Operator_Account": "ana", "Owner_Account": "ana",
        "MemberList": [{ "Member_Account": "ana", "Role": "Owner" }, { "Member_Account": "ben", "Tags": ["new"] }],
        "EventTime": 1_682_914_763_573_u64,
        "InviteOption": "FreeAccess", "MaxMemberNum": 100_000, "Nested": { "a": [1, 2.5, true, null] },
    })
}

fn message_sent() -> Value {
    json!({
        "CallbackCommand": "Group.CallbackAfterSendMsg", "GroupId": "@TGS#2J4SZEAEL", "Type": "Public",
        "From_Account": "bob", "EventTime": 1_682_914_763_574_u64,
    })
}

fn query_string(parameters: &BTreeMap<&str, String>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn headers(host: &str) -> Value {
    json!({
        "accept": "*/*", "content-type": "application/json", "host": host, "x-forwarded-for": "203.0.113.80",
        "x-forwarded-port": "443", "x-forwarded-proto": "https",
    })
}

fn base64(mut event: Value) -> Value {
    let body = event["body"].as_str().unwrap_or_default();
    event["body"] = BASE64_STANDARD.encode(body).into();
    event["isBase64Encoded"] = true.into();
    event
}

/// HTTP API, payload format 2.0.
fn http_api(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    payload_2("example.execute-api.eu-west-1.amazonaws.com", "POST /", parameters, body)
}

fn function_url(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    payload_2("example.lambda-url.eu-west-1.on.aws", "$default", parameters, body)
}

fn payload_2(host: &str, route: &str, parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": route,
        "rawPath": "/",
        "rawQueryString": query_string(parameters),
        "headers": headers(host),
        "queryStringParameters": parameters,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": host,
            "domainPrefix": "example",
            "http": {
                "method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.80",
                "userAgent": "example",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": route,
            "stage": "$default",
            "time": "01/Dec/2022:05:21:52 +0000",
            "timeEpoch": 1_669_872_112_000_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// REST API, payload format 1.0.
fn rest_api(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    let host = "example.execute-api.eu-west-1.amazonaws.com";
    let several = |values: &Value| -> Value {
        let entries = values.as_object().into_iter().flatten();
        entries.map(|(name, value)| (name.clone(), json!([value]))).collect::<serde_json::Map<_, _>>().into()
    };
    json!({
        "resource": "/",
        "path": "/",
        "httpMethod": "POST",
        "headers": headers(host),
        "multiValueHeaders": several(&headers(host)),
        "queryStringParameters": parameters,
        "multiValueQueryStringParameters": several(&json!(parameters)),
        "pathParameters": null,
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": host,
            "domainPrefix": "example",
            "extendedRequestId": "JKJaXmPLvHcESHA=",
            "httpMethod": "POST",
            "identity": { "sourceIp": "203.0.113.80", "userAgent": "example" },
            "path": "/prod/",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "requestTime": "01/Dec/2022:05:21:52 +0000",
            "requestTimeEpoch": 1_669_872_112_000_u64,
            "resourceId": "abcdef",
            "resourcePath": "/",
            "stage": "prod",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// Application Load Balancer: its parameters stay percent-encoded.
fn alb(parameters: &BTreeMap<&str, String>, body: &str) -> Value {
    let encoded: BTreeMap<&str, String> = parameters
        .iter()
        .map(|(name, value)| (*name, form_urlencoded::byte_serialize(value.as_bytes()).collect()))
        .collect();
    json!({
        "requestContext": {
            "elb": {
                "targetGroupArn":
                    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/example/49e9d65c45c6791a",
            },
        },
        "httpMethod": "POST",
        "path": "/",
        "queryStringParameters": encoded,
        "headers": headers("callbacks.example.com"),
        "body": body,
        "isBase64Encoded": false,
    })
}
