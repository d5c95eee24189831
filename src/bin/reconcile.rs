//! The Lambda function `reconcile`: corrects the table against Chat's REST API, by a schedule or by hand.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::config::ReconcileSettings;
use chat_groups::reconcile::{Note, Reconcile, ReconcileRequest, Reconciled, Report, TimeLimit};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let settings = ReconcileSettings::from_env(&|name| std::env::var(name))?;
    let reconcile = &Reconcile::from_settings(settings).await?;
    let handler = async move |event: LambdaEvent<Value>| -> Result<Report, Error> {
        let time_left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let reconciled = match ReconcileRequest::parse(&event.payload) {
            Ok(request) => reconcile.run(&request, TimeLimit::within(time_left), &log).await,
            Err(error) => Reconciled { error: Some(error.into()), ..Reconciled::default() },
        };
        chat_groups::log::write(&reconciled.to_line(SystemTime::now()));
        reconciled
            .error
            .map_or(Ok(reconciled.report), |error| Err(chat_groups::log::error_chain(&error).into()))
    };
    lambda_runtime::run(service_fn(handler)).await
}

fn log(note: &Note<'_>) {
    if let Some(line) = note.to_line(SystemTime::now()) {
        chat_groups::log::write(&line);
    }
}
