//! Package `cli`, tests: the text of a scenario: its lines, words as a shell splits them, and what differs from run to run
//! made the same. Must not run anything.

use regex_lite::Regex;

/// What a line of a scenario asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// For people.
    Note(String),
    /// A file to be made: its name, and its text with `\n` for ends of lines.
    Write(String, String),
    /// A command.
    Command {
        /// The system.
        system: String,
        /// Whether it is run until it prints what is expected.
        eventually: bool,
        /// The command.
        command: String,
        /// What it is to print.
        expected: String,
    },
}

/// Reads a scenario.
pub(crate) fn parse(text: &str) -> Vec<Line> {
    let command = Regex::new(r"^([A-Z]+)>(~?) (.*)$").expect("a good expression");
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(found) = command.captures(line) {
            lines.push(Line::Command {
                system: found[1].to_owned(),
                eventually: !found[2].is_empty(),
                command: found[3].to_owned(),
                expected: String::new(),
            });
        } else if let Some(write) = line.strip_prefix("!write ") {
            let (name, text) = write.split_once(' ').expect("a name and a text");
            lines.push(Line::Write(name.to_owned(), text.to_owned()));
        } else if line.is_empty() || line.starts_with('#') {
            lines.push(Line::Note(line.to_owned()));
        } else if let Some(Line::Command { expected, .. }) = lines.last_mut() {
            expected.push_str(line);
            expected.push('\n');
        } else {
            panic!("{line:?} is no line of a scenario");
        }
    }
    lines
}

/// The words of a command: blanks split, apostrophes keep together.
pub(crate) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut in_word, mut quoted) = (String::new(), false, false);
    for c in command.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                in_word = true;
            }
            ' ' if !quoted => {
                if std::mem::take(&mut in_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                in_word = true;
            }
        }
    }
    assert!(!quoted, "an apostrophe is missing in {command:?}");
    if in_word {
        words.push(word);
    }
    words
}

/// What a command printed, with all that differs from run to run made the same.
pub(crate) fn settled(printed: &str, dir: &str) -> String {
    let rules = [
        (r"\b[0-9a-f]{16}(-[0-9a-f]{16}){3}\b", "<KEY>"),
        (r"\b[0-9a-f]{64}\b", "<HEAD>"),
        (r"\b[0-9a-f]{32}\b", "<ID>"),
        (r"\b[0-9a-f]{16}\b", "<NUMBER>"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\b", "<TIME>"),
        (r"\b127\.0\.0\.1:\d+\b", "<ADDRESS>"),
        (r"\bup \d+[^,\n]*,", "up <WHILE>,"),
        (r"\b[\d.]+ [KMGT]iB free\b", "<ROOM> free"),
        (r"(Process[ .]*: ) \d+", "$1 <PID>"),
        (r"\bUser +Data\b", "User  Data"),
        (r"\bSNDJRNE  \S+ +", "SNDJRNE  <USER>  "),
        (r"\bheard (just now|[\d.]+ m?s ago)", "heard <AGO>"),
        (r#""pid":\d+"#, "\"pid\":<PID>"),
        (r"\(os error \d+\)", "(<ERRNO>)"),
    ];
    let mut text = printed.replace(dir, "$DIR");
    for (rule, with) in rules {
        let rule = Regex::new(rule).expect("a good expression");
        text = rule.replace_all(&text, with).into_owned();
    }
    // A blank line would end what is expected.
    let lines = text.lines().map(str::trim_end).map(|line| {
        if line.is_empty() {
            "  ".to_owned()
        } else {
            line.to_owned()
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// The first lines that differ.
pub(crate) fn difference(expected: &str, printed: &str) -> String {
    let (expected, printed): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), printed.lines().collect());
    let same = expected
        .iter()
        .zip(&printed)
        .take_while(|(expected, printed)| expected == printed)
        .count();
    let part = |lines: &[&str], from: usize, count: usize, sign: &str| {
        let lines = lines.iter().skip(from).take(count);
        lines
            .flat_map(|line| [sign, " ", line, "\n"])
            .collect::<String>()
    };
    let begin = same.saturating_sub(5);
    format!(
        "line {}:\n{}{}{}",
        same + 1,
        part(&printed, begin, same - begin, " "),
        part(&expected, same, 12, "-"),
        part(&printed, same, 12, "+")
    )
}
