//! Parses what Galera leaves on disk and in logs: grastate.dat, gvwstate.dat and "Recovered position" lines.
//!
//! Any bytes are accepted; missing and unreadable values are `None`. None of the three alone proves that a node may be
//! bootstrapped (I7, I8).

mod recovered_position;

use std::collections::BTreeSet;

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

/// `V_PRIM`: the type of the only views that a server saves.
const PRIMARY_VIEW: u8 = 3;

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
    /// `gcomm` UUIDs of the members that are readable; at most [`MEMBERS_MAX`].
    pub members: Vec<Uuid>,
    /// A lower bound of the members of the view, of the largest if there are several: unreadable `member:` lines and those
    /// beyond [`MEMBERS_MAX`] count too.
    pub members_at_least: usize,
    /// Whether this is one whole Primary view that lists the node itself. Only then is the number of members exact (I36).
    pub complete: bool,
    /// Whether it names the node and a view that ends: an empty or truncated file keeps a server from starting. One that is
    /// not `complete` may be startable.
    pub startable: bool,
}

/// The `member:` lines of one view.
#[derive(Default)]
struct MemberLines {
    readable: BTreeSet<Uuid>,
    unreadable: usize,
}

impl MemberLines {
    fn count(&self) -> usize {
        self.readable.len() + self.unreadable
    }

    fn is_whole(&self) -> bool {
        self.unreadable == 0 && self.readable.len() <= MEMBERS_MAX
    }
}

impl GvwState {
    /// Parses the file.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut state = Self::default();
        let (mut begins, mut ends) = (0_usize, 0_usize);
        let mut lines = MemberLines::default();
        // Whether every line is one that a server writes there.
        let mut is_known = true;
        for line in text.lines() {
            match line.trim() {
                "#vwbeg" => {
                    begins += 1;
                    lines = MemberLines::default();
                }
                "#vwend" => {
                    ends += 1;
                    state.startable = begins > 0;
                }
                _ => {}
            }
            if line.trim_matches(is_padding).is_empty() || is_comment(line) {
                continue;
            }
            let is_in_view = begins == 1 && ends == 0;
            match key_value(line) {
                Some(("my_uuid", value)) => {
                    is_known &= begins == 0 && state.my_uuid.is_none();
                    state.my_uuid = parse_uuid(value);
                }
                Some(("view_id", value)) => {
                    is_known &= is_in_view && state.view_id.is_none();
                    state.view_id = parse_view_id(value);
                }
                Some(("bootstrap", value)) => {
                    state.bootstrap = parse_flag(value);
                    is_known &= is_in_view && state.bootstrap.is_some();
                }
                Some(("member", value)) => {
                    is_known &= is_in_view;
                    let uuid = value.split_whitespace().next().and_then(parse_uuid);
                    if state.members.len() < MEMBERS_MAX {
                        state.members.extend(uuid);
                    }
                    match uuid.filter(|_| has_only_a_segment(value)) {
                        Some(uuid) => _ = lines.readable.insert(uuid),
                        None => lines.unreadable += 1,
                    }
                    state.members_at_least = state.members_at_least.max(lines.count());
                }
                _ => is_known = false,
            }
        }
        state.startable &=
            state.my_uuid.is_some() && state.view_id.is_some() && !state.members.is_empty();
        state.complete = state.startable
            && is_known
            && (begins, ends) == (1, 1)
            && lines.is_whole()
            && state.view_id.is_some_and(|view| view.kind == PRIMARY_VIEW)
            && state
                .my_uuid
                .is_some_and(|uuid| lines.readable.contains(&uuid));
        state
    }
}

/// Whether the value of a `member:` line is a UUID and a segment, not two lines in one.
fn has_only_a_segment(value: &str) -> bool {
    let mut words = value.split_whitespace().skip(1);
    let segment = words.next().map(str::parse::<u8>);
    matches!(segment, Some(Ok(_))) && words.next().is_none()
}

fn key_value_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| !is_comment(line))
        .filter_map(key_value)
}

fn is_comment(line: &str) -> bool {
    line.trim_start_matches(is_padding).starts_with('#')
}

fn key_value(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    // The server overwrites in place and pads with spaces or NUL bytes.
    Some((
        name.trim_matches(is_padding),
        value.trim_matches(is_padding),
    ))
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
        assert!(state.complete && state.startable);
        for cut in [&text.as_bytes()[..text.len() - 4], b""] {
            let state = GvwState::parse(cut);
            assert!(!state.complete && !state.startable);
        }
    }

    const SECOND: &str = "7f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
    const THIRD: &str = "8f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    fn three_members() -> String {
        format!(
            "my_uuid: {UUID}\n#vwbeg\nview_id: 3 {UUID} 17\nbootstrap: 0\nmember: {UUID} 0\nmember: {SECOND} 0\nmember: {THIRD} 1\n#vwend\n"
        )
    }

    #[test]
    fn i36_a_damaged_view_is_not_a_smaller_one() {
        let whole = GvwState::parse(three_members().as_bytes());
        assert!(whole.complete && whole.startable);
        assert_eq!(whole.members_at_least, 3);
        let between = format!("{UUID} 0\nmember: ");
        let last = format!("member: {THIRD} 1");
        let second_view = format!("#vwend\n#vwbeg\nview_id: 3 {UUID} 18\nmember: {UUID} 0\n#vwend");
        for (part, damaged, at_least) in [
            (THIRD, "8f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4", 3),
            (THIRD, "00000000-0000-0000-0000-000000000000", 3),
            (THIRD, "", 3),
            // Two lines in one.
            (&between, &between.replace('\n', ""), 2),
            (&between, &between.replace('\n', " "), 2),
            (&last, "member:", 3),
            (&last, "memb\u{fffd}r: 8f1a", 2),
            (&last, "\u{fffd}\u{fffd}", 2),
            ("bootstrap: 0\n", "bootstrap: 0member: \n", 3),
            // Other views than Primary are not saved; a view without the node is not its last one.
            ("view_id: 3", "view_id: 2", 3),
            ("my_uuid: 6f1a3c9e", "my_uuid: 9f1a3c9e", 3),
            ("#vwend", &second_view, 3),
            ("#vwend", "#vwend\n#vwbeg\n#vwend", 3),
            ("#vwbeg\n", "#vwbeg\n#vwbeg\n", 3),
            ("#vwend\n", &format!("#vwend\n{last}\n"), 3),
        ] {
            let text = three_members().replacen(part, damaged, 1);
            let state = GvwState::parse(text.as_bytes());
            assert!(!state.complete, "{text}");
            assert!(state.startable, "{text}");
            assert_eq!(state.members_at_least, at_least, "{text}");
        }
    }

    #[test]
    fn i36_members_beyond_the_limit_are_not_cut_silently() {
        let view = |count: u128| {
            let members: String = (1..=count)
                .map(|number| format!("member: {} 0\n", Uuid::from_u128(number)))
                .collect();
            let own = Uuid::from_u128(1);
            let text = format!("my_uuid: {own}\n#vwbeg\nview_id: 3 {own} 1\n{members}#vwend\n");
            GvwState::parse(text.as_bytes())
        };
        assert!(view(256).complete);
        let more = view(257);
        assert!(!more.complete && more.startable);
        assert_eq!(
            (more.members.len(), more.members_at_least),
            (MEMBERS_MAX, 257)
        );
    }
}
