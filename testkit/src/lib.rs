//! What stands in for AWS and Chat, sample callbacks, and a model of the table that is made from the contract alone.
//!
//! The tests, the soak and the local run share it. It never enters a function.

pub mod bodies;
pub mod bus;
pub mod chat;
pub mod database;
pub mod feeder;
pub mod function;
pub mod life;
pub mod local;
pub mod lost;
pub mod meter;
pub mod model;
pub mod proxy;
pub mod queue;
pub mod receiver;
pub mod redriver;
pub mod runtime_api;
pub mod samples;
#[cfg(feature = "schema")]
pub mod schema;
pub mod secrets;
pub mod table;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wire;

use std::error::Error;
use std::process::ExitCode;

/// How a program ends: with success, or with an error that it prints.
pub fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chat_groups::log::error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
