//! Anchors: places of the audit trail that are kept outside etcd.

use std::fmt;
use std::str::FromStr;

/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;
/// Decimal digits of the longest sequence number.
const SEQUENCE_DIGITS: usize = 20;

/// An entry's number and hash; as text `SEQ:HASH`. A trail that contains it also has every entry before it unaltered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditAnchor {
    pub sequence: u64,
    /// Lower-case hexadecimal SHA-256.
    pub hash: String,
}

impl fmt::Display for AuditAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

/// A text that is not an anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid anchor; use SEQ:HASH with a hash of 64 hexadecimal digits")]
pub struct InvalidAnchor(String);

impl FromStr for AuditAnchor {
    type Err = InvalidAnchor;

    fn from_str(text: &str) -> Result<Self, InvalidAnchor> {
        let invalid = || InvalidAnchor(text.chars().take(100).collect());
        let (sequence, hash) = text.trim().split_once(':').ok_or_else(invalid)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let hexadecimal = |byte: u8| byte.is_ascii_hexdigit();
        if !digits(sequence) || hash.len() != HASH_DIGITS || !hash.bytes().all(hexadecimal) {
            return Err(invalid());
        }
        match sequence.parse() {
            Ok(sequence) if sequence > 0 => Ok(Self {
                sequence,
                hash: hash.to_ascii_lowercase(),
            }),
            _ => Err(invalid()),
        }
    }
}

/// The anchors in `text`, such as a log, a file of anchors or what a webhook received: wherever they are in a line.
pub fn find_anchors(text: &str) -> impl Iterator<Item = AuditAnchor> {
    text.lines().flat_map(|line| {
        line.match_indices(':').filter_map(move |(colon, _)| {
            let (before, after) = (&line.as_bytes()[..colon], &line.as_bytes()[colon + 1..]);
            let digits = before
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let hash = after
                .iter()
                .take_while(|byte| byte.is_ascii_hexdigit())
                .count();
            if !(1..=SEQUENCE_DIGITS).contains(&digits) || hash != HASH_DIGITS {
                return None;
            }
            line.get(colon - digits..=colon + HASH_DIGITS)?.parse().ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_round_trip_and_others_are_refused() {
        let hash = "0a".repeat(32);
        let anchor: AuditAnchor = format!("17:{}", hash.to_uppercase()).parse().unwrap();
        assert_eq!(anchor.to_string(), format!("17:{hash}"));
        for bad in [
            "",
            "17",
            ":",
            "0:",
            &format!("0:{hash}"),
            &format!("+1:{hash}"),
            &format!("1:{hash}0"),
            &format!("1:{}", &hash[1..]),
            &format!("1:{}g", &hash[1..]),
            &format!("99999999999999999999:{hash}"),
            &"9".repeat(1 << 20),
        ] {
            assert!(bad.parse::<AuditAnchor>().is_err(), "{bad:.80}");
        }
    }

    #[test]
    fn anchors_are_found_in_files_and_logs() {
        let hash = "ab".repeat(32);
        let text = format!(
            "# anchors\n2026-11-28T09:00:00Z 1:{hash}\n{{\"level\":\"INFO\",\"anchor\":\"20:{hash}\",\"x\":1}}\n\
             2026-11-28T09:10:00Z  INFO anchor=\"300:{hash}\"\n\
             {{\"anchor\":\"301:{hash}\"}}{{\"anchor\":\"302:{hash}\"}}\n4:{hash}0\n5:abc\nü:{hash}\n6:{hash}"
        );
        let found: Vec<u64> = find_anchors(&text).map(|anchor| anchor.sequence).collect();
        assert_eq!(found, [1, 20, 300, 301, 302, 6]);
    }
}
