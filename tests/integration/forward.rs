//! Passing on: every genuine callback reaches the downstream receiver as it came, now or late, and no answer waits for it.

mod downstream;
mod faults;

use std::path::Path;
use std::time::{Duration, SystemTime};

use chat_groups::callback::{Query, Sender, Token, Unsigned, Verifier};
use chat_groups::gateway::Request;
use chat_groups::log::Forwarded;
use chat_groups::redrive::{Finished, Redrive};
use chat_groups::time::from_millis;
use chat_groups::webhook::Webhook;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::downstream::{ANSWER, Kind, PATH, Setting};
use crate::function::Function;
use crate::harness::{NOW, SDK_APP_ID, SIGN, TOKEN, Table, body, finish_at, lost, name, post, query};
use crate::receiver::{Receiver, Reply};
use crate::samples::{self, Signer};

/// What a message in a chat says: it must never stand in the log.
const TEXT: &str = "between you and me";

const OURS: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

/// What the gateway got back, and what was logged.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
    line: Value,
    /// The queue messages of a lost event.
    lost: Vec<Value>,
    took: Duration,
}

impl Answer {
    /// ErrorCode of the log, which is that of an answer of our own.
    fn error_code(&self) -> u64 {
        self.line["error_code"].as_u64().unwrap()
    }

    fn outcome(&self) -> &str {
        self.line["outcome"].as_str().unwrap()
    }

    /// `ok`, `queued`, `failed`, or `-` where it is absent.
    fn forward(&self) -> &str {
        self.line.get("forward").map_or("-", |forward| forward.as_str().unwrap())
    }
}

/// Sends a request at [`NOW`] and checks what holds of every answer.
async fn ask(webhook: &Webhook, request: &Request) -> Answer {
    ask_at(webhook, request, NOW).await
}

async fn ask_at(webhook: &Webhook, request: &Request, seconds: u64) -> Answer {
    let start = Instant::now();
    let (response, record) = webhook.accept(request, from_millis(seconds * 1000)).await;
    let took = start.elapsed();
    assert!(took < crate::faults::ANSWER_BUDGET, "{took:?}: {record:?}");
    assert_eq!(response.headers()["content-type"], "application/json");
    let (status, body) = (response.status().as_u16(), response.into_body());
    let (text, shown) = (record.to_line(), format!("{record:?}"));
    for secret in [SIGN, TOKEN, "hunter2", "\n"] {
        assert!(!text.contains(secret) && !shown.contains(secret), "{secret} in {text}");
    }
    let line: Value = serde_json::from_str(&text).unwrap();
    assert!(!text.contains(TEXT), "{line}");
    if line["outcome"] != "forwarded" {
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["ErrorCode"], line["error_code"]);
        assert_eq!(answer["ErrorInfo"].as_str().filter(|info| !info.is_empty()), line["error_info"].as_str());
    }
    let lost = lost(&line, &record).iter().map(|message| serde_json::from_str(message).unwrap()).collect();
    Answer { status, body, line, lost, took }
}

/// Finishes a message a minute and a bit later, and checks what holds of every line.
async fn finish(redrive: &Redrive, message: &str) -> (Result<&'static str, String>, Value) {
    let Finished { result, record, .. } = finish_at(redrive, message, later()).await;
    let text = record.to_line();
    for secret in [SIGN, TOKEN, "hunter2", TEXT] {
        assert!(!text.contains(secret) && !format!("{result:?}").contains(secret), "{secret} in {text}");
    }
    let result = result.map(name).map_err(|error| error.to_string());
    (result, serde_json::from_str(&text).unwrap())
}

fn later() -> SystemTime {
    from_millis((NOW + 100) * 1000)
}

/// Whether the downstream receiver takes a query string for genuine and fresh.
fn verify(query: &str, now: SystemTime) -> Option<Sender> {
    let tokens = vec![Token::new(TOKEN).unwrap()];
    let verifier = Verifier { tokens, unsigned: Unsigned::Refused, max_age_seconds: 60 };
    let query = Query::parse(query);
    verifier.verify(query.sign().unwrap(), query.request_time().unwrap(), now).ok()
}

/// A query string with these parameters removed.
fn without(query: &str, names: &[&str]) -> String {
    Query::parse(query).without(names)
}

/// A downstream receiver that takes everything, and says so in JSON.
async fn willing() -> Receiver {
    Receiver::start(Reply::answer(200, ANSWER)).await.unwrap()
}

#[tokio::test]
async fn without_forward_url_nothing_is_forwarded_and_no_line_speaks_of_it() {
    let webhook = Table::start().await.webhook();
    for (kind, outcome, level) in [
        (Kind::Roster, "stored", "INFO"),
        (Kind::Other, "ignored", "INFO"),
        (Kind::Decision, "ignored", "WARN"),
    ] {
        let answer = ask(&webhook, &kind.request()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, OURS));
        assert_eq!(
            (answer.outcome(), answer.forward(), &answer.line["level"]),
            (outcome, "-", &json!(level))
        );
    }
}

#[tokio::test]
async fn a_request_that_was_forwarded_already_is_refused_so_that_no_loop_forms() {
    let setting = Setting::start(willing().await).await;
    // Its own answers show what the header is: what is forwarded bears it.
    ask(&setting.webhook, &Kind::Other.request()).await;
    let headers = setting.downstream.take().remove(0).headers;
    let names: Vec<&str> = headers.keys().map(String::as_str).filter(|name| name.starts_with("x-")).collect();
    assert_eq!(names, ["x-chat-groups-forwarded"]);
    for kind in Kind::ALL {
        let mut request = kind.request();
        request.has_loop_header = true;
        let answer = ask(&setting.webhook, &request).await;
        assert_eq!((answer.status, answer.error_code(), answer.outcome()), (403, 120_004, "rejected"));
    }
    assert!(setting.downstream.take().is_empty() && setting.queued().is_empty());
    assert!(setting.table.items().await.is_empty());
}

#[tokio::test]
async fn a_request_that_is_not_genuine_is_not_forwarded() {
    let setting = Setting::start(willing().await).await;
    for kind in Kind::ALL {
        let genuine = kind.query();
        for query in [
            genuine.replace(SIGN, &"0".repeat(64)),
            without(&genuine, &["Sign"]),
            genuine.replace(&NOW.to_string(), "1"),
            genuine.replace("140", "141"),
            without(&genuine, &["CallbackCommand"]),
        ] {
            let answer = ask(&setting.webhook, &post(&query, kind.body())).await;
            assert_eq!(answer.outcome(), "rejected", "{query}");
        }
    }
    assert!(setting.downstream.take().is_empty() && setting.queued().is_empty());
}

#[tokio::test]
async fn what_came_unsigned_never_comes_out_signed_now_or_late() {
    // Without a token, a Sign proves nothing.
    let made_up = format!("RequestTime={NOW}&Sign={SIGN}&S%69gn={SIGN}&");
    for (tokens, more) in [(TOKEN, ""), ("", ""), ("", made_up.as_str())] {
        for kind in Kind::ALL {
            let settings = [("ALLOW_UNSIGNED", "true"), ("CALLBACK_TOKENS", tokens)];
            let setting = Setting::start_with(willing().await, &settings).await;
            let bare = without(&kind.query(), &["Sign", "RequestTime"]);
            let request = post(&format!("{more}{bare}"), kind.body());
            assert_eq!(ask(&setting.webhook, &request).await.forward(), "ok");
            assert_eq!(setting.downstream.take()[0].target, format!("{PATH}&{bare}"));

            setting.downstream.set(Reply::answer(500, ""));
            let forward = if kind == Kind::Decision { "failed" } else { "queued" };
            assert_eq!(ask(&setting.webhook, &request).await.forward(), forward);
            let mut queued = setting.queued();
            queued.retain(|message| message.queue == "forward");
            assert_eq!(queued.is_empty(), kind == Kind::Decision);
            setting.downstream.set(Reply::answer(200, ""));
            setting.downstream.take();
            for message in queued {
                assert_eq!(message.json()["unsigned"], true);
                // Though `redrive` has a token.
                let (result, _) = finish(&setting.redrive(), &message.text).await;
                assert_eq!(result.unwrap(), "forwarded");
                assert_eq!(setting.downstream.take()[0].target, format!("{PATH}&{bare}"));
            }
        }
    }
}

#[tokio::test]
async fn a_genuine_body_that_cannot_be_read_is_forwarded_and_queued_and_stays_400() {
    let command = "Group.CallbackAfterCreateGroup";
    let too_late = body("g", (NOW + 3600) * 1000, &[]).to_string();
    for (reply, forward, queued) in [
        (Reply::answer(200, ANSWER), "ok", vec!["retry"]),
        (Reply::answer(500, ""), "queued", vec!["forward", "retry"]),
    ] {
        for unreadable in [&b"no JSON"[..], b"{\"GroupId\":\"\xff\"}", b"", too_late.as_bytes()] {
            let setting = Setting::start(Receiver::start(reply.clone()).await.unwrap()).await;
            let answer = ask(&setting.webhook, &post(&query(command), unreadable)).await;
            assert_eq!((answer.status, answer.error_code()), (400, 120_001));
            assert_eq!((answer.outcome(), answer.forward()), ("rejected", forward));
            assert_eq!(setting.downstream.take()[0].body, unreadable);
            assert_eq!(setting.queue_names(), queued);
        }
    }
}

#[tokio::test]
async fn an_unreadable_body_that_no_queue_takes_is_logged_for_both_and_stays_400() {
    let setting = Setting::start(Receiver::start(Reply::silence()).await.unwrap()).await;
    setting.queues.set(Reply::silence());
    let answer = ask(&setting.webhook, &post(&query("Group.CallbackAfterMemberExit"), "no JSON")).await;
    assert_eq!((answer.status, answer.error_code()), (400, 120_001));
    assert_eq!((answer.outcome(), answer.forward()), ("lost", "failed"));
    let pending: Vec<&Value> = answer.lost.iter().map(|message| &message["pending"]).collect();
    assert_eq!(pending, ["table", "forward"]);
}

#[tokio::test]
async fn an_unreadable_body_that_is_unsigned_or_of_another_command_goes_nowhere() {
    let setting = Setting::start_with(willing().await, &[("ALLOW_UNSIGNED", "true")]).await;
    let genuine = query("Group.CallbackAfterGroupDestroyed");
    let unsigned = without(&genuine, &["Sign", "RequestTime"]);
    for (query, body, error_code) in
        [(unsigned, "no JSON".to_owned(), 120_001), (genuine, body("g", 5, &[]).to_string(), 120_002)]
    {
        let answer = ask(&setting.webhook, &post(&query, body)).await;
        assert_eq!((answer.status, answer.error_code(), answer.outcome()), (400, error_code, "rejected"));
    }
    assert!(setting.downstream.take().is_empty() && setting.queued().is_empty());
}

#[tokio::test]
async fn an_event_of_a_topic_or_of_an_av_chat_rooms_members_is_not_kept() {
    let topic = ("Group.CallbackAfterNewMemberJoin", json!({ "TopicId": "g@TOPIC#_1", "Type": "Community" }));
    let join = ("Group.CallbackAfterNewMemberJoin", json!({ "Type": "AVChatRoom" }));
    let exit = ("Group.CallbackAfterMemberExit", json!({ "Type": "AVChatRoom" }));
    let role = ("Group.CallbackAfterMemberFieldChanged", json!({ "Type": "AVChatRoom" }));
    for (command, mut body) in [topic, join, exit, role] {
        body["CallbackCommand"] = command.into();
        body["GroupId"] = TEXT.into();
        let request = post(&query(command), body.to_string());
        let setting = Setting::start(willing().await).await;
        let answer = ask(&setting.webhook, &request).await;
        assert_eq!((answer.outcome(), answer.forward()), ("forwarded", "ok"));
        assert_eq!((answer.status, answer.body.as_str()), (200, ANSWER));
        assert_eq!(setting.downstream.take()[0].body, body.to_string().into_bytes());
        // Of what is not kept, the log has no body.
        setting.downstream.set(Reply::answer(500, ""));
        setting.queues.set(Reply::answer(403, "{}"));
        let answer = ask(&setting.webhook, &request).await;
        assert_eq!((answer.status, answer.outcome(), answer.forward()), (503, "lost", "failed"));
        assert_eq!((answer.lost.len(), answer.lost[0].get("body")), (1, None));
        assert!(setting.table.items().await.is_empty());
    }
}

#[tokio::test]
async fn a_kept_event_that_says_nothing_is_forwarded_too() {
    let setting = Setting::start(willing().await).await;
    let command = "Group.CallbackAfterNewMemberJoin";
    let empty = json!({ "CallbackCommand": command, "GroupId": "g", "Type": "Public", "NewMemberList": [] });
    let request = post(&query(command), empty.to_string());
    for (reply, forward) in [(Reply::answer(204, ""), "ok"), (Reply::answer(404, ""), "queued")] {
        setting.downstream.set(reply);
        let answer = ask(&setting.webhook, &request).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, OURS));
        assert_eq!((answer.outcome(), answer.forward()), ("ignored", forward));
        assert_eq!(setting.downstream.take().len(), 1);
    }
    assert_eq!(setting.queue_names(), ["forward"]);
}

#[tokio::test]
async fn a_sweep_that_no_queue_takes_does_not_cost_the_downstream_receiver_its_callback() {
    let setting = Setting::start(Receiver::start(Reply::answer(500, "")).await.unwrap()).await;
    let create = |time| body("g", time, &["a"]);
    let request = |time| post(&query("Group.CallbackAfterCreateGroup"), create(time).to_string());
    assert_eq!(ask(&setting.webhook, &request(5)).await.outcome(), "stored");
    assert_eq!(setting.queue_names(), ["forward"]);
    setting.queues.set_for("/1/retry", Reply::silence());
    let answer = ask(&setting.webhook, &request(6)).await;
    assert_eq!((answer.outcome(), answer.forward()), ("replaced", "queued"));
    assert!(setting.queue_names().contains(&"forward"));
}

#[tokio::test]
async fn every_gateway_forwards_the_same_parameters_and_the_same_body() {
    // The parameters of the operator's own are those that are hard to encode.
    let own = "own=a%20b%2Bc%26d%3De%25&tenant=%E4%B8%AD%2F%3F%23";
    let decoded = |query: &str| {
        let mut pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        pairs.sort();
        pairs
    };
    // The samples are sent before the event that they tell of.
    let (sent_at, age) = (1_670_574_414, ("MAX_REQUEST_AGE_SECONDS", "1000000"));
    for name in ["http-api", "function-url", "base64", "rest-api", "alb"] {
        let setting = Setting::start_with(willing().await, &[age]).await;
        let mut event = samples::events(&Signer::default()).remove(name).unwrap();
        let expected = match event["rawQueryString"].as_str() {
            Some(raw) => format!("{raw}&{own}"),
            None => {
                let is_encoded = name == "alb";
                for (key, value) in form_urlencoded::parse(own.as_bytes()) {
                    let raw: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
                    let value = if is_encoded { raw } else { value.into_owned() };
                    event["queryStringParameters"][key.as_ref()] = value.clone().into();
                    if !is_encoded {
                        event["multiValueQueryStringParameters"][key.as_ref()] = json!([value]);
                    }
                }
                let sample = samples::events(&Signer::default()).remove("http-api").unwrap();
                format!("{}&{own}", sample["rawQueryString"].as_str().unwrap())
            }
        };
        if event["rawQueryString"].is_string() {
            event["rawQueryString"] = expected.clone().into();
        }
        let raw = serde_json::value::to_raw_value(&event).unwrap();
        let answer = ask_at(&setting.webhook, &Request::read(&raw).unwrap(), sent_at).await;
        assert_eq!((answer.outcome(), answer.forward()), ("stored", "ok"), "{name}");
        let received = setting.downstream.take().remove(0);
        let query = received.query().strip_prefix("key=hunter2&").unwrap();
        assert_eq!(decoded(query), decoded(&expected), "{name}");
        if event["rawQueryString"].is_string() {
            assert_eq!(query, expected, "{name}");
        }
        let plain = samples::events(&Signer::default()).remove("http-api").unwrap();
        assert_eq!(received.body, plain["body"].as_str().unwrap().as_bytes(), "{name}");
        assert_eq!(verify(query, from_millis(NOW * 1000)), Some(Sender::Genuine), "{name}");
    }
}

#[tokio::test]
async fn a_query_that_no_url_can_hold_is_forwarded_with_its_characters_escaped() {
    let setting = Setting::start(willing().await).await;
    let genuine = query(Kind::Roster.command());
    let request = post(&format!("{genuine}&team=red team&q=\"é\""), Kind::Roster.body());
    let answer = ask(&setting.webhook, &request).await;
    assert_eq!((answer.outcome(), answer.forward()), ("stored", "ok"));
    let received = setting.downstream.take().remove(0);
    assert_eq!(received.query(), format!("key=hunter2&{genuine}&team=red%20team&q=%22%C3%A9%22"));
}

#[tokio::test]
async fn one_connection_serves_many_callbacks_whatever_is_answered() {
    for reply in [
        Reply::answer(200, ANSWER),
        Reply::answer(200, ""),
        Reply::answer(202, r#"{"accepted":true}"#),
        Reply::answer(204, ""),
        Reply::answer(500, "sorry"),
    ] {
        let setting = Setting::start(Receiver::start(reply.clone()).await.unwrap()).await;
        for _ in 0..4 {
            for kind in Kind::ALL {
                ask(&setting.webhook, &kind.request()).await;
            }
        }
        assert_eq!((setting.downstream.take().len(), setting.downstream.connections()), (12, 1), "{reply:?}");
    }
}

/// A receiver on a thread of its own, which goes on while the test's stands still.
fn elsewhere(reply: Reply) -> Receiver {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send(Receiver::start(reply).await.unwrap()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

#[tokio::test]
async fn a_connection_that_was_closed_while_the_instance_stood_still_costs_no_callback() {
    let downstream = elsewhere(Reply::answer(200, ANSWER).and_close_after(20));
    let setting = Setting::start(downstream).await;
    for number in 1..=4 {
        for kind in Kind::ALL {
            let answer = ask(&setting.webhook, &kind.request()).await;
            assert_eq!(answer.forward(), "ok", "{number}: {:?}", answer.line);
            while setting.downstream.open_connections() > 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            // The next invocation arrives as the close does: as something to be read.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!((setting.downstream.take().len(), setting.downstream.connections()), (12, 12));
}

/// Asks and tells what became of passing it on, and whether that was at once.
async fn at_once(setting: &Setting, kind: Kind) -> (String, bool) {
    let answer = ask(&setting.webhook, &kind.request()).await;
    (format!("{} {}", answer.outcome(), answer.forward()), answer.took < Duration::from_millis(700))
}

#[tokio::test]
async fn after_three_timeouts_in_a_row_an_instance_tries_one_callback_a_second() {
    let setting = Setting::start(Receiver::start(Reply::silence()).await.unwrap()).await;
    let (other, failed) = ("queued queued", "undecided failed");
    let check = async |kind, outcome: &str, is_at_once| {
        assert_eq!(at_once(&setting, kind).await, (outcome.to_owned(), is_at_once), "{kind:?}");
    };
    // An instance handles one callback after the other. After-events and decisions are counted apart.
    check(Kind::Roster, "stored queued", false).await;
    check(Kind::Other, other, false).await;
    check(Kind::Roster, "duplicate queued", false).await;
    for is_at_once in [false, false, false, true] {
        check(Kind::Decision, failed, is_at_once).await;
    }
    assert_eq!(setting.downstream.take().len(), 6);
    // One more of each, a second later; it hangs, and the next are not tried again.
    tokio::time::sleep(Duration::from_millis(1050)).await;
    check(Kind::Decision, failed, false).await;
    check(Kind::Decision, failed, true).await;
    check(Kind::Other, other, false).await;
    check(Kind::Roster, "duplicate queued", true).await;
    check(Kind::Other, other, true).await;
    assert_eq!(setting.downstream.take().len(), 2);
    // It answers again: the next that is tried ends the break.
    setting.downstream.set(Reply::answer(200, ANSWER));
    check(Kind::Other, other, true).await;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for _ in 0..3 {
        check(Kind::Decision, "forwarded ok", true).await;
        check(Kind::Other, "forwarded ok", true).await;
    }
    // Every after-event of the outage is in the queue.
    assert!(setting.queue_names().iter().all(|name| *name == "forward"));
}

#[tokio::test]
async fn a_receiver_that_is_too_slow_for_after_events_still_decides() {
    let slow = Reply::answer(200, ANSWER).after(1100);
    let setting = Setting::start(Receiver::start(slow).await.unwrap()).await;
    for is_at_once in [false, false, false, true] {
        assert_eq!(at_once(&setting, Kind::Other).await, ("queued queued".to_owned(), is_at_once));
    }
    assert_eq!(at_once(&setting, Kind::Decision).await, ("forwarded ok".to_owned(), false));
}

#[tokio::test]
async fn after_events_whose_bodies_hang_are_taken_and_count_as_timeouts() {
    let hanging = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").and_hang();
    let setting = Setting::start(Receiver::start(hanging).await.unwrap()).await;
    for _ in 0..3 {
        let answer = ask(&setting.webhook, &Kind::Other.request()).await;
        assert_eq!((answer.outcome(), answer.forward(), answer.body.as_str()), ("forwarded", "ok", OURS));
        assert!((190..700).contains(&answer.took.as_millis()), "{:?}", answer.took);
    }
    let answer = ask(&setting.webhook, &Kind::Other.request()).await;
    assert_eq!((answer.outcome(), answer.forward()), ("queued", "queued"));
    assert_eq!(setting.downstream.take().len(), 3);
}

#[tokio::test]
async fn an_after_event_that_meets_a_broken_connection_is_sent_once_more_and_a_decision_is_not() {
    for (kind, forward, deliveries) in
        [(Kind::Roster, "ok", 2), (Kind::Other, "ok", 2), (Kind::Decision, "failed", 1)]
    {
        let setting = Setting::start(willing().await).await;
        assert_eq!(ask(&setting.webhook, &kind.request()).await.forward(), "ok");
        setting.downstream.take();
        // The connection that is kept breaks once, and a new one is fine.
        setting.downstream.set_once(Reply::raw("").and_reset());
        assert_eq!(ask(&setting.webhook, &kind.request()).await.forward(), forward, "{kind:?}");
        assert_eq!(setting.downstream.take().len(), deliveries, "{kind:?}");
        assert_eq!(setting.downstream.connections(), deliveries, "{kind:?}");
    }
}

#[tokio::test]
async fn a_connection_is_not_used_again_after_four_seconds_of_rest() {
    let setting = Setting::start(willing().await).await;
    for (rest, connections) in [(0, 1), (3500, 1), (4050, 2)] {
        tokio::time::sleep(Duration::from_millis(rest)).await;
        assert_eq!(ask(&setting.webhook, &Kind::Decision.request()).await.forward(), "ok");
        assert_eq!(setting.downstream.connections(), connections);
    }
}

#[tokio::test]
async fn only_timeouts_in_a_row_count() {
    let setting = Setting::start(Receiver::start(Reply::silence()).await.unwrap()).await;
    for _ in 0..2 {
        assert!(!at_once(&setting, Kind::Other).await.1);
        assert!(!at_once(&setting, Kind::Other).await.1);
        setting.downstream.set(Reply::answer(500, ""));
        assert!(at_once(&setting, Kind::Other).await.1);
        setting.downstream.set(Reply::silence());
    }
    setting.downstream.set(Reply::answer(500, ""));
    setting.downstream.take();
    for _ in 0..10 {
        assert!(at_once(&setting, Kind::Other).await.1);
    }
    assert_eq!(setting.downstream.take().len(), 10, "a refusal is no timeout");
}

#[tokio::test]
async fn decisions_whose_answers_hang_halfway_are_timeouts_too() {
    let hanging = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").and_hang();
    let setting = Setting::start(Receiver::start(hanging).await.unwrap()).await;
    for is_at_once in [false, false, false, true, true] {
        assert_eq!(at_once(&setting, Kind::Decision).await, ("undecided failed".to_owned(), is_at_once));
    }
}

#[tokio::test]
async fn the_line_of_a_decision_that_failed_says_why() {
    for (reply, error) in [
        (Reply::answer(200, "<html>"), "the downstream receiver answered 200 with a body that is not JSON"),
        (Reply::answer(204, ""), "the downstream receiver answered 204"),
        (Reply::answer(500, ""), "the downstream receiver answered 500"),
        (Reply::silence(), "the downstream receiver did not answer in time"),
    ] {
        let setting = Setting::start(Receiver::start(reply).await.unwrap()).await;
        let answer = ask(&setting.webhook, &Kind::Decision.request()).await;
        assert_eq!((answer.error_code(), &answer.line["error"]), (120_008, &json!(error)));
    }
}

#[tokio::test]
async fn a_late_callback_is_signed_anew_and_otherwise_as_it_came() {
    let setting = Setting::start(Receiver::start(Reply::answer(503, "")).await.unwrap()).await;
    for kind in [Kind::Roster, Kind::Other] {
        ask(&setting.webhook, &kind.request()).await;
    }
    setting.downstream.take();
    let queued = setting.queued();
    assert_eq!(queued.len(), 2);
    let items = setting.table.items().await;
    // With two tokens, the last one signs.
    let redrive = setting.table.redrive_with(&[
        ("FORWARD_URL", &setting.forward_url()),
        ("CALLBACK_TOKENS", &format!("former {TOKEN}")),
    ]);
    for (message, kind) in queued.iter().zip([Kind::Roster, Kind::Other]) {
        assert!(!message.text.contains("Sign") && message.json().get("unsigned").is_none());
        let (result, line) = finish(&redrive, &message.text).await;
        assert!(result.unwrap_err().contains("503"));
        assert_eq!((&line["outcome"], &line["forward"]), (&json!("failed"), &json!("failed")));
        setting.downstream.set(Reply::answer(200, "").after(2500));
        setting.downstream.take();
        let (result, line) = finish(&redrive, &message.text).await;
        assert_eq!((result.unwrap(), &line["forward"]), ("forwarded", &json!("ok")));
        let received = setting.downstream.take().remove(0);
        let query = received.query().strip_prefix("key=hunter2&").unwrap();
        assert_eq!(verify(query, later()), Some(Sender::Genuine));
        let signed = ["Sign", "RequestTime"];
        assert_eq!(without(query, &signed), without(&kind.query(), &signed));
        assert_eq!(received.body, kind.body().into_bytes());
        assert_eq!(received.headers["content-type"], "application/json");
        assert!(received.headers.contains_key("x-chat-groups-forwarded"));
        setting.downstream.set(Reply::answer(503, ""));
    }
    assert_eq!(setting.table.items().await, items, "forwarding does not write");
}

#[tokio::test]
async fn table_and_forwarding_are_finished_apart() {
    let setting = Setting::start(Receiver::start(Reply::answer(503, "")).await.unwrap()).await;
    let webhook = setting.webhook_with(&[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")]);
    let answer = ask(&webhook, &Kind::Roster.request()).await;
    assert_eq!((answer.outcome(), answer.forward()), ("queued", "queued"));
    setting.downstream.take();
    let mut queued = setting.queued();
    queued.sort_by(|a, b| b.queue.cmp(&a.queue));
    let [table, forward] = queued.as_slice() else { panic!("{queued:?}") };
    assert_eq!((table.queue.as_str(), &table.json()["pending"]), ("retry", &json!("table")));
    assert_eq!((forward.queue.as_str(), &forward.json()["pending"]), ("forward", &json!("forward")));

    // The downstream receiver is still down: the table is written once, whatever is repeated.
    let redrive = setting.redrive();
    assert!(finish(&redrive, &forward.text).await.0.is_err());
    assert!(setting.table.items().await.is_empty());
    setting.downstream.take();
    let (result, line) = finish(&redrive, &table.text).await;
    assert_eq!((result.unwrap(), line.get("forward")), ("stored", None));
    assert!(setting.downstream.take().is_empty(), "the table's message is not forwarded");
    let items = setting.table.items().await;
    setting.downstream.set(Reply::answer(204, ""));
    assert_eq!(finish(&redrive, &forward.text).await.0.unwrap(), "forwarded");
    assert_eq!(setting.downstream.take().len(), 1);
    assert_eq!(setting.table.items().await, items);
}

#[tokio::test]
async fn late_delivery_ends_after_five_seconds() {
    let hanging_body = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").and_hang();
    let query = without(&Kind::Other.query(), &["Sign"]);
    let message = json!({ "received_at": 1, "query": query, "body": "{}", "pending": "forward" }).to_string();
    let cases = [(Reply::silence(), false), (hanging_body, true)].map(async |(reply, is_taken)| {
        let setting = Setting::start(Receiver::start(reply).await.unwrap()).await;
        let start = Instant::now();
        let (result, _) = finish(&setting.redrive(), &message).await;
        assert_eq!(result.is_ok(), is_taken);
        assert!(start.elapsed() < Duration::from_millis(5300), "{:?}", start.elapsed());
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_message_for_a_receiver_that_is_not_set_stays_in_the_queue() {
    let table = Table::start().await;
    let query = format!("CallbackCommand=Group.CallbackAfterSendMsg&SdkAppid={SDK_APP_ID}");
    let message = |query: &str| json!({ "received_at": 1, "query": query, "body": "", "pending": "forward" });
    let (result, _) = finish(&table.redrive(), &message(&query).to_string()).await;
    assert!(result.unwrap_err().starts_with("FORWARD_URL: expected"));
    let setting = Setting::start(willing().await).await;
    let other = message(&query.replace("140", "141")).to_string();
    assert!(finish(&setting.redrive(), &other).await.0.is_err());
    // As the log has it of what is not kept: its body has to be put in.
    let mut bare = message(&query);
    bare.as_object_mut().unwrap().remove("body");
    assert!(finish(&setting.redrive(), &bare.to_string()).await.0.is_err());
    assert!(setting.downstream.take().is_empty());
}

#[tokio::test]
async fn nothing_that_the_processes_write_shows_the_urls_query_or_a_sign() {
    let [webhook, redrive] = [env!("CARGO_BIN_EXE_webhook"), env!("CARGO_BIN_EXE_redrive")].map(Path::new);
    let message =
        json!({ "received_at": 1, "query": "SdkAppid=1400000001", "body": "", "pending": "forward" });
    let batch = json!({ "Records": [{ "messageId": "m", "body": message.to_string() }] });
    let event = samples::events(&Signer::default()).remove("unhandled-command").unwrap();
    let garbage = Receiver::start(Reply::raw("no HTTP")).await.unwrap().url;
    for url in
        [&garbage, &garbage.replace("http:", "https:"), "http://127.0.0.1:9", "https://host.invalid", "ftp:"]
    {
        let forward_url = format!("{url}{PATH}");
        let env = [
            ("TABLE_NAME", "groups"),
            ("SDK_APP_ID", samples::SDK_APP_ID),
            ("CALLBACK_TOKENS", TOKEN),
            ("MAX_REQUEST_AGE_SECONDS", "1000000000"),
            ("FORWARD_URL", &forward_url),
            ("AWS_REGION", "local"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
        ];
        for (binary, event) in [(webhook, &event), (redrive, &batch)] {
            let mut function = Function::start(binary, &env).await.unwrap();
            if url == "ftp:" {
                assert!(!function.ended().await.unwrap());
            } else {
                function.invoke(event.clone()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let lines = function.lines().join(" ");
            assert!(
                lines.contains("\"forward\":\"failed\"") || lines.contains("FORWARD_URL: expected"),
                "{lines}"
            );
            assert!(!lines.contains("hunter2") && !lines.contains(SIGN) && !lines.contains(TOKEN), "{lines}");
        }
    }
}

#[test]
fn the_result_of_forwarding_has_the_contracts_names() {
    let names = [Forwarded::Ok, Forwarded::Queued, Forwarded::Failed].map(|name| json!(name));
    assert_eq!(names, ["ok", "queued", "failed"]);
}
