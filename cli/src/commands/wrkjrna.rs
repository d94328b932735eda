//! Command WRKJRNA.

use std::fmt::Write;
use std::process::ExitCode;

use rjournal::daemon::command::journal::{
    DescribeJournals, JournalDescription, JournalState, LinkDescription,
};
use rjournal::entry::control_entry::Policy;
use rjournal::entry::{Alignment, QualifiedName};
use rjournal::journal::{Attributes, ManageReceivers};
use rjournal::receiver::ReceiverRecord;

use super::Context;
use crate::error::CliError;
use crate::output::{Form, Page};
use crate::text;

/// Receivers shown; `--json` lists all.
const RECEIVERS_SHOWN: usize = 50;

/// Work with journal attributes: everything about a journal, or all: state, watermarks, receivers, remote journals
///
/// Example: rjournal wrkjrna --jrn PRDLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: Option<QualifiedName>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let found = context.ask(DescribeJournals { journal: args.jrn }).await?;
    context.output.result(&found, |found| {
        if found.journals.is_empty() {
            return "There are no journals; CRTJRN makes one.".to_owned();
        }
        found
            .journals
            .iter()
            .map(page)
            .collect::<Vec<_>>()
            .join("\n\n")
    });
    Ok(ExitCode::SUCCESS)
}

fn page(journal: &JournalDescription) -> String {
    let mut form = Form::new();
    form.head(&format!(
        "Journal {}   {}   {}",
        journal.journal,
        journal.kind,
        journal.state.as_str()
    ));
    if let Some(note) = &journal.note {
        form.line("Note", note);
    }
    if let Some(text) = journal
        .attributes
        .as_ref()
        .map(|attributes| &attributes.text)
        .filter(|text| !text.is_empty())
    {
        form.line("Text", text);
    }
    if let Some(place) = &journal.group {
        form.line(
            "Recovery group",
            format!(
                "{}, {} here, primary {} in term {}",
                place.group,
                place.role.as_str(),
                place
                    .primary
                    .map_or_else(|| "*NONE".to_owned(), |primary| primary.to_string()),
                place.term
            ),
        );
    }
    if let Some((system, source)) = &journal.source {
        form.line("Fed from", format!("{source} at {system}"));
    }
    if let Some(id) = journal.journal_id {
        form.line("Identity", id);
    }
    let epoch = journal.epoch;
    form.line(
        "Epoch",
        format!(
            "term {}, boot {}, nonce {:016x}",
            epoch.term, epoch.boot, epoch.nonce
        ),
    );
    let members: Vec<String> = journal
        .in_sync_set
        .iter()
        .map(ToString::to_string)
        .collect();
    form.line(
        "In-sync set",
        if members.is_empty() {
            "*NONE".to_owned()
        } else {
            members.join(", ")
        },
    );
    if journal.open_cycles > 0 {
        form.line(
            "Open commit cycles",
            text::count(journal.open_cycles as u64),
        );
    }
    if journal.orphans > 0 {
        form.line("Archives of orphans", text::count(journal.orphans));
    }
    watermarks(&mut form, journal);
    if let Some(attributes) = &journal.attributes {
        form.head("Attributes")
            .block(&keywords(attributes, journal.kind == "*REMOTE"));
    }
    if !journal.receivers.is_empty() {
        form.head("Receiver directory").block(&receivers(journal));
    }
    if !journal.links.is_empty() {
        form.head("Remote journals").block(&links(&journal.links));
    }
    form.text()
}

fn watermarks(form: &mut Form, journal: &JournalDescription) {
    let marks = &journal.watermarks;
    let mut page = Page::new(&["", ">Entry", ""]);
    let rests = journal.kind == "*LOCAL" && journal.state == JournalState::Standby;
    let rows = match journal.kind.as_str() {
        "*REMOTE" => vec![
            ("At the source", marks.deposited, "last known there"),
            ("Received", marks.sealed, "in this system's hands"),
            ("Written", marks.written, "on this disk"),
            (
                "Confirmed",
                marks.settled,
                "known to be on the source's disk too: may be applied",
            ),
        ],
        _ if rests => vec![
            ("Written", marks.written, "on this disk"),
            (
                "Confirmed",
                marks.settled,
                "of a term that ended: may be applied",
            ),
        ],
        _ => vec![
            ("Deposited", marks.deposited, "has a number"),
            (
                "Sealed",
                marks.sealed,
                "in a bundle, on its way to disk and targets",
            ),
            ("Written", marks.written, "on this disk"),
            (
                "Released",
                marks.settled,
                "answered: its ack class is decided",
            ),
        ],
    };
    for (name, sequence, means) in rows {
        page.row(vec![
            name.to_owned(),
            text::count(sequence.get()),
            means.to_owned(),
        ]);
    }
    form.head("Watermarks")
        .block(&page.text())
        .line("Last entry deposited", text::time(marks.last_time));
    if let Some(head) = marks.head {
        form.line("Chain head", head);
    }
}

/// The attributes in CL form, as CHGJRN takes them. What is left out on a copy is decided at its source.
fn keywords(attributes: &Attributes, is_copy: bool) -> String {
    if is_copy {
        let (delete, most) = (
            text::yes_no(attributes.delete_receivers),
            attributes.retention_bytes_max >> 20,
        );
        return format!("DLTRCV({delete}) RTNMIB({most})");
    }
    let seconds = |millis: u64| {
        if millis.is_multiple_of(1000) {
            (millis / 1000).to_string()
        } else {
            format!("{}.{:03}", millis / 1000, millis % 1000)
        }
    };
    let manage = match attributes.manage_receivers {
        ManageReceivers::System => "*SYSTEM",
        ManageReceivers::User => "*USER",
    };
    let policy = match attributes.policy {
        Policy::Degrade => "*DEGRADE",
        Policy::Block => "*BLOCK",
        Policy::Reject => "*REJECT",
    };
    let tail = match attributes.alignment {
        Alignment::Packed => "*PACKED",
        Alignment::Padded => "*PADDED",
    };
    format!(
        "THRESHOLD({}) MNGRCV({manage}) DLTRCV({}) RTNMIB({}) TAIL({tail}) FIXLENDTA({})\n\
         POLICY({policy}) SYNCTIMO({}) LOCALFIRST({}) WAITENT({}) KEYWIN({}) OPENWAIT({})",
        attributes.threshold / 1024,
        text::yes_no(attributes.delete_receivers),
        attributes.retention_bytes_max >> 20,
        if attributes.actor {
            "*JOBUSRPGM"
        } else {
            "*NONE"
        },
        seconds(attributes.sync_timeout_ms),
        text::yes_no(attributes.local_first),
        attributes.waiting_entries_max,
        attributes.key_window,
        seconds(attributes.open_wait_ms),
    )
}

fn receivers(journal: &JournalDescription) -> String {
    let mut page = Page::new(&[
        "Receiver", "Status", ">First", ">Last", ">Size", "Attached", "Detached",
    ]);
    let older = journal.receivers.len().saturating_sub(RECEIVERS_SHOWN);
    for receiver in journal.receivers.iter().skip(older) {
        let last = receiver
            .last
            .map_or(journal.watermarks.sealed, |last| last.sequence);
        page.row(vec![
            receiver.name.to_string(),
            status(receiver).to_owned(),
            text::count(receiver.first().get()),
            if last < receiver.first() {
                "-".to_owned()
            } else {
                text::count(last.get())
            },
            text::bytes(receiver.bytes),
            text::time(receiver.attached_at),
            receiver
                .detached_at
                .map_or_else(|| "-".to_owned(), text::time),
        ]);
    }
    match older {
        0 => page.text(),
        older => format!(
            "{} older ones: --json lists them\n{}",
            text::count(older as u64),
            page.text()
        ),
    }
}

/// A receiver's status by IBM i's words.
const fn status(receiver: &ReceiverRecord) -> &'static str {
    match (receiver.is_detached(), receiver.saved) {
        (false, _) => "ATTACHED",
        (true, false) => "ONLINE",
        (true, true) => "SAVED",
    }
}

fn links(links: &[LinkDescription]) -> String {
    let mut page = Page::new(&[
        "RDB",
        "Remote journal",
        "State",
        "Delivery",
        "Level",
        "In sync",
        ">Acknowledged",
        ">Behind",
        ">Bytes",
        ">Time",
        "Last heard",
    ]);
    let mut notes = String::new();
    for link in links {
        page.row(vec![
            link.rdb.to_string(),
            link.target.to_string(),
            link.state.as_str().to_owned(),
            text::delivery(&link.delivery, link.state).to_owned(),
            text::level(link.level).to_owned(),
            text::yes_no(link.in_sync).to_owned(),
            text::count(link.acknowledged.get()),
            text::count(link.lag_entries),
            text::bytes(link.lag_bytes),
            link.lag_ms
                .map_or_else(|| "unknown".to_owned(), text::millis),
            text::time(link.heard_at),
        ]);
        let reinit = link
            .needs_reinit
            .then_some("must be loaded anew: the entries it misses are no longer here");
        for note in reinit.into_iter().chain(link.note.as_deref()) {
            let _ = write!(notes, "\n{} {}: {note}", link.rdb, link.target);
        }
    }
    page.text() + &notes
}
