//! Command WRKAPY.

use std::process::ExitCode;

use rjournal::daemon::CommandError;
use rjournal::daemon::command::apply::{JobDescription, ListJobs};
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::output::{Form, Page};
use crate::text;

/// Work with apply jobs: show the replica stores, whether their jobs run, and where they are
///
/// Example: rjournal wrkapy
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this store
    #[arg(long)]
    store: Option<Name>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut found = context.ask(ListJobs {}).await?;
    if let Some(store) = args.store {
        found.jobs.retain(|job| job.store == store);
        if found.jobs.is_empty() {
            return Err(CliError(
                CommandError::not_found("store", store).help("STRAPY makes it"),
            ));
        }
    }
    context
        .output
        .result(&found, |found| match found.jobs.as_slice() {
            [] => "There are no replica stores; STRAPY makes one.".to_owned(),
            [job] if args.store.is_some() => format!("{}\n{}", job.store, job_form(job)),
            jobs => page(jobs),
        });
    Ok(ExitCode::SUCCESS)
}

fn page(jobs: &[JobDescription]) -> String {
    let mut page = Page::new(&[
        "Store", "Kind", "Journal", "State", ">Process", ">Applied", ">Behind", ">Saved", "Note",
    ]);
    for job in jobs {
        page.row(vec![
            job.store.to_string(),
            kind(job),
            job.at.to_string(),
            job.state.as_str().to_owned(),
            job.pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            text::count(job.applied.get()),
            text::count(job.lag_entries),
            text::count(job.saved.get()),
            note(job),
        ]);
    }
    page.text()
}

fn kind(job: &JobDescription) -> String {
    format!("*{}", job.kind.to_ascii_uppercase())
}

fn note(job: &JobDescription) -> String {
    let reinit = job
        .needs_reinit
        .then(|| "must be restored from a save (RSTSTO)".to_owned());
    reinit
        .into_iter()
        .chain(job.note.clone())
        .collect::<Vec<_>>()
        .join("; ")
}

/// A job, line by line.
pub(super) fn job_form(job: &JobDescription) -> String {
    let mut form = Form::new();
    form.line("Journal", job.at);
    if job.at != job.journal {
        form.line("Started on", job.journal);
    }
    form.line("Kind", kind(job))
        .line("State", job.state.as_str())
        .line(
            "Process",
            job.pid
                .map_or_else(|| "*NONE".to_owned(), |pid| pid.to_string()),
        )
        .line("Applied up to entry", text::count(job.applied.get()))
        .line("Behind", text::counted(job.lag_entries, "entry", "entries"))
        .line("Saved up to entry", text::count(job.saved.get()));
    let note = note(job);
    if !note.is_empty() {
        form.line("Note", note);
    }
    form.text()
}
