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
    /// A CSV file to be made: its name, and how many rows it has.
    Rows(String, u64),
    /// Something about the network.
    Network(String),
    /// The disk of a system: its name, and the size.
    Disk(String, String),
    /// Bytes of the first receiver of a system are to be changed: the system, from where, how many.
    Damage(String, u64, usize),
    /// The control file of the first journal of a system is to be lost in both slots.
    LoseControl(String),
    /// The catalog of a system is to be lost in both copies.
    LoseCatalog(String),
    /// The flush marks of a system are to be lost.
    LoseMarks(String),
    /// The directory of a system is to be copied.
    Keep(String),
    /// The copy is to be put back.
    Restore(String),
    /// Every write of the daemon of a system is to fail.
    NoWrites(String),
    /// A command.
    Command {
        /// The system.
        system: String,
        /// How it is run.
        how: How,
        /// The command.
        command: String,
        /// What it is to print.
        expected: String,
    },
}

/// How a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Once, to its end.
    Once,
    /// Until it prints what is expected.
    Eventually,
    /// Beside what follows.
    Beside,
}

/// Reads a scenario.
pub(crate) fn parse(text: &str) -> Vec<Line> {
    let command = Regex::new(r"^([A-Z]+)>([~&]?) (.*)$").expect("a good expression");
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(found) = command.captures(line) {
            lines.push(Line::Command {
                system: found[1].to_owned(),
                how: match &found[2] {
                    "~" => How::Eventually,
                    "&" => How::Beside,
                    _ => How::Once,
                },
                command: found[3].to_owned(),
                expected: String::new(),
            });
        } else if let Some(write) = line.strip_prefix("!write ") {
            let (name, text) = write.split_once(' ').expect("a name and a text");
            lines.push(Line::Write(name.to_owned(), text.to_owned()));
        } else if let Some(rows) = line.strip_prefix("!rows ") {
            let (name, count) = rows.split_once(' ').expect("a name and a number");
            lines.push(Line::Rows(
                name.to_owned(),
                count.parse().expect("a number"),
            ));
        } else if let Some(damage) = line.strip_prefix("!damage ") {
            let [system, from, count] = damage.split(' ').collect::<Vec<_>>()[..] else {
                panic!("a system, a byte and a number of bytes are needed: {damage}");
            };
            lines.push(Line::Damage(
                system.to_owned(),
                from.parse().expect("a number"),
                count.parse().expect("a number"),
            ));
        } else if let Some(system) = line.strip_prefix("!lose-control ") {
            lines.push(Line::LoseControl(system.to_owned()));
        } else if let Some(system) = line.strip_prefix("!lose-catalog ") {
            lines.push(Line::LoseCatalog(system.to_owned()));
        } else if let Some(system) = line.strip_prefix("!lose-marks ") {
            lines.push(Line::LoseMarks(system.to_owned()));
        } else if let Some(system) = line.strip_prefix("!keep ") {
            lines.push(Line::Keep(system.to_owned()));
        } else if let Some(system) = line.strip_prefix("!restore ") {
            lines.push(Line::Restore(system.to_owned()));
        } else if let Some(system) = line.strip_prefix("!no-writes ") {
            lines.push(Line::NoWrites(system.to_owned()));
        } else if let Some(order) = line.strip_prefix("!network ") {
            lines.push(Line::Network(order.to_owned()));
        } else if let Some(disk) = line.strip_prefix("!disk ") {
            let (name, size) = disk.split_once(' ').expect("a name and a size");
            lines.push(Line::Disk(name.to_owned(), size.to_owned()));
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
        (r"(Bundles read[ .]*: ) [\d ]+", "$1 <COUNT>"),
        (r"(Entries[ .]*:  1 to )[\d ]+", "$1<N>"),
        (r"(Heads compared[ .]*: ) [\d ]+", "$1 <COUNT>"),
        (r"(Entries read[ .]*: ) [\d ]+", "$1 <COUNT>"),
        (r"(Bytes read[ .]*: ) [\d.]+ \w+", "$1 <SIZE>"),
        (
            r"bytes \d+ to \d+, entries [\d ]+ to \d+",
            "bytes <FROM> to <TO>, entries <FIRST> to <LAST>",
        ),
        (
            r"from byte \d+, entries [\d ]+ to \d+",
            "from byte <FROM>, entries <FIRST> to <LAST>",
        ),
        (
            r"damaged at byte \d+: entry \d+ should",
            "damaged at byte <N>: entry <N> should",
        ),
        (r"and entry \d+ was already", "and entry <N> was already"),
        (r"(being loaded from \S+): \d\d %.*", "$1: <PART>"),
        (r"(Behind[ .]*: ) \d{3} \d{3} entries", "$1 <MANY>"),
        (r"(Fetched before[ .]*: ) [\d.]+ \w+", "$1 <SIZE>"),
        (r"(Bytes put back[ .]*: ) [\d.]+ \w+", "$1 <SIZE>"),
        (r"(Good (bundles|entries)[ .]*: ) [\d ]+", "$1 <COUNT>"),
        (r"(Good bytes[ .]*: ) [\d.]+ \w+", "$1 <SIZE>"),
        (r"Receivers take [\d.]+ \w+", "Receivers take <SIZE>"),
        (
            r"applied up to entry [\d ]+, [\d ]+ entr(y|ies) behind",
            "applied <SO FAR>",
        ),
        (
            r"entry [\d ]+ (of \S+ )(deposited|had landed)",
            "entry <N> $1$2",
        ),
        (r"LANDED as entry [\d ]+ of", "LANDED as entry <N> of"),
        (
            r"another deposit, entry [\d ]+",
            "another deposit, entry <N>",
        ),
        (r"whether entry [\d ]+ of", "whether entry <N> of"),
        (r"as they were at entry [\d ]+", "as they were at entry <N>"),
        (
            r"the oldest here comes after [\d ]+:",
            "the oldest here comes after <N>:",
        ),
        (
            r#""applied":\d+,"lag_entries":\d+"#,
            r#""applied":<SO FAR>"#,
        ),
        (r#""pid":\d+"#, "\"pid\":<PID>"),
        (
            r"(\*(YES|NO) +\*(YES|NO)) +[\d ]+ +(-|\d+)  (this|never|<TIME>)",
            "$1  <SO FAR>  $5",
        ),
        (
            r"(\*(CREATED|HANDEDOVER|TAKENBACK|TAKENOVER)) +[\d ]+ +(-|\d+)  <TIME>",
            "$1  <FIRST AND LAST>  <TIME>",
        ),
        (
            r"(?m)^ +\d+  (J (HO|OE)  .* recovery group)",
            "     <N>  $1",
        ),
        (r"ended with entry [\d ]+ of", "ended with entry <N> of"),
        (r"(Last entry before it[ .]*: ) [\d ]+", "$1 <N>"),
        (r"((No deposits for|Took)[ .]*: ) [\d.]+ m?s", "$1 <WHILE>"),
        (r"<TIME>, [\d.]+ m?s ago", "<TIME>, <AGO>"),
        (
            r"((Flushed here|Confirmed)[ .]*: ) up to entry [\d ]+",
            "$1 up to entry <N>",
        ),
        (r"\br\d{8}\.rcv\b", "<FILE>"),
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
