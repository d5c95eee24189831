//! `make events`: remakes the files in `events/`, with TOKEN, SDK_APP_ID and REQUEST_TIME from the environment.

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use chat_groups_dev::samples;

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Box<dyn Error>> {
    let mut signer = samples::Signer::default();
    for (name, value) in [
        ("TOKEN", &mut signer.token),
        ("SDK_APP_ID", &mut signer.sdk_app_id),
        ("REQUEST_TIME", &mut signer.request_time),
    ] {
        if let Ok(set) = std::env::var(name) {
            *value = set;
        }
    }
    for (name, event) in samples::events(&signer) {
        let path = format!("events/{name}.json");
        let text = serde_json::to_string_pretty(&event)? + "\n";
        fs::write(&path, text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}
