//! "Recovered position" in logs: as the server writes it, and as journals, containers and people pass it on.

use uuid::Uuid;

use crate::observe::wsrep::truncate_text;
use crate::position::Position;

/// The result of `--wsrep-recover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredPosition {
    /// The position; `None` if the server reports an undefined one (nil UUID or `-1`).
    pub position: Option<Position>,
    /// GTIDs, which some servers append, unaltered.
    pub gtid: Option<String>,
}

/// Words that announce a position of the storage engine, in lower case. `galera_recovery` prints the second as an argument
/// of the server.
const MARKS: [&str; 3] = [
    "recovered position",
    "wsrep_start_position",
    "wsrep-start-position",
];

/// Longest text between the words and the position, in characters.
const GAP_MAX: usize = 8;

/// The last recovered position in a server's log; `None` if there is none or it cannot be read. An earlier one never
/// stands in for it.
#[must_use]
pub fn parse_recovered_position(log: &[u8]) -> Option<RecoveredPosition> {
    recovered_positions(log).pop().flatten()
}

/// Every recovered position that `log` announces, in order; `None` where it cannot be read.
#[must_use]
pub fn recovered_positions(log: &[u8]) -> Vec<Option<RecoveredPosition>> {
    let text = plain_text(&String::from_utf8_lossy(log));
    // ASCII only: other letters could change their length.
    let lower = text.to_ascii_lowercase();
    let mut found: Vec<(usize, Option<RecoveredPosition>)> = Vec::new();
    for mark in MARKS {
        let values = lower.match_indices(mark).filter_map(|(at, _)| {
            let rest = text.get(at + mark.len()..)?;
            (!announces_again(rest)).then(|| (at, parse_value(rest)))
        });
        found.extend(values);
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, value)| value).collect()
}

/// Whether the words are followed by such words again, as in `_WSREP_START_POSITION='--wsrep_start_position=…'`.
fn announces_again(text: &str) -> bool {
    let next = text.trim_start_matches(|c: char| "-='\"".contains(c));
    let begins = |mark: &str| {
        let start = next.get(..mark.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(mark))
    };
    MARKS.into_iter().any(begins)
}

/// The value after the words: up to [`GAP_MAX`] characters of punctuation, then `UUID:SEQNO`, then perhaps `,GTID`.
fn parse_value(text: &str) -> Option<RecoveredPosition> {
    let line = text.lines().next()?;
    let separators = |c: char| c.is_whitespace() || ":='\"".contains(c);
    let value = line.trim_start_matches(separators);
    if line.chars().count() - value.chars().count() > GAP_MAX {
        return None;
    }
    let ends = |c: char| c.is_whitespace() || "'\"}]);".contains(c);
    let token = value.split(ends).next()?;
    let (position, gtid) = match token.split_once(',') {
        Some((position, gtid)) => (position, (!gtid.is_empty()).then(|| truncate_text(gtid))),
        None => (token, None),
    };
    let (uuid, seqno) = position.split_once(':')?;
    // The token must have the form of a position; its parts may still be undefined.
    if uuid.len() != 36 || Uuid::try_parse(uuid).is_err() || seqno.parse::<i128>().is_err() {
        return None;
    }
    Some(RecoveredPosition {
        position: position.parse().ok(),
        gtid,
    })
}

/// `text` without colours, byte-order marks and the escapes of JSON strings, as a log in JSON has them.
#[must_use]
pub fn plain_text(text: &str) -> String {
    let text = text
        .replace("\\u001b", "\u{1b}")
        .replace("\\u001B", "\u{1b}")
        .replace("\\n", "\n")
        .replace("\\r", "\n")
        .replace("\\t", "\t")
        .replace("\\\"", "\"");
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{feff}' | '\u{200b}' => {}
            '\u{1b}' if chars.peek() == Some(&'[') => {
                // A control sequence ends with a letter or one of a few signs.
                for c in chars.by_ref().skip(1) {
                    if c == '\n' {
                        plain.push(c);
                    }
                    if c == '\n' || ('\u{40}'..='\u{7e}').contains(&c) {
                        break;
                    }
                }
            }
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    fn seqnos(text: &str) -> Vec<Option<u64>> {
        let found = recovered_positions(text.as_bytes());
        let seqno = |found: Option<RecoveredPosition>| found?.position.map(|at| at.seqno);
        found.into_iter().map(seqno).collect()
    }

    #[test]
    fn every_form_of_the_field_is_read() {
        for text in [
            format!("2026-11-23  8:00:00 0 [Note] WSREP: Recovered position: {UUID}:2881"),
            // galera_recovery and the journal print it without a colon.
            format!("Nov 23 08:00:00 db1 sh[71]: WSREP: Recovered position {UUID}:2881\r\n"),
            format!("WSREP: Recovered position: {UUID}:2881,0-1-234"),
            format!("--wsrep_start_position={UUID}:2881"),
            format!("_WSREP_START_POSITION='--wsrep_start_position={UUID}:2881,0-1-5'"),
            format!("wsrep-start-position = \"{UUID}:2881\""),
            format!(r#"{{"log":"WSREP: Recovered position: {UUID}:2881\n","stream":"stderr"}}"#),
            format!(r#"{{"msg":"Recovered position: {UUID}:2881"}}"#),
            format!(r#"{{"m":"\u001b[32mRecovered position:\u001b[0m {UUID}:2881\u001b[0m"}}"#),
            format!("\u{1b}[1mWSREP: Recovered position:\u{1b}[0m \u{1b}[33m{UUID}:2881\u{1b}[0m"),
            format!("n1/error.log:88:[Note] WSREP: Recovered position: {UUID}:2881"),
            format!("\u{feff}WSREP: Recovered position:\u{a0}{UUID}:2881"),
            format!("> \"WSREP: Recovered position: {UUID}:2881\""),
            format!("WSREP: RECOVERED POSITION: {UUID}:2881"),
        ] {
            assert_eq!(seqnos(&text), [Some(2881)], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_never_replaced_by_an_earlier_one() {
        for text in [
            "WSREP: Recovered position: cut off",
            "WSREP: Recovered position:",
            "recovered position was lost",
            "WSREP: Recovered position: 6f1a3c9e-0c2f-11ef-9b6e:2881",
            "WSREP: Recovered position: 6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:28x1",
            "WSREP: Recovered position: 6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:",
            "WSREP: Recovered position: 6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b 2881",
            "WSREP: Recovered position of node n2, see 6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:2881",
        ] {
            let log = format!("WSREP: Recovered position: {UUID}:7\n{text}\n");
            assert_eq!(seqnos(&log), [Some(7), None], "{text}");
            assert_eq!(parse_recovered_position(log.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_last_recovered_position_counts() {
        let log = format!(
            "2026-11-23  8:00:00 0 [Note] WSREP: Recovered position: {UUID}:7\n\
             2026-11-23  8:00:01 0 [Note] WSREP: Recovered position: {UUID}:9,0-1-234,1-1-5\n"
        );
        let recovered = parse_recovered_position(log.as_bytes()).unwrap();
        assert_eq!(recovered.position.unwrap().seqno, 9);
        assert_eq!(recovered.gtid.as_deref(), Some("0-1-234,1-1-5"));
    }

    #[test]
    fn an_undefined_recovered_position_is_reported_as_none() {
        let log = "[Note] WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1";
        assert_eq!(
            parse_recovered_position(log.as_bytes()),
            Some(RecoveredPosition {
                position: None,
                gtid: None
            })
        );
        assert_eq!(parse_recovered_position(b"nothing of the kind"), None);
    }
}
