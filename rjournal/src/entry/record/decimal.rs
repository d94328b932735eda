//! Room `entry`: exact decimal numbers of up to 38 digits. In comes `13.86`, out goes 1386 with two digits behind the
//! point. Must not know fields: which scale a field has is said by the caller.

use std::fmt;
use std::iter::repeat_n;

use super::value::ValueError;

/// Most digits of a decimal number.
pub const DECIMAL_DIGITS_MAX: u8 = 38;

/// An exact decimal number: `unscaled / 10^scale`. 1.5 and 1.50 are different values, as their texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}

impl Decimal {
    /// Puts `unscaled / 10^scale` together.
    ///
    /// # Errors
    /// [`ValueError::Digits`] when it has more than 38 digits, or more than 38 behind the point.
    pub fn new(unscaled: i128, scale: u8) -> Result<Self, ValueError> {
        let value = Self { unscaled, scale };
        if value.digits() > DECIMAL_DIGITS_MAX || scale > DECIMAL_DIGITS_MAX {
            return Err(ValueError::Digits { unscaled, scale });
        }
        Ok(value)
    }

    /// The number without its point.
    pub const fn unscaled(self) -> i128 {
        self.unscaled
    }

    /// How many digits stand behind the point.
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// How many digits the number without its point has, leading zeros left out.
    pub(super) fn digits(self) -> u8 {
        self.unscaled
            .unsigned_abs()
            .checked_ilog10()
            .map_or(0, |log| log as u8 + 1)
    }

    /// Reads an optional sign and digits with an optional point; nothing when it is not that, or when digits that are
    /// not zero stand behind the last of `scale` places.
    pub(super) fn parse(text: &str, scale: u8) -> Option<Self> {
        let (negative, number) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) {
            return None;
        }
        let places = usize::from(scale);
        let (kept, dropped) = fraction.split_at(fraction.len().min(places));
        if dropped.bytes().any(|byte| byte != b'0') {
            return None;
        }
        let zeros = repeat_n(b'0', places - kept.len());
        let unscaled = whole
            .bytes()
            .chain(kept.bytes())
            .chain(zeros)
            .try_fold(0_i128, |value, byte| {
                value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))
            })?;
        Self::new(if negative { -unscaled } else { unscaled }, scale).ok()
    }
}

impl fmt::Display for Decimal {
    /// Exactly `scale` digits behind the point, at least one before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(self.scale);
        let digits = format!(
            "{:0>width$}",
            self.unscaled.unsigned_abs(),
            width = places + 1
        );
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        f.pad(&format!("{sign}{whole}{point}{fraction}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGEST: i128 = 10_i128.pow(38) - 1;

    #[test]
    fn a_decimal_shows_all_its_places() {
        for (unscaled, scale, text) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (1386, 2, "13.86"),
            (-7, 0, "-7"),
        ] {
            assert_eq!(Decimal::new(unscaled, scale).unwrap().to_string(), text);
        }
    }

    #[test]
    fn reading_is_exact_or_refused() {
        let read = |text, scale| Decimal::parse(text, scale).map(|value| value.to_string());
        assert_eq!(read("+1.5", 2).as_deref(), Some("1.50"));
        assert_eq!(read("1.500", 2).as_deref(), Some("1.50"));
        assert_eq!(read(".5", 1).as_deref(), Some("0.5"));
        assert_eq!(read("-0.00", 2).as_deref(), Some("0.00"));
        assert_eq!(
            read("0000000000000000000000000000000000000000000000007", 0).as_deref(),
            Some("7")
        );
        for bad in [
            "", ".", "-", "+-1", "1,5", "1.5.5", "1e3", " 1", "1.555", "٣",
        ] {
            assert_eq!(read(bad, 2), None, "{bad}");
        }
    }

    #[test]
    fn thirty_eight_digits_are_the_most() {
        assert!(Decimal::new(LARGEST, 38).is_ok() && Decimal::new(-LARGEST, 0).is_ok());
        assert!(Decimal::new(LARGEST + 1, 0).is_err());
        assert!(Decimal::new(i128::MIN, 0).is_err());
        assert!(Decimal::new(1, 39).is_err());
        assert_eq!(Decimal::parse(&"9".repeat(39), 0), None);
        assert_eq!(
            Decimal::parse("1", 38),
            None,
            "1 with 38 places has 39 digits"
        );
        assert_eq!(Decimal::parse("1", 255), None);
    }

    proptest! {
        #[test]
        fn every_decimal_reads_back_from_its_text(unscaled in -LARGEST..=LARGEST, scale in 0..=38_u8) {
            let value = Decimal::new(unscaled, scale).unwrap();
            prop_assert_eq!(Decimal::parse(&value.to_string(), scale), Some(value));
        }
    }
}
