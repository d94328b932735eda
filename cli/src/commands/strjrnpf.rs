//! Command STRJRNPF.

use std::process::ExitCode;

use rjournal::daemon::command::file::StartJournaling;
use rjournal::entry::record::Images;
use rjournal::entry::{FileName, QualifiedName};

use super::Context;
use crate::error::CliError;

/// Start journaling a file: its definition goes into the journal, and every change of it from now on
///
/// Example: rjournal strjrnpf --file PRDLIB/CUSTOMER --jrn PRDLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,

    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// Which images are journaled; before-images are needed to take changes out again
    #[arg(long, value_name = "*BOTH|*AFTER", default_value = "*BOTH")]
    images: Images,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let request = StartJournaling {
        file: args.file,
        journal: args.jrn,
        images: args.images,
    };
    let file = context.client().await?.run(request).await?;
    context.output.result(&file, |file| {
        let images = file.format.images();
        file.journal.map_or_else(String::new, |journal| {
            format!(
                "File {} is journaled to {journal}, images {images}.",
                file.file
            )
        })
    });
    Ok(ExitCode::SUCCESS)
}
