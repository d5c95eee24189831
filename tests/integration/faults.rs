//! Promises 4 and 5: whatever breaks, the answer leaves within 1.5 s, and what was answered OK is kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::log::{Level, Record};
use chat_groups::queue::{Message, Pending};
use chat_groups::redrive::{Finished, Redrive};
use chat_groups::store::text_of;
use chat_groups::webhook::Webhook;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::harness::{Answered, NOW, Table, body, deliver, finish_at, genuine_query, name, post, send};
use crate::proxy::{Fault, Proxy, Script};
use crate::queue::Queue;

pub(crate) const ANSWER_BUDGET: Duration = Duration::from_millis(1500);

/// Each statement of a batch of two has failed by itself: the status says nothing.
const BATCH_THROTTLED: Fault = Fault::Answer(
    200,
    r#"{"Responses":[{"Error":{"Code":"ThrottlingError","Message":"slow down"}},
       {"Error":{"Code":"ProvisionedThroughputExceeded","Message":"slow down"}}]}"#,
);
const BATCH_DENIED: Fault = Fault::Answer(
    200,
    r#"{"Responses":[{"Error":{"Code":"AccessDenied","Message":"no"}},{"Error":{"Code":"AccessDenied","Message":"no"}}]}"#,
);
const BATCH_UNKNOWN: Fault =
    Fault::Answer(200, r#"{"Responses":[{"Error":{"Code":"New"}},{"Error":{"Code":"New"}}]}"#);
const BATCH_CUT: Fault = Fault::Answer(200, r#"{"Responses":[{"TableName":"groups"}]}"#);
const BATCH_DUPLICATES: Fault = Fault::Answer(
    200,
    r#"{"Responses":[{"Error":{"Code":"DuplicateItem","Message":"there"}},
       {"Error":{"Code":"DuplicateItem","Message":"there"}}]}"#,
);
const NOT_JSON: Fault = Fault::Answer(200, "<html>It works!</html>");
const THROTTLED: Fault = Fault::error("ProvisionedThroughputExceededException");
const CONFLICT: Fault = Fault::error("TransactionConflictException");
const ACCESS_DENIED: Fault = Fault::error("AccessDeniedException");
const fn slow(milliseconds: u64) -> Fault {
    Fault::Delay(Duration::from_millis(milliseconds))
}

/// How a service is broken.
#[derive(Clone)]
pub(crate) enum Broken {
    /// By a proxy before it.
    By(Script),
    /// Nobody listens.
    Refused,
    /// Connections are not even accepted.
    ConnectHangs,
    /// Connections are accepted; a TLS handshake is never answered.
    TlsHangs,
}

pub(crate) const FINE: Broken =
    Broken::By(Script { first: std::collections::VecDeque::new(), then: Fault::None });

fn once(fault: Fault) -> Broken {
    Broken::By(Script::times(1, fault))
}

fn twice(fault: Fault) -> Broken {
    Broken::By(Script::times(2, fault))
}

pub(crate) fn always(fault: Fault) -> Broken {
    Broken::By(Script::always(fault))
}

impl Broken {
    /// The URL of the broken service, and what has to live as long as it.
    pub(crate) async fn before(&self, upstream: &str) -> (String, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        match self {
            Self::By(script) => (Proxy::start(upstream, script.clone()).await.unwrap().url, vec![]),
            Self::Refused => {
                // Bound, so that nobody else gets the port, and not listening.
                drop(listener);
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(address).unwrap();
                keep(socket);
                (format!("http://{address}"), vec![])
            }
            Self::TlsHangs => {
                tokio::spawn(async move {
                    let mut silent = Vec::new();
                    while let Ok(accepted) = listener.accept().await {
                        silent.push(accepted);
                    }
                });
                (format!("https://{address}"), vec![])
            }
            Self::ConnectHangs => {
                drop(listener);
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(address).unwrap();
                let full = socket.listen(0).unwrap();
                let mut waiting = Vec::new();
                let connect =
                    || tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address));
                while let Ok(Ok(stream)) = connect().await {
                    waiting.push(stream);
                }
                keep(full);
                (format!("http://{address}"), waiting)
            }
        }
    }
}

/// Keeps a resource as long as the test's runtime.
fn keep(resource: impl Send + 'static) {
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(resource);
    });
}

/// A table, a queue, and a receiver that reaches both through what is broken.
struct Setting {
    table: Table,
    queue: Queue,
    webhook: Webhook,
    _kept: Vec<TcpStream>,
}

impl Setting {
    async fn start(table_is: &Broken, queue_is: &Broken) -> Self {
        let (table, queue) = (Table::start().await, Queue::start().await.unwrap());
        let (table_url, mut kept) = table_is.before(&table.url).await;
        let (queue_url, also_kept) = queue_is.before(&queue.url).await;
        kept.extend(also_kept);
        let webhook = table.webhook_with(&[
            ("AWS_ENDPOINT_URL_DYNAMODB", &table_url),
            ("AWS_ENDPOINT_URL_SQS", &queue_url),
            ("RETRY_QUEUE_URL", &format!("{queue_url}/123456789012/retry")),
        ]);
        Self { table, queue, webhook, _kept: kept }
    }

    /// Delivers a callback and measures how long the answer takes.
    async fn answer(&self, body: &Value) -> (Answered, Duration) {
        let start = Instant::now();
        let answered = deliver(&self.webhook, body).await;
        (answered, start.elapsed())
    }

    /// Redrives what waits in the queue to the healthy table; returns how many messages that were.
    async fn redrive(&self) -> usize {
        let messages = self.queue.take();
        for message in &messages {
            finish(&self.table.redrive(), message).await.unwrap();
        }
        messages.len()
    }
}

async fn finish(redrive: &Redrive, message: &str) -> Result<&'static str, String> {
    let finished = finish_at(redrive, message, SystemTime::now()).await;
    finished.result.map(name).map_err(|error| error.to_string())
}

/// Runs the cases and prints a row for each: fault, outcome, time.
async fn run(title: &str, cases: Vec<(&str, Broken, Broken, &str)>) {
    println!("{title}");
    let rows: Vec<String> = stream::iter(cases.into_iter().map(case)).buffered(4).collect().await;
    println!("{}", rows.join("\n"));
}

/// Runs one case: its name, how the table and the queue are broken, and the outcome.
async fn case((name, table_is, queue_is, outcome): (&str, Broken, Broken, &str)) -> String {
    let setting = Setting::start(&table_is, &queue_is).await;
    let (answered, took) = setting.answer(&body("g", 5, &["a", "b"])).await;
    assert_eq!(answered.outcome(), outcome, "{name}: {answered:?}");
    let codes = if outcome == "lost" { (503, 120_007) } else { (200, 0) };
    assert_eq!(answered.codes(), codes, "{name}");
    assert!(took < ANSWER_BUDGET, "{name}: {took:?}");
    match outcome {
        "queued" => assert!(setting.redrive().await >= 1, "{name}: nothing is in the queue"),
        "lost" => {
            finish(&setting.table.redrive(), &answered.lost()[0]).await.unwrap();
        }
        _ => assert_eq!(setting.redrive().await, 0, "{name}: the queue is not empty"),
    }
    // Written late or twice, from the queue or from the log: exactly the event's items are there.
    let items: Vec<String> = setting.table.items().await.into_keys().map(|(_, sk)| sk).collect();
    assert_eq!(items, ["GROUP", "MEMBER#a", "MEMBER#b"], "{name}");
    format!("{name:<46} {outcome:<10} {:>5} ms", took.as_millis())
}

#[tokio::test]
async fn a_broken_table_costs_at_most_a_detour_through_the_queue() {
    run(
        "The table is broken, the queue is fine",
        vec![
            ("nothing", FINE, FINE, "stored"),
            ("slow by 0.2 s", always(slow(200)), FINE, "stored"),
            ("slow by 0.8 s", always(slow(800)), FINE, "queued"),
            ("slow by 2.5 s", always(slow(2500)), FINE, "queued"),
            ("slow by 2.5 s once", once(slow(2500)), FINE, "stored"),
            ("refuses connections", Broken::Refused, FINE, "queued"),
            ("does not accept connections", Broken::ConnectHangs, FINE, "queued"),
            ("hangs in the TLS handshake", Broken::TlsHangs, FINE, "queued"),
            ("hangs once", once(Fault::Hang), FINE, "stored"),
            ("hangs", always(Fault::Hang), FINE, "queued"),
            ("resets before the request, once", once(Fault::ResetBefore), FINE, "stored"),
            ("resets before the request", always(Fault::ResetBefore), FINE, "queued"),
            ("resets after the request, once", once(Fault::ResetAfter), FINE, "stored"),
            ("resets after the request", always(Fault::ResetAfter), FINE, "queued"),
            ("500 once", once(Fault::Answer(500, "InternalServerError")), FINE, "stored"),
            ("500 twice", twice(Fault::Answer(500, "InternalServerError")), FINE, "stored"),
            ("500", always(Fault::Answer(500, "InternalServerError")), FINE, "queued"),
            ("503 once", once(Fault::Answer(503, "<html>")), FINE, "stored"),
            ("503 twice", twice(Fault::Answer(503, "<html>")), FINE, "stored"),
            ("503", always(Fault::Answer(503, "<html>")), FINE, "queued"),
            ("throttles once", once(THROTTLED), FINE, "stored"),
            ("throttles twice", twice(THROTTLED), FINE, "stored"),
            ("throttles", always(THROTTLED), FINE, "queued"),
            ("TransactionConflict once", once(CONFLICT), FINE, "stored"),
            ("TransactionConflict", always(CONFLICT), FINE, "queued"),
            ("throttles each statement, twice", twice(BATCH_THROTTLED), FINE, "stored"),
            ("throttles each statement", always(BATCH_THROTTLED), FINE, "queued"),
            ("denies each statement", once(BATCH_DENIED), FINE, "queued"),
            ("fails in a way that is not known", once(BATCH_UNKNOWN), FINE, "queued"),
            ("answers one statement of two", once(BATCH_CUT), FINE, "queued"),
            ("claims that all is there", once(BATCH_DUPLICATES), FINE, "stored"),
            ("writes, and the answer is lost, once", once(Fault::LoseAnswer), FINE, "stored"),
            ("writes, and the answer is lost", always(Fault::LoseAnswer), FINE, "queued"),
            ("an answer that is not JSON, once", once(NOT_JSON), FINE, "stored"),
            ("an answer that is not JSON", always(NOT_JSON), FINE, "queued"),
            ("access denied", always(ACCESS_DENIED), FINE, "queued"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wait_between_two_attempts_takes_nothing_of_the_queues_time() {
    let answers = join_all((0..8).map(async |_| {
        let setting = Setting::start(&always(BATCH_THROTTLED), &FINE).await;
        setting.answer(&body("g", 5, &["a", "b"])).await
    }));
    for (answered, took) in answers.await {
        assert_eq!(answered.outcome(), "queued", "{answered:?}");
        // The table's 0.9 s, and what the queue takes.
        assert!(took < Duration::from_millis(1250), "{took:?}");
    }
}

#[tokio::test]
async fn a_broken_queue_costs_an_event_only_where_the_table_is_broken_too() {
    let table = || always(Fault::Answer(500, "InternalServerError"));
    run(
        "The table answers 500, the queue is broken",
        vec![
            ("slow by 0.3 s", table(), always(slow(300)), "queued"),
            ("slow by 0.8 s", table(), always(slow(800)), "lost"),
            ("slow by 2.5 s", table(), always(slow(2500)), "lost"),
            ("refuses connections", table(), Broken::Refused, "lost"),
            ("does not accept connections", table(), Broken::ConnectHangs, "lost"),
            ("hangs in the TLS handshake", table(), Broken::TlsHangs, "lost"),
            ("hangs once", table(), once(Fault::Hang), "queued"),
            ("hangs", table(), always(Fault::Hang), "lost"),
            ("resets before the request, once", table(), once(Fault::ResetBefore), "queued"),
            ("resets before the request", table(), always(Fault::ResetBefore), "lost"),
            ("resets after the request, once", table(), once(Fault::ResetAfter), "queued"),
            ("resets after the request", table(), always(Fault::ResetAfter), "lost"),
            ("500 once", table(), once(Fault::Answer(500, "InternalError")), "queued"),
            ("500 twice", table(), twice(Fault::Answer(500, "InternalError")), "queued"),
            ("500", table(), always(Fault::Answer(500, "InternalError")), "lost"),
            ("503 once", table(), once(Fault::Answer(503, "<html>")), "queued"),
            ("503 twice", table(), twice(Fault::Answer(503, "<html>")), "queued"),
            ("503", table(), always(Fault::Answer(503, "<html>")), "lost"),
            ("throttles once", table(), once(Fault::error("RequestThrottled")), "queued"),
            ("throttles twice", table(), twice(Fault::error("RequestThrottled")), "queued"),
            ("throttles", table(), always(Fault::error("RequestThrottled")), "lost"),
            ("takes it, and the answer is lost, once", table(), once(Fault::LoseAnswer), "queued"),
            ("takes it, and the answer is lost", table(), always(Fault::LoseAnswer), "lost"),
            ("an answer that is not JSON", table(), always(NOT_JSON), "lost"),
            ("access denied", table(), always(ACCESS_DENIED), "lost"),
            ("no such queue", table(), always(Fault::error("QueueDoesNotExist")), "lost"),
        ],
    )
    .await;
}

#[tokio::test]
async fn with_both_broken_the_answer_still_leaves_in_time() {
    run(
        "Both are broken",
        vec![
            ("table hangs, queue slow by 0.3 s", always(Fault::Hang), always(slow(300)), "queued"),
            ("table hangs, queue hangs once", always(Fault::Hang), once(Fault::Hang), "queued"),
            ("table hangs, queue hangs", always(Fault::Hang), always(Fault::Hang), "lost"),
            ("table slow by 2.5 s, queue refuses", always(slow(2500)), Broken::Refused, "lost"),
            ("neither accepts connections", Broken::ConnectHangs, Broken::ConnectHangs, "lost"),
            ("both hang in the TLS handshake", Broken::TlsHangs, Broken::TlsHangs, "lost"),
            ("both throttle", always(THROTTLED), always(THROTTLED), "lost"),
            ("both refuse", Broken::Refused, Broken::Refused, "lost"),
        ],
    )
    .await;
}

fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("user-{n:03}")).collect()
}

fn sized(time: u64, count: usize) -> Value {
    body("g", time, &accounts(count).iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_large_group_meets_the_same_deadline() {
    // The Query is fine, then everything hangs; or one batch does; or one is throttled, or its answer is lost.
    for (first, then, outcome) in [
        (vec![Fault::None], Fault::Hang, "queued"),
        (vec![Fault::None, Fault::Hang], Fault::None, "stored"),
        (vec![Fault::None, CONFLICT, THROTTLED], Fault::None, "stored"),
        (vec![Fault::None, Fault::None, Fault::LoseAnswer], Fault::None, "stored"),
        (vec![Fault::None, Fault::None], ACCESS_DENIED, "queued"),
    ] {
        let script = Script { first: first.into(), then };
        let setting = Setting::start(&Broken::By(script.clone()), &FINE).await;
        let (answered, took) = setting.answer(&sized(5, 80)).await;
        println!("80 members, {script:?}: {outcome} {} ms", took.as_millis());
        assert_eq!(answered.outcome(), outcome, "{answered:?}");
        assert!(took < ANSWER_BUDGET, "{took:?}");
        assert_eq!(setting.redrive().await, usize::from(outcome == "queued"));
        assert_eq!(setting.table.items().await.len(), 81);
    }
}

#[tokio::test]
async fn a_replacement_that_fails_halfway_leaves_the_earlier_group_whole() {
    // The Query and one batch pass, then the table hangs; the queue is fine, or it is not.
    let table_is = Broken::By(Script { first: [Fault::None, Fault::None].into(), then: Fault::Hang });
    for (queue_is, outcome) in [(FINE, "queued"), (always(ACCESS_DENIED), "lost")] {
        let setting = Setting::start(&table_is, &queue_is).await;
        deliver(&setting.table.webhook(), &sized(5, 40)).await;
        let (answered, took) = setting.answer(&sized(6, 70)).await;
        assert_eq!(answered.outcome(), outcome);
        assert!(took < ANSWER_BUDGET, "{took:?}");
        let members = async || setting.table.group("g").await.unwrap().members.len();
        // All of the earlier group's, and what was written of the new one's.
        assert!((40..=70).contains(&members().await));
        let redriven = setting.redrive().await;
        assert_eq!(redriven, usize::from(outcome == "queued"));
        if redriven == 1 {
            assert_eq!(members().await, 70);
        }
    }
}

#[tokio::test]
async fn what_is_replaced_or_destroyed_is_queued_for_the_sweep_and_still_counts_as_stored() {
    for queue_is in [FINE, always(ACCESS_DENIED), Broken::Refused] {
        let setting = Setting::start(&FINE, &queue_is).await;
        setting.answer(&sized(5, 3)).await;
        assert_eq!(setting.redrive().await, 0);
        let (answered, took) = setting.answer(&sized(6, 2)).await;
        assert_eq!((answered.outcome(), answered.codes()), ("replaced", (200, 0)));
        assert!(took < ANSWER_BUDGET, "{took:?}");
        let mut destroyed = body("g", 7, &[]);
        destroyed["CallbackCommand"] = "Group.CallbackAfterGroupDestroyed".into();
        let (answered, _) = setting.answer(&destroyed).await;
        assert_eq!((answered.outcome(), answered.codes()), ("stored", (200, 0)));
        assert!(setting.table.group("g").await.is_none());
        if setting.redrive().await == 2 {
            assert_eq!(setting.table.items().await.len(), 1, "the mark of the group alone");
        } else {
            assert_eq!(setting.table.items().await.len(), 4);
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_peer_has_closed_costs_no_event() {
    let setting = Setting::start(&always(Fault::CloseAfter), &FINE).await;
    for time in 1..=5 {
        let (answered, took) = setting.answer(&body("g", time, &["a"])).await;
        assert_eq!(answered.outcome(), if time == 1 { "stored" } else { "replaced" }, "{answered:?}");
        assert!(took < Duration::from_millis(400), "{took:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn after_an_outage_events_are_stored_again() {
    let (table, queue) = (Table::start().await, Queue::start().await.unwrap());
    let proxy = Proxy::start(&table.url, Script::always(Fault::Answer(503, "<html>"))).await.unwrap();
    let webhook = table.webhook_with(&[
        ("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url),
        ("AWS_ENDPOINT_URL_SQS", &queue.url),
        ("RETRY_QUEUE_URL", &queue.url),
    ]);
    for time in 1..=60 {
        assert_eq!(deliver(&webhook, &body("g", time, &["a"])).await.outcome(), "queued");
    }
    proxy.set(Script::always(Fault::None));
    assert_eq!(deliver(&webhook, &body("g", 61, &["a"])).await.outcome(), "stored");
    // What waited in the queue meanwhile is older.
    for message in queue.take() {
        assert_eq!(finish(&table.redrive(), &message).await.unwrap(), "stale");
    }
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_not_tried_again() {
    let table = Table::start().await;
    deliver(&table.webhook(), &body("g", 5, &["a"])).await;
    let proxy = Proxy::start(&table.url, Script::always(Fault::None)).await.unwrap();
    let webhook = table.webhook_with(&[("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)]);
    for (time, outcome) in [(5, "duplicate"), (4, "stale")] {
        let before = proxy.forwarded();
        assert_eq!(deliver(&webhook, &body("g", time, &["a"])).await.outcome(), outcome);
        // Its member's and its group's refusal bring what is there.
        assert_eq!(proxy.forwarded() - before, 2);
    }
}

#[tokio::test]
async fn without_a_queue_what_the_table_does_not_take_is_answered_503_and_logged_whole() {
    let webhook = Table::start().await.webhook_with(&[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")]);
    let answered = deliver(&webhook, &body("g", 5, &["a"])).await;
    assert_eq!(answered.codes(), (503, 120_007));
    assert_eq!((answered.outcome(), answered.record.level), ("lost", Level::Error));
    let event: Message = serde_json::from_str(&answered.lost()[0]).unwrap();
    assert_eq!(event.received_at, chat_groups::time::from_millis(NOW * 1000));
    assert_eq!(event.bytes().unwrap(), body("g", 5, &["a"]).to_string().as_bytes());
    assert!(!event.query.contains("Sign") && event.query.contains("RequestTime"));
}

#[tokio::test]
async fn a_genuine_body_that_cannot_be_read_goes_to_the_dead_letters_and_no_other_does() {
    let (table, retry, dead) =
        (Table::start().await, Queue::start().await.unwrap(), Queue::start().await.unwrap());
    let settings = [("AWS_ENDPOINT_URL_SQS", retry.url.as_str()), ("RETRY_QUEUE_URL", &retry.url)];
    let dead_letters = [
        ("AWS_ENDPOINT_URL_SQS", dead.url.as_str()),
        ("RETRY_QUEUE_URL", &dead.url),
        ("DEAD_LETTER_QUEUE_URL", &dead.url),
    ];
    let unsigned = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup".to_owned();
    // Without a dead-letter queue, the retry queue takes it.
    for (settings, queue) in [(&settings[..], &retry), (&dead_letters[..], &dead)] {
        let webhook = table.webhook_with(&[settings, &[("ALLOW_UNSIGNED", "true")]].concat());
        for (query, body, queued) in [
            (genuine_query(), b"no JSON".to_vec(), 1),
            (genuine_query(), b"{\"GroupId\":7}".to_vec(), 1),
            (genuine_query().replace("Sign=1", "Sign=2"), b"no JSON".to_vec(), 0),
            (genuine_query().replace("140", "141"), b"no JSON".to_vec(), 0),
            (unsigned.clone(), b"no JSON".to_vec(), 0),
        ] {
            let answered = send(&webhook, &post(&query, body.clone())).await;
            assert_eq!((answered.codes().0 / 100, answered.outcome()), (4, "rejected"));
            let messages = queue.take();
            assert_eq!(messages.len(), queued, "{query}");
            for message in messages {
                let message: Message = serde_json::from_str(&message).unwrap();
                assert_eq!(message.bytes().unwrap(), body);
            }
        }
    }
}

#[tokio::test]
async fn redrive_moves_a_body_that_it_cannot_read_to_the_dead_letters_at_once() {
    let (table, dead) = (Table::start().await, Queue::start().await.unwrap());
    let message =
        json!({ "received_at": 7, "query": genuine_query(), "body": "no JSON", "pending": "table" });
    let message = message.to_string();
    // Without that queue it stays where it is.
    assert!(finish(&table.redrive(), &message).await.unwrap_err().contains("expected"));
    let with_queue =
        |url: &str| table.redrive_with(&[("AWS_ENDPOINT_URL_SQS", url), ("DEAD_LETTER_QUEUE_URL", url)]);
    let finished = finish_at(&with_queue(&dead.url), &message, SystemTime::now()).await;
    assert_eq!((name(finished.result.unwrap()), finished.record.level), ("rejected", Level::Warn));
    assert!(finished.record.error.unwrap().contains("expected"));
    let buried: Vec<Value> = dead.take().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(buried, [serde_json::from_str::<Value>(&message).unwrap()]);
    // And where the queue does not take it.
    let (url, _kept) = always(ACCESS_DENIED).before(&dead.url).await;
    assert!(finish(&with_queue(&url), &message).await.unwrap_err().contains("dead-letter queue"));
}

#[tokio::test]
async fn a_genuine_body_that_cannot_be_read_is_logged_whole_where_the_queue_is_broken() {
    for queue_is in [always(Fault::Hang), always(ACCESS_DENIED), Broken::Refused] {
        let setting = Setting::start(&FINE, &queue_is).await;
        let start = Instant::now();
        let answered = send(&setting.webhook, &post(&genuine_query(), "no JSON")).await;
        assert!(start.elapsed() < ANSWER_BUDGET);
        assert_eq!((answered.codes(), answered.outcome()), ((400, 120_001), "lost"));
        let event: Message = serde_json::from_str(&answered.lost()[0]).unwrap();
        assert_eq!(event.bytes().unwrap(), &b"no JSON"[..]);
    }
}

#[tokio::test]
async fn a_message_in_the_queue_is_the_contracts() {
    let setting = Setting::start(&always(ACCESS_DENIED), &FINE).await;
    let query = format!("own=%20a&{}&own=b", genuine_query());
    let body = body("g", 5, &["a"]).to_string();
    send(&setting.webhook, &post(&query, body.clone())).await;
    let messages = setting.queue.take();
    let message: Value = serde_json::from_str(&messages[0]).unwrap();
    assert_eq!(
        message,
        json!({ "received_at": NOW * 1000, "query": without_sign(&query), "body": body, "pending": "table" })
    );
}

#[tokio::test]
async fn redrive_tells_duplicate_replaced_and_stale_apart_and_needs_no_sign() {
    let table = Table::start().await;
    let message = |time: u64| {
        let query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup";
        let body = body("g", time, &["a"]).to_string();
        json!({ "received_at": 7, "query": query, "body": body }).to_string()
    };
    let redrive = table.redrive();
    for (time, outcome) in [(5, "stored"), (5, "duplicate"), (6, "replaced"), (5, "stale")] {
        assert_eq!(finish(&redrive, &message(time)).await.unwrap(), outcome);
    }
    let items = table.items().await;
    assert!(items.values().any(|item| item["received_at"] == 7));
}

#[tokio::test]
async fn redrive_refuses_what_webhook_never_queues() {
    let table = Table::start().await;
    let query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup";
    let message =
        |query: &str, body: &str| json!({ "received_at": 1, "query": query, "body": body }).to_string();
    let good = body("g", 1, &[]).to_string();
    for (message, error) in [
        (String::new(), "message: expected JSON"),
        ("{}".to_owned(), "message: expected JSON"),
        (message("", &good), "URL parameter SdkAppid"),
        (message(&query.replace("140", "141"), &good), "query: expected this receiver's"),
        (message(&query.replace("Create", "Destroy"), &good), "query: expected this receiver's"),
        (message(query, &good).replace("\"body\"", "\"other\""), "message: expected JSON"),
        (message(query, "{}"), "CallbackCommand: expected"),
    ] {
        let refused = finish(&table.redrive(), &message).await.unwrap_err();
        assert!(refused.starts_with(error), "{refused}");
    }
    assert!(table.items().await.is_empty());
}

#[tokio::test]
async fn an_event_without_any_time_keeps_its_time_of_receipt_through_the_queue() {
    let table = Table::start().await;
    let queue = Queue::start().await.unwrap();
    let webhook = table.webhook_with(&[
        ("ALLOW_UNSIGNED", "true"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_SQS", &queue.url),
        ("RETRY_QUEUE_URL", &queue.url),
    ]);
    let mut timeless = body("g", 1, &[]);
    timeless.as_object_mut().unwrap().remove("EventTime");
    let query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup";
    let request = post(query, timeless.to_string());
    let arrived = UNIX_EPOCH + Duration::from_millis(123_456);
    assert_eq!(webhook.accept(&request, arrived).await.1.outcome.to_string(), "queued");
    finish(&table.redrive(), &queue.take()[0]).await.unwrap();
    assert_eq!(table.items().await.into_values().next().unwrap()["event_time"], 123_456);
}

/// A destroyed group's body, with this many members.
fn destroyed(time: u64, count: usize) -> Value {
    let mut body = sized(time, count);
    body["CallbackCommand"] = "Group.CallbackAfterGroupDestroyed".into();
    body
}

#[tokio::test]
async fn a_destroyed_group_of_40000_members_is_stored_and_queued_where_the_table_fails() {
    let body = destroyed(7, 40_000);
    assert!((1_000_000..5_000_000).contains(&body.to_string().len()), "{}", body.to_string().len());
    let setting = Setting::start(&FINE, &FINE).await;
    assert_eq!(setting.answer(&body).await.0.outcome(), "stored");
    let setting = Setting::start(&always(ACCESS_DENIED), &FINE).await;
    let (answered, took) = setting.answer(&body).await;
    assert_eq!((answered.outcome(), answered.codes()), ("queued", (200, 0)));
    assert!(took < ANSWER_BUDGET, "{took:?}");
    let messages = setting.queue.take();
    let message: Message = serde_json::from_str(&messages[0]).unwrap();
    assert!(message.body_zlib.is_some() && message.bytes().unwrap() == body.to_string().as_bytes());
    assert_eq!(finish(&setting.table.redrive(), &messages[0]).await.unwrap(), "stored");
}

#[tokio::test]
async fn a_large_event_that_is_lost_for_the_table_and_the_receiver_is_logged_whole_in_short_lines() {
    // Names that zlib makes no shorter than half.
    let mut random = fastrand::Rng::with_seed(7);
    let mut name = || std::iter::repeat_with(|| random.alphanumeric()).take(32).collect::<String>();
    let names: Vec<String> = (0..6000).map(|_| name()).collect();
    let mut event = body("g", 7, &names.iter().map(String::as_str).collect::<Vec<_>>());
    event["CallbackCommand"] = "Group.CallbackAfterGroupDestroyed".into();
    let nowhere = "http://127.0.0.1:9";
    let webhook = Table::start().await.webhook_with(&[
        ("AWS_ENDPOINT_URL_DYNAMODB", nowhere),
        ("AWS_ENDPOINT_URL_SQS", nowhere),
        ("RETRY_QUEUE_URL", nowhere),
        ("FORWARD_URL", nowhere),
    ]);
    let answered = deliver(&webhook, &event).await;
    assert_eq!((answered.codes(), answered.outcome()), ((503, 120_007), "lost"));
    assert_eq!(answered.line["level"], "ERROR");
    assert!(answered.record.lost_lines().len() > 2 && answered.record.to_line().len() < 2000);
    let lost: Vec<Message> = answered.lost().iter().map(|lost| serde_json::from_str(lost).unwrap()).collect();
    assert_eq!([lost[0].pending, lost[1].pending], [Pending::Table, Pending::Forward]);
    for message in lost {
        assert!(message.bytes().unwrap() == event.to_string().as_bytes());
    }
}

#[tokio::test]
async fn what_a_stranger_sends_is_cut_in_the_log() {
    let webhook = Table::start().await.webhook();
    let long = "%01".repeat(3000);
    let query = format!("CallbackCommand={long}&OptPlatform={long}&RequestID={long}&SdkAppid=1400000001");
    let answered = send(&webhook, &post(&query, "")).await;
    assert_eq!(answered.codes(), (403, 120_004));
    assert!(answered.record.to_line().len() < 3000, "{}", answered.record.to_line().len());
    for field in ["callback_command", "opt_platform", "request_id"] {
        assert_eq!(answered.line[field], "\u{1}".repeat(128));
    }
}

#[tokio::test]
async fn a_sweep_is_a_message_of_its_own_and_gives_way_to_its_batch() {
    let setting = Setting::start(&FINE, &FINE).await;
    for time in [5, 6] {
        setting.answer(&sized(time, 3)).await;
    }
    let sweep = setting.queue.take().remove(0);
    assert_eq!(serde_json::from_str::<Value>(&sweep).unwrap()["pending"], "sweep");
    setting.answer(&destroyed(7, 0)).await;
    let table = |group_id| {
        let (query, body) = (without_sign(&genuine_query()), body(group_id, 5, &["a"]));
        json!({ "received_at": 1, "query": query, "body": body.to_string() }).to_string()
    };
    let batch: Vec<String> = [setting.queue.take(), vec![table("h"), table("i")]].concat();
    let ended = finish_batch(&setting.table.redrive(), &batch, Duration::from_secs(20)).await;
    let outcomes: Vec<(usize, &str)> =
        ended.iter().map(|(index, record, _)| (*index, name(record.outcome))).collect();
    // The other two run beside each other.
    assert_eq!(outcomes[2], (0, "duplicate"), "{outcomes:?}");
    assert_eq!(setting.table.items().await.len(), 5, "the tombstone, and the other two groups");
    // Swept already, and without a failure.
    assert_eq!(finish(&setting.table.redrive(), &sweep).await.unwrap(), "duplicate");
}

#[tokio::test]
async fn a_sweep_that_runs_out_of_time_comes_again_and_is_no_failure() {
    let setting = Setting::start(&FINE, &FINE).await;
    for time in [5, 6] {
        setting.answer(&sized(time, 3)).await;
    }
    let sweep = setting.queue.take();
    let (url, _kept) = always(slow(300)).before(&setting.table.url).await;
    let slow = setting.table.redrive_with(&[("AWS_ENDPOINT_URL_DYNAMODB", &url)]);
    let ended = finish_batch(&slow, &sweep, Duration::from_millis(100)).await;
    let (_, record, is_failed) = &ended[0];
    assert_eq!((name(record.outcome), record.level, *is_failed), ("queued", Level::Info, true));
    assert_eq!(finish(&setting.table.redrive(), &sweep[0]).await.unwrap(), "duplicate");
}

/// Finishes a batch; the messages in the order in which they end, each with its index, and whether it comes again.
async fn finish_batch(redrive: &Redrive, batch: &[String], budget: Duration) -> Vec<(usize, Record, bool)> {
    let mut ended = Vec::new();
    let report = |index, finished: Finished| ended.push((index, finished.record, finished.result.is_err()));
    redrive.finish(batch, SystemTime::now(), Instant::now() + budget, report).await;
    ended
}

#[tokio::test]
async fn an_end_users_address_is_stored_only_if_that_is_set() {
    let table = Table::start().await;
    for (setting, stored) in [("", None), ("false", None), ("true", Some("203.0.113.7"))] {
        let settings = [("KEEP_CLIENT_IP", setting)];
        let group_id = format!("g{setting}");
        deliver(&table.webhook_with(&settings), &body(&group_id, 5, &[])).await;
        let query = without_sign(&genuine_query());
        let late = body(&format!("late{setting}"), 5, &[]).to_string();
        let message = json!({ "received_at": 1, "query": query, "body": late }).to_string();
        finish(&table.redrive_with(&settings), &message).await.unwrap();
        for group_id in [group_id, format!("late{setting}")] {
            let group = table.group(&group_id).await.unwrap().group;
            assert_eq!(text_of(&group, "client_ip"), stored, "{group_id}");
        }
    }
}

fn without_sign(query: &str) -> String {
    query.replace(&format!("&Sign={}", crate::harness::SIGN), "")
}
