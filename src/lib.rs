//! Receives Tencent Cloud Chat's *After a Group Is Created* callback and keeps
//! the group and its initial members in one DynamoDB table.
//!
//! The path of a callback, each step a type that exists only once the step before it passed:
//!
//! 1. [`callback::Query`]: the URL parameters, read but not yet believed;
//! 2. [`signature::Verifier`]: Sign and RequestTime, so that the sender is known;
//! 3. [`callback::Delivery`]: who sent what, when and about which command;
//! 4. [`group::GroupCreated`]: the body as checked values;
//! 5. [`store::Stored`]: what the table made of it;
//! 6. [`reply::Outcome`] or [`reply::Refusal`]: the answer and the log line.
//!
//! [`app::Webhook`] walks this path for the HTTP gateway, within Chat's two seconds. What the table does not take
//! in time waits in the [`queue`], and [`redrive::Redrive`] walks the rest of the path later.

pub mod action;
#[path = "functions/webhook.rs"]
pub mod app;
#[path = "event/extra.rs"]
pub mod attribute;
pub mod aws;
#[path = "callback/query.rs"]
pub mod callback;
pub mod chat;
pub mod config;
pub mod gateway;
#[path = "event/created.rs"]
pub mod group;
#[path = "retry.rs"]
pub mod hedge;
pub mod http;
#[path = "store/item.rs"]
pub mod item;
pub mod log;
#[path = "aws/dns.rs"]
pub mod lookup;
pub mod pause;
pub mod queue;
#[path = "store/read.rs"]
pub mod reader;
#[path = "functions/redrive.rs"]
pub mod redrive;
#[path = "functions.rs"]
pub mod reply;
#[path = "callback/signature.rs"]
pub mod signature;
pub mod store;
#[path = "aws/tls.rs"]
pub mod trust;
