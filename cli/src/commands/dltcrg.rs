//! Command DLTCRG.

use std::process::ExitCode;

use rjournal::daemon::command::group::{DeleteGroup, GroupDeleted};
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;

/// Delete a recovery group, on its primary: from then on every journal is on its own
///
/// The journals, their links and the stores stay. A journal that rested asks its in-sync set before it opens; where that
/// refuses it, since another system was primary later, CHGJRN OPEN(*ADOPT) opens it.
///
/// Example: rjournal dltcrg --crg ORDERS
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group
    #[arg(long, value_name = "NAME")]
    crg: Name,

    /// Also where members do not answer; on a backup: on this system alone
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let request = DeleteGroup {
        name: args.crg,
        force: args.force,
    };
    let deleted = context.client().await?.run(request).await?;
    context
        .output
        .result(&deleted, |deleted| told(args.crg, deleted));
    Ok(ExitCode::SUCCESS)
}

fn told(crg: Name, deleted: &GroupDeleted) -> String {
    let deleted_here = format!("Recovery group {crg} deleted; its journals stay.");
    if deleted.silent.is_empty() {
        return deleted_here;
    }
    let silent = deleted.silent.join(" and ");
    format!(
        "{deleted_here}\nIt still stands at {silent}, which did not answer. There: rjournal dltcrg --crg {crg} --force"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_told_is_named_with_what_is_to_be_done_there() {
        let crg = "ORDERS".parse().unwrap();
        let all = GroupDeleted { silent: Vec::new() };
        assert_eq!(
            told(crg, &all),
            "Recovery group ORDERS deleted; its journals stay."
        );
        let some = GroupDeleted {
            silent: vec!["BKP".to_owned(), "THR".to_owned()],
        };
        assert!(told(crg, &some).ends_with(
            "It still stands at BKP and THR, which did not answer. There: rjournal dltcrg --crg ORDERS --force"
        ));
    }
}
