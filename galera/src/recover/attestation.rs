//! Attestations: an operator confirms that an unreachable member is stopped, fenced or removed, and at which position.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::observe::saved_state::{GraState, plain_text, recovered_positions};
use crate::position::Position;

/// Maximum size of a pasted text in bytes: a whole grastate.dat or a few log lines.
pub const SAVED_STATE_MAX: usize = 16 * 1024;

/// The attested state of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// Words of a recovered position without a value: what else the text has may be older.
    #[error(
        "the pasted text mentions a recovered position that cannot be read; paste its whole line, with UUID:SEQNO"
    )]
    Unreadable,
    /// Of which node or time the position is to be taken is for the requester to say.
    #[error(
        "the pasted text has more than one position, as of two nodes or two starts; paste the last line with \"Recovered position\", or \
         the grastate.dat, of this node only"
    )]
    Ambiguous,
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
    let text = without_file_names(&plain_text(text));
    let saved = GraState::parse(text.as_bytes());
    let recovered = recovered_positions(text.as_bytes());
    if recovered.iter().any(Option::is_none) {
        return Err(PastedStateError::Unreadable);
    }
    let mut recovered = recovered.into_iter().flatten().map(|found| found.position);
    let recovery = recovered.next_back();
    let several = recovery
        .as_ref()
        .is_some_and(|last| recovered.any(|other| other != *last));
    if several || has_two_files(&text) {
        return Err(PastedStateError::Ambiguous);
    }
    let bare = text.trim().parse::<Position>().ok();
    let has_form = recovery.is_some() || saved.version.is_some() || saved.uuid.is_some();
    let position = match recovery {
        Some(Some(position)) if saved.uuid.is_some_and(|uuid| uuid != position.uuid) => {
            return Err(PastedStateError::Ambiguous);
        }
        Some(recovered) => recovered,
        None => bare.or_else(|| saved.position()),
    };
    if position.is_some() {
        return Ok(PastedState {
            position,
            safe_to_bootstrap: saved.safe_to_bootstrap,
        });
    }
    Err(if has_form {
        PastedStateError::UndefinedPosition
    } else {
        PastedStateError::UnknownFormat
    })
}

/// Without the names that `grep -H` puts in front of the lines of a grastate.dat, and without quotation marks of replies.
fn without_file_names(text: &str) -> String {
    let line = |line: &str| {
        let line = line.trim_start_matches(['>', ' ']);
        match line.split_once("grastate.dat:") {
            Some((path, rest)) if !path.contains(char::is_whitespace) => rest.to_owned(),
            _ => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether the text has the fields of more than one grastate.dat.
fn has_two_files(text: &str) -> bool {
    ["uuid", "seqno"].iter().any(|name| {
        let values = text.lines().filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == *name).then(|| value.trim())
        });
        values.collect::<std::collections::BTreeSet<_>>().len() > 1
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
    fn the_engine_outranks_the_file_and_nothing_stands_in_for_it() {
        let file = format!("version: 2.1\nuuid: {UUID}\nseqno: 9000\nsafe_to_bootstrap: 0\n");
        let parse = |line: &str| parse_pasted_state(&format!("{file}{line}\n"));
        for line in [
            format!("WSREP: Recovered position {UUID}:2881"),
            format!(r#"{{"log":"WSREP: Recovered position: {UUID}:2881\n"}}"#),
            format!("--wsrep_start_position={UUID}:2881"),
        ] {
            let position = parse(&line).unwrap().position.unwrap();
            assert_eq!(position.seqno, 2881, "{line}");
        }
        // The provider's words about the file are not the engine's.
        let found = format!("WSREP: Found saved state: {UUID}:9000, safe_to_bootstrap: 0");
        assert_eq!(parse(&found).unwrap().position.unwrap().seqno, 9000);
        for line in ["WSREP: Recovered position: 6f1a", "Recovered position"] {
            assert_eq!(parse(line), Err(PastedStateError::Unreadable), "{line}");
        }
        let prefixed = format!(
            "n1/grastate.dat:version: 2.1\nn1/grastate.dat:uuid: {UUID}\nn1/grastate.dat:seqno: 7"
        );
        let pasted = parse_pasted_state(&prefixed).unwrap();
        assert_eq!(pasted.position.unwrap().seqno, 7);
    }

    #[test]
    fn the_texts_of_two_nodes_are_not_chosen_between() {
        let other = "7e2b3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
        let file = |uuid: &str, seqno: u64| format!("version: 2.1\nuuid: {uuid}\nseqno: {seqno}\n");
        let line = |uuid: &str, seqno: u64| format!("WSREP: Recovered position: {uuid}:{seqno}\n");
        for text in [
            file(UUID, 7) + &file(UUID, 9),
            file(UUID, 7) + &file(other, 7),
            line(UUID, 7) + &line(UUID, 9),
            line(UUID, 9) + &line(UUID, 7),
            line(UUID, 7) + &line(other, 7),
            file(UUID, 7) + &line(other, 7),
            format!(
                "n1/grastate.dat:uuid: {UUID}\nn1/grastate.dat:seqno: 7\nn2/grastate.dat:uuid: {UUID}\nn2/grastate.dat:seqno: 9"
            ),
        ] {
            assert_eq!(
                parse_pasted_state(&text),
                Err(PastedStateError::Ambiguous),
                "{text}"
            );
        }
        // The same line twice, as a journal and an error log have it.
        let twice = line(UUID, 7) + &line(UUID, 7);
        assert_eq!(
            parse_pasted_state(&twice).unwrap().position.unwrap().seqno,
            7
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
