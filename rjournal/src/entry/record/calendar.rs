//! Room `entry`: days and microseconds as calendar dates and times of day, and back. The calendar is the Gregorian one
//! for all years from 1 to 9999 (proleptic); days have 86,400 seconds. Must not know a clock or a time zone.
//!
//! Source of the arithmetic: counting in eras of 400 years that begin on 1 March, as SQL databases and C++20 do.

use std::fmt;

/// Microseconds of one day.
pub(super) const DAY_MICROS: i64 = 86_400_000_000;
/// 0001-01-01, in days since 1970-01-01.
pub(super) const DAYS_MIN: i32 = -719_162;
/// 9999-12-31, in days since 1970-01-01.
pub(super) const DAYS_MAX: i32 = 2_932_896;

/// Days from 0000-03-01 to 1970-01-01.
const ERA_OFFSET_DAYS: i64 = 719_468;
const ERA_DAYS: i64 = 146_097;

/// Whether a date is within the years 1 to 9999.
pub(super) fn is_date(days: i32) -> bool {
    (DAYS_MIN..=DAYS_MAX).contains(&days)
}

/// Whether a number of microseconds is a time of day.
pub(super) fn is_time(micros: u64) -> bool {
    micros < DAY_MICROS.unsigned_abs()
}

/// Whether a timestamp is within the years 1 to 9999.
pub(super) fn is_timestamp(micros: i64) -> bool {
    i32::try_from(micros.div_euclid(DAY_MICROS)).is_ok_and(is_date)
}

/// Days since 1970-01-01; nothing when the calendar has no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i32> {
    let (from_march, year_of_march) = if month > 2 {
        (month - 3, year)
    } else {
        (month + 9, year - 1)
    };
    let (era, year_of_era) = (year_of_march.div_euclid(400), year_of_march.rem_euclid(400));
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * ERA_DAYS + day_of_era - ERA_OFFSET_DAYS;
    // A day the month does not have would come back as one of the next month.
    let days = i32::try_from(days).ok().filter(|days| is_date(*days))?;
    (civil_from_days(i64::from(days)) == (year, month, day)).then_some(days)
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + ERA_OFFSET_DAYS;
    let (era, day_of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A number written in exactly `width` digits.
fn digits(text: &str, width: usize) -> Option<i64> {
    let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Reads `YYYY-MM-DD`.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    days_from_civil(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?)
}

/// Reads `HH:MM:SS`, and up to six digits of a second behind a point.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, rest) = rest.split_once(':')?;
    let (second, micros) = match rest.split_once('.') {
        Some((second, fraction)) => (second, fraction_micros(fraction)?),
        None => (rest, 0),
    };
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    let fits = hour < 24 && minute < 60 && second < 60;
    let micros = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    fits.then(|| u64::try_from(micros).ok()).flatten()
}

fn fraction_micros(fraction: &str) -> Option<i64> {
    let missing = 6_usize.checked_sub(fraction.len())?;
    let value = digits(fraction, fraction.len())?;
    Some((0..missing).fold(value, |value, _| value * 10))
}

/// Reads `YYYY-MM-DD HH:MM:SS`, with a `T` instead of the space if need be, and a fraction as in a time.
pub(super) fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let (days, micros) = (parse_date(date)?, parse_time(time)?);
    Some(i64::from(days) * DAY_MICROS + i64::try_from(micros).ok()?)
}

/// Writes `YYYY-MM-DD`.
pub(super) fn write_date(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    write!(f, "{year:04}-{month:02}-{day:02}")
}

/// Writes `HH:MM:SS`, and six digits of a second behind a point when they are not all zero.
pub(super) fn write_time(f: &mut fmt::Formatter<'_>, micros: u64) -> fmt::Result {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(f, "{hour:02}:{minute:02}:{second:02}")?;
    if fraction == 0 {
        Ok(())
    } else {
        write!(f, ".{fraction:06}")
    }
}

/// Writes `YYYY-MM-DD HH:MM:SS`, and six digits of a second behind a point when they are not all zero.
pub(super) fn write_timestamp(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    write_date(f, micros.div_euclid(DAY_MICROS))?;
    f.write_str(" ")?;
    write_time(f, micros.rem_euclid(DAY_MICROS).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_have_their_known_numbers() {
        for (text, days) in [
            ("0001-01-01", DAYS_MIN),
            ("1582-10-15", -141_427),
            ("1969-12-31", -1),
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2026-05-09", 20_582),
            ("9999-12-31", DAYS_MAX),
        ] {
            assert_eq!(parse_date(text), Some(days), "{text}");
        }
    }

    #[test]
    fn every_day_comes_back_and_follows_the_one_before() {
        let mut before = civil_from_days(i64::from(DAYS_MIN) - 1);
        assert_eq!(before, (0, 12, 31));
        for days in DAYS_MIN..=DAYS_MAX {
            let (year, month, day) = civil_from_days(i64::from(days));
            assert_eq!(days_from_civil(year, month, day), Some(days));
            let next_day = (year, month) == (before.0, before.1) && day == before.2 + 1;
            let next_month =
                day == 1 && before.2 >= 28 && (year, month) == (before.0, before.1 + 1);
            let next_year =
                (month, day) == (1, 1) && (before.1, before.2) == (12, 31) && year == before.0 + 1;
            assert!(
                next_day || next_month || next_year,
                "{before:?} {year}-{month}-{day}"
            );
            before = (year, month, day);
        }
    }

    #[test]
    fn days_the_calendar_does_not_have_are_refused() {
        for bad in [
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "2024-01-32",
            "0000-12-31",
            "10000-01-01",
            "24-01-01",
            "2024-1-01",
            "2024-01-1",
            "+024-01-01",
            "2024-01-01 ",
            "2024-01",
            "2024-01-01-01",
            "２024-01-01",
            "",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_have_at_most_six_digits_of_a_second() {
        assert_eq!(parse_time("00:00:00"), Some(0));
        assert_eq!(parse_time("23:59:59.999999"), Some(86_399_999_999));
        assert_eq!(parse_time("00:00:01.5"), Some(1_500_000));
        for bad in [
            "24:00:00",
            "00:60:00",
            "00:00:60",
            "1:00:00",
            "00:00",
            "00:00:00.",
            "00:00:00.1234567",
            "00:00:00.-1",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_before_1970_count_backwards() {
        assert_eq!(parse_timestamp("1970-01-01 00:00:00"), Some(0));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.999999"), Some(-1));
        assert!(is_timestamp(
            parse_timestamp("9999-12-31 23:59:59.999999").unwrap()
        ));
        assert!(!is_timestamp(
            parse_timestamp("9999-12-31 23:59:59.999999").unwrap() + 1
        ));
        assert!(!is_timestamp(
            parse_timestamp("0001-01-01 00:00:00").unwrap() - 1
        ));
        for bad in [
            "1970-01-01",
            "1970-01-01  00:00:00",
            "1970-01-01 00:00:00Z",
            "1970-01-01t00:00:00",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }
}
