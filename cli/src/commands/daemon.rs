//! Command `daemon`: runs a system until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use rjournal::daemon::{ControlSocket, JobProgram, check_data, read_config};
use rjournal::{System, SystemOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::error::CliError;
use crate::log::{check_log, start_log};

/// Run the system in a data directory until SIGTERM or SIGINT
///
/// Example: rjournal daemon --data /var/lib/rjournal
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check configuration and data directory, start nothing
    #[arg(long)]
    check: bool,

    /// The directory was copied or restored, and the other one is gone for good
    #[arg(long)]
    moved: bool,

    /// Log as JSON lines
    #[arg(long)]
    log_json: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let config = read_config(&context.data)?;
    if args.check {
        check_log(&config.log)?;
        check_data(&context.data, &config, args.moved)?;
        let value =
            serde_json::json!({ "good": true, "name": config.name, "listen": config.listen });
        context.output.result(&value, |_| {
            format!(
                "The configuration of system {} and its directory are good.",
                config.name
            )
        });
        return Ok(ExitCode::SUCCESS);
    }
    start_log(&config.log, args.log_json)?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| CliError::internal(&error))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| CliError::internal(&error))?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("rjournal"));
    let options = SystemOptions {
        data: context.data.clone(),
        moved: args.moved,
        job_program: Some(JobProgram {
            program,
            arguments: vec!["applyjob".to_owned()],
        }),
    };
    let system = System::open(options).await?;
    let socket = ControlSocket::listen(&system)?;
    tracing::info!(system = %system.name(), socket = %socket.path().display(), "ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    drop(socket);
    let poisoned = system.is_poisoned();
    system.stop().await;
    // A service manager must not start a poisoned journal again by itself.
    Ok(if poisoned {
        ExitCode::from(11)
    } else {
        ExitCode::SUCCESS
    })
}
