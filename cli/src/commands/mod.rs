//! Package `cli`, the commands: one file per command, each with its arguments (their doc comments are the help text) and
//! what it does. Must not print but through `output`.

mod addrdbdire;
mod addrmtjrn;
mod applyjob;
mod bench;
mod chgjrn;
mod chgrdbdire;
mod chgrmtjrn;
mod cl;
mod cpyfrmimpf;
mod cpytoimpf;
mod crtjrn;
mod crtjrnrcv;
mod crtlib;
mod crtpf;
mod daemon;
mod del;
mod demo;
mod dltf;
mod dltjrn;
mod dltjrnrcv;
mod dltlib;
mod dspdep;
mod dspjrn;
mod dspmsg;
mod dspsysid;
mod endapy;
mod endjrnpf;
mod get;
mod hldapy;
mod init;
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
mod verify;
mod wrkapy;
mod wrkf;
mod wrkjrna;
mod wrkrdbdire;

use std::cell::OnceCell;
use std::process::ExitCode;

use rjournal::Client;

use crate::args::Args;
use crate::error::CliError;
use crate::output::Output;
use crate::stopped;

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
    addrdbdire => AddRdbDirE,
    chgrdbdire => ChgRdbDirE,
    rmvrdbdire => RmvRdbDirE,
    wrkrdbdire => WrkRdbDirE,
    addrmtjrn => AddRmtJrn,
    chgrmtjrn => ChgRmtJrn,
    rmvrmtjrn => RmvRmtJrn,
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
