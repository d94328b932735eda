//! Command `del`.

use std::process::ExitCode;

use rjournal::entry::FileName;
use rjournal_apply::serve::WriteKind;

use super::Context;
use crate::error::CliError;
use crate::rows::{KeyArgs, StoreArgs};
use crate::written::Written;

/// Delete one row by its key: journaled first, answered with its ack class, then gone from the store
///
/// Example: rjournal del --file PRDLIB/KV --key colour
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut database = args.store.connect(context, &args.file).await?;
    let handle = database.file(&args.file).await?;
    let key = args.key.values(handle.format())?;
    let write = database.encode(WriteKind::Delete, &args.file, &key).await?;
    let outcome = database.write(vec![write], None).await?;
    Ok(Written::new(outcome, 1).tell(*context.output, "Row deleted"))
}
