//! Command STRAPY.

use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::apply::{JobDescription, ListJobs, SkipEntry, StartApply};
use rjournal::daemon::{CommandError, JobState};
use rjournal::entry::{Name, QualifiedName, RdbName, Sequence};
use rjournal_apply::serve::DatabaseClient;
use serde::Serialize;

use super::Context;
use super::wrkapy::job_form;
use crate::attributes::choose;
use crate::error::CliError;
use crate::load::{LoadOrder, load};
use crate::text;

/// Start the apply job of a replica store; the first time, this makes the store
///
/// A store whose files are there already, since ENDAPY REMOVE forgot it, goes on where it stood.
///
/// Example: rjournal strapy --store REPLICA --jrn BKPLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the store
    #[arg(long)]
    store: Name,

    /// The journal it is made from, local or remote; needed the first time
    #[arg(long, value_name = "LIB/NAME")]
    jrn: Option<QualifiedName>,

    /// Kind of the store, chosen the first time: *SLED or *REDB
    #[arg(long = "type", value_name = "*SLED|*REDB")]
    kind: Option<String>,

    /// Load the store first, from the save of this partner's store of the same journal, as RSTSTO with RDB does
    #[arg(long, value_name = "RDB", conflicts_with = "skip")]
    load: Option<RdbName>,

    /// Pass over this entry, the one the job stopped at: what it says is then not in the store. Never done by itself
    #[arg(long, value_name = "SEQUENCE", requires = "reason")]
    skip: Option<u64>,

    /// Why the entry is passed over; kept in the store, in file QRJOURNAL/SKIPPED
    #[arg(long, value_name = "TEXT", requires = "skip")]
    reason: Option<String>,
}

/// A job that was started.
#[derive(Debug, Serialize)]
struct Started {
    #[serde(flatten)]
    job: JobDescription,
    /// Where a store stood that was there already, and that the daemon did not know.
    found: Option<Sequence>,
}

/// How long a job may take to be ready before its state is told as it is.
const READY_MAX: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

async fn describe(client: &Client, store: Name) -> Result<Option<JobDescription>, CliError> {
    let jobs = client.run(ListJobs {}).await?.jobs;
    Ok(jobs.into_iter().find(|job| job.store == store))
}

/// The job read its store and journal, and will not be started again by itself.
fn stopped(job: &JobDescription) -> CliError {
    let (store, why) = (
        job.store,
        job.note.as_deref().unwrap_or("it did not say why"),
    );
    let text = format!("the apply job of store {store} stopped at once: {why}");
    let help = "DSPMSG has its message (RJN5002); once its cause is gone, STRAPY starts it again";
    CliError(CommandError::refused("RJN5002", text).help(help))
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let kind = choose(args.kind, "TYPE", &[("SLED", "sled"), ("REDB", "redb")])?.map(str::to_owned);
    let skip = args
        .skip
        .zip(args.reason)
        .map(|(sequence, reason)| SkipEntry {
            sequence: Sequence::new(sequence),
            reason,
        });
    if let Some(rdb) = args.load {
        let order = LoadOrder {
            store: args.store,
            rdb,
            journal: args.jrn,
            kind: kind.clone(),
            replace: false,
            start: true,
        };
        load(order, context).await.map_err(|error| {
            if error.0.id != "RJN6009" {
                return error;
            }
            let help = format!(
                "RSTSTO --store {} --rdb {rdb} --replace sets it aside, under another name, and makes it anew",
                args.store
            );
            CliError(error.0.help(help))
        })?;
    }
    let client = context.client().await?;
    let known = describe(&client, args.store).await?.is_some();
    let mut job = client
        .run(StartApply {
            store: args.store,
            journal: args.jrn,
            kind,
            skip,
        })
        .await?;
    let progress = context.output.progress();
    progress.show("the job opens its store");
    let deadline = tokio::time::Instant::now() + READY_MAX;
    let mut found = None;
    while job.state != JobState::Stopped && tokio::time::Instant::now() < deadline {
        if let Ok(mut database) = DatabaseClient::connect(&context.data, args.store).await {
            found = database.status().await.ok().and_then(|status| status.found);
            job = describe(&client, args.store).await?.unwrap_or(job);
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        job = describe(&client, args.store).await?.unwrap_or(job);
    }
    drop(progress);
    if job.state == JobState::Stopped {
        return Err(stopped(&job));
    }
    let started = Started {
        job,
        // A store that was forgotten, not one the daemon knew.
        found: found.filter(|_| !known),
    };
    context.output.result(&started, |started| {
        let job = &started.job;
        let store = job.store;
        let found = match started.found {
            Some(at) => format!(
                "It was there already, and goes on after entry {}.\n",
                text::count(at.get())
            ),
            None => String::new(),
        };
        format!(
            "Apply job of store {store} started.\n{found}{}",
            job_form(job)
        )
    });
    Ok(ExitCode::SUCCESS)
}
