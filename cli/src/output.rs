//! Package `cli`: the only file that prints. Text for people on standard output, one JSON object with `--json`, errors and
//! progress on standard error. What is printed may come from a partner or a disk, so control characters never reach the
//! terminal. Must not know commands.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::CliError;
use crate::text::one_line;

/// Where a command says what it has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON was asked for.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person watches standard error.
    pub(crate) fn is_watched(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// The result of a command: as JSON, or as the text that `text` makes of it.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            let text = serde_json::to_string(value);
            say(&text.unwrap_or_else(|error| {
                serde_json::json!({ "error": error.to_string() }).to_string()
            }));
        } else {
            let text = text(value);
            if !text.is_empty() {
                say(text.trim_end());
            }
        }
    }

    /// A line for a person who follows what happens; nothing with `--json`.
    pub(crate) fn line(self, text: &str) {
        if !self.json {
            say(text);
        }
    }

    /// A remark beside the result, on standard error.
    pub(crate) fn remark(self, text: &str) {
        if !self.json {
            whisper(&tame(text));
        }
    }

    /// Asks for a line, on standard error.
    pub(crate) fn prompt(self, text: &str) {
        if self.json {
            return;
        }
        let mut out = anstream::stderr().lock();
        drop(write!(out, "{text}"));
        drop(out.flush());
    }

    /// What a command waits for, shown to who watches.
    pub(crate) fn progress(self) -> Progress {
        if !self.is_watched() {
            return Progress {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar }
    }

    /// How far long work is, shown to who watches.
    pub(crate) fn meter(self, unit: Unit) -> Meter {
        if !self.is_watched() {
            return Meter {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::no_length();
        let template = match unit {
            Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            Unit::Rows => "{msg} {wide_bar} {human_pos}/{human_len} rows {per_sec} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Meter { bar }
    }

    /// An error, and the exit code it ends with.
    pub(crate) fn failure(self, error: &CliError) -> ExitCode {
        if self.json {
            say(&serde_json::json!({ "error": error.0 }).to_string());
        } else {
            let bold = anstyle_bold();
            let mut text = format!(
                "{bold}{}{bold:#} {}",
                tame(&error.0.id),
                tame(&error.0.text)
            );
            if let Some(help) = &error.0.help {
                text.push_str("\n  ");
                text.push_str(&tame(help));
            }
            whisper(&text);
        }
        ExitCode::from(error.exit_code())
    }
}

/// A line that says what is waited for; it goes away with this.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// What is waited for now.
    pub(crate) fn show(&self, text: &str) {
        self.bar.set_message(tame(text).replace('\n', " "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Rows,
}

/// A bar that says how far work is; it goes away with this.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: ProgressBar,
}

impl Meter {
    /// So much is done, of so much.
    pub(crate) fn show(&self, done: u64, total: u64) {
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
    }

    /// What is being done now.
    pub(crate) fn name(&self, text: &str) {
        self.bar.set_message(tame(text).replace('\n', " "));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line on standard output. Where nobody reads any more the program ends, as others do at SIGPIPE.
fn say(text: &str) {
    let mut out = anstream::stdout().lock();
    if let Err(error) = writeln!(out, "{}", tame(text)).and_then(|()| out.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            whisper(&format!("standard output cannot be written to: {error}"));
        }
        std::process::exit(EXIT_NOT_HEARD);
    }
}

/// A line on standard error; where it cannot be written there is nobody to tell.
fn whisper(text: &str) {
    drop(writeln!(anstream::stderr().lock(), "{text}"));
}

/// Exit code where the output could not be written: as after SIGPIPE.
const EXIT_NOT_HEARD: i32 = 141;

/// Text from anywhere, without what would drive a terminal: control characters and changes of the writing direction.
fn tame(text: &str) -> Cow<'_, str> {
    let wild = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(wild) {
        Cow::Owned(text.replace(wild, "."))
    } else {
        Cow::Borrowed(text)
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
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
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

    /// One more row, which is one line whatever its cells hold.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.table
            .add_row(cells.into_iter().map(|cell| one_line(&cell)));
    }

    /// The lines.
    pub(crate) fn text(&self) -> String {
        self.table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Columns for lines that come one by one: as wide as the first lines needed, the last one as wide as it is.
#[derive(Debug)]
pub(crate) struct Columns {
    heads: Vec<&'static str>,
    widths: Vec<usize>,
}

impl Columns {
    /// Columns with these heads; those that begin with `>` are aligned to the right.
    pub(crate) fn new(heads: Vec<&'static str>) -> Self {
        let widths = heads
            .iter()
            .map(|head| head.trim_start_matches('>').len())
            .collect();
        Self { heads, widths }
    }

    /// Makes the columns wide enough for these lines.
    pub(crate) fn fit(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            for (cell, width) in row.iter().zip(&mut self.widths) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }

    /// The line of heads.
    pub(crate) fn head(&self) -> String {
        self.line(
            &self
                .heads
                .iter()
                .map(|head| head.trim_start_matches('>').to_owned())
                .collect::<Vec<_>>(),
        )
    }

    /// A line, and never more than one, whatever the cells hold.
    pub(crate) fn line(&self, cells: &[String]) -> String {
        let columns = cells.iter().zip(&self.heads).zip(&self.widths);
        let padded = columns.map(|((cell, head), width)| {
            let (cell, width) = (one_line(cell), *width);
            if head.starts_with('>') {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Labels and values one below the other, the labels filled up with dots as on IBM i.
#[derive(Debug, Default)]
pub(crate) struct Form {
    text: String,
}

/// Where the values of a form begin.
const VALUES_AT: usize = 26;

impl Form {
    /// No lines yet.
    pub(crate) const fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    /// A head of a section, after an empty line.
    pub(crate) fn head(&mut self, text: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// A label and its value; further lines of the value stand below the first.
    pub(crate) fn line(&mut self, label: &str, value: impl std::fmt::Display) -> &mut Self {
        let mut left = format!("  {label}");
        if left.chars().count() % 2 == 1 {
            left.push(' ');
        }
        while left.chars().count() + 2 < VALUES_AT {
            left.push_str(" .");
        }
        left.push_str(" :  ");
        let below = format!("\n{}", " ".repeat(left.chars().count()));
        let value = value.to_string();
        self.text.push_str(&left);
        self.text.push_str(&value.trim_end().replace('\n', &below));
        self.text.push('\n');
        self
    }

    /// Further text, set in by two.
    pub(crate) fn block(&mut self, text: &str) -> &mut Self {
        for line in text.lines() {
            self.text.push_str(format!("  {line}").trim_end());
            self.text.push('\n');
        }
        self
    }

    /// The lines.
    pub(crate) fn text(&self) -> String {
        self.text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_drive_a_terminal_is_tamed() {
        assert_eq!(tame("a\u{1b}[2Jb\r\u{7}\nc\td"), "a.[2Jb..\nc.d");
        assert_eq!(tame("\u{202e}txt.exe"), ".txt.exe");
        assert!(matches!(tame("Größe 1\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn columns_are_as_wide_as_the_first_lines_needed() {
        let mut columns = Columns::new(vec![">No", "Name", "Data"]);
        columns.fit(&[vec![
            "100".to_owned(),
            "x".to_owned(),
            "much text".to_owned(),
        ]]);
        assert_eq!(columns.head(), " No  Name  Data");
        assert_eq!(
            columns.line(&["7".to_owned(), "a long one".to_owned(), "d".to_owned()]),
            "  7  a long one  d"
        );
    }

    #[test]
    fn a_cell_does_not_become_a_line_of_its_own() {
        let mut columns = Columns::new(vec![">No", "Data"]);
        let row = vec!["7".to_owned(), "x\n 8  forged\r\tz".to_owned()];
        columns.fit(std::slice::from_ref(&row));
        assert_eq!(columns.line(&row), " 7  x\\n 8  forged\\r\\tz");
        let mut page = Page::new(&[">No", "Data"]);
        page.row(row);
        assert_eq!(page.text(), "No  Data\n 7  x\\n 8  forged\\r\\tz");
    }

    #[test]
    fn labels_are_filled_up_with_dots() {
        let mut form = Form::new();
        form.head("Journal PRDLIB/JRN")
            .line("State", "*ACTIVE")
            .line("Notes", "one\ntwo");
        assert_eq!(
            form.text(),
            "Journal PRDLIB/JRN\n\
             \x20 State  . . . . . . . . :  *ACTIVE\n\
             \x20 Notes  . . . . . . . . :  one\n\
             \x20                           two"
        );
    }
}
