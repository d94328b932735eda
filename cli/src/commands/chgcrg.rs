//! Command CHGCRG.

use std::process::ExitCode;

use rjournal::daemon::command::group::{ChangeGroup, GroupDescription};
use rjournal::entry::{Name, SystemName};

use super::Context;
use crate::error::CliError;

/// Change a recovery group, on its primary: the order in which members take over, its text
///
/// The change spreads to the other members by itself.
///
/// Example: rjournal chgcrg --crg ORDERS --order PRD,THR,BKP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group
    #[arg(long, value_name = "NAME")]
    crg: Name,

    /// All members, by the names of their systems, in the order in which a switch tries them
    #[arg(long, value_name = "SYSTEM,...", value_delimiter = ',')]
    order: Option<Vec<SystemName>>,

    /// Free text
    #[arg(long)]
    text: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    if args.order.is_none() && args.text.is_none() {
        return Err(CliError::invalid(format!(
            "nothing to change in {} was given: ORDER or TEXT",
            args.crg
        )));
    }
    let request = ChangeGroup {
        name: args.crg,
        order: args.order,
        text: args.text,
    };
    let group = context.client().await?.run(request).await?;
    context.output.result(&group, told);
    Ok(ExitCode::SUCCESS)
}

fn told(group: &GroupDescription) -> String {
    let names: Vec<String> = group
        .members
        .iter()
        .map(|member| member.name.to_string())
        .collect();
    format!(
        "Recovery group {} changed. Its members in order: {}.",
        group.name,
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::tests::group;

    #[test]
    fn the_order_is_told_as_it_is_now() {
        assert_eq!(
            told(&group()),
            "Recovery group ORDERS changed. Its members in order: PRD, BKP."
        );
    }
}
