//! A true copy of the groups and members of a Tencent Cloud Chat application, in one DynamoDB table.
//!
//! The path of a callback; each step hands its type to the next:
//!
//! 1. [`Query`]: the URL parameters, decoded but not yet trusted;
//! 2. [`Verifier`]: Sign and RequestTime, so that the sender is known;
//! 3. [`Event`]: the body as facts, each with its time;
//! 4. [`Store::apply`]: the facts merged into the table, newest wins;
//! 5. [`Outcome`] or [`Refusal`]: the answer and the log line.
//!
//! [`Webhook`] walks this path for the HTTP gateway, within Chat's two seconds. Events that can't be stored in time wait
//! in a [`Queue`], and [`Redrive`] walks the rest of the path later. With a [`Forwarder`], every genuine callback is passed
//! on to the team's own receiver as well. [`Reconcile`] makes events of what Chat's REST API ([`chat`]) says and the table
//! does not; they take the same step 4.

mod aws;
mod callback;
pub mod chat;
mod config;
mod event;
mod forward;
mod functions;
mod gateway;
mod http;
mod log;
mod queue;
mod retry;
mod store;
mod time;

pub use self::time::{EventTime, from_millis, rfc3339, to_millis};
pub use aws::{Aws, SecretError, Timeouts, Trust};
pub use callback::{
    BodyError, Command, Kept, Origin, ParameterError, Query, Sender, SignatureError, Token, Unsigned,
    Verifier,
};
pub use config::{
    AwsSettings, ConfigError, Environment, KeySource, ReconcileSettings, RedriveSettings, WebhookSettings,
};
pub use event::{
    ACCOUNT_MAX_BYTES, Attributes, Event, Fact, Facts, GROUP_ID_MAX_BYTES, GroupKey, MAX_DEPTH, name,
};
pub use forward::{ForwardError, ForwardUrl, Forwarder};
pub use functions::reconcile::{
    Change, Correction, Note, Pace, Reconcile, ReconcileError, ReconcileRequest, Reconciled, Report,
    RequestError, TimeLimit,
};
pub use functions::redrive::{Redrive, RedriveError};
pub use functions::webhook::{Behind, Webhook};
pub use functions::{BODY_MAX_BYTES, Forwarded, Outcome, Refusal};
pub use gateway::{GatewayResponse, request};
pub use http::{HttpClient, HttpError};
pub use log::{Record, causes, exit, init, write};
pub use queue::{Message, Pending, Queue, QueueError};
pub use store::{Applied, Effect, GROUP_SK, Store, StoreError, partition_key, text_of};
