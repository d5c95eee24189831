//! `make events`: remakes the files in `events/`.

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use chat_groups_testkit::samples;
use clap::Parser;

/// Remakes the files in events/
#[derive(Parser)]
struct Args {
    /// The callback authentication token that signs them
    #[arg(long, env = "TOKEN", default_value = samples::TOKEN)]
    token: String,
    /// The application's SdkAppid
    #[arg(long, env = "SDK_APP_ID", default_value = samples::SDK_APP_ID)]
    sdk_app_id: String,
    /// RequestTime, in seconds since the Unix epoch
    #[arg(long, env = "REQUEST_TIME", default_value = samples::REQUEST_TIME)]
    request_time: String,
}

fn main() -> ExitCode {
    chat_groups_testkit::exit(write(Args::parse()))
}

fn write(Args { token, sdk_app_id, request_time }: Args) -> Result<(), Box<dyn Error>> {
    let signer = samples::Signer { token, sdk_app_id, request_time };
    for (name, event) in samples::events(&signer) {
        let path = format!("events/{name}.json");
        let text = serde_json::to_string_pretty(&event)? + "\n";
        fs::write(&path, text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}
