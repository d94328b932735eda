//! Command CRTJRNRCV.

use std::process::ExitCode;

use rjournal::daemon::command::receiver::CreateReceiver;
use rjournal::entry::QualifiedName;

use super::Context;
use crate::error::CliError;

/// Create a receiver for a journal to begin with (CRTJRN) or to change to (CHGJRN)
///
/// Example: rjournal crtjrnrcv --jrnrcv PRDLIB/RCV0001 --threshold 65536
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The receiver
    #[arg(long, value_name = "LIB/NAME")]
    jrnrcv: QualifiedName,

    /// Size in KB (1,024 bytes) at which it is changed
    #[arg(long, value_name = "KB")]
    threshold: Option<u64>,

    /// Free text
    #[arg(long, default_value = "")]
    text: String,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let receiver = args.jrnrcv;
    let request = CreateReceiver {
        receiver,
        threshold_kb: args.threshold,
        text: args.text,
    };
    let done = context.client().await?.run(request).await?;
    context
        .output
        .result(&done, |_| format!("Receiver {receiver} created."));
    Ok(ExitCode::SUCCESS)
}
