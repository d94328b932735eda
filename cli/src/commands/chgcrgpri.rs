//! Command CHGCRGPRI, also called `switch`.

use std::process::ExitCode;

use rjournal::daemon::SwitchReport;
use rjournal::daemon::command::group::{SwitchPrimary, Switched};
use rjournal::entry::{Name, Sequence, SystemName};
use rjournal::role::NotReady;
use serde::Serialize;

use super::Context;
use crate::attributes::seconds;
use crate::error::CliError;
use crate::group::{primary_of, watched};
use crate::output::Form;
use crate::text;

/// Change the primary of a recovery group, on the primary: a planned switch, in which nothing is lost
///
/// Deposits are held for a moment, everything is flushed on both sides, the other system opens the next term in its own
/// journal, this one follows it. Every step can be repeated or taken back. If the primary is lost: takeover.
///
/// Exit code 5 if it is not ready, 6 if the role was handed over and the other system has not opened yet.
///
/// Example: rjournal chgcrgpri --crg ORDERS --to BKP --plan
///
/// Example: rjournal chgcrgpri --crg ORDERS --to BKP
#[derive(Debug, clap::Args)]
#[command(visible_alias = "switch")]
pub(crate) struct Args {
    /// The group; the only one when not given
    #[arg(long, value_name = "NAME")]
    crg: Option<Name>,

    /// Who is to be primary; the first backup that is ready when not given
    #[arg(long, value_name = "SYSTEM")]
    to: Option<SystemName>,

    /// Only say whether it could be done, and what stands against it
    #[arg(long, conflicts_with = "abort")]
    plan: bool,

    /// Take a hand-over back that the other system has not made use of; it must be reached
    #[arg(long, conflicts_with = "to")]
    abort: bool,

    /// How long open commit cycles may take to decide; what is open then is rolled back
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "5",
        allow_negative_numbers = true
    )]
    drain: f64,

    /// How many entries the store there may be behind when it begins
    #[arg(long, value_name = "ENTRIES", default_value_t = 10_000)]
    behind: u64,
}

/// What is told of a switch.
#[derive(Debug, Serialize)]
struct Told {
    group: Name,
    to: String,
    ready: bool,
    against: Vec<NotReady>,
    term: Option<u64>,
    switch_pause_ms: u64,
    last: Sequence,
}

impl Told {
    fn new(group: Name, report: SwitchReport) -> Self {
        Self {
            group,
            to: report.to,
            ready: report.against.is_empty(),
            against: report.against,
            term: report.term,
            switch_pause_ms: report.switch_pause_ms,
            last: report.last,
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let drain_ms = seconds(Some(args.drain), "DRAIN")?.unwrap_or_default();
    let group = primary_of(&context.client().await?, args.crg).await?.group;
    let request = |plan| SwitchPrimary {
        group: Some(group),
        to: args.to,
        plan,
        abort: args.abort,
        drain_ms,
        behind_max: args.behind,
    };
    let output = context.output;
    if !args.abort && !output.is_json() && !args.plan {
        // Whoever reads along sees what is about to happen; where it is not ready, the refusal says why.
        if let Switched::To(plan) = watched(context, group, request(true)).await? {
            let plan = Told::new(group, plan);
            if plan.term.is_some() {
                output.result(&plan, done);
                return Ok(ExitCode::SUCCESS);
            }
            if plan.ready {
                output.line(&readiness(&plan));
            }
        }
    }
    match watched(context, group, request(args.plan)).await? {
        Switched::Back { term } => {
            let value = serde_json::json!({ "group": group, "taken_back": true, "term": term });
            output.result(&value, |_| {
                format!(
                    "The hand-over was taken back: this system goes on as the primary of {group}, in term {term}."
                )
            });
            Ok(ExitCode::SUCCESS)
        }
        Switched::To(report) => {
            let told = Told::new(group, report);
            let asked_only = told.term.is_none();
            output.result(&told, |told| {
                if asked_only {
                    format!("{}\nNothing was changed.", readiness(told))
                } else {
                    done(told)
                }
            });
            let refused = asked_only && !told.ready;
            Ok(if refused {
                ExitCode::from(5)
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}

/// Whether a system can be primary now, with everything that stands against it.
fn readiness(told: &Told) -> String {
    let (to, group) = (&told.to, told.group);
    if told.ready {
        return format!(
            "{to} is ready to be primary of {group}: it follows, and the way back is open."
        );
    }
    let against = told.against.iter().map(why);
    let lines = std::iter::once(format!("{to} is not ready to be primary of {group}:"))
        .chain(against.map(|why| format!("  {why}")));
    lines.collect::<Vec<_>>().join("\n")
}

fn why(against: &NotReady) -> String {
    let text = match against {
        NotReady::NoMember => "it is no other member of the group",
        NotReady::Unreachable => "it does not answer",
        NotReady::DoesNotFollow => "it does not follow this term yet",
        NotReady::NotInSync => "it is not in the in-sync set",
        NotReady::ApplyBehind(u64::MAX) => "its store is still in an earlier term",
        NotReady::ApplyBehind(behind) => {
            let entries = text::counted(*behind, "entry", "entries");
            return format!("its store is {entries} behind");
        }
        NotReady::NoApply => "no apply job there says where its store is",
        NotReady::NoWayBack => {
            "it could not feed this system afterwards: there would be no way back"
        }
        NotReady::NotPrimary => "this system's journal takes no deposits",
    };
    text.to_owned()
}

fn done(told: &Told) -> String {
    let mut form = Form::new();
    if let Some(term) = told.term {
        form.head(&format!(
            "{} is primary of {} now, in term {term}.",
            told.to, told.group
        ));
    }
    form.line("Last entry before it", text::count(told.last.get()));
    if told.switch_pause_ms > 0 {
        form.line("No deposits for", text::millis(told.switch_pause_ms));
    }
    form.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(against: Vec<NotReady>, term: Option<u64>) -> Told {
        let report = SwitchReport {
            to: "BKP".to_owned(),
            against,
            term,
            switch_pause_ms: 41,
            last: Sequence::new(1_234),
        };
        Told::new("ORDERS".parse().unwrap(), report)
    }

    #[test]
    fn everything_that_stands_against_a_switch_is_named() {
        let against = vec![
            NotReady::NotInSync,
            NotReady::ApplyBehind(1),
            NotReady::ApplyBehind(u64::MAX),
        ];
        assert_eq!(
            readiness(&report(against, None)),
            "BKP is not ready to be primary of ORDERS:\n\
             \x20 it is not in the in-sync set\n\
             \x20 its store is 1 entry behind\n\
             \x20 its store is still in an earlier term"
        );
        assert!(readiness(&report(Vec::new(), None)).starts_with("BKP is ready"));
    }

    #[test]
    fn a_switch_tells_its_pause_and_where_the_term_before_ended() {
        assert_eq!(
            done(&report(Vec::new(), Some(2))),
            "BKP is primary of ORDERS now, in term 2.\n\
             \x20 Last entry before it . :  1 234\n\
             \x20 No deposits for  . . . :  41 ms"
        );
        let json = serde_json::to_value(report(vec![NotReady::ApplyBehind(7)], None)).unwrap();
        assert_eq!(json["switch_pause_ms"], 41);
        assert_eq!(json["against"][0]["apply_behind"], 7);
        assert_eq!(json["ready"], false);
    }
}
