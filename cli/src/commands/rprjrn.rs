//! Command `rprjrn`: damaged receivers get their bytes back from a partner that has them; a control file that is lost is
//! made again from the receivers.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::repair::{
    DescribeRepair, RebuiltControl, RepairJournal, RepairPhase, Repaired,
};
use rjournal::entry::{QualifiedName, RdbName};
use rjournal::journal::Role;

use super::Context;
use crate::attributes::choose;
use crate::error::CliError;
use crate::output::{Form, Output, Unit};
use crate::text;

/// How often the progress is asked for.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Repair a journal: put back, from a partner that has them, the bytes its receivers have lost
///
/// Every byte is proven by the chain of hashes before a file is touched; the damaged files are kept. Then the journal is
/// opened as after a start. A journal whose control file is lost gets it made again from its receivers, once ROLE says
/// what it is here: local journals ask their in-sync set before they open, remote ones are fed again by CHGJRN JRNSTATE.
/// Receivers of it that are damaged, too, get their bytes back first.
/// Exit code 8 if it stays damaged.
///
/// Example: rjournal rprjrn --jrn PRDLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal, local or remote
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// The partner to get bytes from; without it all that have the journal are asked in turn. With ROLE(*REMOTE) also the
    /// one that feeds it
    #[arg(long)]
    rdb: Option<RdbName>,

    /// What the journal is here; needed, and allowed, where its control file is lost
    #[arg(long, value_name = "*LOCAL|*REMOTE")]
    role: Option<String>,

    /// Only say what is damaged, and who can supply it
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let client = context.client().await?;
    let watcher = context.client().await?;
    let repair = client.run(RepairJournal {
        journal: args.jrn,
        partner: args.rdb,
        role: choose(
            args.role,
            "ROLE",
            &[("LOCAL", Role::Local), ("REMOTE", Role::Remote)],
        )?,
        check: args.check,
    });
    let repaired = tokio::select! {
        repaired = repair => repaired?,
        never = watch(watcher, *context.output) => match never {},
    };
    context.output.result(&repaired, page);
    let whole = repaired.damage.is_empty() && repaired.rebuilt.is_none();
    let good = repaired.note.is_none() && (whole || repaired.repaired);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(8)
    })
}

/// Shows how far it is until it is given up.
async fn watch(client: Client, output: Output) -> Infallible {
    let meter = output.meter(Unit::Bytes);
    let mut every = tokio::time::interval(LOOK_AGAIN);
    loop {
        every.tick().await;
        let standing = client.run(DescribeRepair {}).await.ok();
        let Some(progress) = standing.and_then(|standing| standing.repair) else {
            continue;
        };
        meter.name(match progress.phase {
            RepairPhase::Reading => "reading",
            RepairPhase::Fetching => "fetching",
            RepairPhase::Writing => "writing",
        });
        meter.show(progress.done, progress.total.unwrap_or_default());
    }
}

fn page(repaired: &Repaired) -> String {
    if let Some(rebuilt) = &repaired.rebuilt {
        return rebuilt_page(repaired, rebuilt);
    }
    let journal = repaired.journal;
    let verdict = match (repaired.damage.is_empty(), &repaired.note) {
        (true, None) => format!("Nothing of journal {journal} is damaged."),
        (true, Some(note)) => {
            format!("No bytes of journal {journal} are damaged, but it cannot be opened: {note}")
        }
        (false, Some(note)) if repaired.repaired => {
            format!("Journal {journal} repaired, but it cannot be opened: {note}")
        }
        (false, _) if repaired.repaired => format!("Journal {journal} repaired."),
        (false, _) if repaired.repairable => format!(
            "Journal {journal} is damaged; RPRJRN without --check repairs it. Nothing was changed."
        ),
        (false, _) => format!(
            "Journal {journal} is damaged, and nobody who was asked can supply all of it. Nothing was changed."
        ),
    };
    let mut form = Form::new();
    add_what_was_damaged(&mut form, repaired);
    if let (false, Some(note)) = (
        repaired.damage.is_empty() || repaired.repaired,
        &repaired.note,
    ) {
        form.line("Besides", note);
    }
    add_what_was_read(&mut form, repaired);
    format!("{verdict}\n{}", form.text())
}

/// What was damaged, and who supplied it.
fn add_what_was_damaged(form: &mut Form, repaired: &Repaired) {
    for damage in &repaired.damage {
        form.line("Damaged", damage.describe());
    }
    for supply in &repaired.supply {
        let said = match &supply.refusal {
            None => format!("{} from {}", supply.receiver, supply.rdb),
            Some(refusal) => format!("{} not from {}: {refusal}", supply.receiver, supply.rdb),
        };
        form.line("Supplied", said);
    }
    if repaired.repaired && !repaired.damage.is_empty() {
        form.line("Bytes put back", text::bytes(repaired.mended_bytes));
    }
}

fn rebuilt_page(repaired: &Repaired, rebuilt: &RebuiltControl) -> String {
    let journal = repaired.journal;
    let verdict = match &repaired.note {
        _ if !repaired.repaired => format!(
            "The control file of journal {journal} is lost; RPRJRN without --check makes it again as below. Nothing was changed."
        ),
        Some(note) => format!(
            "The control file of journal {journal} was made again, but the journal cannot be opened: {note}"
        ),
        None => format!("The control file of journal {journal} was made again from its receivers."),
    };
    let mut form = Form::new();
    match rebuilt.role {
        Role::Local => form.line("Role", "*LOCAL"),
        Role::Remote => form.line("Role", "*REMOTE"),
    };
    if let Some(fed_by) = &rebuilt.fed_by {
        form.line("Fed by", fed_by);
    }
    form.line("Epoch", rebuilt.epoch.to_string())
        .line("Last entry", text::count(rebuilt.last.get()));
    match &rebuilt.asks {
        Some(members) if members.is_empty() => {
            form.line("Asks before it opens", "*NONE (its in-sync set is empty)");
        }
        Some(members) => {
            form.line("Asks before it opens", members.join(", "));
        }
        None => {}
    }
    add_what_was_damaged(&mut form, repaired);
    add_what_was_read(&mut form, repaired);
    for look in &rebuilt.look_again {
        form.line("Look again", look);
    }
    format!("{verdict}\n{}", form.text())
}

/// What was kept aside, and what was found good.
fn add_what_was_read(form: &mut Form, repaired: &Repaired) {
    for kept in &repaired.kept {
        form.line("Kept", kept);
    }
    form.line("Receivers read", text::count(repaired.receivers))
        .line("Good bundles", text::count(repaired.bundles))
        .line("Good entries", text::count(repaired.entries))
        .line("Good bytes", text::bytes(repaired.bytes));
}
