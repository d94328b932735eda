//! Package `cli`: the only file that prints. Text for people on standard output, one JSON object with `--json`, errors and
//! progress on standard error. Must not know commands.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anstream::{eprintln, println};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::error::CliError;

/// Where a command says what it has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the file that prints")]
impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON was asked for.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches standard error.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// The result of a command: as JSON, or as the text that `text` makes of it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            println!("{}", serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
        } else {
            let text = text(value);
            if !text.is_empty() {
                println!("{}", text.trim_end());
            }
        }
    }

    /// A line for a person who follows what happens; nothing with `--json`.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            println!("{text}");
            drop(std::io::stdout().flush());
        }
    }

    /// A remark beside the result, on standard error.
    pub(crate) fn remark(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// An error, and the exit code it ends with.
    pub(crate) fn failure(&self, error: &CliError) -> ExitCode {
        if self.json {
            let value = serde_json::json!({ "error": error.0 });
            println!("{value}");
        } else {
            let bold = anstyle_bold();
            eprintln!("{bold}{}{bold:#} {}", error.0.id, error.0.text);
            if let Some(help) = &error.0.help {
                eprintln!("  {help}");
            }
        }
        ExitCode::from(error.exit_code())
    }
}

fn anstyle_bold() -> clap::builder::styling::Style {
    clap::builder::styling::Style::new().bold()
}

/// A plain table: columns held apart by blanks, numbers to the right.
#[derive(Debug)]
pub(crate) struct Page {
    table: Table,
}

impl Page {
    /// A table with these heads; those that begin with `>` are aligned to the right.
    pub(crate) fn new(heads: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heads.iter().map(|head| head.trim_start_matches('>')));
        for (index, head) in heads.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if head.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }

    /// One more row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.table.add_row(cells);
    }

    /// The lines.
    pub(crate) fn text(&self) -> String {
        self.table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}
