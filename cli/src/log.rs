//! Package `cli`: the log of a process that stays: lines or JSON on standard error. Must not know what is logged.

use tracing_subscriber::EnvFilter;

use crate::error::CliError;

/// Whether a filter of the configuration can be used.
pub(crate) fn check_log(filter: &str) -> Result<(), CliError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, CliError> {
    EnvFilter::try_new(format!("{filter},quinn=warn,rustls=warn,sled=warn"))
        .map_err(|error| CliError::invalid(format!("log: {error}")))
}

/// Starts the log of this process with a filter of the configuration.
pub(crate) fn start_log(filter: &str, json: bool) -> Result<(), CliError> {
    let filter = parse(filter)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if json {
        log.json().init();
    } else {
        log.with_target(false).init();
    }
    Ok(())
}
