//! Finds what raises an alarm, in what the nodes report themselves: registrations prove nothing here (I3).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{DataAhead, HistoryAlarmRecord, HistoryChange, HistoryFinding};
use crate::id::NodeId;
use crate::judge::cluster::{FoldSettings, only_primary};
use crate::judge::known_positions::LastPrimaryView;
use crate::observe::observation::{Evidence, SqlObservation};
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, ClusterView, Component, NodeState, VerdictState};

/// What a replica concludes from one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryObservation {
    pub changes: Vec<HistoryChange>,
    /// Whether the Primary component has lasted, so that its members prove their position. Only then may what was known
    /// before be replaced.
    pub settled: bool,
}

/// A member that proves the position of its component: Synced, without a queue, and in its view for the settle time. It
/// has applied all that was committed before that view began.
struct SettledMember<'a> {
    id: NodeId,
    probe: &'a SqlObservation,
    status: &'a WsrepStatus,
}

/// Compares `view` and its evidence with `record` and with `before`, the last Primary views that were known when a
/// component was last settled.
#[must_use]
pub fn detect(
    record: &HistoryAlarmRecord,
    before: &BTreeMap<NodeId, LastPrimaryView>,
    view: &ClusterView,
    evidence: &Evidence,
    now: Timestamp,
    settings: &FoldSettings,
) -> HistoryObservation {
    let mut observation = HistoryObservation::default();
    if view.verdict.state == VerdictState::SplitBrain {
        if !record.has_open_rivals() {
            let finding = HistoryFinding::RivalPrimaries {
                components: primary_components(view),
            };
            observation.changes.push(HistoryChange::Found(finding));
        }
        return observation;
    }
    let Some(component) = only_primary(view) else {
        return observation;
    };
    let settled = settled_members(component, evidence, now, settings);
    let Some(history) = settled
        .first()
        .and_then(|member| member.status.cluster_state_uuid)
    else {
        return observation;
    };
    observation.settled = true;
    let changes = &mut observation.changes;
    match record.current {
        None => changes.push(HistoryChange::Began(history)),
        Some(current) if current != history => {
            let of_former = before.values().filter(|last| last.position.uuid == current);
            changes.push(HistoryChange::Found(HistoryFinding::HistoryReplaced {
                before: current,
                after: history,
                last_seen: of_former.map(|last| last.position.seqno).max(),
            }));
        }
        Some(_) => {}
    }
    let members: BTreeSet<NodeId> = component.members.iter().cloned().collect();
    let identities = DataIdentities { evidence, settings };
    let fall = find_fall(record, before, history, &settled, &members, &identities);
    changes.extend(fall.map(HistoryChange::Found));
    changes.extend(find_returned(record, history, &settled, &identities));
    observation
}

fn primary_components(view: &ClusterView) -> Vec<BTreeSet<NodeId>> {
    let components = view.components.iter();
    components
        .filter(|component| component.status == ClusterStatus::Primary)
        .map(|component| component.members.iter().cloned().collect())
        .collect()
}

fn settled_members<'a>(
    component: &Component,
    evidence: &'a Evidence,
    now: Timestamp,
    settings: &FoldSettings,
) -> Vec<SettledMember<'a>> {
    let settled = |(id, probe): (&NodeId, &'a SqlObservation)| {
        let id = id.clone().normalized(settings.default_port);
        let (at, status) = probe.status.as_ref()?;
        let lasts = probe.view_since?.age(*at) >= settings.settle_time;
        let fresh = probe.error.is_none() && at.age(now) <= settings.stale_after;
        let own_data = status
            .local_state_uuid
            .is_none_or(|local| Some(local) == status.cluster_state_uuid);
        let synced = status.cluster_status == Some(ClusterStatus::Primary)
            && status.node_state() == Some(NodeState::Synced)
            && status.recv_queue == Some(0)
            && !status.contradicts_its_group();
        (component.members.contains(&id) && lasts && fresh && own_data && synced)
            .then_some(SettledMember { id, probe, status })
    };
    evidence.probes.iter().filter_map(settled).collect()
}

/// The identities of data, as agents registered them.
struct DataIdentities<'a> {
    evidence: &'a Evidence,
    settings: &'a FoldSettings,
}

impl DataIdentities<'_> {
    fn of(&self, node: &NodeId) -> Option<String> {
        let port = self.settings.default_port;
        let mut registrations = self.evidence.registrations.iter();
        let (_, seen) = registrations.find(|(id, _)| (*id).clone().normalized(port) == *node)?;
        let reported = seen.fields.get("data_id").cloned();
        reported.or_else(|| seen.fields.registration()?.id.clone())
    }
}

/// Whether the view of `member` began after `last` was seen, so that it includes whatever was committed in that.
fn is_later(member: &SettledMember<'_>, last: &LastPrimaryView) -> bool {
    let Some(conf_id) = member.status.conf_id else {
        return false;
    };
    // They begin again at 1 after the stop of all members.
    conf_id > last.conf_id
        || (conf_id < last.conf_id && member.probe.view_since.is_some_and(|since| since > last.at))
}

fn find_fall(
    record: &HistoryAlarmRecord,
    before: &BTreeMap<NodeId, LastPrimaryView>,
    history: Uuid,
    settled: &[SettledMember<'_>],
    members: &BTreeSet<NodeId>,
    identities: &DataIdentities<'_>,
) -> Option<HistoryFinding> {
    let positions = settled
        .iter()
        .filter_map(|member| member.status.last_committed);
    let after = positions.max()?;
    let fallen: Vec<(&NodeId, &LastPrimaryView)> = before
        .iter()
        .filter(|(_, last)| {
            last.position.uuid == history
                && last.position.seqno > after
                && settled.iter().any(|member| is_later(member, last))
                && !record.knows_fall_from(history, last.position.seqno, last.at)
        })
        .collect();
    let highest = fallen.iter().map(|(_, last)| last.position.seqno).max()?;
    let seen = fallen.iter().map(|(_, last)| last.at).max()?;
    let outside = |node: &NodeId| !settled.iter().any(|member| member.id == *node);
    let ahead = fallen.iter().filter(|(node, _)| outside(node));
    let ahead: BTreeMap<NodeId, DataAhead> = ahead
        .map(|(node, last)| {
            let data = DataAhead {
                seqno: last.position.seqno,
                data_id: identities.of(node),
            };
            ((*node).clone(), data)
        })
        .collect();
    let continued = members.iter().filter(|node| !ahead.contains_key(*node));
    Some(HistoryFinding::PositionFell {
        history,
        before: highest,
        after,
        seen,
        members: continued.cloned().collect(),
        ahead,
    })
}

/// Members that were ahead of a fall and are Synced with the members that continued without them.
fn find_returned(
    record: &HistoryAlarmRecord,
    history: Uuid,
    settled: &[SettledMember<'_>],
    identities: &DataIdentities<'_>,
) -> Vec<HistoryChange> {
    let mut changes = Vec::new();
    for alarm in &record.alarms {
        let HistoryFinding::PositionFell {
            history: of,
            after,
            ahead,
            members,
            ..
        } = &alarm.finding
        else {
            continue;
        };
        let continues = settled.iter().any(|member| members.contains(&member.id));
        if *of != history || !continues {
            continue;
        }
        for (node, data) in ahead {
            if !settled.iter().any(|member| member.id == *node) {
                continue;
            }
            let replaced = match (&data.data_id, identities.of(node)) {
                (Some(former), Some(current)) => *former != current,
                _ => false,
            };
            let node = node.clone();
            changes.push(match replaced {
                true => HistoryChange::Returned { node, history },
                false => HistoryChange::Found(HistoryFinding::MemberDiverged {
                    node,
                    history,
                    first: after.saturating_add(1),
                    last: data.seqno,
                }),
            });
        }
    }
    changes
}
