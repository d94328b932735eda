//! Package `cli`, the commands: one file per command, each with its arguments (their doc comments are the help text) and
//! what it does. Must not print but through `output`.

mod crtjrn;
mod crtlib;
mod daemon;
mod dspsysid;
mod init;

use std::process::ExitCode;

use rjournal::Client;

use crate::args::Args;
use crate::error::CliError;
use crate::output::Output;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Data directory of the system.
    pub(crate) data: std::path::PathBuf,
    /// Where to say things.
    pub(crate) output: &'a Output,
}

impl Context<'_> {
    /// A connection to the daemon.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(&self.data).await?)
    }
}

macro_rules! commands {
    ($($module:ident => $variant:ident),* $(,)?) => {
        /// Every command.
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum Command {
            $(
                #[allow(missing_docs, reason = "the doc comment of its arguments is its help text")]
                #[command(name = stringify!($module))]
                $variant($module::Args),
            )*
        }

        /// Runs the command that was given.
        pub(crate) async fn run(args: Args, output: &Output) -> Result<ExitCode, CliError> {
            let context = Context { data: args.data, output };
            match args.command {
                $(Command::$variant(args) => $module::run(args, &context).await,)*
            }
        }
    };
}

commands! {
    init => Init,
    daemon => Daemon,
    dspsysid => DspSysId,
    crtlib => CrtLib,
    crtjrn => CrtJrn,
}
