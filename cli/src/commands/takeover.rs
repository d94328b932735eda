//! Command `takeover`: a backup becomes primary because the primary is lost: an operator's word.

use std::process::ExitCode;

use rjournal::daemon::command::group::TakeOver;
use rjournal::daemon::{CommandError, TakeoverReport, TakeoverView};
use rjournal::entry::{Name, Timestamp};
use rjournal::role::Doubt;
use serde::Serialize;

use super::Context;
use crate::attributes::seconds;
use crate::error::CliError;
use crate::group::{heard, primary_of, watched};
use crate::output::Form;
use crate::text;

/// Take over a recovery group, on a backup: its primary is lost, this system becomes primary
///
/// First it is shown what is known of the primary and what cannot be known here. Where answers may be lost nothing is
/// done without ACCEPT-LOSS. Two systems cannot tell a dead partner from a dead line: be sure that the primary is gone.
/// While it lives, `switch` on it loses nothing.
///
/// Exit code 5 if ACCEPT-LOSS is needed, or it was given up because another member has promised a higher term.
///
/// Example: rjournal takeover --crg ORDERS --plan
///
/// Example: rjournal takeover --crg ORDERS --accept-loss
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; the only one when not given
    #[arg(long, value_name = "NAME")]
    crg: Option<Name>,

    /// Only show what is known
    #[arg(long, conflicts_with = "accept_loss")]
    plan: bool,

    /// What cannot be heard of may be lost
    #[arg(long)]
    accept_loss: bool,

    /// How long members may take to answer; when not given 3 seconds, and the last one missing must be reached within half a
    /// second
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    wait: Option<f64>,
}

/// What is told of a takeover.
#[derive(Debug, Serialize)]
struct Told {
    group: Name,
    #[serde(flatten)]
    report: TakeoverReport,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let wait_ms = seconds(args.wait, "WAIT")?;
    let group = primary_of(&context.client().await?, args.crg).await?.group;
    let request = |plan| TakeOver {
        group: Some(group),
        accept_loss: args.accept_loss,
        plan,
        wait_ms,
    };
    let output = context.output;
    let now = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
    // Whoever accepts a loss has seen what is known, and waits for nothing more than for being primary.
    let looks_first = !output.is_json() && !args.accept_loss;
    if looks_first || args.plan {
        let report = watched(context, group, request(true)).await?;
        let doubts = !report.view.assessment.doubts.is_empty();
        let told = Told { group, report };
        let now = Timestamp::from_micros(now());
        output.result(&told, |told| known(group, &told.report.view, now));
        if args.plan {
            return Ok(ExitCode::SUCCESS);
        }
        if doubts {
            let text = "a takeover may lose answers, as said above. Nothing was changed";
            let help =
                "while the primary lives: switch, there. If it is lost: takeover --accept-loss";
            return Err(CliError(CommandError::refused("RJN7105", text).help(help)));
        }
    }
    let report = watched(context, group, request(false)).await?;
    let told = Told { group, report };
    let now = Timestamp::from_micros(now());
    output.result(&told, |told| {
        let done = done(group, &told.report);
        if looks_first {
            done
        } else {
            format!("{}\n\n{done}", known(group, &told.report.view, now))
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// What is known before a takeover, and what cannot be known here (ruling 13).
fn known(group: Name, view: &TakeoverView, now: Timestamp) -> String {
    let primary = view.primary.as_deref().unwrap_or("*NONE");
    let answers = view.heard.iter().any(|name| name == primary);
    let names = |names: &[String]| match names {
        [] => "*NONE".to_owned(),
        names => names.join(", "),
    };
    let contact = match view.last_contact {
        Timestamp::ZERO => "never".to_owned(),
        at => {
            let ago = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
            format!("{}, {} ago", text::time(at), text::millis(ago))
        }
    };
    let mut form = Form::new();
    form.head(&format!("What is known here of recovery group {group}"))
        .line("Term", view.assessment.term)
        .line(
            "Its primary",
            format!(
                "{primary}, {}",
                if answers {
                    "answers"
                } else {
                    "does not answer"
                }
            ),
        )
        .line("Last contact", contact)
        .line(
            "Flushed here",
            format!("up to entry {}", text::count(view.flushed.get())),
        )
        .line(
            "Confirmed",
            format!("up to entry {}", text::count(view.confirmed.get())),
        )
        .line("In-sync set", names(&view.in_sync))
        .line("Answer now", names(&view.heard))
        .line("Do not answer", names(&view.silent));
    let said = said(view, answers);
    format!("{}\n{}", form.text(), said.join("\n"))
}

/// What becomes of which answers.
fn said(view: &TakeoverView, answers: bool) -> Vec<String> {
    let primary = view.primary.as_deref().unwrap_or("the primary");
    let doubts = &view.assessment.doubts;
    // With an operator's word members are heard after the doubts were judged: who answered since is none.
    let has = |doubt: &Doubt| doubts.contains(doubt) && !answers;
    let unheard = |doubt: &Doubt| matches!(doubt, Doubt::Unheard(_));
    let mut said = Vec::new();
    if doubts.iter().any(unheard) && view.silent.len() > 1 {
        said.push(format!(
            "SYNC answers: may be lost, they may rest on {} alone.",
            view.silent.join(" and ")
        ));
    } else if has(&Doubt::NotInSync) {
        said.push("SYNC answers: those given without this system, which was not in the in-sync set, may be missing here.".to_owned());
    } else {
        said.push("SYNC answers: kept.".to_owned());
    }
    let claimed = |doubt: &Doubt| matches!(doubt, Doubt::Claimed(_));
    if doubts.iter().any(claimed) && !answers {
        said.push(
            "LOCAL answers of a later term, claimed elsewhere: cannot be known here.".to_owned(),
        );
    }
    if has(&Doubt::LocalAnswers) {
        said.push(format!(
            "LOCAL answers since {}: cannot be known here.",
            heard(view.last_contact)
        ));
    } else if answers {
        said.push(format!(
            "LOCAL answers: kept, {primary} is fenced and what it has is fetched first."
        ));
        said.push(format!(
            "{primary} lives: switch, given there, is the better way."
        ));
    } else {
        said.push(
            "LOCAL answers: none, the policy lets nothing be answered without the in-sync set."
                .to_owned(),
        );
    }
    said
}

fn done(group: Name, report: &TakeoverReport) -> String {
    let primary = report.view.primary.as_deref().unwrap_or("the primary");
    let mut form = Form::new();
    if let Some(term) = report.term {
        form.head(&format!(
            "This system is primary of {group} now, in term {term}."
        ));
    }
    let fenced = if report.fenced_primary {
        format!("{primary} answered, and takes no deposits any more")
    } else {
        format!("{primary} did not answer; it is fenced as soon as it meets a member")
    };
    form.line("Last entry before it", text::count(report.last.get()))
        .line("Fetched", text::counted(report.fetched, "entry", "entries"))
        .line("Took", text::millis(report.takeover_ms))
        .line("Primary before", fenced);
    form.text()
}

#[cfg(test)]
mod tests {
    use rjournal::entry::{Sequence, SystemId};
    use rjournal::role::Assessment;

    use super::*;

    const HOUR: Timestamp = Timestamp::from_micros(3_600_000_000);

    fn view(doubts: Vec<Doubt>, heard: &[&str], silent: &[&str]) -> TakeoverView {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        TakeoverView {
            assessment: Assessment {
                term: 1,
                primary: Some(SystemId::from_bytes([1; 16])),
                doubts,
            },
            primary: Some("PRD".to_owned()),
            last_contact: Timestamp::ZERO,
            flushed: Sequence::new(12),
            confirmed: Sequence::new(11),
            in_sync: names(&["BKP"]),
            heard: names(heard),
            silent: names(silent),
        }
    }

    fn shown(doubts: Vec<Doubt>, heard: &[&str], silent: &[&str]) -> String {
        known(
            "ORDERS".parse().unwrap(),
            &view(doubts, heard, silent),
            HOUR,
        )
    }

    #[test]
    fn what_is_known_is_shown_with_what_cannot_be_known_here() {
        assert_eq!(
            shown(vec![Doubt::LocalAnswers], &[], &["PRD"]),
            "What is known here of recovery group ORDERS\n\
             \x20 Term . . . . . . . . . :  1\n\
             \x20 Its primary  . . . . . :  PRD, does not answer\n\
             \x20 Last contact . . . . . :  never\n\
             \x20 Flushed here . . . . . :  up to entry 12\n\
             \x20 Confirmed  . . . . . . :  up to entry 11\n\
             \x20 In-sync set  . . . . . :  BKP\n\
             \x20 Answer now . . . . . . :  *NONE\n\
             \x20 Do not answer  . . . . :  PRD\n\
             SYNC answers: kept.\n\
             LOCAL answers since never: cannot be known here."
        );
        let known = shown(Vec::new(), &[], &["PRD"]);
        assert!(known.ends_with(
            "LOCAL answers: none, the policy lets nothing be answered without the in-sync set."
        ));
        let known = shown(Vec::new(), &["PRD"], &[]);
        assert!(known.contains("PRD, answers"), "{known}");
        assert!(known.ends_with("PRD lives: switch, given there, is the better way."));
        let unheard = vec![
            Doubt::Unheard(Vec::new()),
            Doubt::NotInSync,
            Doubt::LocalAnswers,
        ];
        let known = shown(unheard, &[], &["PRD", "THR"]);
        assert!(known.contains("SYNC answers: may be lost, they may rest on PRD and THR alone."));
        let known = shown(vec![Doubt::NotInSync, Doubt::LocalAnswers], &[], &["PRD"]);
        assert!(known.contains("SYNC answers: those given without this system"));
    }

    #[test]
    fn a_takeover_tells_what_it_took_and_whether_the_old_primary_is_fenced() {
        let report = TakeoverReport {
            view: view(vec![Doubt::LocalAnswers], &[], &["PRD"]),
            term: Some(2),
            takeover_ms: 3_120,
            fetched: 1,
            fenced_primary: false,
            last: Sequence::new(13),
        };
        let crg = "ORDERS".parse().unwrap();
        assert_eq!(
            done(crg, &report),
            "This system is primary of ORDERS now, in term 2.\n\
             \x20 Last entry before it . :  13\n\
             \x20 Fetched  . . . . . . . :  1 entry\n\
             \x20 Took . . . . . . . . . :  3.1 s\n\
             \x20 Primary before . . . . :  PRD did not answer; it is fenced as soon as it meets a member"
        );
        let json = serde_json::to_value(Told { group: crg, report }).unwrap();
        assert_eq!(json["takeover_ms"], 3_120);
        assert_eq!(json["view"]["silent"][0], "PRD");
    }
}
