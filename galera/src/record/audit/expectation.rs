//! Compares a verified trail with anchors that were kept outside etcd.

use std::collections::BTreeMap;

use super::AuditAnchor;

/// How a trail differs from anchors that were taken of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorMismatch {
    /// Entries at the end are missing.
    #[error(
        "cut: the trail ends at entry {end}, but the anchor {anchor} was taken of a later entry; entries after {end} were \
         removed, or the anchor is of another or a newer trail"
    )]
    Cut { end: u64, anchor: AuditAnchor },
    /// Entries since a known good one were written again.
    #[error(
        "rewritten: entry {} has the hash {found}, but the anchor {anchor} another one; entries after {matching} were \
         replaced", .anchor.sequence
    )]
    Rewritten {
        /// The last entry that an anchor confirms.
        matching: u64,
        anchor: AuditAnchor,
        found: String,
    },
    /// No anchor before this one confirms the trail.
    #[error(
        "replaced: entry {} has the hash {found}, but the anchor {anchor} another one, and no anchor before it confirms \
         this trail", .anchor.sequence
    )]
    Replaced { anchor: AuditAnchor, found: String },
    /// Two anchors contradict each other.
    #[error(
        "the anchors contradict each other: {0} and {1} cannot be of one trail; the trail was forked, or the anchors are of \
         two trails"
    )]
    Contradiction(AuditAnchor, AuditAnchor),
}

/// How many anchors a trail contains, and how many are of entries before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchedAnchors {
    pub matching: usize,
    /// Of entries that the trail no longer has.
    pub before_start: usize,
}

/// Checks that a verified trail of the entries `start..=end` contains every anchor. `hash_of` returns an entry's hash.
///
/// # Errors
/// The first [`AnchorMismatch`], by sequence number.
pub fn check_anchors(
    anchors: &[AuditAnchor],
    start: u64,
    end: u64,
    hash_of: impl Fn(u64) -> Option<String>,
) -> Result<MatchedAnchors, AnchorMismatch> {
    let mut by_sequence: BTreeMap<u64, &AuditAnchor> = BTreeMap::new();
    for anchor in anchors {
        if let Some(other) = by_sequence.insert(anchor.sequence, anchor)
            && other.hash != anchor.hash
        {
            return Err(AnchorMismatch::Contradiction(other.clone(), anchor.clone()));
        }
    }
    let (mut matched, mut matching) = (MatchedAnchors::default(), None);
    for (sequence, anchor) in by_sequence {
        let anchor = anchor.clone();
        if sequence < start {
            matched.before_start += 1;
        } else if sequence > end {
            return Err(AnchorMismatch::Cut { end, anchor });
        } else {
            match (hash_of(sequence).unwrap_or_default(), matching) {
                (found, _) if found == anchor.hash => {
                    matching = Some(sequence);
                    matched.matching += 1;
                }
                (found, Some(matching)) => {
                    return Err(AnchorMismatch::Rewritten {
                        matching,
                        anchor,
                        found,
                    });
                }
                (found, None) => return Err(AnchorMismatch::Replaced { anchor, found }),
            }
        }
    }
    Ok(matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(sequence: u64) -> String {
        format!("{sequence:064x}")
    }

    fn anchor(sequence: u64, hash: String) -> AuditAnchor {
        AuditAnchor { sequence, hash }
    }

    /// Of the entries 3 to 9.
    fn check(anchors: &[AuditAnchor]) -> Result<MatchedAnchors, String> {
        check_anchors(anchors, 3, 9, |sequence| Some(hash(sequence)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn anchors_confirm_cut_rewritten_and_replaced_trails() {
        let good = |sequence| anchor(sequence, hash(sequence));
        let bad = |sequence| anchor(sequence, hash(sequence + 100));
        assert_eq!(check(&[]), Ok(MatchedAnchors::default()));
        let matched = MatchedAnchors {
            matching: 2,
            before_start: 1,
        };
        assert_eq!(check(&[good(9), good(1), good(3), good(3)]), Ok(matched));
        for (anchors, verdict) in [
            (vec![good(4), good(10)], "cut: the trail ends at entry 9"),
            (vec![bad(8), good(4)], "rewritten: entry 8"),
            (vec![bad(4), good(8)], "replaced: entry 4"),
            (vec![good(4), bad(4)], "the anchors contradict each other"),
        ] {
            let found = check(&anchors).unwrap_err();
            assert!(found.starts_with(verdict), "{found}");
        }
        assert!(
            check(&[good(4), bad(8)])
                .unwrap_err()
                .contains("entries after 4 were")
        );
    }
}
