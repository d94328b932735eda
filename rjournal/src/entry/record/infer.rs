//! Room `entry`: the type of a column nobody described, from its texts. In come the texts of one column of a CSV file,
//! out goes the narrowest type that gives every one of them back byte by byte: `0171` is no number. Memory is bounded:
//! no text is kept. Must not know where the texts come from.

use super::decimal::Decimal;
use super::field_type::{FIELD_LENGTH_MAX, FieldType};
use super::value::Value;

/// Shortest text field that is guessed.
const CHARACTERS_MIN: u32 = 16;

/// What the texts of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess {
    /// The narrowest type that holds them all.
    pub field_type: FieldType,
    /// Whether a null was among them.
    pub nullable: bool,
}

/// The guess while the texts come in.
#[derive(Debug, Clone)]
pub struct ColumnGuess {
    /// Types of a fixed size that all texts so far had, the narrower first.
    candidates: Vec<FieldType>,
    decimals: Decimals,
    characters_max: u32,
    nullable: bool,
}

/// What all texts so far were as decimal numbers. All have the same digits behind the point, else the type would
/// change their texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decimals {
    NoText,
    All { digits: u8, scale: u8 },
    No,
}

impl ColumnGuess {
    /// Nothing seen yet: everything is possible.
    pub fn new() -> Self {
        let candidates = vec![
            FieldType::Boolean,
            FieldType::Integer,
            FieldType::BigInt,
            FieldType::Date,
            FieldType::Timestamp,
            FieldType::Uuid,
        ];
        Self {
            candidates,
            decimals: Decimals::NoText,
            characters_max: 0,
            nullable: false,
        }
    }

    /// Looks at the next text of the column, `None` for a null.
    pub fn observe(&mut self, text: Option<&str>) {
        let Some(text) = text else {
            self.nullable = true;
            return;
        };
        self.candidates.retain(|field_type| {
            Value::parse(text, field_type).is_ok_and(|value| value.to_text() == text)
        });
        self.decimals = self.decimals.after(text);
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        self.characters_max = self.characters_max.max(characters);
    }

    /// The narrowest type for all texts so far, in the order BOOLEAN, INTEGER, BIGINT, DECIMAL, DATE, TIMESTAMP, UUID,
    /// VARCHAR. The length of a VARCHAR is generous: the next power of two, at least 16. A column without any text is
    /// a VARCHAR too.
    pub fn finish(&self) -> Guess {
        let field_type = match (self.decimals, self.candidates.first()) {
            (Decimals::NoText, _) | (Decimals::No, None) => self.varchar(),
            // What is BIGINT is DECIMAL too, and nothing else is two of these: the narrower one goes first.
            (_, Some(candidate)) => *candidate,
            (Decimals::All { digits, scale }, None) => FieldType::Decimal {
                precision: digits.max(scale).max(1),
                scale,
            },
        };
        Guess {
            field_type,
            nullable: self.nullable,
        }
    }

    fn varchar(&self) -> FieldType {
        let longest = self.characters_max.clamp(CHARACTERS_MIN, FIELD_LENGTH_MAX);
        FieldType::Varchar {
            characters_max: longest.next_power_of_two().min(FIELD_LENGTH_MAX),
        }
    }
}

impl Default for ColumnGuess {
    fn default() -> Self {
        Self::new()
    }
}

impl Decimals {
    fn after(self, text: &str) -> Self {
        if self == Self::No {
            return self;
        }
        let places = text
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len());
        let number = u8::try_from(places)
            .ok()
            .and_then(|scale| Decimal::parse(text, scale));
        let Some(number) = number.filter(|number| number.to_string() == text) else {
            return Self::No;
        };
        let (digits, scale) = (number.digits(), number.scale());
        match self {
            Self::NoText => Self::All { digits, scale },
            // Digits before and behind the point together stay within 38, since the scale is the same for all.
            Self::All {
                digits: before,
                scale: same,
            } if same == scale => Self::All {
                digits: before.max(digits),
                scale,
            },
            Self::All { .. } | Self::No => Self::No,
        }
    }
}

impl FieldType {
    /// The narrowest type that gives every text of a column back byte by byte; `None` stands for a null.
    pub fn infer_from<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> Guess {
        let mut guess = ColumnGuess::new();
        texts.into_iter().for_each(|text| guess.observe(text));
        guess.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{any_type, value_of};
    use super::*;

    fn guess(texts: &[&str]) -> String {
        FieldType::infer_from(texts.iter().copied().map(Some))
            .field_type
            .to_string()
    }

    #[test]
    fn the_narrowest_type_is_found() {
        for (texts, field_type) in [
            (&["true", "false"][..], "BOOLEAN"),
            (&["1", "-2147483648"], "INTEGER"),
            (&["1", "2147483648"], "BIGINT"),
            (&["1", "9223372036854775808"], "DECIMAL(19,0)"),
            (&["0.99", "13.86", "-0.01"], "DECIMAL(4,2)"),
            (&["0.00"], "DECIMAL(2,2)"),
            (&["2021-01-01", "1962-02-18"], "DATE"),
            (
                &["2021-01-01 00:00:00", "1962-02-18 10:00:00.000001"],
                "TIMESTAMP",
            ),
            (&["00112233-4455-6677-8899-aabbccddeeff"], "UUID"),
            (&["AC/DC"], "VARCHAR(16)"),
            (&["äöü äöü äöü äöü ä"], "VARCHAR(32)"),
            (&[""], "VARCHAR(16)"),
            (&[], "VARCHAR(16)"),
        ] {
            assert_eq!(guess(texts), field_type, "{texts:?}");
        }
    }

    #[test]
    fn a_text_that_would_not_come_back_makes_the_column_text() {
        for texts in [
            &["1", "0171"][..],
            &["1", "+1"],
            &["0", "-0"],
            &["1", ""],
            &["1", "1.0"],
            &["1.0", "1.00"],
            &[".5"],
            &["-0.00"],
            &["true", "TRUE"],
            &["true", "1"],
            &["2021-01-01", "2021-02-30"],
            &["2021-01-01", "2021-01-01 00:00:00"],
            &["2021-01-01 00:00:00.000000"],
            &["2021-01-01T00:00:00"],
            &["1e5"],
        ] {
            assert!(guess(texts).starts_with("VARCHAR"), "{texts:?}");
        }
    }

    #[test]
    fn nulls_are_noted_and_say_nothing_about_the_type() {
        let found = FieldType::infer_from([None, Some("1"), None]);
        assert_eq!(
            found,
            Guess {
                field_type: FieldType::Integer,
                nullable: true
            }
        );
        assert!(FieldType::infer_from([None]).nullable);
        assert!(!FieldType::infer_from([Some("1")]).nullable);
    }

    #[test]
    fn the_longest_text_sets_the_length_up_to_the_limit() {
        assert_eq!(guess(&[&"x".repeat(64)]), "VARCHAR(64)");
        assert_eq!(guess(&[&"x".repeat(65)]), "VARCHAR(128)");
        assert_eq!(guess(&[&"x".repeat(9 * 1024 * 1024)]), "VARCHAR(15728640)");
    }

    proptest! {
        #[test]
        fn every_text_comes_back_from_the_guessed_type(
            values in any_type().prop_flat_map(|field_type| proptest::collection::vec(value_of(field_type), 1..8)),
            other in proptest::option::of("[-0-9.]{0,6}"),
        ) {
            let texts: Vec<String> = values.iter().map(Value::to_text).chain(other).collect();
            let found = FieldType::infer_from(texts.iter().map(|text| Some(text.as_str()))).field_type;
            prop_assert!(found.checked().is_ok());
            for text in &texts {
                prop_assert_eq!(&Value::parse(text, &found).unwrap().to_text(), text);
            }
        }
    }
}
