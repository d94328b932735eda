//! Package `cli`: from what a person types to a point in time: `2026-11-21 10:00`, `2026-11-21T10:00:00Z`, `10:00`, `-10m`.
//! Must not read a clock: the present comes in.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp as Stamp};
use rjournal::entry::Timestamp;

use crate::error::CliError;

/// Reads a time. Where no zone is given it is the machine's; a time of day alone is today's; `-10m` is ten minutes ago
/// (units s, m, h, d).
pub(crate) fn parse(
    text: &str,
    keyword: &str,
    now: Stamp,
    zone: &TimeZone,
) -> Result<Timestamp, CliError> {
    let found =
        read(text.trim(), now, zone).and_then(|stamp| u64::try_from(stamp.as_microsecond()).ok());
    found.map(Timestamp::from_micros).ok_or_else(|| {
        let forms = "2026-11-21 10:00, 2026-11-21T10:00:00Z, 10:00 (today) or -10m (ten minutes ago; s, m, h or d)";
        CliError::invalid(format!("{keyword} {text:?} is not a time: write it as {forms}"))
    })
}

fn read(text: &str, now: Stamp, zone: &TimeZone) -> Option<Stamp> {
    if let Some(ago) = text.strip_prefix('-') {
        return now.checked_sub(duration(ago)?).ok();
    }
    if text.eq_ignore_ascii_case("now") {
        return Some(now);
    }
    if let Ok(stamp) = text.parse::<Stamp>() {
        return Some(stamp);
    }
    let moment = match (text.parse::<DateTime>(), text.parse::<Time>()) {
        (Ok(moment), _) => moment,
        (Err(_), Ok(time)) => now.to_zoned(zone.clone()).date().to_datetime(time),
        (Err(_), Err(_)) => text.parse::<Date>().ok()?.to_datetime(Time::midnight()),
    };
    moment
        .to_zoned(zone.clone())
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// A whole number and a unit.
fn duration(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().next_back()?;
    let number: i64 = text
        .strip_suffix(unit)?
        .trim_end()
        .parse()
        .ok()
        .filter(|number| *number >= 0)?;
    let seconds = match unit.to_ascii_lowercase() {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T10:30:00Z";

    fn read_at(text: &str, zone: &TimeZone) -> Option<String> {
        read(text, NOW.parse().unwrap(), zone).map(|stamp| stamp.to_string())
    }

    fn utc(text: &str) -> Option<String> {
        read_at(text, &TimeZone::UTC)
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [
            ("2026-11-21 10:00", "2026-11-21T10:00:00Z"),
            ("2026-11-21 10:00:05.250", "2026-11-21T10:00:05.25Z"),
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00Z"),
            ("2026-11-21", "2026-11-21T00:00:00Z"),
            ("09:15", "2026-11-21T09:15:00Z"),
            ("-10m", "2026-11-21T10:20:00Z"),
            ("-90s", "2026-11-21T10:28:30Z"),
            ("-2H", "2026-11-21T08:30:00Z"),
            ("-1 d", "2026-11-20T10:30:00Z"),
            ("now", NOW),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn without_a_zone_the_machines_is_meant() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(
            read_at("2026-11-21 10:00", &zone).as_deref(),
            Some("2026-11-21T08:00:00Z")
        );
        assert_eq!(
            read_at("01:00", &zone).as_deref(),
            Some("2026-11-20T23:00:00Z")
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let most = format!("-{}d", i64::MAX);
        for text in [
            "",
            "-",
            "-m",
            "10m",
            "-10",
            "--10m",
            "-1w",
            "yesterday",
            "2026-13-01",
            "25:00",
            "-1.5h",
            "-ß",
            &most,
            "-99999999d",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
        let error = parse("soon", "FROMTIME", NOW.parse().unwrap(), &TimeZone::UTC).unwrap_err();
        assert!(
            error.0.text.contains("FROMTIME \"soon\""),
            "{}",
            error.0.text
        );
        let early = parse(
            "1969-01-01",
            "FROMTIME",
            NOW.parse().unwrap(),
            &TimeZone::UTC,
        );
        assert!(early.is_err());
    }
}
