//! Nothing that anyone sends panics the parser or the handler, or is answered in another form than promised.

use std::sync::LazyLock;

use chat_groups::callback::RosterCommand;
use chat_groups::gateway::Request;
use chat_groups::webhook::Webhook;
use chat_groups_testkit::bodies::Group;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{Table, body, genuine_query, post, query, send};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// A right body of each command that is kept.
fn right(kept: RosterCommand) -> Value {
    let group = Group::new("g", "Public");
    match kept {
        RosterCommand::AfterCreateGroup => body("g", 1, &["m"]),
        RosterCommand::AfterNewMemberJoin => group.joined(1, &["m"]),
        RosterCommand::AfterMemberExit => group.left(1, &["m"]),
        RosterCommand::AfterGroupDestroyed => group.destroyed(1, &["m"]),
        RosterCommand::AfterGroupInfoChanged => group.changed(1, json!({ "Name": "n" })),
        RosterCommand::AfterChangeGroupOwner => group.handed_over(1, "m", "n"),
        RosterCommand::AfterMemberFieldChanged => group.member_changed(1, "m", json!({ "Role": "Admin" })),
    }
}

fn any_command() -> impl Strategy<Value = RosterCommand> {
    proptest::sample::select(RosterCommand::ALL.as_slice())
}

/// The fields that are read of any command.
const FIELDS: [&str; 20] = [
    "CallbackCommand",
    "GroupId",
    "Type",
    "TopicId",
    "EventTime",
    "Owner_Account",
    "Operator_Account",
    "MemberList",
    "NewMemberList",
    "ExitMemberList",
    "JoinType",
    "UserDefinedDataList",
    "Name",
    "Notification",
    "OldOwner_Account",
    "NewOwner_Account",
    "Modified_Account",
    "Member_Account",
    "Role",
    "NameCard",
];

/// Bodies that are almost right: a known field, or another one, with anything in it.
fn almost_right() -> impl Strategy<Value = (RosterCommand, Value)> {
    let field = prop_oneof![
        4 => proptest::sample::select(FIELDS.as_slice()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    // In the entry of a list too.
    let value = prop_oneof![
        any_json(),
        any_json().prop_map(
            |value| json!([{ "Member_Account": value.clone(), "Key": value.clone(), "Value": value }])
        ),
    ];
    (any_command(), field, value).prop_map(|(command, field, value)| {
        let mut body = right(command);
        body[field] = value;
        (command, body)
    })
}

/// Runs one request through a handler whose table is there: one for all cases, as no case needs an empty one.
fn answer(query: &str, body: &[u8]) -> (u16, u64) {
    let (runtime, webhook) = &*HANDLER;
    runtime.block_on(async { send(webhook, &post(query, body)).await.codes() })
}

static HANDLER: LazyLock<(Runtime, Webhook)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let table = runtime.block_on(Table::start());
    let webhook = table.webhook();
    (runtime, webhook)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_body_that_cannot_be_read(command in any_command(), body: Vec<u8>) {
        prop_assert_eq!(answer(&query(command.name()), &body), (400, 120_001));
    }

    #[test]
    fn any_json_is_answered(command in any_command(), body in any_json()) {
        prop_assert_eq!(answer(&query(command.name()), body.to_string().as_bytes()), (400, 120_001));
    }

    #[test]
    fn any_json_in_any_field_is_stored_or_refused((command, body) in almost_right()) {
        let codes = answer(&query(command.name()), body.to_string().as_bytes());
        prop_assert!([(200, 0), (400, 120_001), (400, 120_002)].contains(&codes), "{codes:?}");
    }

    #[test]
    fn a_cut_or_changed_body_is_stored_or_refused(
        command in any_command(),
        at in 0_usize..400,
        byte: u8,
        cut: bool,
    ) {
        let mut bytes = right(command).to_string().into_bytes();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let codes = answer(&query(command.name()), &bytes);
        prop_assert!([(200, 0), (400, 120_001), (400, 120_002)].contains(&codes), "{codes:?}");
    }

    #[test]
    fn any_query_string_is_refused(query in "\\PC{0,200}") {
        let (status, _) = gateway_answer(json!({ "rawQueryString": query, "body": "{}" }));
        prop_assert!([400, 403].contains(&status), "{status}");
    }

    #[test]
    fn any_change_to_a_genuine_query_is_answered(at in 0_usize..400, character in "[ -~]") {
        let mut query = genuine_query();
        let at = at % query.len();
        query.replace_range(at..=at, &character);
        let body = body("g", 1, &["m"]).to_string();
        let (status, answer) = gateway_answer(json!({ "rawQueryString": query, "body": body }));
        prop_assert!([200, 400, 403].contains(&status), "{status}");
        prop_assert_eq!(answer["ErrorCode"] == 0, status == 200);
    }

    #[test]
    fn any_host_and_path_are_answered(host in "\\PC{0,30}", proto in "\\PC{0,9}", path in "\\PC{0,30}") {
        let headers = json!({ "host": host, "x-forwarded-proto": proto });
        let body = body("g", 1, &["m"]).to_string();
        let query = genuine_query();
        let event = json!({ "rawQueryString": query, "body": body, "headers": headers, "rawPath": path });
        let (status, _) = gateway_answer(event);
        prop_assert!([200, 400].contains(&status), "{status}");
    }
}

/// Runs an HTTP API event, with these fields changed, through everything that the function does with it.
fn gateway_answer(changes: Value) -> (u16, Value) {
    let mut event: Value = serde_json::from_str(include_str!("../../events/http-api.json")).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    let raw = serde_json::value::to_raw_value(&event).unwrap();
    let request = Request::read(&raw).unwrap();
    let (runtime, webhook) = &*HANDLER;
    runtime.block_on(async {
        let answered = send(webhook, &request).await;
        (answered.status, answered.answer)
    })
}
