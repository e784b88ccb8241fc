//! How many must answer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many of a row's owners must answer before a request counts as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Level {
    /// The first answer is enough.
    One,
    /// More than half of the row: any two quorums meet in a replica.
    #[default]
    Quorum,
    /// The whole row.
    All,
    /// This many.
    Count(u8),
}

impl Level {
    /// How many answers that is for a row of `owners`. More than there are owners can never be met.
    pub fn needed(self, owners: usize) -> usize {
        match self {
            Level::One => 1,
            Level::Quorum => owners / 2 + 1,
            Level::All => owners,
            Level::Count(count) => usize::from(count),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::One => f.write_str("one"),
            Level::Quorum => f.write_str("quorum"),
            Level::All => f.write_str("all"),
            Level::Count(count) => write!(f, "{count}"),
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "one" => Ok(Level::One),
            "quorum" => Ok(Level::Quorum),
            "all" => Ok(Level::All),
            number => match number.parse() {
                Ok(count) if count > 0 => Ok(Level::Count(count)),
                _ => Err(format!("{text:?} is not a level: one, quorum, all, or a number from 1")),
            },
        }
    }
}
