//! Which nodes reported to be Primary, with which members and when; and whether two disjoint components ever did so at
//! the same time.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

/// A Primary component as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryView {
    pub state_uuid: String,
    pub conf_id: String,
    /// The addresses of its members.
    pub members: BTreeSet<String>,
}

/// The time for which a node is known to have kept one view: from its first answer with it to the last question that
/// was answered with it. It was Primary before and after, too; but only this is proven.
#[derive(Clone, Debug)]
pub struct PrimaryInterval {
    /// Task and address of the node.
    pub node: String,
    /// What it saw.
    pub view: PrimaryView,
    /// The first report.
    pub since: Instant,
    /// When the last query that was answered with it was sent.
    pub until: Instant,
}

/// Two nodes that were Primary at the same time in components without a common member.
#[derive(Debug)]
pub struct RivalPair {
    one: PrimaryInterval,
    other: PrimaryInterval,
}

impl fmt::Display for RivalPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, other } = self;
        let together = one.until.min(other.until) - one.since.max(other.since);
        write!(
            f,
            "{} was Primary with {:?} and {} was Primary with {:?} for {together:?} at the same time",
            one.node, one.view.members, other.node, other.view.members
        )
    }
}

/// All pairs of rivals among `intervals`.
#[must_use]
pub fn rival_pairs(intervals: &[PrimaryInterval]) -> Vec<RivalPair> {
    let mut found = Vec::new();
    for (index, one) in intervals.iter().enumerate() {
        for other in &intervals[index + 1..] {
            let together = one.since.max(other.since) <= one.until.min(other.until);
            if together && one.view.members.is_disjoint(&other.view.members) {
                found.push(RivalPair {
                    one: one.clone(),
                    other: other.clone(),
                });
            }
        }
    }
    found
}

/// The member addresses in `wsrep_incoming_addresses`, without ports; always includes `own`.
#[must_use]
pub fn members(incoming: &str, own: &str) -> BTreeSet<String> {
    let host = |entry: &str| {
        let entry = entry.trim();
        entry.split(':').next().unwrap_or(entry).to_owned()
    };
    // A member that has not set its address shows AUTO, an arbitrator nothing.
    let known = incoming
        .split(',')
        .map(host)
        .filter(|host| host.parse::<std::net::IpAddr>().is_ok());
    known.chain([own.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn interval(start: Instant, members: &str, since: u64, until: u64) -> PrimaryInterval {
        let own = members.split(',').next().unwrap();
        PrimaryInterval {
            node: own.to_owned(),
            view: PrimaryView {
                state_uuid: "u".to_owned(),
                conf_id: "1".to_owned(),
                members: self::members(members, own),
            },
            since: start + Duration::from_millis(since),
            until: start + Duration::from_millis(until),
        }
    }

    #[test]
    fn disjoint_components_at_one_time_are_rivals() {
        let start = Instant::now();
        let one = interval(start, "10.0.0.1:3306,10.0.0.2:3306", 0, 500);
        let other = interval(start, "10.0.0.3:3306", 400, 900);
        assert_eq!(rival_pairs(&[one, other]).len(), 1);
    }

    #[test]
    fn one_after_the_other_or_with_a_common_member_they_are_not() {
        let start = Instant::now();
        let before = interval(start, "10.0.0.1:3306", 0, 300);
        let after = interval(start, "10.0.0.2:3306", 301, 600);
        assert!(rival_pairs(&[before, after]).is_empty());
        let old = interval(start, "10.0.0.1:3306,10.0.0.2:3306", 0, 500);
        let new = interval(start, "10.0.0.2:3306,10.0.0.3:3306", 100, 600);
        assert!(rival_pairs(&[old, new]).is_empty());
    }

    #[test]
    fn members_that_name_no_address_are_left_out() {
        let seen = members("AUTO,10.0.0.2:3306,", "10.0.0.1");
        let wanted = ["10.0.0.1", "10.0.0.2"].map(ToOwned::to_owned);
        assert_eq!(seen, BTreeSet::from(wanted));
    }
}
