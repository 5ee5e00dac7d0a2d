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
use crate::observe::observation::Evidence;
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, ClusterView};

/// How long after its view began a bootstrap is reported, whatever became of its members since: by then a console that
/// ordered it has recorded it.
const REPORTED_AFTER: Duration = Duration::from_secs(6);

/// A bootstrap that the nodes prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedBootstrap {
    pub history: Uuid,
    /// The position that it continued from.
    pub seqno: u64,
    /// The members of the new component, by their ids in the registry.
    pub members: BTreeSet<NodeId>,
    /// Former members that may be serving, or may serve again, without the bootstrapped ones.
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
}

/// A proven bootstrap that is not reported yet.
#[derive(Clone, Debug)]
struct UnreportedBootstrap {
    /// With all absent members among the unseen ones.
    seen: ObservedBootstrap,
    /// A member that proves it, and its process.
    member: (NodeId, Uuid),
    /// The configuration number of its view.
    conf_id: Option<u64>,
    /// When it is reported.
    due: Timestamp,
}

/// The nodes of one cluster that lost their quorum, as one replica saw it, and the bootstraps that followed.
#[derive(Clone, Debug, Default)]
pub struct QuorumLosses {
    losses: BTreeMap<NodeId, QuorumLoss>,
    unreported: Vec<UnreportedBootstrap>,
}

impl QuorumLosses {
    /// Compares the answers in `evidence` with those before. Returns each bootstrap once, when it is due.
    pub fn observe(
        &mut self,
        known: &KnownPositions,
        view: &ClusterView,
        evidence: &Evidence,
        now: Timestamp,
        settings: &FoldSettings,
    ) -> Option<ObservedBootstrap> {
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
                    let since = probe.view_since.unwrap_or(*at);
                    if since.age(*at) >= settings.settle_time && !status.contradicts_its_group() {
                        self.regain(&id, status, since, view, evidence, settings);
                    }
                }
                _ => {}
            }
        }
        let due = |bootstrap: &UnreportedBootstrap| bootstrap.due <= now;
        let first = self.unreported.iter().position(due)?;
        let UnreportedBootstrap {
            mut seen, member, ..
        } = self.unreported.remove(first);
        let runs = is_process(&member, evidence, settings);
        let continued = only_primary(view).filter(|one| runs && one.members.contains(&member.0));
        // If it has ended, those without a Primary component may have their quorum again at any time.
        if let Some(component) = continued {
            seen.unseen.retain(|id| {
                !is_without_primary(id, evidence, now, settings) && !component.members.contains(id)
            });
        }
        Some(seen)
    }

    /// The highest position of the nodes among `members` that lost their quorum.
    fn highest_of(&self, members: &BTreeSet<NodeId>) -> u64 {
        let of_members = self.losses.iter().filter(|(id, _)| members.contains(*id));
        of_members.map(|(_, loss)| loss.seqno).max().unwrap_or(0)
    }

    fn lose(&mut self, id: &NodeId, status: &WsrepStatus, last: Option<&LastPrimaryView>) {
        let (Some(process), Some(seqno)) = (status.gcomm_uuid, status.last_committed) else {
            return;
        };
        if let Some(known) = self.losses.get_mut(id)
            && known.process == process
        {
            known.seqno = seqno;
            return;
        }
        self.losses.remove(id);
        let of_history = last.filter(|last| {
            Some(last.position.uuid) == status.cluster_state_uuid && last.position.seqno <= seqno
        });
        if let Some(last) = of_history {
            let loss = QuorumLoss {
                process,
                last: last.clone(),
                seqno,
            };
            self.losses.insert(id.clone(), loss);
        }
    }

    /// Forgets the loss of a node that is Primary in a view which began at `since` and has lasted. It was a bootstrap if
    /// that view proves it.
    fn regain(
        &mut self,
        id: &NodeId,
        status: &WsrepStatus,
        since: Timestamp,
        view: &ClusterView,
        evidence: &Evidence,
        settings: &FoldSettings,
    ) {
        let Some(loss) = self.losses.remove(id) else {
            return;
        };
        // With a second component that is Primary, the verdict says more.
        let Some(made) = only_primary(view).filter(|_| loss.is_followed_by(status)) else {
            return;
        };
        let members: BTreeSet<NodeId> = made.members.iter().cloned().collect();
        let seqno = self.highest_of(&members).max(loss.seqno);
        let seen = loss.bootstrap(&members, made.size, seqno, evidence, settings);
        // The other members prove the same.
        self.losses.retain(|id, _| !members.contains(id));
        let of_view = |known: &UnreportedBootstrap| {
            (known.seen.history, known.conf_id) == (seen.history, status.conf_id)
        };
        if self.unreported.iter().any(of_view) {
            return;
        }
        self.unreported.push(UnreportedBootstrap {
            seen,
            member: (id.clone(), loss.process),
            conf_id: status.conf_id,
            due: since.plus(REPORTED_AFTER),
        });
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

    /// The bootstrap that made a component of `size` with the known `members`, which continued from `seqno`.
    fn bootstrap(
        &self,
        members: &BTreeSet<NodeId>,
        size: Option<u64>,
        seqno: u64,
        evidence: &Evidence,
        settings: &FoldSettings,
    ) -> ObservedBootstrap {
        let port = settings.default_port;
        let count = |members: &BTreeSet<NodeId>| u64::try_from(members.len()).ok();
        let registered: BTreeSet<NodeId> =
            members.iter().map(|id| fork::member_id(id, port)).collect();
        let epochs = evidence.registrations.iter().filter_map(|(id, seen)| {
            let epoch = seen.fields.get("fork_epoch")?;
            let own = registered.contains(&fork::member_id(id, port));
            own.then(|| fork::parse_epoch(epoch))
        });
        ObservedBootstrap {
            history: self.last.position.uuid,
            seqno,
            parent: epochs.max().unwrap_or(0),
            unseen: self.last.members.difference(members).cloned().collect(),
            complete: count(members) == size && count(&self.last.members) == self.last.size,
            members: registered,
        }
    }
}

/// Whether the newest answer of the node `id` is of `process`, and no failure followed it.
fn is_process(
    (id, process): &(NodeId, Uuid),
    evidence: &Evidence,
    settings: &FoldSettings,
) -> bool {
    evidence.probes.iter().any(|(probed, probe)| {
        let status = probe.status.as_ref().filter(|_| probe.error.is_none());
        probed.clone().normalized(settings.default_port) == *id
            && status.and_then(|(_, status)| status.gcomm_uuid) == Some(*process)
    })
}

/// Whether `node` is proven to be in no Primary component: its port is closed, or it answers so.
fn is_without_primary(
    node: &NodeId,
    evidence: &Evidence,
    now: Timestamp,
    settings: &FoldSettings,
) -> bool {
    let mut probes = evidence.probes.iter();
    let probe = probes.find(|(id, _)| (*id).clone().normalized(settings.default_port) == *node);
    match probe.map(|(_, probe)| (&probe.error, &probe.status)) {
        Some((Some((_, error)), _)) => error.kind.proves_stopped(),
        Some((None, Some((at, status)))) => {
            at.age(now) <= settings.stale_after
                && status.cluster_status == Some(ClusterStatus::NonPrimary)
                && !status.frozen
        }
        _ => false,
    }
}
