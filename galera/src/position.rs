//! Positions: state UUID and sequence number.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A write-set's sequence number. Galera's 18446744073709551615 means undefined and is never a value of it (I11).
pub type Seqno = u64;

/// `(state UUID, seqno)`: comparable only within one state UUID (I6). Both parts are defined and the UUID is not nil.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Position {
    /// The state UUID, which identifies the history.
    pub uuid: Uuid,
    /// The sequence number within it.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub seqno: Seqno,
}

impl Position {
    /// The position, or `None` if a part is undefined: a nil UUID or Galera's undefined sequence number.
    #[must_use]
    pub fn new(uuid: Uuid, seqno: Seqno) -> Option<Self> {
        (!uuid.is_nil() && seqno != Seqno::MAX).then_some(Self { uuid, seqno })
    }

    /// The order within one history; `None` across histories (I6).
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        (self.uuid == other.uuid).then(|| self.seqno.cmp(&other.seqno))
    }
}

/// Parses a sequence number as Galera writes it; `None` for `-1`, 18446744073709551615 and invalid text.
///
/// ```
/// assert_eq!(galera::position::parse_seqno("2881"), Some(2881));
/// assert_eq!(galera::position::parse_seqno("-1"), None);
/// assert_eq!(galera::position::parse_seqno("18446744073709551615"), None);
/// ```
#[must_use]
pub fn parse_seqno(text: &str) -> Option<Seqno> {
    let text = text.trim();
    // `u64::from_str` accepts a plus sign, which Galera never writes.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&seqno| seqno != Seqno::MAX)
}

/// Parses a UUID in hyphenated form, the only one that Galera writes; `None` for nil and invalid text.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    let text = text.trim();
    if text.len() != 36 {
        return None;
    }
    Uuid::try_parse(text).ok().filter(|uuid| !uuid.is_nil())
}

/// Why a text is not a valid position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePositionError {
    /// No colon between the two parts.
    #[error("a position has the form UUID:SEQNO")]
    Format,
    /// The first part is nil or not a UUID.
    #[error("the state UUID is undefined or invalid")]
    Uuid,
    /// The second part is undefined or not a number.
    #[error("the sequence number is undefined or invalid")]
    Seqno,
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let (uuid, seqno) = text
            .trim()
            .split_once(':')
            .ok_or(ParsePositionError::Format)?;
        Ok(Self {
            uuid: parse_uuid(uuid).ok_or(ParsePositionError::Uuid)?,
            seqno: parse_seqno(seqno).ok_or(ParsePositionError::Seqno)?,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uuid, self.seqno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    #[test]
    fn text_round_trips() {
        let position: Position = format!("{UUID}:2881").parse().unwrap();
        assert_eq!(position.to_string(), format!("{UUID}:2881"));
        assert_eq!(position.seqno, 2881);
    }

    #[test]
    fn i11_numbers_are_compared_as_numbers() {
        let at = |seqno: u64| Position::new(UUID.parse().unwrap(), seqno).unwrap();
        assert_eq!(at(9).compare(&at(10)), Some(Ordering::Less));
        let beyond_f64 = (1 << 53) + 1;
        assert_eq!(
            at(beyond_f64).compare(&at(1 << 53)),
            Some(Ordering::Greater)
        );
    }

    #[test]
    fn i06_histories_have_no_order() {
        let one = Position::new(UUID.parse().unwrap(), 5).unwrap();
        let other = Position::new(Uuid::from_u128(1), 5).unwrap();
        assert_eq!(one.compare(&other), None);
    }

    #[test]
    fn i06_i11_undefined_parts_are_rejected() {
        let nil = Uuid::nil();
        for text in [
            format!("{UUID}:-1"),
            format!("{UUID}:18446744073709551615"),
            format!("{UUID}:18446744073709551616"),
            format!("{UUID}:+5"),
            format!("{UUID}:"),
            format!("{nil}:5"),
            format!("{nil}:-1"),
            UUID.to_owned(),
            format!("{{{UUID}}}:5"),
            String::new(),
        ] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        assert_eq!(Position::new(nil, 5), None);
        assert_eq!(Position::new(UUID.parse().unwrap(), u64::MAX), None);
    }
}
