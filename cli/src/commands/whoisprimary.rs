//! Command `whoisprimary`: where programs are to go, in one line.

use std::process::ExitCode;

use rjournal::daemon::command::group::{PrimaryTold, WhoIsPrimary};
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::group::heard;

/// This system is primary, and takes no deposits.
const CLOSED_HERE: u8 = 1;
/// Another system is primary.
const ELSEWHERE: u8 = 20;
/// No primary is known.
const NONE: u8 = 21;

/// Say who is primary of a recovery group, as far as this system knows
///
/// Exit code for scripts: 0 this system is the primary and takes deposits, 1 this system is the primary and takes none,
/// 20 another system is, 21 none is known.
///
/// Example: rjournal whoisprimary --crg ORDERS
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; the only one when not given
    #[arg(long, value_name = "NAME")]
    crg: Option<Name>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let told = context.ask(WhoIsPrimary { group: args.crg }).await?;
    context.output.result(&told, line);
    Ok(ExitCode::from(exit_code(&told)))
}

const fn exit_code(told: &PrimaryTold) -> u8 {
    match (told.primary, told.here, told.open) {
        (None, _, _) => NONE,
        (Some(_), true, true) => 0,
        (Some(_), true, false) => CLOSED_HERE,
        (Some(_), false, _) => ELSEWHERE,
    }
}

fn line(told: &PrimaryTold) -> String {
    let (group, term) = (told.group, told.term);
    let Some(primary) = told.primary else {
        return format!("*NONE   group {group}, term {term} is claimed and not opened");
    };
    let takes = if told.open {
        "takes deposits"
    } else {
        "takes no deposits"
    };
    if told.here {
        return format!(
            "{primary}   this system   group {group}, term {term}, {takes} to {}",
            told.journal
        );
    }
    let address = told.address.as_deref().unwrap_or("no address here");
    format!(
        "{primary}   {address}   group {group}, term {term}, {takes}, heard {}",
        heard(told.heard_at)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::tests::told;

    #[test]
    fn one_line_and_an_exit_code_say_where_programs_are_to_go() {
        let here = told(true);
        assert_eq!(exit_code(&here), 0);
        assert_eq!(
            line(&here),
            "PRD   this system   group ORDERS, term 2, takes deposits to PRDLIB/JRN"
        );
        let mut closed = told(true);
        closed.open = false;
        assert_eq!(exit_code(&closed), 1);
        let there = told(false);
        assert_eq!(exit_code(&there), 20);
        assert_eq!(
            line(&there),
            "BKP   127.0.0.1:7102   group ORDERS, term 2, takes deposits, heard never"
        );
        let mut none = told(false);
        none.primary = None;
        assert_eq!(exit_code(&none), 21);
        assert_eq!(
            line(&none),
            "*NONE   group ORDERS, term 2 is claimed and not opened"
        );
    }
}
