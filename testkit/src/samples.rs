//! Callbacks as the AWS gateways hand them to the function.

mod gateway;

use std::collections::BTreeMap;

use chat_groups::callback::{RosterCommand, Token};
use serde_json::{Value, json};

use crate::bodies::Group;
use gateway::{alb, base64, function_url, http_api, rest_api};

/// The token and RequestTime of the vendor's own signature example, and an application that nobody has.
pub const TOKEN: &str = "xxxxyyyy";
pub const REQUEST_TIME: &str = "1669872112";
pub const SDK_APP_ID: &str = "1400000001";

/// The sample request of the vendor's page, without its comments.
pub const SAMPLE: &str = include_str!("sample.json");
/// As sent by a real application: compact, with sorted keys and one field that is documented nowhere.
const REAL_BODY: &str = r#"{"CallbackCommand":"Group.CallbackAfterCreateGroup","EventTime":1682914763569,"GroupId":"@TGS#2Z4CLQE5CM","InviteOption":"NeedPermission","MemberList":[{"Member_Account":"PLNJEE0k"}],"Name":"test8888","Operator_Account":"PLNJEE0k","Owner_Account":"PLNJEE0k","Type":"Public"}"#;
/// The others that were seen, and the vendor's own.
const JOIN: &str = r#"{"CallbackCommand":"Group.CallbackAfterNewMemberJoin","GroupId":"1001555","JoinType":"Invited","NewMemberList":[{"Member_Account":"hxtest-q118"}],"Operator_Account":"hxtest-q110","Type":"Public"}"#;
const VIEWER: &str = r#"{"CallbackCommand":"Group.CallbackAfterNewMemberJoin","EventTime":1682914665661,"GroupId":"WorldGroup777","JoinType":"Apply","NewMemberList":[{"Member_Account":"PLNJEE0k"}],"Operator_Account":"PLNJEE0k","Type":"AVChatRoom"}"#;
const INFO: &str = r#"{"CallbackCommand":"Group.CallbackAfterGroupInfoChanged","EventTime":1657389765743,"GroupId":"e6a954aa-2419-4743-b968-a971f8077bf1","Introduction":"test update group","Name":"test update","Operator_Account":"administrator","Type":"AVChatRoom"}"#;
const OWNER: &str = r#"{"CallbackCommand":"Group.CallbackAfterChangeGroupOwner","GroupId":"@TGS#2TTV7VSII","Type":"Public","Operator_Account":"admin","OldOwner_Account":"user1","NewOwner_Account":"user2","EventTime":"1670574414123"}"#;
const CREATE: &str = RosterCommand::AfterCreateGroup.name();

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
    /// The query string of a genuine callback.
    pub fn query(&self, command: &str) -> String {
        query_string(&self.parameters(command))
    }

    /// The event of a genuine callback from an HTTP API.
    pub fn event(&self, body: &Value) -> Value {
        self.http_api(&body.to_string())
    }

    fn http_api(&self, body: &str) -> Value {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        http_api(&self.parameters(parsed["CallbackCommand"].as_str().unwrap_or_default()), body)
    }

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
    forms(signer).into_iter().chain(creations(signer)).chain(changes(signer)).chain(refused(signer)).collect()
}

/// The vendor's sample in each form.
fn forms(signer: &Signer) -> Vec<(&'static str, Value)> {
    let genuine = signer.parameters(CREATE);
    vec![
        ("http-api", http_api(&genuine, SAMPLE)),
        ("function-url", function_url(&genuine, SAMPLE)),
        ("rest-api", rest_api(&genuine, SAMPLE)),
        ("alb", alb(&genuine, SAMPLE)),
        ("base64", base64(http_api(&genuine, SAMPLE))),
    ]
}

fn creations(signer: &Signer) -> Vec<(&'static str, Value)> {
    vec![
        ("real-body", signer.http_api(REAL_BODY)),
        ("members-500", signer.event(&members_500())),
        ("no-members", signer.event(&no_members())),
        ("no-owner", signer.event(&no_owner())),
        ("unknown-fields", signer.event(&unknown_fields())),
    ]
}

/// One of each command that changes what is there, and two that are not kept.
fn changes(signer: &Signer) -> Vec<(&'static str, Value)> {
    let group = Group::new("@TGS#2J4SZEAEL", "Public");
    let admin = json!({ "Role": "Admin", "NameCard": "Bob, sales" });
    vec![
        ("joined", signer.http_api(JOIN)),
        ("left", signer.event(&group.left(1_682_914_763_575, &["bob", "no member"]))),
        ("destroyed", signer.event(&group.destroyed(1_682_914_763_576, &["leckie", "peter"]))),
        ("info-changed", signer.http_api(INFO)),
        ("owner-changed", signer.http_api(OWNER)),
        ("member-changed", signer.event(&group.member_changed(1_682_914_763_577, "bob", admin))),
        ("viewer-joined", signer.http_api(VIEWER)),
        ("unhandled-command", signer.event(&message_sent())),
    ]
}

fn refused(signer: &Signer) -> Vec<(&'static str, Value)> {
    let genuine = signer.parameters(CREATE);
    let changed = |name: &'static str, value: &str| {
        let mut parameters = genuine.clone();
        parameters.insert(name, value.to_owned());
        parameters
    };
    let stale = Signer { request_time: "1".to_owned(), ..signer.clone() };
    vec![
        ("wrong-sdk-app-id", http_api(&changed("SdkAppid", "1400000002"), SAMPLE)),
        ("wrong-sign", http_api(&changed("Sign", &"0".repeat(64)), SAMPLE)),
        ("stale-request-time", http_api(&stale.parameters(CREATE), SAMPLE)),
        ("unreadable-body", http_api(&genuine, &SAMPLE.replace("\"@TGS#2J4SZEAEL\"", "42"))),
    ]
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
