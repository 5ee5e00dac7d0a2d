//! Attestations: an operator confirms that an unreachable member is stopped, fenced or removed, and at which position.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::observe::saved_state::{GraState, parse_recovered_position};
use crate::position::Position;

/// Maximum size of a pasted text in bytes: a whole grastate.dat or a few log lines.
pub const SAVED_STATE_MAX: usize = 16 * 1024;

/// The attested state of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttestedState {
    /// Stopped, and will stay down until the action has ended.
    Stopped,
    /// Isolated from clients and from the other members.
    Fenced,
    /// Permanently removed.
    Decommissioned,
}

impl AttestedState {
    /// The state as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Fenced => "fenced",
            Self::Decommissioned => "decommissioned",
        }
    }
}

impl fmt::Display for AttestedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An attestation about one member, made by the requester and shown to the approver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    pub node: NodeId,
    pub statement: AttestedState,
    /// For a stopped node without an agent: its pasted grastate.dat, or the line with its recovered position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_state: Option<String>,
}

/// The content of a pasted text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastedState {
    pub position: Option<Position>,
    /// The flag of grastate.dat; alone it proves nothing (I7).
    pub safe_to_bootstrap: Option<bool>,
}

/// A pasted text without a position. The message names the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastedStateError {
    /// Longer than [`SAVED_STATE_MAX`].
    #[error("the pasted text is longer than 16 KiB; paste grastate.dat or the one line only")]
    TooLong,
    #[error("the pasted text is neither a grastate.dat nor a line with \"Recovered position\"")]
    UnknownFormat,
    /// Only `mariadbd --wsrep-recover` can determine it (I8).
    #[error("the position is not known; run mariadbd --wsrep-recover and paste its last line")]
    UndefinedPosition,
}

/// Parses a pasted grastate.dat, "Recovered position" line, or plain `UUID:SEQNO`. A recovered position outranks a
/// saved one, because it is what the data actually contain.
///
/// # Errors
/// [`PastedStateError`] if the text is too long, has another format, or leaves the position undefined.
pub fn parse_pasted_state(text: &str) -> Result<PastedState, PastedStateError> {
    if text.len() > SAVED_STATE_MAX {
        return Err(PastedStateError::TooLong);
    }
    let saved = GraState::parse(text.as_bytes());
    let recovery = parse_recovered_position(text.as_bytes());
    let bare = text.trim().parse::<Position>().ok();
    let position = match &recovery {
        Some(recovery) => recovery.position.clone(),
        None => bare.clone().or_else(|| saved.position()),
    };
    if position.is_some() {
        return Ok(PastedState {
            position,
            safe_to_bootstrap: saved.safe_to_bootstrap,
        });
    }
    let has_form = recovery.is_some() || saved.version.is_some() || saved.uuid.is_some();
    Err(if has_form {
        PastedStateError::UndefinedPosition
    } else {
        PastedStateError::UnknownFormat
    })
}

impl Attestation {
    /// Parses the pasted text; `None` if there is none.
    ///
    /// # Errors
    /// [`PastedStateError`] as [`parse_pasted_state`].
    pub fn parse_saved_state(&self) -> Option<Result<PastedState, PastedStateError>> {
        self.saved_state.as_deref().map(parse_pasted_state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    #[test]
    fn reads_each_form() {
        for text in [
            format!("{UUID}:2881"),
            format!("WSREP: Recovered position: {UUID}:2881,0-1-5\n"),
            format!("version: 2.1\nuuid: {UUID}\nseqno: 2881\nsafe_to_bootstrap: 1\n"),
        ] {
            let pasted = parse_pasted_state(&text).unwrap();
            assert_eq!(pasted.position.unwrap().seqno, 2881, "{text}");
        }
    }

    #[test]
    fn i8_minus_one_asks_for_a_recovery() {
        let text = format!("version: 2.1\nuuid: {UUID}\nseqno: -1\nsafe_to_bootstrap: 0\n");
        assert_eq!(
            parse_pasted_state(&text),
            Err(PastedStateError::UndefinedPosition)
        );
        let recovered = format!("{text}WSREP: Recovered position: {UUID}:7");
        assert_eq!(
            parse_pasted_state(&recovered)
                .unwrap()
                .position
                .unwrap()
                .seqno,
            7
        );
    }

    #[test]
    fn i6_nil_uuid_gives_no_position() {
        let nil = "version: 2.1\nuuid: 00000000-0000-0000-0000-000000000000\nseqno: -1\nsafe_to_bootstrap: 1\n";
        assert_eq!(
            parse_pasted_state(nil),
            Err(PastedStateError::UndefinedPosition)
        );
        // An undefined recovered position is not replaced by that of an older file.
        let both = format!(
            "uuid: {UUID}\nseqno: 9\nWSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1"
        );
        assert_eq!(
            parse_pasted_state(&both),
            Err(PastedStateError::UndefinedPosition)
        );
    }

    #[test]
    fn reports_what_it_cannot_parse() {
        assert_eq!(
            parse_pasted_state("hello"),
            Err(PastedStateError::UnknownFormat)
        );
        assert_eq!(
            parse_pasted_state(&"x".repeat(SAVED_STATE_MAX + 1)),
            Err(PastedStateError::TooLong)
        );
    }
}
