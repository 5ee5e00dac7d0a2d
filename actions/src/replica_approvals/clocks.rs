//! Compares the clocks of replicas by the times at which they publish their settings.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::{ReplicaId, Timestamp};

/// Differences up to this one are not shown: a publication may be as old as the interval of comparisons.
const TOLERANCE: Duration = Duration::from_secs(30);
/// Changes up to this one come from the age of a publication, and do not change what is shown.
const JITTER: Duration = Duration::from_secs(15);
/// Longest reading of the publications whose times are compared: the own time must not pass in between.
const READING_MAX: Duration = Duration::from_secs(5);

/// How far the clock of another replica is from the own one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockDifference {
    Ahead(Duration),
    Behind(Duration),
}

impl ClockDifference {
    /// Between `published`, the time in a publication that is new, and the own clock before and after reading it.
    fn new(published: Timestamp, before: Timestamp, after: Timestamp) -> Option<Self> {
        if after < before || before.age(after) > READING_MAX {
            return None;
        }
        let (ahead, behind) = (after.age(published), published.age(before));
        match (ahead > TOLERANCE, behind > TOLERANCE) {
            (true, _) => Some(Self::Ahead(ahead)),
            (_, true) => Some(Self::Behind(behind)),
            _ => None,
        }
    }

    /// The difference that was known `before`, if this one is about the same.
    fn or_known(self, before: Option<Self>) -> Self {
        match (self, before) {
            (Self::Ahead(by), Some(Self::Ahead(known)))
            | (Self::Behind(by), Some(Self::Behind(known)))
                if by.abs_diff(known) <= JITTER =>
            {
                before.unwrap_or(self)
            }
            _ => self,
        }
    }

    /// What to show about the clock of `other` on the pages of `own`.
    fn notice(self, other: &ReplicaId, own: &ReplicaId) -> String {
        let (difference, direction) = match self {
            Self::Ahead(by) => (by, "ahead of"),
            Self::Behind(by) => (by, "behind"),
        };
        let amount = match difference.as_secs() {
            seconds if seconds < 120 => format!("{seconds} seconds"),
            seconds => format!("{} minutes", seconds / 60),
        };
        format!(
            "The clock of {other} is {amount} {direction} that of {own}: actions, orders and sessions expire too early or too \
             late, and recorded times differ. Synchronize the clocks of all replicas."
        )
    }
}

/// The clock of one other replica.
#[derive(Clone, Debug)]
struct ReplicaClock {
    replica: ReplicaId,
    /// The time in its newest publication.
    published: Timestamp,
    difference: Option<ClockDifference>,
}

/// The clocks of the other replicas, by the keys of their publications.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplicaClocks(BTreeMap<Vec<u8>, ReplicaClock>);

impl ReplicaClocks {
    /// Compares `publications` (key, replica and time of each), which were read between `before` and `after`. Only one that
    /// is new since the last reading is compared: any other may be old, as after an outage of etcd.
    pub(super) fn compare(
        &mut self,
        publications: Vec<(Vec<u8>, ReplicaId, Timestamp)>,
        before: Timestamp,
        after: Timestamp,
    ) {
        let mut known = std::mem::take(&mut self.0);
        for (key, replica, published) in publications {
            let difference = match known.remove(&key) {
                Some(clock) if clock.published == published => clock.difference,
                Some(clock) => ClockDifference::new(published, before, after)
                    .map(|difference| difference.or_known(clock.difference)),
                None => None,
            };
            let clock = ReplicaClock {
                replica,
                published,
                difference,
            };
            self.0.insert(key, clock);
        }
    }

    /// What to show about clocks that differ from that of `own`.
    pub(super) fn notices(&self, own: &ReplicaId) -> Vec<String> {
        let clocks = self.0.values();
        let differences = clocks.filter_map(|clock| {
            let difference = clock.difference?;
            Some(difference.notice(&clock.replica, own))
        });
        differences.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    /// What is shown after publications with these times were read at these times of the own clock.
    fn shown(readings: &[(i64, i64)]) -> Vec<String> {
        let mut clocks = ReplicaClocks::default();
        for (published, now) in readings {
            let publication = (b"k".to_vec(), ReplicaId::new("r2"), at(*published));
            clocks.compare(vec![publication], at(*now), at(*now));
        }
        clocks.notices(&ReplicaId::new("r1"))
    }

    #[test]
    fn a_difference_is_shown_with_its_direction() {
        let ahead = shown(&[(3_600, 0), (3_610, 10)]);
        assert!(
            ahead[0].starts_with("The clock of r2 is 60 minutes ahead of that of r1:"),
            "{ahead:?}"
        );
        let behind = shown(&[(-50, 0), (-40, 10)]);
        assert!(
            behind[0].starts_with("The clock of r2 is 50 seconds behind that of r1:"),
            "{behind:?}"
        );
        // The age of a publication does not change the sentence.
        assert_eq!(shown(&[(-50, 0), (-40, 10), (-32, 26)]), behind);
        // It stays until the next publication, and goes with it.
        assert_eq!(shown(&[(-50, 0), (-40, 10), (-40, 15)]).len(), 1);
        assert_eq!(shown(&[(-50, 0), (-40, 10), (20, 21)]), [""; 0]);
    }

    #[test]
    fn equal_clocks_and_old_publications_show_no_difference() {
        assert_eq!(shown(&[(0, 9), (10, 19), (20, 29)]), [""; 0]);
        // The first one may be as old as the outage of etcd that it outlived.
        assert_eq!(shown(&[(-600, 0)]), [""; 0]);
        assert_eq!(shown(&[(-600, 0), (-600, 10)]), [""; 0]);
    }

    #[test]
    fn a_long_reading_and_a_step_of_the_own_clock_compare_nothing() {
        let compared = |before, after| ClockDifference::new(at(600), at(before), at(after));
        assert_eq!(compared(0, 600), None);
        assert_eq!(compared(600, 0), None);
        assert_eq!(
            compared(0, 1),
            Some(ClockDifference::Ahead(Duration::from_secs(599)))
        );
    }
}
