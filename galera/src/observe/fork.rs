//! Forks: a bootstrap continues a history without what excluded members have beyond its position. Each one is recorded
//! durably as `CLUSTER/forks/EPOCH`, so that a member which returns ahead is recognized at any later time (I35).
//!
//! Positions alone do not show it: once the cluster has passed the returning member's position, an incremental state
//! transfer would keep its transactions and send only what comes after them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::NodeId;
use crate::position::Position;
use crate::timestamp::Timestamp;

/// The `action_id` of a fork that no action of a console stands behind.
pub const OBSERVED: &str = "observed";

/// The port that is omitted from node ids.
const DEFAULT_PORT: u16 = 3306;

/// Where a history was continued by a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkRecord {
    /// The history.
    pub state_uuid: Uuid,
    /// The position that the bootstrap continued from.
    pub seqno: u64,
    /// The members that were in the new Primary component from the start.
    #[serde(default)]
    pub members: BTreeSet<NodeId>,
    /// The action that ordered it, or [`OBSERVED`].
    #[serde(default)]
    pub action_id: String,
    /// The fork that the data were part of before; 0 for none.
    #[serde(default)]
    pub parent: u64,
    /// When it was recorded, by the clock of its writer.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

impl ForkRecord {
    /// Parses the key's value; `None` if it is not a valid record.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(value).ok()?;
        Position::new(record.state_uuid, record.seqno)?;
        Some(record)
    }

    /// Whether both are of one bootstrap: of one action, at one position, with the same members.
    #[must_use]
    pub fn is_same_fork(&self, other: &Self) -> bool {
        let identity = |record: &Self| (record.state_uuid, record.seqno, record.action_id.clone());
        identity(self) == identity(other) && self.members == other.members
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The recorded forks of one cluster by epoch. A record that cannot be parsed is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForkRecords(BTreeMap<u64, Option<ForkRecord>>);

/// What data lack, or have in excess, compared with a later fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkConflict {
    /// The data have transactions that the fork continued without.
    Ahead {
        /// The fork's epoch.
        epoch: u64,
        /// The first and the last of them.
        transactions: (u64, u64),
    },
    /// The fork, or one before it, is not recorded, so what the data have in excess is unknown.
    Unrecorded {
        /// The fork's epoch.
        epoch: u64,
    },
}

impl ForkRecords {
    /// Adds the record of `epoch`, as its key's value shows it.
    pub fn insert(&mut self, epoch: u64, value: &[u8]) {
        self.0.insert(epoch, ForkRecord::parse(value));
    }

    /// Removes the record of `epoch`: its key is gone.
    pub fn remove(&mut self, epoch: u64) {
        self.0.remove(&epoch);
    }

    /// The record of `epoch`, if it is valid.
    #[must_use]
    pub fn get(&self, epoch: u64) -> Option<&ForkRecord> {
        self.0.get(&epoch)?.as_ref()
    }

    /// The valid records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &ForkRecord> {
        self.0.values().flatten()
    }

    /// `record` with the epoch that follows every known one; `None` if there is none left.
    #[must_use]
    pub fn next(&self, record: ForkRecord) -> Option<(u64, ForkRecord)> {
        let epoch = self.newest().max(record.parent).checked_add(1)?;
        Some((epoch, record))
    }

    /// The newest epoch; 0 without any.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether this fork is recorded, by whatever writer: another one with the id of its action does not count.
    #[must_use]
    pub fn has(&self, fork: &ForkRecord) -> bool {
        self.records().any(|record| record.is_same_fork(fork))
    }

    /// The recorded bootstrap that continued `history` from `seqno`, or from the next later position, with some of `members`;
    /// the newest of those from one position. A later fork of the same members is another bootstrap.
    #[must_use]
    pub fn bootstrap_at(
        &self,
        history: Uuid,
        seqno: u64,
        members: &BTreeSet<NodeId>,
    ) -> Option<(u64, &ForkRecord)> {
        let records = self.0.iter();
        let records = records.filter_map(|(epoch, record)| Some((*epoch, record.as_ref()?)));
        let candidates = records.filter(|(_, record)| {
            record.state_uuid == history
                && record.seqno >= seqno
                && !record.members.is_disjoint(members)
        });
        candidates.min_by_key(|(epoch, record)| (record.seqno, Reverse(*epoch)))
    }

    /// The newest fork that `node` was a member of from the start, in the history `uuid`; 0 for none.
    #[must_use]
    pub fn newest_of_member(&self, node: &NodeId, uuid: Uuid) -> u64 {
        let is_node = |member: &NodeId| member.clone().normalized(DEFAULT_PORT) == *node;
        let of_member =
            |record: &ForkRecord| record.state_uuid == uuid && record.members.iter().any(is_node);
        let epochs = self.0.iter().rev();
        epochs
            .filter_map(|(epoch, record)| Some((*epoch, record.as_ref()?)))
            .find(|(_, record)| of_member(record))
            .map_or(0, |(epoch, _)| epoch)
    }

    /// Whether data of the history `uuid` at `seqno`, last part of the fork `own`, have what the fork `current` lacks. Only
    /// the forks that `current` descends from count: others were never continued.
    #[must_use]
    pub fn conflict(&self, own: u64, uuid: Uuid, seqno: u64, current: u64) -> Option<ForkConflict> {
        let mut epoch = current;
        let mut conflict = None;
        while epoch > own {
            let Some(record) = self.get(epoch) else {
                return Some(ForkConflict::Unrecorded { epoch });
            };
            // Another history: nothing in it can be compared.
            if record.state_uuid == uuid && record.seqno < seqno {
                conflict = Some(ForkConflict::Ahead {
                    epoch,
                    transactions: (record.seqno + 1, seqno),
                });
            }
            // A record is never its own ancestor.
            epoch = record.parent.min(epoch - 1);
        }
        conflict
    }
}

/// The id under which an agent registers the node `id`: with its port, unless that is 3306. `default_port` is the port of
/// an id without one.
#[must_use]
pub fn member_id(id: &NodeId, default_port: u16) -> NodeId {
    let id = id.clone().normalized(default_port);
    let with_port = NodeId::new(id.host(), Some(id.port().unwrap_or(default_port)));
    with_port.map_or(id, |id| id.normalized(DEFAULT_PORT))
}

/// The id by which a console with `default_port` knows the member `id` of a record.
#[must_use]
pub fn node_id(id: &NodeId, default_port: u16) -> NodeId {
    let with_port = NodeId::new(id.host(), Some(id.port().unwrap_or(DEFAULT_PORT)));
    let id = with_port.unwrap_or_else(|_| id.clone());
    id.normalized(default_port)
}

/// The number in a key `fork_epoch`; 0 if it is unreadable.
#[must_use]
pub fn parse_epoch(value: &str) -> u64 {
    value.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: Uuid = Uuid::from_u128(7);

    fn record(seqno: u64, parent: u64) -> ForkRecord {
        ForkRecord {
            state_uuid: HISTORY,
            seqno,
            members: ["n2".parse().unwrap()].into(),
            action_id: OBSERVED.to_owned(),
            parent,
            at: None,
        }
    }

    fn forks(records: &[(u64, ForkRecord)]) -> ForkRecords {
        let mut forks = ForkRecords::default();
        for (epoch, record) in records {
            forks.insert(*epoch, record.to_value().as_bytes());
        }
        forks
    }

    #[test]
    fn i35_data_above_a_later_fork_are_recognized_at_any_time() {
        let known = forks(&[(1, record(66, 0)), (2, record(500, 1))]);
        let ahead = |epoch, first, last| {
            Some(ForkConflict::Ahead {
                epoch,
                transactions: (first, last),
            })
        };
        assert_eq!(known.conflict(0, HISTORY, 134, 1), ahead(1, 67, 134));
        // The later fork is at 500, but the earlier one already continued without them.
        assert_eq!(known.conflict(0, HISTORY, 134, 2), ahead(1, 67, 134));
        assert_eq!(known.conflict(0, HISTORY, 66, 2), None);
        assert_eq!(known.conflict(1, HISTORY, 134, 2), None);
        assert_eq!(known.conflict(1, HISTORY, 501, 2), ahead(2, 501, 501));
        assert_eq!(known.conflict(2, HISTORY, 900, 2), None);
        assert_eq!(known.conflict(0, Uuid::from_u128(8), 900, 2), None);
    }

    #[test]
    fn i46_a_later_fork_of_the_same_members_is_another_bootstrap() {
        let known = forks(&[(1, record(66, 0)), (2, record(500, 1)), (3, record(500, 2))]);
        let at = |seqno, member: &str| {
            let members = [member.parse().unwrap()].into();
            let found = known.bootstrap_at(HISTORY, seqno, &members);
            found.map(|(epoch, record)| (epoch, record.seqno))
        };
        assert_eq!(at(60, "n2"), Some((1, 66)));
        assert_eq!(at(66, "n2"), Some((1, 66)));
        assert_eq!(at(67, "n2"), Some((3, 500)));
        assert_eq!(at(501, "n2"), None);
        assert_eq!(at(66, "n1"), None);
    }

    #[test]
    fn i35_a_fork_that_was_never_continued_does_not_count() {
        // Epoch 1 was ordered at 10 and never started; epoch 2 continued data that were not part of it.
        let known = forks(&[(1, record(10, 0)), (2, record(12, 0))]);
        assert_eq!(known.conflict(0, HISTORY, 11, 2), None);
    }

    #[test]
    fn i35_a_missing_or_forged_record_is_no_permission() {
        let mut known = forks(&[(3, record(50, 2))]);
        let unrecorded = |epoch| Some(ForkConflict::Unrecorded { epoch });
        assert_eq!(known.conflict(1, HISTORY, 7, 3), unrecorded(2));
        known.insert(2, b"{");
        assert_eq!(known.conflict(1, HISTORY, 7, 3), unrecorded(2));
        assert_eq!(
            known.conflict(0, HISTORY, 7, u64::MAX),
            unrecorded(u64::MAX)
        );
        // A record that names itself or a later one as its parent ends.
        let circular = forks(&[(1, record(5, 9)), (2, record(6, 2))]);
        assert!(circular.conflict(0, HISTORY, 7, 2).is_some());
    }

    #[test]
    fn records_are_parsed_strictly_and_epochs_leniently() {
        assert_eq!(
            ForkRecord::parse(record(66, 0).to_value().as_bytes()),
            Some(record(66, 0))
        );
        let nil = Uuid::nil();
        for value in [
            String::new(),
            "{".to_owned(),
            format!(r#"{{"state_uuid":"{nil}","seqno":1}}"#),
            format!(r#"{{"state_uuid":"{HISTORY}","seqno":-1}}"#),
            format!(r#"{{"state_uuid":"{HISTORY}","seqno":18446744073709551615}}"#),
        ] {
            assert_eq!(ForkRecord::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(
            ["3", " 3 ", "-1", "x", ""].map(parse_epoch),
            [3, 3, 0, 0, 0]
        );
    }

    #[test]
    fn ids_of_members_are_those_of_the_console() {
        let console = |id: &str, port| node_id(&id.parse().unwrap(), port).to_string();
        assert_eq!(console("n1", 3306), "n1");
        assert_eq!(console("n1:3307", 3306), "n1:3307");
        assert_eq!(console("n1", 3307), "n1:3306");
        assert_eq!(console("n1:3307", 3307), "n1");
    }

    #[test]
    fn a_member_of_a_fork_finds_it() {
        let known = forks(&[(1, record(66, 0)), (4, record(70, 1))]);
        let node = |name: &str| name.parse::<NodeId>().unwrap();
        assert_eq!(known.newest_of_member(&node("n2"), HISTORY), 4);
        assert_eq!(known.newest_of_member(&node("n1"), HISTORY), 0);
        assert_eq!(known.newest_of_member(&node("n2"), Uuid::from_u128(8)), 0);
        assert_eq!((known.newest(), ForkRecords::default().newest()), (4, 0));
    }
}
