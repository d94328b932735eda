//! Command CHGRMTJRN.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::CommandError;
use rjournal::daemon::command::journal::{DescribeJournals, LinkDescription};
use rjournal::daemon::command::remote_journal::{BeginAt, ChangeRemoteJournal, WantedState};
use rjournal::entry::control_entry::Level;
use rjournal::entry::{QualifiedName, RdbName};
use rjournal::journal::DeliveryMode;
use rjournal::remote::LinkState;

use super::Context;
use crate::attributes::{choose, seconds};
use crate::error::CliError;
use crate::text::{self, special};

/// How long is waited when nothing was said.
const WAIT_DEFAULT_MS: u64 = 10_000;
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Change a remote journal, on its source: activate or inactivate it, choose its delivery
///
/// *SYNC: a deposit's answer waits for this target. *ASYNC: the target follows behind. Delivery and level change only
/// while it is inactive, or together with JRNSTATE(*ACTIVE). Once active it goes on by itself: after a lost connection it
/// connects again, catches up and returns to *SYNC.
///
/// Under policy *BLOCK or *REJECT a member of the in-sync set that is inactivated is told first, as a takeover there relies on
/// the set it knows: until it has that on its disk the remote journal is *CTLINACT and nothing is answered without it.
///
/// With WAIT, exit code 10 if it has not caught up by then; without, 10 seconds are waited and the state is told.
///
/// Example: rjournal chgrmtjrn --rdb BKP --srcjrn PRDLIB/JRN --jrnstate '*ACTIVE' --delivery '*SYNC'
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner
    #[arg(long)]
    rdb: RdbName,

    /// The journal here
    #[arg(long, value_name = "LIB/NAME")]
    srcjrn: QualifiedName,

    /// The remote journal there; needed when the partner has several of this journal
    #[arg(long, value_name = "LIB/NAME")]
    tgtjrn: Option<QualifiedName>,

    /// State
    #[arg(long, value_name = "*ACTIVE|*INACTIVE")]
    jrnstate: Option<String>,

    /// Delivery
    #[arg(long, value_name = "*SYNC|*ASYNC")]
    delivery: Option<String>,

    /// What a *SYNC target must have done before it answers
    #[arg(long, value_name = "*WRITTEN|*RECEIVED")]
    level: Option<String>,

    /// How it ends: what is there still goes out (*CNTRLD, the default), or at once
    #[arg(long, value_name = "*CNTRLD|*IMMED")]
    inactopt: Option<String>,

    /// Where an empty remote journal begins: the oldest receiver (the default), the attached one, or this one
    #[arg(long, value_name = "*OLDEST|*ATTACHED|LIB/NAME")]
    strjrnrcv: Option<String>,

    /// How long to wait until it has caught up, or ended
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    wait: Option<f64>,

    /// Inactivate a member of the in-sync set that cannot be told although the policy is *BLOCK or *REJECT. It voids the
    /// guarantee that nothing is answered without it: a takeover there cannot know
    #[arg(long)]
    force: bool,

    /// Free text
    #[arg(long)]
    text: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let active = choose(
        args.jrnstate.clone(),
        "JRNSTATE",
        &[("ACTIVE", true), ("INACTIVE", false)],
    )?;
    let wait_ms = seconds(args.wait, "WAIT")?;
    let request = request(&args, active)?;
    let client = context.client().await?;
    // The daemon is not made to wait: it carries out one administrative command at a time.
    let target = client.run(request).await?.target;
    let Some(active) = active else {
        let link = describe(&client, &args, target).await?;
        context.output.result(&link, |link| {
            format!(
                "Remote journal {target} at {} changed: {}.",
                args.rdb,
                shown(link)
            )
        });
        return Ok(ExitCode::SUCCESS);
    };
    let patience = Duration::from_millis(wait_ms.unwrap_or(WAIT_DEFAULT_MS));
    let deadline = tokio::time::Instant::now() + patience;
    let progress = context.output.progress();
    let mut link = describe(&client, &args, target).await?;
    while !is_there(&link, active)
        && link.state != LinkState::Failed
        && tokio::time::Instant::now() < deadline
    {
        progress.show(&waits_for(&link));
        tokio::time::sleep(LOOK_EVERY).await;
        link = describe(&client, &args, target).await?;
    }
    drop(progress);
    if active && link.state == LinkState::Failed {
        let why = link.note.as_deref().unwrap_or("WRKJRNA says why");
        return Err(CliError(CommandError::refused(
            "CPF70D5",
            format!("remote journal {target} at {} is *FAILED: {why}", args.rdb),
        )));
    }
    let there = is_there(&link, active);
    context
        .output
        .result(&link, |link| page(link, there, patience));
    Ok(if there || wait_ms.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(10)
    })
}

fn request(args: &Args, active: Option<bool>) -> Result<ChangeRemoteJournal, CliError> {
    let at_once = choose(
        args.inactopt.clone(),
        "INACTOPT",
        &[("CNTRLD", false), ("IMMED", true)],
    )?;
    let state = match (active, at_once) {
        (Some(true), None) => Some(WantedState::Active),
        (Some(false), None | Some(false)) => Some(WantedState::InactiveControlled),
        (Some(false), Some(true)) => Some(WantedState::InactiveImmediate),
        (None, None) => None,
        (_, Some(_)) => return Err(CliError::invalid("INACTOPT goes with JRNSTATE(*INACTIVE)")),
    };
    if args.strjrnrcv.is_some() && active != Some(true) {
        return Err(CliError::invalid("STRJRNRCV goes with JRNSTATE(*ACTIVE)"));
    }
    if args.force && active != Some(false) {
        return Err(CliError::invalid("FORCE goes with JRNSTATE(*INACTIVE)"));
    }
    if args.wait.is_some() && active.is_none() {
        return Err(CliError::invalid("WAIT goes with JRNSTATE"));
    }
    let delivery = choose(
        args.delivery.clone(),
        "DELIVERY",
        &[("SYNC", DeliveryMode::Sync), ("ASYNC", DeliveryMode::Async)],
    )?;
    let level = choose(
        args.level.clone(),
        "LEVEL",
        &[("WRITTEN", Level::Written), ("RECEIVED", Level::Received)],
    )?;
    if state.is_none() && delivery.is_none() && level.is_none() && args.text.is_none() {
        return Err(CliError::invalid(
            "nothing to change was given: JRNSTATE, DELIVERY, LEVEL or TEXT",
        ));
    }
    Ok(ChangeRemoteJournal {
        rdb: args.rdb,
        source: args.srcjrn,
        target: args.tgtjrn,
        state,
        delivery,
        level,
        begin: begin(args.strjrnrcv.as_deref())?,
        wait_ms: 0,
        text: args.text.clone(),
        force: args.force,
    })
}

fn begin(given: Option<&str>) -> Result<BeginAt, CliError> {
    let Some(given) = given else {
        return Ok(BeginAt::Oldest);
    };
    match special(given).as_str() {
        "OLDEST" => Ok(BeginAt::Oldest),
        "ATTACHED" => Ok(BeginAt::Attached),
        _ => given.parse().map(BeginAt::Receiver).map_err(|error| {
            CliError::invalid(format!(
                "STRJRNRCV {given}: *OLDEST, *ATTACHED or LIB/NAME is needed ({error})"
            ))
        }),
    }
}

async fn describe(
    client: &Client,
    args: &Args,
    target: QualifiedName,
) -> Result<LinkDescription, CliError> {
    let described = client
        .run(DescribeJournals {
            journal: Some(args.srcjrn),
        })
        .await?;
    let mut links = described
        .journals
        .into_iter()
        .flat_map(|journal| journal.links);
    links
        .find(|link| link.rdb == args.rdb && link.target == target)
        .ok_or_else(|| {
            let name = format!("{target} at {}", args.rdb);
            CliError(
                CommandError::not_found("remote journal", name).help("it was removed meanwhile"),
            )
        })
}

/// Whether a link is where it was asked to be.
fn is_there(link: &LinkDescription, active: bool) -> bool {
    if active {
        link.state == LinkState::Active && !link.delivery.ends_with("PEND")
    } else {
        matches!(link.state, LinkState::Inactive | LinkState::Failed)
    }
}

fn waits_for(link: &LinkDescription) -> String {
    let who = format!("{} at {}", link.target, link.rdb);
    match &link.note {
        Some(note) => format!("{who}: {note}"),
        None if link.lag_entries > 0 => format!("{who}: {} to go", lag(link)),
        None if link.state == LinkState::ControlledEnd => format!("{who}: ending"),
        None => format!("{who}: coupling"),
    }
}

fn lag(link: &LinkDescription) -> String {
    format!(
        "{} ({})",
        text::counted(link.lag_entries, "entry", "entries"),
        text::bytes(link.lag_bytes)
    )
}

fn shown(link: &LinkDescription) -> String {
    let delivery = text::delivery(&link.delivery, link.state);
    let level = if delivery.starts_with("*SYNC") {
        format!(", level {}", text::level(link.level))
    } else {
        String::new()
    };
    let in_sync = if link.in_sync {
        ", in the in-sync set"
    } else {
        ""
    };
    format!(
        "{}, delivery {delivery}{level}{in_sync}",
        link.state.as_str()
    )
}

fn page(link: &LinkDescription, there: bool, patience: Duration) -> String {
    let mut text = format!(
        "Remote journal {} at {} is {}.",
        link.target,
        link.rdb,
        shown(link)
    );
    if !there {
        let waited = text::millis(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        let what = match link.state {
            LinkState::Active if link.lag_entries == 0 => {
                let why = "it has caught up; one that left the set more than once waits before it joins again, at most 5 minutes";
                format!("It is not in the in-sync set after {waited}: {why}")
            }
            LinkState::Active => {
                format!("It has not caught up within {waited}: {} to go", lag(link))
            }
            _ => format!("It has not ended within {waited}: {} to go", lag(link)),
        };
        let _ = write!(
            text,
            "\n{what}. It goes on by itself; WRKJRNA shows how far it is."
        );
        if let Some(note) = &link.note {
            text.push_str("\nNow: ");
            text.push_str(note);
        }
    }
    text
}
