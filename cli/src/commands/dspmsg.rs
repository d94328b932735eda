//! Command DSPMSG.

use std::process::ExitCode;
use std::time::Duration;

use rjournal::daemon::command::status::ListMessages;
use rjournal::daemon::{ErrorKind, OperatorMessage, Severity};

use super::Context;
use crate::error::CliError;
use crate::text::{self, special};

/// How often is looked for new messages.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Display the messages of this system, oldest first
///
/// Severities: *INFO (0), *WARNING (40), *ALARM (70), *CRITICAL (99).
///
/// Example: rjournal dspmsg --sev '*WARNING' --watch
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only messages at least this grave: a word or 0 to 99
    #[arg(long, value_name = "SEVERITY", default_value = "*INFO")]
    sev: String,

    /// Only messages after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,

    /// The newest so many
    #[arg(long, value_name = "MESSAGES", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=2000))]
    count: u16,

    /// Go on and show new messages as they come
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let severity = severity(&args.sev)?;
    let request = ListMessages {
        after: args.after,
        severity,
        count: usize::from(args.count),
    };
    let list = context.ask(request.clone()).await?;
    if !args.watch {
        context
            .output
            .result(&list, |list| match list.messages.as_slice() {
                [] => "There are no such messages.".to_owned(),
                messages => messages.iter().map(line).collect::<Vec<_>>().join("\n"),
            });
        return Ok(ExitCode::SUCCESS);
    }
    let mut last = show(&list.messages, args.after, context);
    let (mut client, mut gone) = (None, false);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => context.client().await,
        };
        let looked = match connected {
            Ok(connected) => {
                let request = ListMessages {
                    after: last,
                    severity,
                    count: 2_000,
                };
                let looked = connected.run(request).await.map_err(CliError::from);
                client = looked.is_ok().then_some(connected);
                looked
            }
            Err(error) => Err(error),
        };
        match looked {
            Ok(list) => {
                if gone {
                    context.output.remark("The daemon answers again.");
                }
                gone = false;
                last = show(&list.messages, last, context);
            }
            Err(error) if error.0.kind == ErrorKind::Unreachable => {
                if !gone {
                    context
                        .output
                        .remark("The daemon does not answer; waiting for it.");
                }
                gone = true;
            }
            Err(error) => return Err(error),
        }
    }
}

fn show(messages: &[OperatorMessage], after: u64, context: &Context<'_>) -> u64 {
    for message in messages {
        context.output.result(message, line);
    }
    messages.last().map_or(after, |message| message.number)
}

fn line(message: &OperatorMessage) -> String {
    let (severity, name) = shown(message.severity);
    format!(
        "{:>6}  {}  {severity:02} {name:<8}  {:<7}  {}: {}",
        message.number,
        text::time(message.time),
        message.id,
        message.about,
        text::one_line(&message.text)
    )
}

const fn shown(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Info => (0, "INFO"),
        Severity::Warning => (40, "WARNING"),
        Severity::Alarm => (70, "ALARM"),
        Severity::Critical => (99, "CRITICAL"),
    }
}

const SEVERITIES: [Severity; 4] = [
    Severity::Info,
    Severity::Warning,
    Severity::Alarm,
    Severity::Critical,
];

/// A severity by its word, or the least one that is at least as grave as a number.
fn severity(given: &str) -> Result<Severity, CliError> {
    let wanted = special(given);
    let by_word = SEVERITIES
        .into_iter()
        .find(|severity| shown(*severity).1 == wanted);
    let by_number = || {
        let number: u8 = given.trim().parse().ok().filter(|number| *number <= 99)?;
        SEVERITIES
            .into_iter()
            .find(|severity| shown(*severity).0 >= number)
    };
    by_word.or_else(by_number).ok_or_else(|| {
        CliError::invalid(format!(
            "SEV {given}: 0 to 99 or one of *INFO, *WARNING, *ALARM, *CRITICAL is needed"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_words_or_numbers() {
        for (given, expected) in [
            ("*info", Severity::Info),
            ("ALARM", Severity::Alarm),
            ("0", Severity::Info),
            ("1", Severity::Warning),
            ("40", Severity::Warning),
            ("41", Severity::Alarm),
            ("99", Severity::Critical),
        ] {
            assert_eq!(severity(given).unwrap(), expected, "{given}");
        }
        for bad in ["", "*", "100", "-1", "grave"] {
            assert!(severity(bad).is_err(), "{bad}");
        }
    }
}
