//! Command `cl`: commands in CL form, from an argument, a file, or a prompt.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::{Command, Context};
use crate::args;
use crate::cl::{Parameter, Statement, goes_on, parse};
use crate::cl_arguments::{arguments, explain};
use crate::error::CliError;

/// Longest text of commands, in bytes.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Run commands in CL form: an argument, the lines of a file, or what is typed at a prompt
///
/// One command in a line; a line that ends in + goes on with the next; /* comments */ are passed over. Ends at the first
/// command that fails, with its exit code. HELP lists the commands, HELP CRTJRN explains one.
///
/// Example: rjournal cl "ADDRMTJRN RDB(BKP) SRCJRN(PRDLIB/JRN) TGTJRN(BKPLIB/JRN)"
///
/// Example: rjournal cl --file setup.cl
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Commands in CL form
    #[arg(value_name = "COMMAND", conflicts_with = "file")]
    command: Option<String>,

    /// A file of commands; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let text = match (args.command, args.file) {
        (Some(text), _) => text,
        (None, Some(path)) => read_text(&path)?,
        (None, None) if std::io::stdin().is_terminal() => return prompt(context).await,
        (None, None) => read_text(Path::new("-"))?,
    };
    let statements = parse(&text).map_err(|error| CliError::invalid(error.to_string()))?;
    if let [statement] = statements.as_slice() {
        return run_statement(statement, context).await;
    }
    for statement in &statements {
        let place = || {
            format!(
                "line {} ({})",
                statement.line,
                statement.name.to_ascii_uppercase()
            )
        };
        let code = run_statement(statement, context)
            .await
            .map_err(|error| at(error, &place()))?;
        if code != ExitCode::SUCCESS {
            context.output.remark(&format!(
                "{} ended with another exit code than 0; what follows was not run",
                place()
            ));
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_text(path: &Path) -> Result<String, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::invalid(format!("FILE {}: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| failed(&error))?)
    };
    source
        .by_ref()
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(failed(&"it is too long for a file of commands"));
    }
    String::from_utf8(bytes).map_err(|_| failed(&"it is not text (UTF-8)"))
}

fn at(mut error: CliError, place: &str) -> CliError {
    error.0.text = format!("{place}: {}", error.0.text);
    error
}

async fn run_statement(statement: &Statement, context: &Context<'_>) -> Result<ExitCode, CliError> {
    if statement.name.eq_ignore_ascii_case("help") {
        help(&statement.parameters)?;
        return Ok(ExitCode::SUCCESS);
    }
    let commands = args::Args::command();
    let words = arguments(statement, &commands).map_err(CliError::invalid)?;
    let mut given = vec![
        "rjournal".into(),
        "--data".into(),
        context.data.clone().into_os_string(),
    ];
    if context.output.is_json() {
        given.push("--json".into());
    }
    given.extend(words.into_iter().map(std::ffi::OsString::from));
    let parsed =
        args::Args::try_parse_from(given).map_err(|error| CliError::invalid(explain(&error)))?;
    if matches!(parsed.command, Command::Cl(_)) {
        return Err(CliError::invalid("CL cannot be given within CL"));
    }
    // Boxed: this command is itself one of those that are run.
    Box::pin(super::run(parsed, context.output)).await
}

/// Asks for commands until the end of input; a command that fails does not end it.
async fn prompt(context: &Context<'_>) -> Result<ExitCode, CliError> {
    context
        .output
        .remark("Commands in CL form; HELP lists them, HELP CRTJRN explains one, BYE ends.");
    loop {
        let Some(text) = ask(context).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let mut words = text.split_whitespace().map(str::to_ascii_lowercase);
        match (words.next().as_deref(), words.next()) {
            (None, _) => {}
            (Some("bye" | "exit" | "quit" | "signoff"), None) => return Ok(ExitCode::SUCCESS),
            (Some("?"), _) => run_typed(&text.replacen('?', "HELP ", 1), context).await,
            _ => run_typed(&text, context).await,
        }
    }
}

async fn run_typed(text: &str, context: &Context<'_>) {
    let statements = match parse(text) {
        Ok(statements) => statements,
        Err(error) => {
            context
                .output
                .failure(&CliError::invalid(error.to_string()));
            return;
        }
    };
    for statement in &statements {
        if let Err(error) = run_statement(statement, context).await {
            context.output.failure(&error);
            return;
        }
    }
}

/// The help of a command, or the list of all.
fn help(parameters: &[Parameter]) -> Result<(), CliError> {
    let about = match parameters {
        [] => None,
        [Parameter::Value(name)] => Some(name.to_ascii_lowercase()),
        _ => {
            let text = "HELP takes the name of one command, as in HELP CRTJRN";
            return Err(CliError::invalid(text));
        }
    };
    let commands = args::Args::command();
    if let Some(name) = &about
        && commands.find_subcommand(name).is_none()
    {
        let name = name.to_ascii_uppercase();
        let text = format!("there is no command {name}; HELP lists them");
        return Err(CliError::invalid(text));
    }
    let words = ["rjournal".to_owned()].into_iter().chain(about);
    if let Err(error) = args::Args::try_parse_from(words.chain(["--help".to_owned()])) {
        // Where it cannot be printed there is nobody to tell.
        drop(error.print());
    }
    Ok(())
}

/// One command, which may take several lines; nothing at the end of input.
async fn ask(context: &Context<'_>) -> Result<Option<String>, CliError> {
    let mut text = String::new();
    loop {
        context
            .output
            .prompt(if text.is_empty() { "===> " } else { "   > " });
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            let read = std::io::stdin()
                .lock()
                .take(TEXT_BYTES_MAX)
                .read_line(&mut line)?;
            Ok::<_, std::io::Error>((read > 0).then_some(line))
        });
        let line = line.await.map_err(|error| CliError::internal(&error))?;
        match line {
            Ok(Some(line)) => text.push_str(&line),
            Ok(None) => return Ok((!text.is_empty()).then_some(text)),
            Err(error) => {
                return Err(CliError::invalid(format!(
                    "what was typed cannot be read: {error}"
                )));
            }
        }
        if !goes_on(&text) {
            return Ok(Some(text));
        }
    }
}
