//! Command SAVSTO.

use std::path::PathBuf;
use std::process::ExitCode;

use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::output::Form;
use crate::rows::connect;
use crate::text;

/// Save a store while its job goes on: all rows of all files at one position
///
/// Without PATH it is the save the job keeps itself: its store can be made anew from it, and receivers it covers may go.
/// With PATH it is a copy for RSTSTO, here or on another system; receivers are held as before.
///
/// Example: rjournal savsto --store REPLICA --path /backup/replica.save
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store
    #[arg(long)]
    store: Name,

    /// File to write; one that stands there is replaced when the new one is complete
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    // The job that writes it has another working directory.
    let path = match args.path {
        Some(path) => Some(
            std::path::absolute(&path)
                .map_err(|error| CliError::invalid(format!("PATH {}: {error}", path.display())))?,
        ),
        None => None,
    };
    let mut database = connect(context, args.store).await?;
    let progress = context.output.progress();
    progress.show("the store is being saved");
    let saved = database.save(path.as_deref()).await?;
    drop(progress);
    context.output.result(&saved, |saved| {
        let mut form = Form::new();
        form.head(&format!("Store {} saved.", args.store))
            .line(
                "Everything up to entry",
                text::count(saved.position.applied.get()),
            )
            .line("Files", text::count(saved.files))
            .line("Rows", text::count(saved.rows))
            .line("Size", text::bytes(saved.bytes));
        if let Some(path) = &path {
            form.line("Save", path.display());
        }
        form.text()
    });
    Ok(ExitCode::SUCCESS)
}
