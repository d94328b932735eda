//! Room `entry`: which images of a row its changes carry (ruling 21). Must not know rows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which images of a row the entries of its changes carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Images {
    /// The row after the change (IBM i's default).
    After,
    /// The row before and after the change. The default here: a rejoin takes changes out by their before-images.
    #[default]
    Both,
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::After => "*AFTER",
            Self::Both => "*BOTH",
        })
    }
}

/// Why a text does not say which images are wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} does not say which images are wanted; there are *AFTER and *BOTH")]
pub struct ImagesError {
    /// What was given, cut.
    given: String,
}

impl FromStr for Images {
    type Err = ImagesError;

    /// Reads `*AFTER` or `*BOTH`, in any case, with or without the asterisk.
    fn from_str(text: &str) -> Result<Self, ImagesError> {
        match text
            .strip_prefix('*')
            .unwrap_or(text)
            .to_ascii_uppercase()
            .as_str()
        {
            "AFTER" => Ok(Self::After),
            "BOTH" => Ok(Self::Both),
            _ => Err(ImagesError {
                given: text.chars().take(40).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_read_back_from_their_text() {
        for images in [Images::After, Images::Both] {
            assert_eq!(images.to_string().parse(), Ok(images));
        }
        assert_eq!("after".parse(), Ok(Images::After));
        assert!("*BEFORE".parse::<Images>().is_err());
    }
}
