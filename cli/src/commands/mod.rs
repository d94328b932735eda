//! Package `cli`, the commands: one file per command, each with its arguments (their doc comments are the help text) and
//! what it does. Must not print but through `output`.

mod addrdbdire;
mod addrmtjrn;
mod applyjob;
mod bench;
mod chgcrg;
mod chgcrgpri;
mod chgjrn;
mod chgrdbdire;
mod chgrmtjrn;
mod cl;
mod cpyfrmimpf;
mod cpytoimpf;
mod crtcrg;
mod crtjrn;
mod crtjrnrcv;
mod crtlib;
mod crtpf;
mod daemon;
mod del;
mod demo;
mod dltcrg;
mod dltf;
mod dltjrn;
mod dltjrnrcv;
mod dltlib;
mod dspcrg;
mod dspdep;
mod dspjrn;
mod dspmsg;
mod dspsysid;
mod endapy;
mod endjrnpf;
mod get;
mod hldapy;
mod init;
mod orphans;
mod put;
mod rlsapy;
mod rmvrdbdire;
mod rmvrmtjrn;
mod rprjrn;
mod rststo;
mod savsto;
mod scan;
mod sndjrne;
mod status;
mod strapy;
mod strjrnpf;
mod takeover;
mod verify;
mod whoisprimary;
mod wrkapy;
mod wrkf;
mod wrkjrna;
mod wrkrdbdire;

use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::Command as Question;
use rjournal::daemon::{CommandError, ErrorKind};

use crate::args::Args;
use crate::error::CliError;
use crate::output::Output;
use crate::stopped;
use crate::text;

/// How long what a daemon answers from memory is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Data directory of the system.
    pub(crate) data: std::path::PathBuf,
    /// Where to say things.
    pub(crate) output: &'a Output,
    /// The store whose job is asked, once that is known.
    pub(crate) wanted: OnceCell<stopped::Wanted>,
}

impl Context<'_> {
    /// A connection to the daemon.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(&self.data).await?)
    }

    /// Asks the daemon something it answers from memory. One that is stopped or hangs takes the connection and says
    /// nothing: it is not waited for.
    pub(crate) async fn ask<Q: Question>(&self, question: Q) -> Result<Q::Reply, CliError> {
        self.ask_within(question, ANSWER_MAX).await
    }

    async fn ask_within<Q: Question>(
        &self,
        question: Q,
        limit: Duration,
    ) -> Result<Q::Reply, CliError> {
        let asked = async { Ok(self.client().await?.run(question).await?) };
        let silent = |_| {
            let text = format!(
                "the daemon of {} does not answer: nothing was heard from it for {}",
                self.data.display(),
                text::millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
            );
            let help = "its process is there and is stopped, overloaded or hangs; look at it and at the machine";
            Err(CliError(
                CommandError::new(ErrorKind::Unreachable, "RJN1006", text).help(help),
            ))
        };
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(silent)
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
            let context = Context { data: args.data, output, wanted: OnceCell::new() };
            let done = match args.command {
                $(Command::$variant(args) => $module::run(args, &context).await,)*
            };
            match done {
                Err(error) => Err(stopped::explain(error, &context).await),
                done => done,
            }
        }
    };
}

commands! {
    init => Init,
    daemon => Daemon,
    status => Status,
    dspsysid => DspSysId,
    dspmsg => DspMsg,
    crtlib => CrtLib,
    dltlib => DltLib,
    crtjrnrcv => CrtJrnRcv,
    dltjrnrcv => DltJrnRcv,
    crtjrn => CrtJrn,
    chgjrn => ChgJrn,
    dltjrn => DltJrn,
    wrkjrna => WrkJrnA,
    dspjrn => DspJrn,
    sndjrne => SndJrnE,
    dspdep => DspDep,
    verify => Verify,
    rprjrn => RprJrn,
    orphans => Orphans,
    addrdbdire => AddRdbDirE,
    chgrdbdire => ChgRdbDirE,
    rmvrdbdire => RmvRdbDirE,
    wrkrdbdire => WrkRdbDirE,
    addrmtjrn => AddRmtJrn,
    chgrmtjrn => ChgRmtJrn,
    rmvrmtjrn => RmvRmtJrn,
    crtcrg => CrtCrg,
    chgcrg => ChgCrg,
    dltcrg => DltCrg,
    dspcrg => DspCrg,
    chgcrgpri => ChgCrgPri,
    takeover => Takeover,
    whoisprimary => WhoIsPrimary,
    crtpf => CrtPf,
    dltf => DltF,
    wrkf => WrkF,
    strjrnpf => StrJrnPf,
    endjrnpf => EndJrnPf,
    put => Put,
    get => Get,
    del => Del,
    scan => Scan,
    cpyfrmimpf => CpyFrmImpF,
    cpytoimpf => CpyToImpF,
    strapy => StrApy,
    endapy => EndApy,
    wrkapy => WrkApy,
    hldapy => HldApy,
    rlsapy => RlsApy,
    savsto => SavSto,
    rststo => RstSto,
    cl => Cl,
    demo => Demo,
    bench => Bench,
    applyjob => ApplyJob,
}

#[cfg(test)]
mod tests {
    use rjournal::daemon::command::status::DescribeStatus;

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_says_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rjournal.toml"), "name = \"PRD\"\n").unwrap();
        let _silent = tokio::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
        let output = Output::new(false);
        let context = Context {
            data: dir.path().to_path_buf(),
            output: &output,
            wanted: OnceCell::new(),
        };
        let limit = Duration::from_millis(20);
        let asked = context.ask_within(DescribeStatus {}, limit).await;
        let error = asked.expect_err("nobody answers");
        assert_eq!((error.0.id.as_str(), error.exit_code()), ("RJN1006", 6));
        assert!(error.0.text.contains("nothing was heard from it"));
    }
}
