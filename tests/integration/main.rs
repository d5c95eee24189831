//! The receiver over HTTP on a real DynamoDB implementation: each file a group of promises.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on has failed"
)]

mod answers;
mod bodies;
mod chat;
mod cost;
mod events;
mod faults;
mod field;
mod forward;
mod harness;
mod hostile;
mod lives;
mod local;
mod model;
mod processes;
mod promises;
mod publish;
mod readers;
mod reconcile;

use chat_groups_testkit::{
    bus, chat as chat_api, feeder, function, lost, proxy, queue, receiver, samples, secrets,
    table as database,
};
