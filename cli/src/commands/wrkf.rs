//! Command WRKF.

use std::process::ExitCode;

use rjournal::daemon::command::file::{FileDescription, ListFiles};
use rjournal::entry::FileName;

use super::Context;
use crate::error::CliError;
use crate::output::{Form, Page};

/// Work with files: show those defined on this system, or one with its fields
///
/// Example: rjournal wrkf --file PRDLIB/CUSTOMER
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this file, with its fields
    #[arg(long, value_name = "LIB/NAME")]
    file: Option<FileName>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let single = args.file.is_some();
    let found = context.ask(ListFiles { file: args.file }).await?;
    context
        .output
        .result(&found, |found| match found.files.as_slice() {
            [] => "There are no files; CRTPF makes one.".to_owned(),
            [file] if single => format!("{}\n{}", file.file, file_form(file)),
            files => page(files),
        });
    Ok(ExitCode::SUCCESS)
}

fn page(files: &[FileDescription]) -> String {
    let mut page = Page::new(&["File", ">Fields", "Key", "Journal", "Images", "Text"]);
    for file in files {
        page.row(vec![
            file.file.to_string(),
            file.format.fields().len().to_string(),
            key(file),
            journal(file),
            file.format.images().to_string(),
            file.text.clone(),
        ]);
    }
    page.text()
}

fn key(file: &FileDescription) -> String {
    let names: Vec<String> = file
        .format
        .key_fields()
        .map(|field| field.name.to_string())
        .collect();
    if names.is_empty() {
        "*RRN (record number)".to_owned()
    } else {
        names.join(", ")
    }
}

fn journal(file: &FileDescription) -> String {
    file.journal
        .map_or_else(|| "*NONE".to_owned(), |journal| journal.to_string())
}

/// A file, line by line.
pub(super) fn file_form(file: &FileDescription) -> String {
    let fields: Vec<String> = file
        .format
        .fields()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut form = Form::new();
    form.line("Fields", fields.join("\n"))
        .line("Key", key(file))
        .line("Journal", journal(file));
    if file.journal.is_some() {
        form.line("Images", file.format.images());
    }
    form.line("Identity", file.id);
    if !file.text.is_empty() {
        form.line("Text", &file.text);
    }
    form.text()
}
