//! Command `status`: whether everything is protected, and if not, what would be lost.

use std::fmt::Write;
use std::process::ExitCode;

use rjournal::daemon::command::apply::JobDescription;
use rjournal::daemon::command::group_health::GroupHealth;
use rjournal::daemon::command::journal::JournalState;
use rjournal::daemon::command::status::{
    DescribeStatus, Exposure, Health, JournalHealth, LinkHealth, Status,
};
use rjournal::daemon::{JobState, read_config};
use rjournal::journal::AckClass;

use super::Context;
use crate::error::CliError;
use crate::text;

/// Show whether everything here is protected, and what would be lost if this system died now
///
/// Exit code for monitoring: 0 protected, 1 degraded (less protected than asked for, or on its way back), 2 stopped,
/// 3 unknown: the daemon does not answer.
///
/// Example: rjournal status --json
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    match context.ask(DescribeStatus {}).await {
        Ok(status) => {
            context.output.result(&status, page);
            Ok(ExitCode::from(exit_code(status.health)))
        }
        Err(error) => {
            let name = read_config(&context.data).ok().map(|config| config.name);
            let value =
                serde_json::json!({ "system": name, "health": Health::Unknown, "error": error.0 });
            context.output.result(&value, |_| {
                unknown(name.map(|name| name.to_string()), &error)
            });
            Ok(ExitCode::from(exit_code(Health::Unknown)))
        }
    }
}

const fn exit_code(health: Health) -> u8 {
    match health {
        Health::Protected => 0,
        Health::Degraded => 1,
        Health::Stopped => 2,
        Health::Unknown => 3,
    }
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Protected => "PROTECTED",
        Health::Degraded => "DEGRADED",
        Health::Stopped => "STOPPED",
        Health::Unknown => "UNKNOWN",
    }
}

fn unknown(name: Option<String>, error: &CliError) -> String {
    let system = name.map_or_else(|| "This system".to_owned(), |name| format!("System {name}"));
    let mut text = format!("{system} is UNKNOWN\n  {}", error.0.text);
    if let Some(help) = &error.0.help {
        text.push_str("\n  ");
        text.push_str(help);
    }
    text
}

fn page(status: &Status) -> String {
    let up = text::millis(status.up_seconds.saturating_mul(1000));
    let mut text = format!(
        "System {} is {}   {}\n  {}, up {up}, {} free on its disk\n",
        status.system,
        word(status.health),
        text::time(status.time),
        status.role,
        text::bytes(status.free_bytes)
    );
    for group in &status.groups {
        text.push('\n');
        text.push_str(&group_lines(group));
    }
    for journal in &status.journals {
        text.push('\n');
        text.push_str(&journal_lines(journal));
    }
    if !status.jobs.is_empty() {
        text.push_str("\nReplica stores\n");
        for job in &status.jobs {
            text.push_str(&job_line(job));
        }
    }
    text
}

fn group_lines(group: &GroupHealth) -> String {
    let who = match group.primary {
        None => "no primary is known".to_owned(),
        Some(primary) if group.here => format!("primary {primary}, this system"),
        Some(primary) => format!("primary {primary}"),
    };
    let mut lines = vec![format!(
        "Recovery group {}   {}   {}   term {}, {who}",
        group.group,
        group.role.as_str(),
        word(group.health),
        group.term
    )];
    lines.extend(group.notes.iter().cloned());
    lines.join("\n  ") + "\n"
}

fn journal_lines(journal: &JournalHealth) -> String {
    let mut lines = vec![format!(
        "{}   {} {}   {}   last entry {}",
        journal.journal,
        journal.kind,
        journal.state.as_str(),
        word(journal.health),
        text::count(journal.last.get())
    )];
    lines.extend(journal.note.clone());
    match journal.class {
        // The set is not empty, and no link to any of its members is level.
        Some(AckClass::Sync | AckClass::Received)
            if !journal.links.iter().any(|link| link.delivery == "*SYNC") =>
        {
            lines.push("A deposit waits now: no target of the in-sync set answers".to_owned());
        }
        Some(class) => lines.push(format!(
            "A deposit is answered {} now: {}",
            text::class(class),
            text::class_means(class)
        )),
        None => {}
    }
    // Of one that is not open it cannot be told, or not here.
    let told = !matches!(
        journal.state,
        JournalState::Opening | JournalState::Damaged | JournalState::Standby
    );
    if journal.kind == "*LOCAL" && told {
        lines.push(lost(journal.exposure, journal.links.is_empty()));
    }
    lines.extend(journal.links.iter().map(link_line));
    lines.push(space(journal));
    lines.join("\n  ") + "\n"
}

fn lost(exposure: Option<Exposure>, alone: bool) -> String {
    match exposure {
        None if alone => "It has no remote journal: if this disk died now, everything would be lost".to_owned(),
        None => "No remote journal is active: if this disk died now, what they have not got would be lost".to_owned(),
        Some(Exposure { entries: 0, .. }) => "If this system died now, nothing would be lost".to_owned(),
        Some(exposure) => {
            let since = match exposure.seconds {
                0 => "less than a second old".to_owned(),
                seconds if seconds > 100 * 365 * 86_400 => "of unknown age".to_owned(),
                seconds => format!("the oldest {} old", text::millis(seconds * 1000)),
            };
            let entries = text::counted(exposure.entries, "entry", "entries");
            format!("If this system died now, {entries} would be lost ({}, {since})", text::bytes(exposure.bytes))
        }
    }
}

fn link_line(link: &LinkHealth) -> String {
    let behind = link.lag_entries.map_or_else(
        || "how far it is behind is not known".to_owned(),
        |lag| {
            if lag == 0 {
                "level".to_owned()
            } else {
                format!("{} behind", text::counted(lag, "entry", "entries"))
            }
        },
    );
    let heard = link.silent_seconds.map_or_else(
        || "never heard".to_owned(),
        |seconds| {
            if seconds == 0 {
                "heard just now".to_owned()
            } else {
                format!("heard {} ago", text::millis(seconds * 1000))
            }
        },
    );
    let mut line = format!(
        "-> {} {}   {} {}   {}   {behind}, {heard}",
        link.rdb,
        link.target,
        link.state.as_str(),
        text::delivery(&link.delivery, link.state),
        word(link.health)
    );
    if let Some(note) = &link.note {
        line.push_str("\n     ");
        line.push_str(note);
    }
    line
}

fn space(journal: &JournalHealth) -> String {
    let mut line = format!("Receivers take {}", text::bytes(journal.receiver_bytes));
    if let Some(hold) = &journal.oldest_hold {
        let _ = write!(
            line,
            "; kept for {}, from entry {}",
            hold.who,
            text::count(hold.after.get().saturating_add(1))
        );
    }
    if let Some(days) = journal.days_until_full.filter(|days| *days < 3650) {
        let _ = write!(
            line,
            "; at this rate the disk is full in {}",
            text::counted(days, "day", "days")
        );
    }
    line
}

fn job_line(job: &JobDescription) -> String {
    let mut line = format!(
        "  {} from {}   {}   applied up to entry {}, {} behind\n",
        job.store,
        job.at,
        job.state.as_str(),
        text::count(job.applied.get()),
        text::counted(job.lag_entries, "entry", "entries")
    );
    let reinit = job
        .needs_reinit
        .then_some("must be restored from a save (RSTSTO)");
    let stopped = (!job.active && job.state == JobState::Ended)
        .then_some("ended by ENDAPY; STRAPY starts it");
    for note in reinit.into_iter().chain(stopped).chain(job.note.as_deref()) {
        let _ = writeln!(line, "     {note}");
    }
    line
}

#[cfg(test)]
mod tests {
    use rjournal::remote::MemberRole;

    use super::*;

    #[test]
    fn a_group_has_a_line_and_below_it_what_is_wrong() {
        let mut group = GroupHealth {
            group: "ORDERS".parse().unwrap(),
            role: MemberRole::Primary,
            term: 3,
            primary: Some("PRD".parse().unwrap()),
            here: true,
            open: true,
            health: Health::Protected,
            notes: Vec::new(),
        };
        assert_eq!(
            group_lines(&group),
            "Recovery group ORDERS   *PRIMARY   PROTECTED   term 3, primary PRD, this system\n"
        );
        group.health = Health::Degraded;
        group.notes = vec!["BKP was not heard for 40 s".to_owned()];
        (group.role, group.here) = (MemberRole::Backup, false);
        assert_eq!(
            group_lines(&group),
            "Recovery group ORDERS   *BACKUP   DEGRADED   term 3, primary PRD\n  BKP was not heard for 40 s\n"
        );
    }
}
