//! Command `daemon`: runs a system until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use rjournal::daemon::{
    Clock, ControlSocket, JobProgram, RebuiltCatalog, SystemClock, check_data, read_config,
    rebuild_catalog,
};
use rjournal::{System, SystemOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::error::CliError;
use crate::log::{check_log, start_log};
use crate::output::Form;

/// Run the system in a data directory until SIGTERM or SIGINT
///
/// Example: rjournal daemon --data /var/lib/rjournal
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Args {
    /// Check configuration and data directory, start nothing
    #[arg(long)]
    check: bool,

    /// The directory was copied or restored, and the other one is gone for good
    #[arg(long)]
    moved: bool,

    /// Make a catalog that is lost in both copies again from the journals here, and say what cannot be known; start nothing
    #[arg(long, conflicts_with = "check")]
    rebuild_catalog: bool,

    /// Log as JSON lines
    #[arg(long)]
    log_json: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let config = read_config(&context.data)?;
    if args.check {
        check_log(&config.log)?;
        check_data(&context.data, &config, args.moved)?;
        let value = serde_json::json!({ "good": true, "name": config.name, "listen": config.listen, "health": config.health });
        context.output.result(&value, |_| {
            format!(
                "The configuration of system {} and its directory are good.",
                config.name
            )
        });
        return Ok(ExitCode::SUCCESS);
    }
    if args.rebuild_catalog {
        let now = SystemClock::start().wall();
        let rebuilt = rebuild_catalog(&context.data, args.moved, now)?;
        context.output.result(&rebuilt, page);
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

fn page(rebuilt: &RebuiltCatalog) -> String {
    let mut form = Form::new();
    form.line("Journals", names(&rebuilt.journals))
        .line("Libraries", names(&rebuilt.libraries))
        .line("Files", names(&rebuilt.files));
    for kept in &rebuilt.kept {
        form.line("Kept", kept);
    }
    for look in &rebuilt.look_again {
        form.line("Look again", look);
    }
    format!(
        "The catalog of system {} was made again from its journals.\n{}",
        rebuilt.name,
        form.text()
    )
}

fn names(names: &[impl std::fmt::Display]) -> String {
    if names.is_empty() {
        return "*NONE".to_owned();
    }
    let names = names.iter().map(ToString::to_string);
    names.collect::<Vec<_>>().join(", ")
}
