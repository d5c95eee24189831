//! The fault table: whatever the downstream receiver, the table and the queues do, for each kind of callback.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use chat_groups_testkit::tls::Authority;
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::downstream::{ANSWER, Kind, PATH, Setting};
use super::{Answer, OURS, ask, finish, later, verify, willing, without};
use crate::faults::{Broken, FINE, always};
use crate::proxy::Fault;
use crate::receiver::{Received, Receiver, Reply};

/// How the downstream receiver is reached, and what it does.
#[derive(Clone)]
enum Downstream {
    Http(Reply),
    /// With a certificate of an authority that is set.
    Tls(Reply),
    /// With a certificate of an authority that nobody knows.
    Unknown(Reply),
    Broken(Broken),
}

/// Whether the downstream receiver takes a callback, for each kind: `ok` is answered by us, `relayed` is its answer relayed
/// through.
type Expected = [&'static str; 3];

const RELAYED: Expected = ["ok", "relayed", "relayed"];
const TAKEN: Expected = ["ok", "ok", "no"];
const NOT_TAKEN: Expected = ["no", "no", "no"];

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new().unwrap());

/// The file with the root that is set.
static BUNDLE: LazyLock<String> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.pem", std::process::id()));
    std::fs::write(&path, AUTHORITY.pem()).unwrap();
    path.to_str().unwrap().to_owned()
});

/// How many cases are under way at once, of all tables: they measure time.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Starts a receiver that speaks TLS.
async fn start_tls(reply: Reply) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let receiver = Receiver::new(format!("https://localhost:{port}"), reply);
    let (server, acceptor) = (receiver.clone(), AUTHORITY.acceptor(b"http/1.1").unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move {
                // Who refuses the certificate leaves.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if server.serve(&mut stream).await.unwrap_or(false) {
                    stream.get_ref().0.set_zero_linger().unwrap();
                }
            });
        }
    });
    receiver
}

impl Downstream {
    /// Starts it; what has to live as long as it comes with it.
    async fn start(self) -> (Receiver, Vec<TcpStream>) {
        match self {
            Self::Http(reply) => (Receiver::start(reply).await.unwrap(), vec![]),
            Self::Tls(reply) | Self::Unknown(reply) => (start_tls(reply).await, vec![]),
            Self::Broken(broken) => {
                let (url, kept) = broken.before("").await;
                (Receiver::new(url, Reply::silence()), kept)
            }
        }
    }

    /// The file with the roots to trust.
    fn bundle(&self) -> &'static str {
        match self {
            Self::Tls(_) => BUNDLE.as_str(),
            Self::Http(_) | Self::Unknown(_) | Self::Broken(_) => "",
        }
    }
}

/// One row: the fault, how each part is broken, and what is expected.
#[derive(Clone)]
struct Case {
    name: &'static str,
    downstream: Downstream,
    expected: Expected,
    /// Whether its connection breaks before any byte of an answer.
    is_unanswered: bool,
    table: Broken,
    table_is_fine: bool,
    queue: Broken,
    queue_is_fine: bool,
}

impl Case {
    fn new(name: &'static str, downstream: Downstream, expected: Expected) -> Self {
        let (table, queue) = (FINE, FINE);
        let is_unanswered = false;
        Self {
            name,
            downstream,
            expected,
            is_unanswered,
            table,
            table_is_fine: true,
            queue,
            queue_is_fine: true,
        }
    }

    fn unanswered(self) -> Self {
        Self { is_unanswered: true, ..self }
    }

    fn http(name: &'static str, reply: Reply, expected: Expected) -> Self {
        Self::new(name, Downstream::Http(reply), expected)
    }

    fn tls(name: &'static str, reply: Reply, expected: Expected) -> Self {
        Self::new(name, Downstream::Tls(reply), expected)
    }

    /// Runs the case for a callback of one kind and returns its row.
    async fn run(self, kind: Kind) -> String {
        let _turn = TURNS.acquire().await.unwrap();
        let (bundle, is_reached) =
            (self.downstream.bundle(), !matches!(self.downstream, Downstream::Broken(_)));
        let (receiver, _kept) = self.downstream.start().await;
        let setting = Setting::start(receiver).await;
        let (table_url, _kept) = self.table.before(&setting.table.url).await;
        let (queue_url, _kept) = self.queue.before(&setting.queues.url).await;
        let webhook = setting.webhook_with(&[
            ("AWS_ENDPOINT_URL_DYNAMODB", &table_url),
            ("AWS_ENDPOINT_URL_SQS", &queue_url),
            ("AWS_CA_BUNDLE", bundle),
        ]);
        let answer = ask(&webhook, &kind.request()).await;
        let row = format!(
            "{:<46} {:<9} {:<10} {:<7} {:>7} {:>5} ms",
            self.name,
            format!("{kind:?}").to_lowercase(),
            answer.outcome(),
            answer.forward(),
            answer.error_code(),
            answer.took.as_millis()
        );
        let taken = self.expected[kind as usize];
        let owed: Vec<&str> = match kind {
            Kind::Roster => [("retry", !self.table_is_fine), ("forward", taken == "no")]
                .into_iter()
                .filter_map(|(queue, is_owed)| is_owed.then_some(queue))
                .collect(),
            Kind::Other if taken == "no" => vec!["forward"],
            Kind::Other | Kind::Decision => vec![],
        };
        check_answer(&answer, kind, taken, (&owed, self.queue_is_fine), &row);
        let received = setting.downstream.take();
        let deliveries = match kind {
            _ if !is_reached => 0..=0,
            Kind::Roster | Kind::Other if self.is_unanswered => 2..=2,
            _ => usize::from(taken != "no")..=1,
        };
        check_received(&received, kind, deliveries, &row);
        if self.queue_is_fine {
            finish_late(&setting, kind, &owed, &row).await;
        }
        row
    }
}

fn check_answer(answer: &Answer, kind: Kind, taken: &str, (owed, queue_is_fine): (&[&str], bool), row: &str) {
    let (outcome, error_code) = match kind {
        Kind::Decision if taken == "no" => ("undecided", 120_008),
        _ if !owed.is_empty() && !queue_is_fine => ("lost", 120_007),
        Kind::Roster if owed.contains(&"retry") => ("queued", 0),
        Kind::Roster => ("stored", 0),
        Kind::Other if taken == "no" => ("queued", 0),
        Kind::Other | Kind::Decision => ("forwarded", 0),
    };
    let forward = match (taken, kind) {
        ("no", Kind::Roster | Kind::Other) if queue_is_fine => "queued",
        ("no", _) => "failed",
        _ => "ok",
    };
    assert_eq!(
        (answer.outcome(), answer.forward(), answer.error_code()),
        (outcome, forward, error_code),
        "{row}"
    );
    assert_eq!(answer.status, if error_code == 0 { 200 } else { 503 }, "{row}");
    if kind != Kind::Decision && taken == "ok" && row.contains("body") {
        // The answer is ours: the receiver's body is waited for 0.2 s at most.
        assert!(answer.took < Duration::from_millis(700), "{row}: {:?}", answer.took);
    }
    if error_code == 0 {
        let body = if taken == "relayed" { ANSWER } else { OURS };
        assert!(answer.body.trim_start() == body, "{row}: {}", answer.body);
    }
    if outcome == "lost" {
        let pending: Vec<&str> =
            answer.lost.iter().map(|message| message["pending"].as_str().unwrap()).collect();
        let expected: Vec<&str> =
            owed.iter().map(|queue| if *queue == "retry" { "table" } else { "forward" }).collect();
        assert_eq!(pending, expected, "{row}");
        for message in &answer.lost {
            assert_eq!(message.get("body").is_some(), kind == Kind::Roster, "{row}");
        }
    }
}

/// What reaches the downstream receiver is what came, to the byte, and as often as it should.
fn check_received(received: &[Received], kind: Kind, deliveries: RangeInclusive<usize>, row: &str) {
    assert!(deliveries.contains(&received.len()), "{row}: {} and not {deliveries:?}", received.len());
    for received in received {
        assert_eq!(received.method, "POST");
        assert_eq!(received.target, format!("{PATH}&{}", kind.query()), "{row}");
        assert_eq!(received.headers["content-type"], "application/json");
        assert_eq!(received.body, kind.body().into_bytes(), "{row}");
    }
}

/// Finishes what is queued with healthy parts: each message is in its queue, and does its part alone.
async fn finish_late(setting: &Setting, kind: Kind, owed: &[&str], row: &str) {
    let mut queued = setting.queued();
    queued.sort_by_key(|message| message.queue == "forward");
    queued.dedup_by_key(|message| message.queue.clone());
    let queues: Vec<&str> = queued.iter().map(|message| message.queue.as_str()).collect();
    assert_eq!(queues, owed, "{row}");
    let downstream = willing().await;
    let redrive = setting.table.redrive_with(&[("FORWARD_URL", &downstream.url)]);
    for message in &queued {
        let (result, _) = finish(&redrive, &message.text).await;
        let is_forward = message.queue == "forward";
        // The table may have taken it too late to say so.
        let outcomes: &[&str] = if is_forward { &["forwarded"] } else { &["stored", "duplicate"] };
        assert!(result.is_ok_and(|outcome| outcomes.contains(&outcome)), "{row}");
        let received = downstream.take();
        assert_eq!(received.len(), usize::from(is_forward), "{row}");
        if let [received] = received.as_slice() {
            assert!(verify(received.query(), later()).is_some(), "{row}");
            let signed = ["Sign", "RequestTime"];
            assert_eq!(without(received.query(), &signed), without(&kind.query(), &signed));
            assert_eq!(received.body, kind.body().into_bytes());
        }
    }
    assert_eq!(setting.table.items().await.len(), if kind == Kind::Roster { 3 } else { 0 }, "{row}");
}

/// Runs each case for each kind of callback and prints the rows.
async fn run(title: &str, cases: Vec<Case>) {
    // Each is a task of its own: what one of them starts must not delay what another one measures.
    let runs: Vec<_> = cases
        .into_iter()
        .flat_map(|case| Kind::ALL.map(|kind| tokio::spawn(case.clone().run(kind))))
        .collect();
    let rows: Vec<String> = join_all(runs).await.into_iter().map(Result::unwrap).collect();
    println!("{title}\n{}", rows.join("\n"));
}

/// A response's head with these lines, up to its body.
fn head(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")
}

const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receiver_that_is_slow_or_silent_costs_no_event_and_no_time() {
    let json = || Reply::answer(200, ANSWER);
    let half = head("content-length: 9") + "{";
    run(
        "The downstream receiver is slow or silent",
        vec![
            Case::http("answers at once", json(), RELAYED),
            Case::http("slow by 0.3 s", json().after(300), RELAYED),
            Case::http("slow by 0.8 s", json().after(800), RELAYED),
            Case::http("slow by 1.15 s", json().after(1150), ["no", "no", "relayed"]),
            Case::http("slow by 2.5 s", json().after(2500), NOT_TAKEN),
            Case::new("refuses connections", Downstream::Broken(Broken::Refused), NOT_TAKEN),
            Case::new("hangs in connect", Downstream::Broken(Broken::ConnectHangs), NOT_TAKEN),
            Case::new("hangs in TLS", Downstream::Broken(Broken::TlsHangs), NOT_TAKEN),
            Case::http("hangs before the headers", Reply::silence(), NOT_TAKEN),
            Case::http("hangs in the headers", Reply::raw("HTTP/1.1 200 OK\r\nx: ").and_hang(), NOT_TAKEN),
            Case::http("hangs in the body", Reply::raw(&half).and_hang(), TAKEN),
            Case::http(
                "trickles headers",
                Reply::raw("HTTP/1.1 200 OK\r\n").and_repeat(b"x: y\r\n", PAUSE),
                NOT_TAKEN,
            ),
            Case::http(
                "trickles a body",
                Reply::raw(&head("content-length: 999")).and_repeat(b" ", PAUSE),
                TAKEN,
            ),
            Case::http(
                "trickles a body without end",
                Reply::raw(&head("x: y")).and_repeat(b" ", PAUSE),
                TAKEN,
            ),
            Case::http("hangs after 204", Reply::raw("HTTP/1.1 204 No Content\r\n\r\n").and_hang(), TAKEN),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receiver_that_breaks_off_or_overflows_costs_no_event_and_no_memory() {
    let cut = head("content-length: 9") + "{";
    let no_pause = Duration::ZERO;
    run(
        "The downstream receiver breaks off or overflows",
        vec![
            Case::http("resets before the request", Reply::reset_unread(), NOT_TAKEN),
            Case::http("resets after the request", Reply::raw("").and_reset(), NOT_TAKEN).unanswered(),
            Case::http("closes without an answer", Reply::raw("").and_close_after(0), NOT_TAKEN).unanswered(),
            Case::http("resets in the headers", Reply::raw("HTTP/1.1 200 OK\r\nx").and_reset(), NOT_TAKEN),
            Case::http("closes in the body", Reply::raw(&cut).and_close_after(20), TAKEN),
            Case::http("does not speak HTTP", Reply::raw("220 mail.example.com ESMTP\r\n"), NOT_TAKEN),
            Case::http(
                "headers without end",
                Reply::raw("HTTP/1.1 200 OK\r\nx: ").and_repeat(&[b'y'; 4096], no_pause),
                NOT_TAKEN,
            ),
            Case::http(
                "a body without end",
                Reply::raw(&head("x: y")).and_repeat(&[b' '; 4096], no_pause),
                TAKEN,
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_a_2xx_status_has_taken_a_callback_and_only_a_200_with_json_is_relayed() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let sized = |bytes: usize| Reply::answer(200, &format!("{}{ANSWER}", " ".repeat(bytes - ANSWER.len())));
    let early = format!("HTTP/1.1 103 Early Hints\r\n\r\n{}{ANSWER}", head("connection: close"));
    let case = |name, status, body: &str, expected| Case::http(name, Reply::answer(status, body), expected);
    run(
        "The downstream receiver answers otherwise",
        vec![
            case("200 without a body", 200, "", TAKEN),
            case("200 with no JSON", 200, "<html>It works!</html>", TAKEN),
            case("200 with half of a JSON", 200, "{\"ActionStatus\":", TAKEN),
            Case::http("200 with 512 KiB", sized(512 * 1024), RELAYED),
            Case::http("200 with 512 KiB and a byte", sized(512 * 1024 + 1), TAKEN),
            Case::http("200 with 8 MiB", sized(8 * 1024 * 1024), TAKEN),
            Case::http("103, then 200", Reply::raw(&early).and_close_after(0), RELAYED),
            case("201 with JSON", 201, ANSWER, TAKEN),
            case("204", 204, "", TAKEN),
            Case::http("302", Reply::raw(moved), NOT_TAKEN),
            case("304", 304, "", NOT_TAKEN),
            case("400 with JSON", 400, ANSWER, NOT_TAKEN),
            case("403", 403, "", NOT_TAKEN),
            case("429", 429, "", NOT_TAKEN),
            case("500", 500, "", NOT_TAKEN),
            case("503 with JSON", 503, ANSWER, NOT_TAKEN),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_tls_the_receiver_is_trusted_by_the_roots_that_are_set_and_breaks_no_other_way() {
    let json = || Reply::answer(200, ANSWER);
    run(
        "The downstream receiver speaks TLS",
        vec![
            Case::tls("TLS: answers at once", json(), RELAYED),
            Case::new("TLS: an unknown authority", Downstream::Unknown(json()), NOT_TAKEN),
            Case::tls("TLS: slow by 2.5 s", json().after(2500), NOT_TAKEN),
            Case::tls("TLS: hangs before the headers", Reply::silence(), NOT_TAKEN),
            Case::tls("TLS: resets after the request", Reply::raw("").and_reset(), NOT_TAKEN).unanswered(),
            Case::tls("TLS: hangs in the body", Reply::raw(&head("content-length: 9")).and_hang(), TAKEN),
            Case::tls("TLS: 500", Reply::answer(500, ""), NOT_TAKEN),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_all_of_them_broken_the_answer_still_leaves_in_time_and_the_log_has_the_event() {
    let hangs = || always(Fault::Hang);
    let denies = || always(Fault::error("AccessDeniedException"));
    let slow = always(Fault::Delay(Duration::from_millis(300)));
    let answers = Reply::answer(200, ANSWER);
    let silent = || Downstream::Http(Reply::silence());
    let refused = || Downstream::Broken(Broken::Refused);
    let table = |case: Case, table| Case { table, table_is_fine: false, ..case };
    let queue = |case: Case, queue| Case { queue, queue_is_fine: false, ..case };
    let fine = |name| Case::http(name, answers.clone(), RELAYED);
    run(
        "The downstream receiver, the table and the queues are broken",
        vec![
            table(fine("table hangs"), hangs()),
            queue(table(fine("table hangs, queues hang"), hangs()), hangs()),
            queue(fine("queues hang"), hangs()),
            table(Case::new("it hangs, table hangs", silent(), NOT_TAKEN), hangs()),
            Case {
                queue: slow,
                ..table(
                    Case::http("both answer 500, queues slow", Reply::answer(500, ""), NOT_TAKEN),
                    denies(),
                )
            },
            queue(Case::new("it hangs, queues hang", silent(), NOT_TAKEN), hangs()),
            queue(Case::new("it hangs, queues deny", silent(), NOT_TAKEN), denies()),
            queue(table(Case::new("all hang", silent(), NOT_TAKEN), hangs()), hangs()),
            queue(table(Case::new("all refuse", refused(), NOT_TAKEN), Broken::Refused), Broken::Refused),
            queue(
                table(
                    Case::new("all hang in connect", Downstream::Broken(Broken::ConnectHangs), NOT_TAKEN),
                    Broken::ConnectHangs,
                ),
                Broken::ConnectHangs,
            ),
            queue(
                table(
                    Case::new("all hang in TLS", Downstream::Broken(Broken::TlsHangs), NOT_TAKEN),
                    Broken::TlsHangs,
                ),
                Broken::TlsHangs,
            ),
            queue(table(Case::http("all answer 500", Reply::answer(500, ""), NOT_TAKEN), denies()), denies()),
        ],
    )
    .await;
}
