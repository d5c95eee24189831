//! A table, the queues, a downstream receiver, and callbacks of each kind.

use chat_groups::gateway::Request;
use chat_groups::redrive::Redrive;
use chat_groups::webhook::Webhook;
use serde_json::{Value, json};

use super::TEXT;
use crate::harness::{Table, body, post, query};
use crate::receiver::{Receiver, Reply};

/// Path and query of FORWARD_URL.
pub(super) const PATH: &str = "/hook?key=hunter2";

/// What the downstream receiver has to say.
pub(super) const ANSWER: &str =
    r#"{"ActionStatus":"OK", "ErrorCode":1, "ErrorInfo":"of the downstream receiver"}"#;

/// What a callback asks of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Roster,
    Other,
    Decision,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Roster, Self::Other, Self::Decision];

    pub(super) const fn command(self) -> &'static str {
        match self {
            Self::Roster => "Group.CallbackAfterCreateGroup",
            Self::Other => "Group.CallbackAfterSendMsg",
            Self::Decision => "Group.CallbackBeforeSendMsg",
        }
    }

    /// The query string of a genuine callback, with parameters of the operator's own around it.
    pub(super) fn query(self) -> String {
        format!("own=%20a%2b+&&{}&own=b%", query(self.command()))
    }

    /// Of what is not kept nothing is read: it need not be JSON.
    pub(super) fn body(self) -> String {
        match self {
            Self::Roster => format!(" {} \n", body("g", 5, &["a", "b"])),
            Self::Other | Self::Decision => format!("{{ \"Text\": \"{TEXT}\u{0}\u{fffe}é\",\r\n"),
        }
    }

    pub(super) fn request(self) -> Request {
        post(&self.query(), self.body())
    }
}

/// A message in a queue.
#[derive(Debug, PartialEq)]
pub(super) struct Queued {
    pub queue: String,
    pub text: String,
}

impl Queued {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// All parts, each of them fine at first.
pub(super) struct Setting {
    pub table: Table,
    pub downstream: Receiver,
    /// In the place of SQS.
    pub queues: Receiver,
    pub webhook: Webhook,
}

impl Setting {
    pub(super) async fn start(downstream: Receiver) -> Self {
        Self::start_with(downstream, &[]).await
    }

    /// The same with more settings of `webhook`, or others.
    pub(super) async fn start_with(downstream: Receiver, settings: &[(&str, &str)]) -> Self {
        let table = Table::start().await;
        let taken = json!({ "MessageId": "1", "MD5OfMessageBody": "" }).to_string();
        let queues = Receiver::start(Reply::answer(200, &taken)).await.unwrap();
        let webhook = webhook(&table, &downstream, &queues, settings);
        Self { table, downstream, queues, webhook }
    }

    /// Another instance, with more settings, or others.
    pub(super) fn webhook_with(&self, settings: &[(&str, &str)]) -> Webhook {
        webhook(&self.table, &self.downstream, &self.queues, settings)
    }

    /// The function for what waits in the queues.
    pub(super) fn redrive(&self) -> Redrive {
        self.table.redrive_with(&[("FORWARD_URL", &self.forward_url())])
    }

    pub(super) fn forward_url(&self) -> String {
        format!("{}{PATH}", self.downstream.url)
    }

    /// Takes out all messages.
    pub(super) fn queued(&self) -> Vec<Queued> {
        let message = |request: crate::receiver::Received| {
            let request: Value = serde_json::from_slice(&request.body).unwrap();
            let url = request["QueueUrl"].as_str().unwrap().to_owned();
            let text = request["MessageBody"].as_str().unwrap().to_owned();
            Queued { queue: url.rsplit('/').next().unwrap().to_owned(), text }
        };
        self.queues.take().into_iter().map(message).collect()
    }

    /// Takes out all messages, and tells in which queues they were, sorted. A hedged message counts as one.
    pub(super) fn queue_names(&self) -> Vec<&'static str> {
        let name = |queued: Queued| if queued.queue == "retry" { "retry" } else { "forward" };
        let mut names: Vec<&str> = self.queued().into_iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn webhook(table: &Table, downstream: &Receiver, queues: &Receiver, settings: &[(&str, &str)]) -> Webhook {
    let forward_url = format!("{}{PATH}", downstream.url);
    let [retry, forward] = ["retry", "forward"].map(|name| format!("{}/1/{name}", queues.url));
    let mut all = vec![
        ("AWS_ENDPOINT_URL_SQS", queues.url.as_str()),
        ("RETRY_QUEUE_URL", &retry),
        ("FORWARD_QUEUE_URL", &forward),
        ("FORWARD_URL", &forward_url),
    ];
    all.extend(settings);
    table.webhook_with(&all)
}
