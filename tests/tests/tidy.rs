//! The house rules, held by a test: who imports whom, what every file says of itself, how large it may grow, what never
//! stands on main. docs/ARCHITECTURE.md draws the same table for people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const LINES_MAX: usize = 600;

/// Rooms of package `rjournal`, and the rooms each may import.
const RJOURNAL: [(&str, &[&str]); 8] = [
    ("entry", &[]),
    ("disk", &[]),
    ("receiver", &["entry", "disk", "error"]),
    ("journal", &["entry", "disk", "receiver", "error"]),
    ("remote", &["entry"]),
    ("role", &["entry", "remote"]),
    ("link", &["entry", "remote", "error"]),
    (
        "daemon",
        &[
            "entry", "disk", "receiver", "journal", "remote", "role", "link", "error",
        ],
    ),
];

/// Rooms of package `apply`, and the rooms each may import.
const APPLY: [(&str, &[&str]); 6] = [
    ("store", &[]),
    ("machine", &["store", "error"]),
    ("job", &["machine", "store", "error"]),
    ("database", &["job", "machine", "store", "error"]),
    ("serve", &["database", "job", "store", "error"]),
    (
        "process",
        &["machine", "job", "database", "serve", "store", "error"],
    ),
];

/// Packages from elsewhere, and the only places that name them.
const PLACES: [(&str, &[&str]); 9] = [
    ("quinn", &["rjournal/src/link/"]),
    ("rustls", &["rjournal/src/link/", "cli/src/"]),
    (
        "tokio",
        &[
            "rjournal/src/link/",
            "rjournal/src/daemon/",
            "apply/",
            "cli/",
            "tests/",
            "examples/",
        ],
    ),
    ("clap", &["cli/src/"]),
    ("httparse", &["rjournal/src/daemon/health/"]),
    (
        "sled",
        &["apply/src/store/", "apply/tests/store_conformance/"],
    ),
    (
        "redb",
        &["apply/src/store/", "apply/tests/store_conformance/"],
    ),
    ("rmp_serde", &["rjournal/src/", "apply/src/"]),
    ("stateright", &["tests/model/"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package stands in the workspace")
        .to_owned()
}

/// All files of the project with one of these extensions: their paths from the root, and their texts.
fn files(extensions: &[&str]) -> BTreeMap<String, String> {
    let root = root();
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("a file").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    dirs.push(path);
                }
                continue;
            }
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if extensions.contains(&&*extension) {
                let text = std::fs::read_to_string(&path).expect("a text");
                let path = path.strip_prefix(&root).expect("below the root");
                found.insert(path.to_string_lossy().into_owned(), text);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn code_file(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

/// The lines of a file that are code, not comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// The rooms a line names after `crate::`.
fn rooms_named<'a>(line: &'a str, known: &'a [(&str, &[&str])]) -> Vec<&'a str> {
    let mut named = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let word: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        named.extend(
            known
                .iter()
                .map(|(room, _)| *room)
                .chain(["error"])
                .filter(|room| *room == word),
        );
    }
    named
}

fn check_imports(package: &str, table: &[(&str, &[&str])]) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in files(&["rs"]) {
        let Some(rest) = path.strip_prefix(package) else {
            continue;
        };
        let room = rest.split(['/', '.']).next().unwrap_or_default();
        if room == "lib" || room == "error" {
            continue;
        }
        let Some((_, allowed)) = table.iter().find(|(known, _)| *known == room) else {
            wrong.push(format!("{path}: {room} is no room of the table"));
            continue;
        };
        seen += 1;
        for (number, line) in code(&text) {
            for named in rooms_named(line, table) {
                if named != room && !allowed.contains(&named) {
                    wrong.push(format!("{path}:{number}: {room} must not know {named}"));
                }
            }
        }
    }
    assert!(seen > 5, "the rooms of {package} were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    check_imports("rjournal/src/", &RJOURNAL);
    check_imports("apply/src/", &APPLY);
}

#[test]
fn packages_from_elsewhere_are_named_in_their_places_only() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["rs"]) {
        for (number, line) in code(&text) {
            for (package, places) in PLACES {
                let named = line.contains(&format!(" {package}::"))
                    || line.contains(&format!("({package}::"))
                    || line.contains(&format!("<{package}::"));
                if named && !places.iter().any(|place| path.starts_with(place)) {
                    wrong.push(format!("{path}:{number}: {package} does not belong here"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_and_holds_one_room() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["rs"]) {
        if !text.starts_with("//! ") {
            wrong.push(format!("{path} does not open with //!"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{path} has {lines} lines: two rooms in one?"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_must_not_stand_on_main_does_not() {
    // Put together here, so that this file does not hold them itself.
    let never = ["TO", "FIX", "XX"].map(|begin| match begin {
        "TO" => "TODO".to_owned(),
        "FIX" => "FIXME".to_owned(),
        other => format!("{other}X:"),
    });
    let ignored = format!("#[{}", "ignore");
    let mut wrong = Vec::new();
    for (path, text) in files(&["rs", "md", "toml", "txt"]) {
        let is_this = path.ends_with("tests/tidy.rs");
        let is_test = path.contains("tests/") && code_file(&path);
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if !is_this && never.iter().any(|word| line.contains(word.as_str())) {
                wrong.push(format!("{path}:{number}: say it in an issue: {line}"));
            }
            if !is_this && line.contains(&ignored) {
                wrong.push(format!("{path}:{number}: a test that is not run: {line}"));
            }
            if !is_this && is_test && line.contains("sleep(") {
                wrong.push(format!(
                    "{path}:{number}: wait for the event instead: {line}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["md"]) {
        let dir = root().join(&path).parent().unwrap().to_owned();
        for (index, line) in text.lines().enumerate() {
            for part in line.split("](").skip(1) {
                let Some(target) = part.split([')', '#']).next() else {
                    continue;
                };
                let elsewhere = target.is_empty() || target.contains("://");
                if !elsewhere && !dir.join(target).exists() {
                    wrong.push(format!("{path}:{}: {target} is not there", index + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_id_stands_in_the_documents() {
    let messages = &files(&["md"])["docs/MESSAGES.md"];
    let mut missing = Vec::new();
    for (path, text) in files(&["rs"]) {
        if !path.contains("/src/") {
            continue;
        }
        for (number, line) in code(&text) {
            for part in line.split('"').skip(1).step_by(2) {
                let is_id = part.len() == 7
                    && (part.starts_with("RJN")
                        || part.starts_with("CPF")
                        || part.starts_with("CPI"))
                    && part[3..].chars().all(|c| c.is_ascii_hexdigit());
                if is_id && !messages.contains(&format!("### {part}")) {
                    missing.push(format!("{path}:{number}: {part}"));
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "docs/MESSAGES.md lacks\n{}",
        missing.join("\n")
    );
}
