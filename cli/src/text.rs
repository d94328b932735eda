//! Package `cli`: how values look to a person: times, sizes, counts, special values of IBM i. Must not print.

use std::error::Error;
use std::fmt::Write;

use rjournal::entry::Timestamp;
use rjournal::entry::control_entry::Level;
use rjournal::journal::{AckClass, UnknownReason};
use rjournal::remote::LinkState;

/// A time as `2026-11-21 10:05:33.123`, in the machine's time zone; `-` where none is known.
pub(crate) fn time(time: Timestamp) -> String {
    if time == Timestamp::ZERO {
        return "-".to_owned();
    }
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(stamp) => stamp
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S%.3f")
            .to_string(),
        Err(_) => "-".to_owned(),
    }
}

/// A size as `4.2 MiB`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {name}")
    }
}

/// A count with blanks between the thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as `12 ms`, `3.4 s` or `2 h 5 min`.
pub(crate) fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
        _ => format!(
            "{} h {} min",
            millis / 3_600_000,
            millis % 3_600_000 / 60_000
        ),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A special value of IBM i without its star and in upper case: `*sync`, `SYNC` and `sync` are one.
pub(crate) fn special(text: &str) -> String {
    text.trim_start_matches('*').to_ascii_uppercase()
}

/// *YES or *NO.
pub(crate) const fn yes_no(value: bool) -> &'static str {
    if value { "*YES" } else { "*NO" }
}

/// What a *SYNC target must have done, as a special value.
pub(crate) const fn level(level: Level) -> &'static str {
    match level {
        Level::Received => "*RECEIVED",
        Level::Written => "*WRITTEN",
    }
}

/// An ack class, as printed everywhere.
pub(crate) const fn class(class: AckClass) -> &'static str {
    match class {
        AckClass::Sync => "SYNC",
        AckClass::Received => "RECEIVED",
        AckClass::Local => "LOCAL",
    }
}

/// What an ack class means.
pub(crate) const fn class_means(class: AckClass) -> &'static str {
    match class {
        AckClass::Sync => "on disk here and at every target of the in-sync set",
        AckClass::Received => "on disk here, in the memory of every target of the in-sync set",
        AckClass::Local => "on disk here only",
    }
}

/// Why nobody can say what became of a deposit.
pub(crate) const fn unknown(why: UnknownReason) -> &'static str {
    match why {
        UnknownReason::Poisoned => "a write or flush went wrong after it was sealed",
        UnknownReason::Closed => "the journal was closed before the answer",
        UnknownReason::NotReplicated => "the in-sync set did not answer",
        UnknownReason::Deadline => "no answer came in time",
    }
}

/// A number and what it counts, as in `1 entry` or `2 entries`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Numbers in order, those in a row as one: `3, 5-9`.
pub(crate) fn ranges(numbers: &[i64]) -> String {
    let mut rows: Vec<(i64, i64)> = Vec::new();
    for &number in numbers {
        match rows.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => rows.push((number, number)),
        }
    }
    let rows = rows.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    rows.collect::<Vec<_>>().join(", ")
}

/// An error with all its causes.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.ends_with(&further) {
            text.push_str(": ");
            text.push_str(&further);
        }
        cause = error.source();
    }
    text
}

/// At most so many characters; what was cut is marked.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// Bytes as text where they are text (line ends and tabs are written `\n`, `\t`), else as hexadecimal digits with an `X` as
/// on IBM i.
pub(crate) fn bytes_or_hex(bytes: &[u8]) -> String {
    let is_text = |text: &&str| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    };
    match std::str::from_utf8(bytes).ok().filter(is_text) {
        Some(text) => one_line(text),
        None => format!("X'{}'", hex(bytes)),
    }
}

/// Text on one line: line ends and tabs are written `\n`, `\t`. What somebody put into a row must not look like a line of
/// what is printed.
pub(crate) fn one_line(text: &str) -> String {
    let ends = [('\n', "\\n"), ('\r', "\\r"), ('\t', "\\t")];
    ends.iter()
        .fold(text.to_owned(), |text, (character, written)| {
            if text.contains(*character) {
                text.replace(*character, written)
            } else {
                text
            }
        })
}

/// A link's delivery; whether it has caught up says nothing while it does not run.
pub(crate) fn delivery(delivery: &str, state: LinkState) -> &str {
    match state {
        LinkState::Active | LinkState::ControlledEnd => delivery,
        LinkState::Inactive | LinkState::Failed => delivery.trim_end_matches("PEND"),
    }
}

/// A word as a shell takes it.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_people_write_them() {
        assert_eq!(
            (bytes(512), bytes(1536)),
            ("512 B".to_owned(), "1.5 KiB".to_owned())
        );
        assert_eq!(
            (count(1_234_567), count(12)),
            ("1 234 567".to_owned(), "12".to_owned())
        );
        assert_eq!(
            (millis(12), millis(3_450)),
            ("12 ms".to_owned(), "3.4 s".to_owned())
        );
        assert_eq!(special("*Sync"), "SYNC");
    }

    #[test]
    fn what_is_cut_is_marked_and_no_character_is_split() {
        assert_eq!(cut("Größe", 5), "Größe");
        assert_eq!(cut("Größe", 3), "Grö...");
        assert_eq!(counted(1, "entry", "entries"), "1 entry");
        assert_eq!(counted(2000, "entry", "entries"), "2 000 entries");
    }

    #[test]
    fn numbers_in_a_row_are_told_as_one() {
        assert_eq!(ranges(&[3, 5, 6, 7, 9, 10]), "3, 5-7, 9-10");
        assert_eq!((ranges(&[]), ranges(&[4])), (String::new(), "4".to_owned()));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hex() {
        assert_eq!(bytes_or_hex("Größe".as_bytes()), "Größe");
        assert_eq!(bytes_or_hex(b"a\0"), "X'6100'");
        assert_eq!(bytes_or_hex(b"a\r\n\tb"), "a\\r\\n\\tb");
        assert_eq!(bytes_or_hex(&[0xff]), "X'ff'");
    }

    #[test]
    fn an_error_tells_its_causes_once() {
        let error = "A FOO"
            .parse::<rjournal::entry::record::Field>()
            .unwrap_err();
        assert!(causes(&error).contains("FOO"), "{}", causes(&error));
        let flat = "X".parse::<rjournal::entry::QualifiedName>().unwrap_err();
        assert_eq!(causes(&flat), flat.to_string());
    }
}
