//! Why a waiting node is held back: the value of `held`. An agent that publishes it accepts orders to rejoin.

use serde::{Deserialize, Serialize};

use super::waiting_reason::bounded_reason;
use crate::observe::fork::ForkConflict;

/// The transactions that keep data from joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRange {
    /// The fork that the cluster continued without them; 0 if none is recorded, and the data are ahead of every Primary
    /// member.
    pub fork: u64,
    /// The first of them; unknown without a record of that fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The last of them: the position of the data.
    pub last: u64,
}

/// What the agent of a node that is held back publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldData {
    #[serde(flatten)]
    pub range: HeldRange,
    /// Why the agent cannot keep the data aside, with the remedy, in at most
    /// [`WAITING_REASON_MAX`](super::WAITING_REASON_MAX) bytes; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

impl HeldRange {
    /// What `conflict` holds back of data at `seqno`.
    #[must_use]
    pub const fn of_conflict(conflict: &ForkConflict, seqno: u64) -> Self {
        match *conflict {
            ForkConflict::Ahead {
                epoch,
                transactions: (first, last),
            } => Self {
                fork: epoch,
                first: Some(first),
                last,
            },
            ForkConflict::Unrecorded { epoch } => Self {
                fork: epoch,
                first: None,
                last: seqno,
            },
        }
    }

    /// How many transactions these are; `None` if the first is unknown or the range is not valid.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.last.checked_sub(self.first?)?.checked_add(1)
    }
}

impl HeldData {
    /// Parses the key's value; `None` if it is not valid.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let held: Self = serde_json::from_str(value).ok()?;
        let ordered = held
            .range
            .first
            .is_none_or(|first| first <= held.range.last);
        (ordered && (held.range.fork > 0 || held.range.first.is_none())).then_some(held)
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        let obstacle = self.obstacle.as_deref().map(bounded_reason);
        let bounded = Self {
            obstacle,
            range: self.range,
        };
        serde_json::to_string(&bounded).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::WAITING_REASON_MAX;
    use super::*;

    #[test]
    fn i35_what_is_held_back_is_parsed_strictly() {
        let held = HeldData {
            range: HeldRange {
                fork: 2,
                first: Some(67),
                last: 134,
            },
            obstacle: None,
        };
        assert_eq!(held.to_value(), r#"{"fork":2,"first":67,"last":134}"#);
        assert_eq!(HeldData::parse(&held.to_value()), Some(held.clone()));
        assert_eq!(held.range.count(), Some(68));
        for invalid in [
            "",
            "{",
            r#"{"fork":2}"#,
            r#"{"fork":2,"first":135,"last":134}"#,
            // Without a fork nothing shows where the histories part.
            r#"{"fork":0,"first":67,"last":134}"#,
            r#"{"fork":-1,"last":134}"#,
        ] {
            assert_eq!(HeldData::parse(invalid), None, "{invalid}");
        }
        let unknown = HeldData::parse(r#"{"fork":0,"last":134}"#).unwrap();
        assert_eq!(unknown.range.count(), None);
    }

    #[test]
    fn i35_a_conflict_holds_back_up_to_the_position_of_the_data() {
        let ahead = ForkConflict::Ahead {
            epoch: 2,
            transactions: (67, 134),
        };
        let range = HeldRange::of_conflict(&ahead, 134);
        assert_eq!((range.fork, range.first, range.last), (2, Some(67), 134));
        let range = HeldRange::of_conflict(&ForkConflict::Unrecorded { epoch: 3 }, 134);
        assert_eq!((range.fork, range.first, range.last), (3, None, 134));
    }

    #[test]
    fn an_obstacle_is_one_bounded_line() {
        let held = HeldData {
            range: HeldRange {
                fork: 1,
                first: None,
                last: 1,
            },
            obstacle: Some("ä\n".repeat(WAITING_REASON_MAX)),
        };
        let read = HeldData::parse(&held.to_value()).unwrap().obstacle.unwrap();
        assert!(
            read.len() <= WAITING_REASON_MAX && !read.contains('\n'),
            "{read}"
        );
    }
}
