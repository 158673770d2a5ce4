//! Structured logs: `tracing` events on standard error or in a file, as text or as JSON.

use std::fs::File;
use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::Failure;
use super::settings::Settings;

/// Begins to log, into `file` or on standard error. Once a process.
///
/// # Errors
/// When the filter of `log-level` cannot be read.
pub fn start(settings: &Settings, file: Option<File>) -> Result<(), Failure> {
    let filter = settings.text("log-level");
    // The Avro crate tells every schema that it parses.
    let quieter = format!("apache_avro=warn,{filter}");
    let filter = EnvFilter::try_new(quieter).map_err(|error| {
        Failure::usage(format!(
            "log-level: `{filter}`: {error}; write error, warn, info, debug or trace"
        ))
    })?;
    let colour = file.is_none() && std::io::stderr().is_terminal();
    let writer = match file {
        Some(file) => BoxMakeWriter::new(Arc::new(file)),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colour);
    // A second start (in tests) leaves the first one in place.
    let _ = match settings.text("log-format") {
        "json" => logs.json().flatten_event(true).try_init(),
        _ => logs.with_target(false).try_init(),
    };
    Ok(())
}
