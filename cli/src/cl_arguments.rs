//! Package `cli`: from a statement in CL form to the arguments of the normal form: keywords become options, in the way the
//! command defines them. Must not run anything.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::cl::{Parameter, Statement};
use crate::text::special;

/// The arguments a statement stands for, its command's name first.
pub(crate) fn arguments(statement: &Statement, commands: &Command) -> Result<Vec<String>, String> {
    let name = statement.name.to_ascii_lowercase();
    let command = commands
        .find_subcommand(&name)
        .ok_or_else(|| format!("there is no command {}; HELP lists them", statement.name))?;
    let mut arguments = vec![name];
    let mut positions = command
        .get_arguments()
        .filter(|arg| is_keyword(arg) && takes_values(arg));
    for parameter in &statement.parameters {
        match parameter {
            Parameter::Value(value) => {
                let arg = positions.next().ok_or_else(|| {
                    format!(
                        "{} takes no value {value:?} without a keyword",
                        upper(command)
                    )
                })?;
                push(&mut arguments, arg, std::slice::from_ref(value))?;
            }
            Parameter::Keyword(keyword, values) => {
                let arg = find(command, keyword).ok_or_else(|| {
                    let known: Vec<String> = command
                        .get_arguments()
                        .filter(|arg| is_keyword(arg))
                        .map(keyword_of)
                        .collect();
                    let known = if known.is_empty() {
                        "it has none".to_owned()
                    } else {
                        format!("it has {}", known.join(", "))
                    };
                    format!(
                        "{} has no keyword {}; {known}",
                        upper(command),
                        keyword.to_ascii_uppercase()
                    )
                })?;
                push(&mut arguments, arg, values)?;
            }
        }
    }
    Ok(arguments)
}

/// What a text that is no number is told, in words of an operator's rather than a programmer's.
pub(crate) fn in_words(text: &str) -> String {
    let words = [
        ("invalid digit found in string", "a whole number is needed"),
        (
            "cannot parse integer from empty string",
            "a whole number is needed",
        ),
        ("invalid float literal", "a number is needed"),
        ("cannot parse float from empty string", "a number is needed"),
        (
            "number too large to fit in target type",
            "the number is too large",
        ),
        (
            "number too small to fit in target type",
            "the number is too small",
        ),
    ];
    let replace = |text: String, (from, to): (&str, &str)| text.replace(from, to);
    words.into_iter().fold(text.to_owned(), replace)
}

/// What the parser of the normal form found wrong, in the words of the CL form.
pub(crate) fn explain(error: &clap::Error) -> String {
    let keyword = |text: &str| {
        text.trim_start_matches('-')
            .split([' ', '='])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
    };
    let names = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => vec![keyword(name)],
        Some(ContextValue::Strings(names)) => names.iter().map(|name| keyword(name)).collect(),
        _ => Vec::new(),
    };
    let given = || match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.clone(),
        _ => String::new(),
    };
    let invalid = names(ContextKind::InvalidArg).join(", ");
    match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("needed, and not given: {invalid}"),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let why = std::error::Error::source(error)
                .map(|cause| format!(": {}", in_words(&cause.to_string())))
                .unwrap_or_default();
            format!("{invalid}({}){why}", given())
        }
        ErrorKind::ArgumentConflict => match names(ContextKind::PriorArg).join(", ") {
            prior if prior == invalid => format!("{invalid} is given twice"),
            prior => format!("{invalid} does not go with {prior}"),
        },
        _ => {
            let text = error.render().to_string();
            text.lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned()
        }
    }
}

fn upper(command: &Command) -> String {
    command.get_name().to_ascii_uppercase()
}

/// Whether an argument is the command's own, and has a name.
fn is_keyword(arg: &Arg) -> bool {
    let own = !arg.is_global_set()
        && !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong
        );
    own && arg.get_long().is_some()
}

fn keyword_of(arg: &Arg) -> String {
    arg.get_long().unwrap_or_default().to_ascii_uppercase()
}

fn takes_values(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn find<'a>(command: &'a Command, keyword: &str) -> Option<&'a Arg> {
    let wanted = keyword.to_ascii_lowercase();
    let is = |arg: &&Arg| {
        arg.get_long() == Some(&wanted)
            || arg
                .get_all_aliases()
                .is_some_and(|names| names.contains(&wanted.as_str()))
    };
    command
        .get_arguments()
        .filter(|arg| is_keyword(arg))
        .find(is)
}

fn push(arguments: &mut Vec<String>, arg: &Arg, values: &[String]) -> Result<(), String> {
    let long = arg.get_long().unwrap_or_default();
    match (arg.get_action(), values) {
        (ArgAction::Append, values) => {
            arguments.extend(values.iter().map(|value| format!("--{long}={value}")));
        }
        (ArgAction::Set, [value]) => arguments.push(format!("--{long}={value}")),
        (ArgAction::Set, values) => {
            let keyword = keyword_of(arg);
            let joined = values.join(" ").replace('\'', "''");
            return Err(format!(
                "{keyword} takes one value; text with blanks goes into apostrophes: {keyword}('{joined}')"
            ));
        }
        (_, [value]) if special(value) == "YES" => arguments.push(format!("--{long}")),
        (_, [value]) if special(value) == "NO" => {}
        _ => return Err(format!("{}: *YES or *NO is needed", keyword_of(arg))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Args;
    use crate::cl::parse;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let statements = parse(text).unwrap();
        assert_eq!(statements.len(), 1);
        arguments(&statements[0], &Args::command())
    }

    fn refused(text: &str) -> String {
        let words = read(text).unwrap();
        let words = std::iter::once("rjournal".to_owned()).chain(words);
        explain(&Args::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn keywords_become_options() {
        assert_eq!(
            read("ADDRMTJRN RDB(BKP) SRCJRN(PRDLIB/JRN) TGTJRN(BKPLIB/JRN)").unwrap(),
            [
                "addrmtjrn",
                "--rdb=BKP",
                "--srcjrn=PRDLIB/JRN",
                "--tgtjrn=BKPLIB/JRN"
            ]
        );
        assert_eq!(
            read("crtlib prdlib text('Main ''one''')").unwrap(),
            ["crtlib", "--lib=prdlib", "--text=Main 'one'"]
        );
        assert_eq!(
            read("CRTLIB PRDLIB 'Main library'").unwrap(),
            ["crtlib", "--lib=PRDLIB", "--text=Main library"]
        );
        assert_eq!(
            read("CHGRDBDIRE PRD ALWJRN(A/B C/*ALL)").unwrap(),
            ["chgrdbdire", "--rdb=PRD", "--alwjrn=A/B", "--alwjrn=C/*ALL"]
        );
        assert_eq!(
            read("DSPJRN JRN(A/B) FROM(5) NEWEST(*YES) FOLLOW(*NO)").unwrap(),
            ["dspjrn", "--jrn=A/B", "--froment=5", "--newest"]
        );
    }

    #[test]
    fn what_a_command_does_not_know_is_told_with_what_it_knows() {
        assert!(read("CRTFOO X").unwrap_err().contains("no command CRTFOO"));
        let error = read("CRTLIB NAME(X)").unwrap_err();
        assert!(
            error.contains("CRTLIB has no keyword NAME") && error.contains("LIB, TEXT"),
            "{error}"
        );
        assert!(
            read("CRTLIB DATA(/x)").is_err(),
            "what holds for all commands is not given in CL form"
        );
        assert!(read("CRTLIB HELP(*YES)").is_err());
        assert!(read("CRTLIB A B C").unwrap_err().contains("\"C\""));
        assert!(read("WRKJRNA JRN(A B)").unwrap_err().contains("JRN('A B')"));
        assert!(
            read("DSPJRN JRN(A/B) NEWEST(PERHAPS)")
                .unwrap_err()
                .contains("*YES or *NO")
        );
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_cl() {
        assert_eq!(
            refused("ADDRMTJRN RDB(BKP)"),
            "needed, and not given: SRCJRN"
        );
        let error = refused("CRTLIB LIB('no name')");
        assert!(
            error.starts_with("LIB(no name): name \"no name\" holds"),
            "{error}"
        );
        assert_eq!(refused("CRTLIB LIB(A) LIB(B)"), "LIB is given twice");
        assert!(refused("DSPJRN JRN(A/B) NBRENT(0)").starts_with("NBRENT(0): 0 is not in"));
    }
}
