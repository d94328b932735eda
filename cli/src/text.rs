//! Package `cli`: how values look to a person: times, sizes, counts, special values of IBM i. Must not print.

use std::fmt::Write;

use rjournal::entry::Timestamp;

/// A time as `2026-11-21 10:05:33.123`, in the machine's time zone; `-` where none is known.
pub(crate) fn time(time: Timestamp) -> String {
    if time == Timestamp::ZERO {
        return "-".to_owned();
    }
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(stamp) => stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
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
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {name}") }
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
        _ => format!("{} h {} min", millis / 3_600_000, millis % 3_600_000 / 60_000),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        drop(write!(text, "{byte:02x}"));
        text
    })
}

/// A special value of IBM i without its star and in upper case: `*sync`, `SYNC` and `sync` are one.
pub(crate) fn special(text: &str) -> String {
    text.trim_start_matches('*').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_people_write_them() {
        assert_eq!((bytes(512), bytes(1536)), ("512 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!((count(1_234_567), count(12)), ("1 234 567".to_owned(), "12".to_owned()));
        assert_eq!((millis(12), millis(3_450)), ("12 ms".to_owned(), "3.4 s".to_owned()));
        assert_eq!(special("*Sync"), "SYNC");
    }
}
