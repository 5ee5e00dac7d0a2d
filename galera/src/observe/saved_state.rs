//! Parses what Galera leaves on disk and in logs: grastate.dat, gvwstate.dat and "Recovered position" lines.
//!
//! Any bytes are accepted; missing and unreadable values are `None`. None of the three alone proves that a node may be
//! bootstrapped (I7, I8).

mod recovered_position;

use uuid::Uuid;

use crate::observe::wsrep::{MEMBERS_MAX, truncate_text};
use crate::position::{Position, parse_seqno, parse_uuid};

pub use recovered_position::{
    RecoveredPosition, parse_recovered_position, plain_text, recovered_positions,
};

/// grastate.dat: the saved state of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraState {
    /// The file format's version (`2.1`).
    pub version: Option<String>,
    /// The history's UUID; `None` when nil, as after an interrupted state transfer.
    pub uuid: Option<Uuid>,
    /// The sequence number; `None` for `-1`, as on a running or crashed node: unknown, not lowest (I8).
    pub seqno: Option<u64>,
    /// `safe_to_bootstrap`; `None` in files of servers without it.
    pub safe_to_bootstrap: Option<bool>,
}

impl GraState {
    /// Parses the file.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut state = Self::default();
        for (name, value) in key_value_lines(&text) {
            match name {
                "version" => state.version = Some(truncate_text(value)),
                "uuid" => state.uuid = parse_uuid(value),
                "seqno" => state.seqno = parse_seqno(value),
                "safe_to_bootstrap" => state.safe_to_bootstrap = parse_flag(value),
                _ => {}
            }
        }
        state
    }

    /// The position, if both parts are defined.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        Position::new(self.uuid?, self.seqno?)
    }

    /// Whether `safe_to_bootstrap` is set and the position is defined: the flag alone survives failed state transfers (I7).
    #[must_use]
    pub fn has_valid_bootstrap_flag(&self) -> bool {
        self.safe_to_bootstrap == Some(true) && self.position().is_some()
    }
}

/// A view's identity in gvwstate.dat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewId {
    /// The view type; 3 is Primary.
    pub kind: u8,
    /// `gcomm` UUID of the view's representative.
    pub uuid: Uuid,
    /// The sequence number of the view.
    pub sequence: u64,
}

/// gvwstate.dat: the last Primary view, which is restored automatically once all of its members are back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GvwState {
    /// The node's own `gcomm` UUID.
    pub my_uuid: Option<Uuid>,
    pub view_id: Option<ViewId>,
    /// Whether the view was bootstrapped.
    pub bootstrap: Option<bool>,
    /// `gcomm` UUIDs of all members; at most [`MEMBERS_MAX`].
    pub members: Vec<Uuid>,
    /// Whether the view is complete: an empty or truncated file keeps a server from starting.
    pub complete: bool,
}

impl GvwState {
    /// Parses the file.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut state = Self::default();
        let mut in_view = false;
        for line in text.lines() {
            match line.trim() {
                "#vwbeg" => in_view = true,
                "#vwend" => state.complete = in_view,
                _ => {}
            }
        }
        for (name, value) in key_value_lines(&text) {
            match name {
                "my_uuid" => state.my_uuid = parse_uuid(value),
                "view_id" => state.view_id = parse_view_id(value),
                "bootstrap" => state.bootstrap = parse_flag(value),
                "member" if state.members.len() < MEMBERS_MAX => {
                    let uuid = value.split_whitespace().next().and_then(parse_uuid);
                    state.members.extend(uuid);
                }
                _ => {}
            }
        }
        state.complete &=
            state.my_uuid.is_some() && state.view_id.is_some() && !state.members.is_empty();
        state
    }
}

fn key_value_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| !line.trim_start_matches(is_padding).starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        // The server overwrites in place and pads with spaces or NUL bytes.
        .map(|(name, value)| {
            (
                name.trim_matches(is_padding),
                value.trim_matches(is_padding),
            )
        })
}

/// Blanks, NUL bytes, and the byte-order mark that some editors write.
fn is_padding(c: char) -> bool {
    c.is_whitespace() || c == '\0' || c == '\u{feff}'
}

fn parse_flag(value: &str) -> Option<bool> {
    match value {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

fn parse_view_id(value: &str) -> Option<ViewId> {
    let mut words = value.split_whitespace();
    Some(ViewId {
        kind: words.next()?.parse().ok()?,
        uuid: words.next().and_then(parse_uuid)?,
        sequence: words.next().and_then(parse_seqno)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    fn grastate(uuid: &str, seqno: &str, safe: &str) -> GraState {
        let text = format!(
            "# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: {safe}\n"
        );
        GraState::parse(text.as_bytes())
    }

    #[test]
    fn parses_a_clean_stop() {
        let state = grastate(UUID, "2881", "1");
        assert_eq!(state.version.as_deref(), Some("2.1"));
        assert_eq!(
            state.position().unwrap().to_string(),
            format!("{UUID}:2881")
        );
        assert!(state.has_valid_bootstrap_flag());
    }

    #[test]
    fn i08_a_crashed_nodes_seqno_is_unknown() {
        let state = grastate(UUID, "-1", "0");
        assert_eq!((state.seqno, state.position()), (None, None));
        assert_eq!(state.safe_to_bootstrap, Some(false));
    }

    #[test]
    fn i07_safe_to_bootstrap_alone_proves_nothing() {
        let nil = "00000000-0000-0000-0000-000000000000";
        for (uuid, seqno) in [(nil, "-1"), (nil, "5"), (UUID, "-1"), ("", "")] {
            assert!(
                !grastate(uuid, seqno, "1").has_valid_bootstrap_flag(),
                "{uuid}:{seqno}"
            );
        }
        assert_eq!(grastate(UUID, "5", "").safe_to_bootstrap, None);
    }

    #[test]
    fn parses_padded_and_broken_files() {
        let padded = format!("uuid: {UUID}\nseqno: 7\0\0\0\nsafe_to_bootstrap: 0   \n\n\n\0\0");
        let state = GraState::parse(padded.as_bytes());
        assert_eq!(
            (state.seqno, state.safe_to_bootstrap),
            (Some(7), Some(false))
        );
        assert_eq!(GraState::parse(b""), GraState::default());
        assert_eq!(GraState::parse(&[0xff; 64]), GraState::default());
    }

    #[test]
    fn line_ends_blanks_and_marks_of_other_systems_are_no_part_of_a_value() {
        for text in [
            format!("\u{feff}version: 2.1\r\nuuid: {UUID}\r\nseqno: 7\r\n"),
            format!(
                "\u{feff}# GALERA saved state\nversion:\u{a0}2.1\nuuid:\u{a0}{UUID}\u{a0}\nseqno:\u{a0}7"
            ),
            format!("version: 3.0\nnew_field: x\nuuid: {UUID}\nseqno: 7"),
        ] {
            let state = GraState::parse(text.as_bytes());
            assert_eq!(state.position().map(|at| at.seqno), Some(7), "{text:?}");
            assert!(state.version.is_some());
        }
        // In another encoding a no-break space is not valid UTF-8, and then nothing is believed.
        let latin = [b"uuid:\xa0".as_slice(), UUID.as_bytes(), b"\nseqno: 7\n"].concat();
        assert_eq!(GraState::parse(&latin).position(), None);
        let cut = format!("version: 2.1\nuuid: {}", &UUID[..30]);
        assert_eq!(GraState::parse(cut.as_bytes()).uuid, None);
    }

    #[test]
    fn parses_a_saved_view() {
        let text = format!(
            "my_uuid: {UUID}\n#vwbeg\nview_id: 3 {UUID} 17\nbootstrap: 0\nmember: {UUID} 0\nmember: {UUID} 1\n#vwend\n"
        );
        let state = GvwState::parse(text.as_bytes());
        assert_eq!(
            state.view_id.map(|view| (view.kind, view.sequence)),
            Some((3, 17))
        );
        assert_eq!((state.members.len(), state.bootstrap), (2, Some(false)));
        assert!(state.complete);
        let cut = &text.as_bytes()[..text.len() - 4];
        assert!(!GvwState::parse(cut).complete);
        assert!(!GvwState::parse(b"").complete);
    }
}
