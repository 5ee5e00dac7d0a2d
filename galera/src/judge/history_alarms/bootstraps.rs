//! Recognizes a bootstrap of a running component that no console ordered, from what its nodes report.
//!
//! A node that was in a Primary view, lost its quorum and is Primary in the *next* view of that history got there by a
//! merge with all members of the former view, or by `pc.bootstrap`. If the next view has half of the former votes or
//! less, it was a bootstrap. Whatever else may have happened is not one: views in between that the console did not see,
//! a restart of the node, votes that are not known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::HistoryFinding;
use crate::id::NodeId;
use crate::judge::cluster::{FoldSettings, only_primary};
use crate::judge::known_positions::{KnownPositions, LastPrimaryView};
use crate::observe::fork;
use crate::observe::observation::{Evidence, SqlObservation};
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, ClusterView};

/// How long after its view began a bootstrap is reported: by then a console that ordered it has recorded it.
const REPORTED_AFTER: Duration = Duration::from_secs(6);

/// A bootstrap that the nodes prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedBootstrap {
    pub history: Uuid,
    /// The position that it continued from.
    pub seqno: u64,
    /// The members of the new component, by their ids in the registry.
    pub members: BTreeSet<NodeId>,
    /// Former members that are neither stopped nor seen without a Primary component: they may be serving.
    pub unseen: BTreeSet<NodeId>,
    /// Whether all former members and all members of the new component are known by name.
    pub complete: bool,
    /// The newest fork that the members' data continued before.
    pub parent: u64,
}

impl ObservedBootstrap {
    /// Whether it may be recorded as a fork: no former member can be serving elsewhere.
    #[must_use]
    pub fn is_recordable(&self) -> bool {
        self.complete && self.unseen.is_empty()
    }

    /// What a person is alarmed about, with the epoch of its fork if it is recorded.
    #[must_use]
    pub fn finding(&self, fork: Option<u64>) -> HistoryFinding {
        HistoryFinding::Bootstrapped {
            history: self.history,
            seqno: self.seqno,
            members: self.members.clone(),
            unseen: self.unseen.clone(),
            fork,
        }
    }
}

/// A node that lost its quorum.
#[derive(Clone, Debug)]
struct QuorumLoss {
    /// Its process: another one on the same data is not in the next view of that group.
    process: Uuid,
    /// The view that it was in before.
    last: LastPrimaryView,
    /// Its position since: without quorum none is committed.
    seqno: u64,
    /// The component of its next view, if that was one of a bootstrap.
    bootstrapped: Option<BootstrappedComponent>,
}

/// The component that a bootstrap made, before other nodes joined it.
#[derive(Clone, Debug)]
struct BootstrappedComponent {
    members: BTreeSet<NodeId>,
    /// `wsrep_cluster_size`.
    size: Option<u64>,
}

/// The nodes of one cluster that lost their quorum, as one replica saw it.
#[derive(Clone, Debug, Default)]
pub struct QuorumLosses(BTreeMap<NodeId, QuorumLoss>);

impl QuorumLosses {
    /// Compares the answers in `evidence` with those before. Returns a bootstrap once it is proven.
    pub fn observe(
        &mut self,
        known: &KnownPositions,
        view: &ClusterView,
        evidence: &Evidence,
        now: Timestamp,
        settings: &FoldSettings,
    ) -> Option<ObservedBootstrap> {
        let mut proven = None;
        for (id, probe) in &evidence.probes {
            let id = id.clone().normalized(settings.default_port);
            let Some((at, status)) = probe
                .status
                .as_ref()
                .filter(|(at, _)| probe.error.is_none() && at.age(now) <= settings.stale_after)
            else {
                continue;
            };
            match status.cluster_status {
                Some(ClusterStatus::NonPrimary) if !status.frozen => {
                    self.lose(&id, status, known.primary.get(&id));
                }
                Some(ClusterStatus::Primary) => {
                    let lasts = probe.view_since.map(|since| since.age(*at));
                    if let Some((loss, made)) = self.regain(&id, status, lasts, view, settings) {
                        let seqno = self.highest_of(&made.members).max(loss.seqno);
                        proven = Some(loss.bootstrap(&made, seqno, evidence, now, settings));
                        // The other members prove the same.
                        self.0.retain(|id, _| !made.members.contains(id));
                    }
                }
                _ => {}
            }
        }
        proven
    }

    /// The highest position of the nodes among `members` that lost their quorum.
    fn highest_of(&self, members: &BTreeSet<NodeId>) -> u64 {
        let of_members = self.0.iter().filter(|(id, _)| members.contains(*id));
        of_members.map(|(_, loss)| loss.seqno).max().unwrap_or(0)
    }

    fn lose(&mut self, id: &NodeId, status: &WsrepStatus, last: Option<&LastPrimaryView>) {
        let (Some(process), Some(seqno)) = (status.gcomm_uuid, status.last_committed) else {
            return;
        };
        if let Some(known) = self.0.get_mut(id)
            && known.process == process
            && known.bootstrapped.is_none()
        {
            known.seqno = seqno;
            return;
        }
        self.0.remove(id);
        let of_history = last.filter(|last| {
            Some(last.position.uuid) == status.cluster_state_uuid && last.position.seqno <= seqno
        });
        if let Some(last) = of_history {
            let loss = QuorumLoss {
                process,
                last: last.clone(),
                seqno,
                bootstrapped: None,
            };
            self.0.insert(id.clone(), loss);
        }
    }

    /// The loss of a node that is Primary in a view which has lasted long enough to be reported; it is then forgotten.
    fn regain(
        &mut self,
        id: &NodeId,
        status: &WsrepStatus,
        lasts: Option<Duration>,
        view: &ClusterView,
        settings: &FoldSettings,
    ) -> Option<(QuorumLoss, BootstrappedComponent)> {
        let loss = self.0.get_mut(id)?;
        let lasts = lasts.unwrap_or_default();
        if lasts < settings.settle_time || status.contradicts_its_group() {
            return None;
        }
        if loss.bootstrapped.is_none() && loss.is_followed_by(status) {
            // With a second component that is Primary, the verdict says more.
            loss.bootstrapped = only_primary(view).map(|component| BootstrappedComponent {
                members: component.members.iter().cloned().collect(),
                size: component.size,
            });
        }
        if loss.bootstrapped.is_some() && lasts < REPORTED_AFTER {
            return None;
        }
        let mut loss = self.0.remove(id)?;
        let made = loss.bootstrapped.take()?;
        Some((loss, made))
    }
}

impl QuorumLoss {
    /// Whether the view of `status` follows the former one, with too few of its votes.
    fn is_followed_by(&self, status: &WsrepStatus) -> bool {
        let options = status.quorum_options;
        let ignored = [options.ignore_split_brain, options.ignore_quorum].contains(&Some(true));
        let next = self.last.conf_id.checked_add(1);
        let votes = |count: Option<u64>| count.filter(|count| *count > 0);
        let few = votes(status.cluster_weight)
            .zip(votes(self.last.total_weight))
            .is_some_and(|(now, before)| now.saturating_mul(2) <= before);
        status.gcomm_uuid == Some(self.process)
            && status.cluster_state_uuid == Some(self.last.position.uuid)
            && status.conf_id == next
            && few
            && !ignored
    }

    fn bootstrap(
        &self,
        made: &BootstrappedComponent,
        seqno: u64,
        evidence: &Evidence,
        now: Timestamp,
        settings: &FoldSettings,
    ) -> ObservedBootstrap {
        let port = settings.default_port;
        let count = |members: &BTreeSet<NodeId>| u64::try_from(members.len()).ok();
        let may_serve = |id: &&NodeId| {
            let mut probes = evidence.probes.iter();
            let probe = probes.find(|(probed, _)| (*probed).clone().normalized(port) == **id);
            !probe.is_some_and(|(_, probe)| is_without_primary(probe, now, settings))
        };
        let absent = self.last.members.difference(&made.members);
        let members: BTreeSet<NodeId> = made
            .members
            .iter()
            .map(|id| fork::member_id(id, port))
            .collect();
        let epochs = evidence.registrations.iter().filter_map(|(id, seen)| {
            let epoch = seen.fields.get("fork_epoch")?;
            let own = members.contains(&fork::member_id(id, port));
            own.then(|| fork::parse_epoch(epoch))
        });
        ObservedBootstrap {
            history: self.last.position.uuid,
            seqno,
            parent: epochs.max().unwrap_or(0),
            unseen: absent.filter(may_serve).cloned().collect(),
            complete: count(&made.members) == made.size
                && count(&self.last.members) == self.last.size,
            members,
        }
    }
}

/// Whether a node is proven to be in no Primary component: its port is closed, or it answers so.
fn is_without_primary(probe: &SqlObservation, now: Timestamp, settings: &FoldSettings) -> bool {
    match (&probe.error, &probe.status) {
        (Some((_, error)), _) => error.kind.proves_stopped(),
        (None, Some((at, status))) => {
            at.age(now) <= settings.stale_after
                && status.cluster_status == Some(ClusterStatus::NonPrimary)
                && !status.frozen
        }
        (None, None) => false,
    }
}
