//! A true copy of the groups and members of a Tencent Cloud Chat application, in one DynamoDB table.
//!
//! The path of a callback; each step hands its type to the next:
//!
//! 1. [`callback::Query`]: the URL parameters, decoded but not yet trusted;
//! 2. [`callback::Verifier`]: Sign and RequestTime, so that the sender is known;
//! 3. [`callback::Callback`] of an accepted sender, and [`event::Event`]: its body as facts, each with its time;
//! 4. [`store::Store::apply`]: the facts merged into the table, newest wins;
//! 5. [`log::Outcome`] or [`Refusal`]: the answer and the log line.
//!
//! [`webhook::Webhook`] walks this path for the HTTP gateway, within Chat's two seconds. Events that can't be stored in
//! time wait in a [`queue::Queue`], and [`redrive::Redrive`] walks the rest of the path later. With a
//! [`forward::Forwarder`], every genuine callback is forwarded to the team's own receiver as well.
//! [`reconcile::Reconcile`] asks Chat's REST API ([`chat`]) and makes events of its differences to the table; they take
//! the same step 4. [`publish::Publish`] turns the table's stream into events of its own ([`feed`]) for other programs.

pub mod aws;
pub mod callback;
pub mod chat;
pub mod config;
pub mod event;
pub mod feed;
pub mod forward;
mod functions;
pub mod http;
pub mod log;
pub mod queue;
mod retry;
pub mod store;
pub mod time;

pub use functions::{Refusal, gateway, publish, reconcile, redrive, webhook};
