//! Command `dspdep`: what became of a deposit whose answer was UNKNOWN, or was never heard.

use std::process::ExitCode;

use rjournal::daemon::command::entries::{DepositFound, DepositState, FindDeposit};
use rjournal::entry::{ClientId, DepositKey, QualifiedName};

use super::Context;
use crate::error::CliError;
use crate::text;

/// Display what became of a deposit that was made with a deposit key
///
/// Exit code 0 when it landed, 10 when that is not decided yet, 3 when it is not in the journal, 5 when it is too old to
/// tell.
///
/// Example: rjournal dspdep --jrn PRDLIB/JRN --client 00112233445566778899aabbccddeeff --key 7
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal it was deposited in
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// The depositing client: 32 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    client: ClientId,

    /// The client's number of the deposit
    #[arg(long, value_name = "NUMBER")]
    key: u64,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let key = DepositKey {
        client: args.client,
        key: args.key,
    };
    let found = context
        .client()
        .await?
        .run(FindDeposit {
            journal: args.jrn,
            key,
        })
        .await?;
    context
        .output
        .result(&found, |found| explain(found, args.jrn));
    Ok(match found.state {
        DepositState::Landed => ExitCode::SUCCESS,
        DepositState::Waiting => ExitCode::from(10),
        DepositState::Absent => ExitCode::from(3),
        DepositState::TooOld => ExitCode::from(5),
    })
}

fn explain(found: &DepositFound, journal: QualifiedName) -> String {
    let entry = found.sequence.map_or_else(
        || "an entry".to_owned(),
        |sequence| format!("entry {}", text::count(sequence.get())),
    );
    if let Some(earlier) = found.journal {
        return format!(
            "LANDED as {entry} of {earlier}, in an earlier term of the recovery group: its class stands in the J IS entries around it."
        );
    }
    match (found.state, found.class) {
        (DepositState::Landed, Some(class)) => {
            format!(
                "LANDED as {entry} of {journal}, class {}: {}.",
                text::class(class),
                text::class_means(class)
            )
        }
        (DepositState::Landed, None) => {
            format!(
                "LANDED as {entry} of {journal}, before the journal was opened last: its class stands in the J IS entries around it."
            )
        }
        (DepositState::Waiting, _) => {
            format!("WAITING: {entry} is in {journal}, its class is not decided yet. Ask again.")
        }
        (DepositState::Absent, _) => {
            format!("ABSENT: it is not in {journal}. Deposit it again with the same key.")
        }
        (DepositState::TooOld, _) => {
            format!(
                "TOO OLD: keys this low of this client are no longer remembered in {journal}; look through its entries with DSPJRN."
            )
        }
    }
}
