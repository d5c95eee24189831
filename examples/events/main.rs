//! `make events`: remakes the files in `events/`, with TOKEN, SDK_APP_ID and REQUEST_TIME from the environment.

mod samples;

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let signer = samples::Signer {
        token: setting("TOKEN", samples::TOKEN),
        sdk_app_id: setting("SDK_APP_ID", samples::SDK_APP_ID),
        request_time: setting("REQUEST_TIME", samples::REQUEST_TIME),
    };
    for (name, event) in samples::events(&signer) {
        let text = serde_json::to_string_pretty(&event)? + "\n";
        fs::write(format!("events/{name}.json"), text)?;
    }
    Ok(())
}
