//! What an agent maintains in etcd while its server is in a Primary component, and what its data continue when it joins
//! one. The agent and the simulation execute the same decisions.

use uuid::Uuid;

use super::registry_snapshot::{FounderKeyState, FounderRecord, RegistrySnapshot};
use crate::id::NodeId;
use crate::observe::fork::{ForkConflict, ForkRecord};
use crate::observe::registration::{CleanStop, RegistrationRecord};
use crate::observe::wsrep::{LocalState, WsrepStatus};
use crate::position::Position;
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// The membership of a server that shares the history of its Primary component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryMembership {
    /// The history.
    pub uuid: Uuid,
    /// The server's position, if it reports one.
    pub position: Option<Position>,
}

impl PrimaryMembership {
    /// Reads it from the status of a server; `None` while that is no such member.
    #[must_use]
    pub fn of(status: &WsrepStatus) -> Option<Self> {
        let uuid = status.cluster_state_uuid?;
        let belongs = status.cluster_status == Some(ClusterStatus::Primary)
            && status.local_state_uuid == Some(uuid)
            && matches!(
                status.local_state,
                Some(LocalState::Synced | LocalState::Donor)
            );
        belongs.then(|| Self {
            uuid,
            position: status
                .last_committed
                .and_then(|seqno| Position::new(uuid, seqno)),
        })
    }
}

/// Whether the registration of other data at a node's address may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceRegistration {
    /// No: the other data may be in use where etcd cannot be reached, and their registration is the only trace (I34).
    OwnOnly,
    /// Yes: the cluster accepted these data, or an operator ordered their bootstrap.
    OfOtherData,
}

/// What becomes of the durable registration at a node's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationUpdate {
    /// It stays: it is the registration of other data.
    OfOtherData,
    /// It stays: it is up to date.
    Unchanged,
    /// It is replaced.
    Put(RegistrationRecord),
}

/// The data that an agent registers.
#[derive(Clone, Debug)]
pub struct RegisteredData<'a> {
    /// Their identity.
    pub id: &'a str,
    /// The version of the agent.
    pub agent_version: &'a str,
    /// Where they stopped cleanly, if no server runs on them.
    pub stopped: Option<CleanStop>,
}

/// What becomes of `known`, the registration at the address of `data`.
#[must_use]
pub fn update_registration(
    known: Option<&RegistrationRecord>,
    data: RegisteredData<'_>,
    replace: ReplaceRegistration,
    now: Timestamp,
) -> RegistrationUpdate {
    let of_other = |known: &RegistrationRecord| known.id.as_deref().is_some_and(|id| id != data.id);
    if replace == ReplaceRegistration::OwnOnly && known.is_some_and(of_other) {
        return RegistrationUpdate::OfOtherData;
    }
    let first_seen = known
        .filter(|known| !of_other(known))
        .and_then(|known| known.first_seen);
    let record = RegistrationRecord {
        first_seen: first_seen.or(Some(now)),
        agent_version: Some(data.agent_version.to_owned()),
        id: Some(data.id.to_owned()),
        stopped: data.stopped,
    };
    if known == Some(&record) {
        RegistrationUpdate::Unchanged
    } else {
        RegistrationUpdate::Put(record)
    }
}

/// What becomes of the founder key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FounderUpdate {
    /// It stays.
    Unchanged,
    /// It stays, although it names another history than the Primary component has: a person must find out which is right.
    OtherHistory(Uuid),
    /// It is written.
    Put(FounderRecord),
}

/// What becomes of the founder key once `node`, with data of the identity `id`, is a member of a Primary component with
/// the history `uuid`. An emptied registry must not look like a new cluster.
#[must_use]
pub fn update_founder(
    known: &FounderKeyState,
    node: &NodeId,
    id: &str,
    uuid: Uuid,
    now: Timestamp,
) -> FounderUpdate {
    match known {
        FounderKeyState::Absent => FounderUpdate::Put(FounderRecord {
            node: node.clone(),
            founded_at: Some(now),
            data_id: Some(id.to_owned()),
            started: true,
            state_uuid: Some(uuid),
        }),
        FounderKeyState::Known { founder, .. } => match founder.state_uuid {
            None => FounderUpdate::Put(FounderRecord {
                started: true,
                state_uuid: Some(uuid),
                ..founder.clone()
            }),
            Some(named) if named != uuid => FounderUpdate::OtherHistory(named),
            Some(_) => FounderUpdate::Unchanged,
        },
        FounderKeyState::Unreadable { .. } => FounderUpdate::Unchanged,
    }
}

/// Whether `position` is recorded as the highest one of a node at whose key `known` is.
#[must_use]
pub fn raises_highest_position(known: Option<&Position>, position: &Position) -> bool {
    !known.is_some_and(|known| known.uuid == position.uuid && known.seqno >= position.seqno)
}

/// A fork that data continue, by its epoch, with its record if that is readable.
pub type ContinuedFork = (u64, Option<ForkRecord>);

impl RegistrySnapshot {
    /// The fork that the data of `node`, a member of a Primary component with `history`, continue since the fork `own`;
    /// `None` if that is still `own`.
    #[must_use]
    pub fn fork_of_member(&self, node: &NodeId, history: Uuid, own: u64) -> Option<ContinuedFork> {
        self.newer_fork(own, self.fork_of_component(node, history))
    }

    /// The fork of the members that `node` is about to join, if that is newer than `own`. Data that may join have nothing
    /// beyond it, so they are part of it even if the server fails before it has received anything.
    #[must_use]
    pub fn fork_to_join(&self, node: &NodeId, own: u64) -> Option<ContinuedFork> {
        let members = self.primaries_except(node);
        let epoch = members
            .map(|(id, member)| self.epoch_of_primary(id, member))
            .max();
        self.newer_fork(own, epoch.unwrap_or(0))
    }

    /// The transactions, the first and the last, that `node` had at `position` before it became a member of a component that
    /// continues the fork `current`, and that this fork continued without; `None` if there are none. `own` is the newest fork
    /// that its data continued until then.
    ///
    /// A running server is merged with such a component without its agent's decision, and Galera compares positions only: an
    /// incremental transfer leaves its own transactions in place.
    #[must_use]
    pub fn excess_over_fork(
        &self,
        node: &NodeId,
        position: &Position,
        own: u64,
        current: u64,
    ) -> Option<(u64, u64)> {
        match self
            .forks
            .conflict(own, position.uuid, position.seqno, current)?
        {
            // Members from the start brought their transactions along.
            ForkConflict::Ahead { epoch, .. }
                if self.forks.newest_of_member(node, position.uuid) >= epoch =>
            {
                None
            }
            ForkConflict::Ahead { transactions, .. } => Some(transactions),
            ForkConflict::Unrecorded { .. } => None,
        }
    }

    fn newer_fork(&self, own: u64, epoch: u64) -> Option<ContinuedFork> {
        (epoch > own).then(|| (epoch, self.forks.get(epoch).cloned()))
    }
}
