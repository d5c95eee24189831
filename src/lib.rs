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
pub mod app;
pub mod attribute;
pub mod aws;
pub mod callback;
pub mod config;
pub mod gateway;
pub mod group;
pub mod hedge;
pub mod item;
pub mod log;
pub mod lookup;
pub mod pause;
pub mod queue;
pub mod reader;
pub mod redrive;
pub mod reply;
pub mod signature;
pub mod store;
pub mod trust;
