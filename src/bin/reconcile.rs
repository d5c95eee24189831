//! The Lambda function `reconcile`: corrects the table against Chat's REST API, by a schedule or by hand.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::config::ReconcileSettings;
use chat_groups::reconcile::{Ended, Note, Reconcile, ReconcileRequest, Report, end_within};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let settings = ReconcileSettings::from_env(&|name| std::env::var(name))?;
    let reconcile = &Reconcile::from_settings(settings).await?;
    let handler = async move |event: LambdaEvent<Value>| -> Result<Report, Diagnostic> {
        let time_left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let result = match ReconcileRequest::parse(&event.payload) {
            Ok(request) => reconcile.run(&request, end_within(time_left), &log).await,
            Err(error) => {
                log(&Ended { error: Some(error.to_string()), ..Ended::default() }.into());
                Err(error.into())
            }
        };
        result.map_err(|error| Diagnostic {
            error_type: "ReconcileError".to_owned(),
            error_message: chat_groups::log::error_chain(&error),
        })
    };
    lambda_runtime::run(service_fn(handler)).await
}

fn log(note: &Note<'_>) {
    if let Some(line) = note.to_line(SystemTime::now()) {
        chat_groups::log::write(&line);
    }
}
