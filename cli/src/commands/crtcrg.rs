//! Command CRTCRG.

use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::CommandError;
use rjournal::daemon::command::group::{
    CreateGroup, DescribeGroups, GroupBackup, GroupDescription,
};
use rjournal::entry::{Name, QualifiedName};

use super::Context;
use crate::attributes::{choose, seconds};
use crate::error::CliError;
use crate::group::{closed_ways, lacks, others, page};
use crate::text;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Create a recovery group: systems that stand in for one another, with everything the way back needs
///
/// Given on the system that is primary first, for a local journal that is open. Every backup gets a copy of it, a
/// journal of its own named after its system (the reverse journal), and copies of the others' journals; all of it is
/// made now, and the ways back are tried, not when the house burns. The members must be in each other's directories,
/// with addresses.
///
/// Exit code 6 if a way between members is not open, 10 if a member does not follow within WAIT; the group is made all
/// the same, and goes on trying.
///
/// Example: rjournal crtcrg --crg ORDERS --jrn PRDLIB/JRN --backup BKP/BKPLIB
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group
    #[arg(long, value_name = "NAME")]
    crg: Name,

    /// The journal here that programs deposit to
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// A backup by its directory entry, and the library there for the group's journals: the journal's when not given.
    /// Several in the order in which they are to take over
    #[arg(long, value_name = "RDB[/LIB]", value_delimiter = ',', required = true)]
    backup: Vec<String>,

    /// Whether a deposit's answer waits for the backups
    #[arg(long, value_name = "*SYNC|*ASYNC", default_value = "*SYNC")]
    dlvry: String,

    /// Free text
    #[arg(long, default_value = "")]
    text: String,

    /// How long to wait until all members follow and the ways between them were tried
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        allow_negative_numbers = true
    )]
    wait: f64,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let sync = choose(
        Some(args.dlvry),
        "DLVRY",
        &[("SYNC", true), ("ASYNC", false)],
    )?;
    let backups: Result<Vec<GroupBackup>, CliError> =
        args.backup.iter().map(|given| backup(given)).collect();
    let wait = seconds(Some(args.wait), "WAIT")?.unwrap_or_default();
    let request = CreateGroup {
        name: args.crg,
        journal: args.jrn,
        backups: backups?,
        sync: sync.unwrap_or(true),
        text: args.text,
        wait_ms: 0,
    };
    let client = context.client().await?;
    let progress = context.output.progress();
    progress.show(&format!("making group {} on its members", args.crg));
    let mut group = client.run(request).await?;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(wait);
    loop {
        // A way that is not open may become so while the members make what the group needs.
        let mut missing = lacks(&group).into_iter().chain(closed_ways(&group));
        let Some(first) = missing.next() else {
            break;
        };
        if tokio::time::Instant::now() >= deadline {
            break;
        }
        progress.show(&first);
        tokio::time::sleep(LOOK_EVERY).await;
        group = describe(&client, args.crg).await?;
    }
    drop(progress);
    context.output.result(&group, |group| told(group, wait));
    Ok(ExitCode::from(exit_code(&group)))
}

/// 0: everything is there; 6: a way is not open; 10: not within the time given.
fn exit_code(group: &GroupDescription) -> u8 {
    match (closed_ways(group).is_empty(), lacks(group).is_empty()) {
        (false, _) => 6,
        (true, false) => 10,
        (true, true) => 0,
    }
}

async fn describe(client: &Client, name: Name) -> Result<GroupDescription, CliError> {
    let asked = DescribeGroups { name: Some(name) };
    let mut described = client.run(asked).await?.groups;
    described.pop().ok_or_else(|| {
        let gone = CommandError::not_found("recovery group", name);
        CliError(gone.help("it was deleted meanwhile"))
    })
}

/// A backup as it is typed: its directory entry, and a library there.
fn backup(given: &str) -> Result<GroupBackup, CliError> {
    let (rdb, library) = match given.split_once('/') {
        Some((rdb, library)) => (rdb, Some(library)),
        None => (given, None),
    };
    let wrong = |error: &dyn std::fmt::Display| {
        CliError::invalid(format!(
            "BACKUP {given}: RDB or RDB/LIB is needed ({error})"
        ))
    };
    Ok(GroupBackup {
        rdb: rdb.parse().map_err(|error| wrong(&error))?,
        library: library
            .map(str::parse)
            .transpose()
            .map_err(|error| wrong(&error))?,
    })
}

fn told(group: &GroupDescription, wait: u64) -> String {
    let missing = lacks(group);
    let backups = others(group).count() as u64;
    let mut lines = vec![format!(
        "Recovery group {} was made: {} and {}.",
        group.name,
        group
            .primary
            .primary
            .map_or_else(|| "a primary".to_owned(), |name| name.to_string()),
        text::counted(backups, "backup", "backups")
    )];
    let closed = closed_ways(group);
    if closed.is_empty() && missing.is_empty() {
        lines.push("All members follow, and the ways there and back are open.".to_owned());
    }
    if !missing.is_empty() {
        lines.push(format!(
            "Not within {}, it goes on by itself: {}.",
            text::millis(wait),
            missing.join("; ")
        ));
    }
    for way in closed {
        lines.push(format!("Not ready for a switch: {way}."));
    }
    lines.push(String::new());
    lines.push(page(group));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use rjournal::entry::Timestamp;

    use super::*;
    use crate::group::tests::group;

    #[test]
    fn a_backup_is_a_directory_entry_with_or_without_a_library() {
        let with = backup("bkp/BKPLIB").unwrap();
        assert_eq!(with.rdb.to_string(), "BKP");
        assert_eq!(with.library.unwrap().to_string(), "BKPLIB");
        assert_eq!(backup("BKP").unwrap().library, None);
        for wrong in ["", "/LIB", "BKP/", "BKP/A/B", "BKP/1"] {
            assert!(backup(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_exit_code_tells_a_way_that_is_not_open_from_one_that_was_not_tried() {
        let mut made = group();
        assert_eq!(exit_code(&made), 10);
        made.members[1].path = Some(Ok(Timestamp::ZERO));
        made.members[1].way_back = Some(Ok(Timestamp::ZERO));
        assert_eq!(exit_code(&made), 0);
        assert!(told(&made, 0).contains("1 backup.\nAll members follow"));
        made.members[1].way_back = Some(Err("no address".to_owned()));
        assert_eq!(exit_code(&made), 6);
        let said = told(&made, 1000);
        assert!(
            said.contains("Not ready for a switch: the way back from BKP is not open: no address."),
            "{said}"
        );
    }
}
