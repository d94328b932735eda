//! Package `cli`: the arguments. Commands and keywords may be given in either case, as on IBM i. Must not run anything.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cl_arguments::{explain, in_words};
use crate::commands::Command;
use crate::error::CliError;
use crate::output::Output;

/// Remote journals for ordinary machines: changes recorded on one system, shipped to others, both disks before the answer.
#[derive(Debug, Parser)]
#[command(
    name = "rjournal",
    version,
    max_term_width = 110,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    /// Data directory of the system
    #[arg(
        long,
        global = true,
        env = "RJOURNAL_DATA",
        default_value = "/var/lib/rjournal",
        value_name = "DIR"
    )]
    pub(crate) data: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Threads of the runtime. Journals write on threads of their own, so half of the cores is left to them; at least two, so
    /// that none waits for another's work. The benchmark is a small program that embeds two systems: one, since more wake each
    /// other for every deposit.
    pub(crate) fn workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        match self.command {
            Command::Bench(_) => 1,
            _ => (cores / 2).max(2),
        }
    }

    /// Reads the arguments of the process. Help, version and mistakes are printed here.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        let arguments = fold_case(arguments);
        let json = arguments.iter().any(|argument| argument == "--json");
        Self::try_parse_from(arguments).map_err(|error| {
            let code = if error.use_stderr() { 2 } else { 0 };
            if json && error.use_stderr() {
                return Output::new(true).failure(&CliError::invalid(explain(&error)));
            }
            if let Some(text) = error.render().to_string().strip_prefix("error: ") {
                return Output::new(false).failure(&CliError::invalid(in_words(text.trim_end())));
            }
            // Where it cannot be printed there is nobody to tell.
            drop(error.print());
            ExitCode::from(code)
        })
    }
}

/// Folds the command's name and the names of options to lower case; values stay as they are.
fn fold_case(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut seen_command = false;
    let mut value_of_global = false;
    let fold = |(index, argument): (usize, OsString)| {
        let Some(text) = argument.to_str() else {
            return argument;
        };
        if index == 0 {
            return argument;
        }
        if let Some(option) = text.strip_prefix("--") {
            let (name, value) = option
                .split_once('=')
                .map_or((option, None), |(name, value)| (name, Some(value)));
            let name = name.to_ascii_lowercase();
            value_of_global = !seen_command && value.is_none() && name == "data";
            return value
                .map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
                .into();
        }
        if !seen_command && !value_of_global && !text.starts_with('-') {
            // HELP is followed by the name of a command.
            // ORPHANS by that of one of its verbs.
            let goes_on = ["help", "orphans"]
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word));
            seen_command = !goes_on;
            return text.to_ascii_lowercase().into();
        }
        value_of_global = false;
        argument
    };
    arguments.into_iter().enumerate().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(words: &[&str]) -> Vec<String> {
        fold_case(words.iter().map(OsString::from))
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn commands_and_keywords_fold_and_values_stay() {
        assert_eq!(
            folded(&[
                "rjournal",
                "--data",
                "/X",
                "CRTJRN",
                "--JRN",
                "PRDLIB/JRN",
                "--TEXT=Main Journal"
            ]),
            [
                "rjournal",
                "--data",
                "/X",
                "crtjrn",
                "--jrn",
                "PRDLIB/JRN",
                "--text=Main Journal"
            ]
        );
        assert_eq!(
            folded(&["rjournal", "--Json", "Status"]),
            ["rjournal", "--json", "status"]
        );
        assert_eq!(
            folded(&["rjournal", "HELP", "CRTJRN"]),
            ["rjournal", "help", "crtjrn"]
        );
        assert_eq!(
            folded(&["rjournal", "ORPHANS", "--json", "LIST", "--JRN", "A/B"]),
            ["rjournal", "orphans", "--json", "list", "--jrn", "A/B"]
        );
    }

    /// What follows an example in its line is read as a part of the command.
    #[test]
    fn the_help_of_every_command_has_examples_each_on_lines_of_its_own() {
        use clap::CommandFactory;
        let program = Args::command();
        let commands = program.get_subcommands().filter(|c| !c.is_hide_set());
        for command in commands {
            let name = command.get_name();
            let help = command
                .get_long_about()
                .expect("more than one line")
                .to_string();
            let examples: Vec<&str> = help.lines().filter(|l| l.contains("Example: ")).collect();
            assert!(!examples.is_empty(), "{name}");
            for example in examples {
                let typed = example.strip_prefix("Example: rjournal ");
                let typed = typed.unwrap_or_else(|| panic!("{name}: {example:?}"));
                assert!(typed.starts_with(name), "{name}: {example:?}");
                assert!(!typed.contains("Example: "), "{name}: {example:?}");
                assert!(
                    example.len() <= 100,
                    "{name} is broken where it may be copied: {example:?}"
                );
            }
        }
    }
}
