//! What a function writes: one line for each callback on standard output, and the rare line of a library.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::reply::causes;

/// Sends what libraries have to say (a panic that was caught, a broken certificate) to standard output, as JSON.
pub fn init() {
    tracing_subscriber::fmt().json().with_max_level(tracing::Level::WARN).init();
}

/// Writes the line of one callback.
pub fn write(line: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        tracing::error!(%error, "a callback's line could not be written");
    }
}

/// Says why the process can't go on.
pub fn stop(error: &(dyn Error + 'static)) -> ExitCode {
    tracing::error!("{}", causes(error));
    ExitCode::FAILURE
}
