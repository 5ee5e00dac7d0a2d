//! Positions and Primary views of a cluster that the console keeps across restarts (I9, I31).
//!
//! GCS ranks the members of a component by the last Primary view that each of them saw, but a non-Primary node reports
//! an undefined conf_id; and a position may regress in a crash. So both are stored while they are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::NodeId;
use crate::judge::address_uses::{AddressReport, LocatedData};
use crate::judge::cluster::FoldSettings;
use crate::judge::cluster::node_facts::{assess_registration, is_primary};
use crate::judge::confirmation;
use crate::observe::address_use::{AddressUse, AddressUses};
use crate::observe::observation::{Evidence, LastPrimaryVotes};
use crate::observe::registration;
use crate::observe::wsrep::{MemberAddress, WsrepStatus};
use crate::position::{Position, Seqno};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// The highest position that a node's agent recorded durably (`highest_position`).
#[must_use]
pub fn recorded_highest_position(fields: &BTreeMap<String, String>) -> Option<Position> {
    fields.get("highest_position")?.parse().ok()
}

/// The highest known position of one history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighestPosition {
    pub seqno: Seqno,
    /// The node that reported it.
    pub node: NodeId,
    /// When it was first seen.
    pub at: Timestamp,
}

/// The last view in which a node was seen Primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPrimaryView {
    /// `wsrep_cluster_conf_id` of its component.
    pub conf_id: u64,
    pub position: Position,
    /// Members of its component, as far as they were known.
    #[serde(with = "shared_members")]
    pub members: Arc<BTreeSet<NodeId>>,
    /// When the node was last seen in it.
    pub at: Timestamp,
    /// When the node was first seen in it; missing in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// `pc.weight` of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// `wsrep_cluster_weight` of its component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_weight: Option<u64>,
    /// `wsrep_cluster_size` of its component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The newest known Primary view of one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestPrimaryView {
    pub conf_id: u64,
    /// The nodes that were seen in it.
    pub nodes: BTreeSet<NodeId>,
}

impl LastPrimaryView {
    /// Orders views of one history. Positions order them: a view takes a sequence number itself, whereas conf_ids start
    /// again at 1 after a full restart, and the times are of several clocks.
    fn age_order(&self) -> (Seqno, Timestamp, u64) {
        (self.position.seqno, self.at, self.conf_id)
    }

    /// Whether `other`, of another node, may be of the same view: equal conf_ids recur after a full restart, but the
    /// members of one view list each other, unless they list no addresses.
    fn shares_view(&self, id: &NodeId, other: &Self, other_id: &NodeId) -> bool {
        let lists = |view: &Self, own: &NodeId, id: &NodeId| {
            view.members.contains(id) || view.members.iter().all(|member| member == own)
        };
        self.same_view(other) && lists(self, id, other_id) && lists(other, other_id, id)
    }

    fn same_view(&self, other: &Self) -> bool {
        self.conf_id == other.conf_id && self.position.uuid == other.position.uuid
    }
}

/// Shared members are stored like a set of one owner.
mod shared_members {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::id::NodeId;

    pub(super) fn serialize<S: Serializer>(
        members: &Arc<BTreeSet<NodeId>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        members.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<BTreeSet<NodeId>>, D::Error> {
        BTreeSet::deserialize(deserializer).map(Arc::new)
    }
}

/// What an approved action makes the console forget (`recover::positions`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionReset {
    /// Histories whose highest position is forgotten.
    pub histories: BTreeSet<Uuid>,
    /// Nodes whose last Primary view is forgotten.
    pub nodes: BTreeSet<NodeId>,
}

/// Everything that was ever forgotten about one cluster (`corrections/{cluster}`): replicas that still remember it must
/// not record it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionCorrections {
    /// By history: highest positions first seen until then are void.
    #[serde(default)]
    pub histories: BTreeMap<Uuid, Timestamp>,
    /// By node: Primary views last seen until then are void.
    #[serde(default)]
    pub nodes: BTreeMap<NodeId, Timestamp>,
}

impl PositionCorrections {
    /// Adds `reset`, for what was seen until `until`.
    pub fn add(&mut self, reset: &PositionReset, until: Timestamp) {
        let histories = reset.histories.iter().map(|uuid| (*uuid, until));
        let nodes = reset.nodes.iter().map(|id| (id.clone(), until));
        self.merge(&Self {
            histories: histories.collect(),
            nodes: nodes.collect(),
        });
    }

    fn merge(&mut self, other: &Self) {
        for (uuid, until) in &other.histories {
            let known = self.histories.entry(*uuid).or_insert(*until);
            *known = (*known).max(*until);
        }
        for (id, until) in &other.nodes {
            let known = self.nodes.entry(id.clone()).or_insert(*until);
            *known = (*known).max(*until);
        }
    }

    fn is_empty(&self) -> bool {
        self.histories.is_empty() && self.nodes.is_empty()
    }
}

/// The stored positions of one cluster. Clones share the members of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPositions {
    /// The highest position ever seen, by the state UUID of its history.
    #[serde(default)]
    pub highest: BTreeMap<Uuid, HighestPosition>,
    /// The last Primary view of each node.
    #[serde(default)]
    pub primary: BTreeMap<NodeId, LastPrimaryView>,
    /// Which data used the addresses of members.
    #[serde(default, skip_serializing_if = "AddressUses::is_empty")]
    pub address_uses: AddressUses,
    /// What was forgotten by approved actions.
    #[serde(default, skip_serializing_if = "PositionCorrections::is_empty")]
    pub corrections: PositionCorrections,
}

/// The nodes of the last member list: all members of a view report the same list.
#[derive(Default)]
struct ListedMembers<'a> {
    list: &'a [MemberAddress],
    members: Arc<BTreeSet<NodeId>>,
}

impl<'a> ListedMembers<'a> {
    fn of(&mut self, list: &'a [MemberAddress], port: u16) -> Arc<BTreeSet<NodeId>> {
        if self.list != list {
            let nodes = list.iter().filter_map(MemberAddress::node);
            let members = nodes.map(|id| id.clone().normalized(port)).collect();
            self.members = Arc::new(members);
            self.list = list;
        }
        Arc::clone(&self.members)
    }
}

impl KnownPositions {
    /// Updates from the evidence as of `now`: from fresh answers of confirmed nodes and from positions that their agents
    /// registered.
    ///
    /// Only [`Self::correct`] removes something. The caller persists it as often as it likes: losing the last seconds only makes the
    /// console less strict.
    pub fn update(&mut self, evidence: &Evidence, now: Timestamp, settings: &FoldSettings) {
        let unconfirmed = confirmation::unconfirmed(evidence, now, settings);
        let located = LocatedData::of(evidence, &unconfirmed, now, settings);
        let mut primaries: BTreeSet<NodeId> = BTreeSet::new();
        let mut listed = ListedMembers::default();
        for (id, probe) in &evidence.probes {
            let id = id.clone().normalized(settings.default_port);
            let Some((at, status)) = &probe.status else {
                continue;
            };
            if probe.error.is_some()
                || at.age(now) > settings.stale_after
                || unconfirmed.contains(&id)
            {
                continue;
            }
            self.update_from_status(&id, *at, status, settings.default_port, &mut listed);
            if is_primary(status) {
                primaries.insert(id);
            }
        }
        for (id, observation) in &evidence.registrations {
            let id = id.clone().normalized(settings.default_port);
            if unconfirmed.contains(&id) {
                continue;
            }
            let registered = [
                registration::recovered_position(&observation.fields),
                recorded_highest_position(&observation.fields),
            ];
            for position in registered.into_iter().flatten() {
                self.record_highest(&id, &position, observation.last_put_at.unwrap_or(now));
            }
            let seen = assess_registration(observation, &evidence.registry_health, now, settings);
            let report = AddressReport {
                fields: (seen.fresh && observation.leased).then_some(&observation.fields),
                answers_primary: primaries.remove(&id),
                was_member: evidence.last_primary_members.contains(&id),
                located: &located,
            };
            self.record_address_use(&id, report, now);
        }
        for id in primaries {
            let report = AddressReport {
                fields: None,
                answers_primary: true,
                was_member: true,
                located: &located,
            };
            self.record_address_use(&id, report, now);
        }
    }

    fn record_address_use(&mut self, id: &NodeId, report: AddressReport<'_>, now: Timestamp) {
        let known = self.address_uses.get(id);
        let used = report
            .user(id, known)
            .and_then(|user| AddressUse::after(known, user, now));
        if let Some(used) = used {
            self.insert_address_use(id, used);
        }
    }

    fn insert_address_use(&mut self, id: &NodeId, used: AddressUse) {
        let void = self.corrections.nodes.get(id);
        if void.is_none_or(|until| used.at > *until) {
            self.address_uses.insert(id.clone(), used);
        }
    }

    fn update_from_status<'a>(
        &mut self,
        id: &NodeId,
        at: Timestamp,
        status: &'a WsrepStatus,
        port: u16,
        listed: &mut ListedMembers<'a>,
    ) {
        let Some(position) = status.position() else {
            return;
        };
        // A joiner's position belongs to data that is about to be replaced.
        if status.local_state_uuid != status.cluster_state_uuid && status.local_state_uuid.is_some()
        {
            return;
        }
        self.record_highest(id, &position, at);
        // During a view change, or while a lock holds the status (I42), the view is not the group's.
        if status.contradicts_its_group() {
            return;
        }
        let (Some(ClusterStatus::Primary), Some(conf_id)) = (status.cluster_status, status.conf_id)
        else {
            return;
        };
        let mut members = listed.of(&status.incoming_addresses, port);
        if !members.contains(id) {
            Arc::make_mut(&mut members).insert(id.clone());
        }
        let view = LastPrimaryView {
            conf_id,
            position,
            members,
            at,
            since: Some(at),
            weight: status.quorum_options.weight,
            total_weight: status.cluster_weight,
            size: status.cluster_size,
        };
        self.record_primary(id, view);
    }

    /// Forgets what `corrections` void, now and when it is reported again.
    pub fn correct(&mut self, corrections: &PositionCorrections) {
        self.corrections.merge(corrections);
        let PositionCorrections { histories, nodes } = &self.corrections;
        self.highest
            .retain(|uuid, highest| histories.get(uuid).is_none_or(|until| highest.at > *until));
        self.primary
            .retain(|id, last| nodes.get(id).is_none_or(|until| last.at > *until));
        self.address_uses
            .retain(|id, used| nodes.get(id).is_none_or(|until| used.at > *until));
    }

    /// When anything of `reset` was last seen, by the clocks that recorded it; `None` if nothing of it is known.
    #[must_use]
    pub fn last_seen(&self, reset: &PositionReset) -> Option<Timestamp> {
        let highest = reset
            .histories
            .iter()
            .filter_map(|uuid| self.highest.get(uuid));
        let views = reset.nodes.iter().filter_map(|id| self.primary.get(id));
        let nodes = reset.nodes.iter();
        let uses = nodes.filter_map(|id| self.address_uses.get(id));
        highest
            .map(|highest| highest.at)
            .chain(views.map(|view| view.at))
            .chain(uses.map(|used| used.at))
            .max()
    }

    /// Records the newest Primary view of a node; a view that continues keeps its start.
    fn record_primary(&mut self, id: &NodeId, mut view: LastPrimaryView) {
        let void = self.corrections.nodes.get(id);
        if void.is_some_and(|until| view.at <= *until) {
            return;
        }
        if let Some(known) = self.primary.get(id)
            && known.same_view(&view)
        {
            view.since = known.since.min(view.since);
        }
        self.primary.insert(id.clone(), view);
    }

    /// Records `position` if it is the highest of its history.
    pub fn record_highest(&mut self, node: &NodeId, position: &Position, at: Timestamp) {
        let void = self.corrections.histories.get(&position.uuid);
        if void.is_some_and(|until| at <= *until) {
            return;
        }
        let known = self.highest.get(&position.uuid);
        if known.is_none_or(|highest| highest.seqno < position.seqno) {
            self.highest.insert(
                position.uuid,
                HighestPosition {
                    seqno: position.seqno,
                    node: node.clone(),
                    at,
                },
            );
        }
    }

    /// Merges the positions that another replica has stored.
    pub fn merge(&mut self, other: &Self) {
        self.correct(&other.corrections);
        for (uuid, highest) in &other.highest {
            let position = Position {
                uuid: *uuid,
                seqno: highest.seqno,
            };
            self.record_highest(&highest.node, &position, highest.at);
        }
        for (id, last) in &other.primary {
            match self.primary.get_mut(id) {
                // The older record may know the earlier start.
                Some(known) if known.at >= last.at => {
                    if known.same_view(last) {
                        known.since = known.since.min(last.since);
                    }
                }
                _ => self.record_primary(id, last.clone()),
            }
        }
        for (id, used) in &other.address_uses {
            let known = self.address_uses.get(id);
            if known.is_none_or(|known| used.is_newer_than(known)) {
                self.insert_address_use(id, used.clone());
            }
        }
    }

    /// The newest known Primary view of the history `uuid`.
    #[must_use]
    pub fn newest_primary_view(&self, uuid: &Uuid) -> Option<NewestPrimaryView> {
        let of_history = || {
            self.primary
                .iter()
                .filter(|(_, last)| last.position.uuid == *uuid)
        };
        let (newest_id, newest) =
            of_history().max_by_key(|(id, last)| (last.age_order(), std::cmp::Reverse(*id)))?;
        let nodes = of_history()
            .filter(|(id, last)| *id == newest_id || newest.shares_view(newest_id, last, id))
            .map(|(id, _)| id.clone())
            .collect();
        Some(NewestPrimaryView {
            conf_id: newest.conf_id,
            nodes,
        })
    }

    /// Whether the last Primary view of a node had more members than are named: by its list, or by the records of other nodes
    /// in that view. The others are arbitrators, or nodes that are not known.
    #[must_use]
    pub fn has_unnamed_member(&self) -> bool {
        self.primary.iter().any(|(id, view)| {
            let named = self
                .primary
                .iter()
                .filter(|(other_id, other)| view.shares_view(id, other, other_id))
                .flat_map(|(other_id, other)| other.members.iter().chain([other_id]));
            let named: BTreeSet<&NodeId> = named.chain(view.members.iter()).chain([id]).collect();
            view.size
                .is_some_and(|size| size > u64::try_from(named.len()).unwrap_or(u64::MAX))
        })
    }

    /// The votes of the Primary view that was seen last.
    #[must_use]
    pub fn last_votes(&self) -> LastPrimaryVotes {
        let newest = self
            .primary
            .iter()
            .max_by_key(|(id, last)| (last.at, last.age_order(), std::cmp::Reverse(*id)));
        let weight = |(id, last): (&NodeId, &LastPrimaryView)| Some((id.clone(), last.weight?));
        LastPrimaryVotes {
            weights: self.primary.iter().filter_map(weight).collect(),
            total: newest.and_then(|(_, last)| last.total_weight),
            size: newest.and_then(|(_, last)| last.size),
        }
    }
}
