//! State transfers of a view: what agents report of full ones, and what servers show of incremental ones. They are shown
//! and used for estimates; no verdict, plan or order depends on them.

mod words;

use std::time::Duration;

use super::node_facts::NodeFacts;
use crate::id::NodeId;
use crate::observe::registration::TransferRecord;
use crate::timestamp::Timestamp;
use crate::view::{
    ClusterView, CompletedTransfer, NodeState, NodeView, RegistryHealth, SourceKind, TransferKind,
    TransferRole, TransferState, TransferView,
};

/// The longest time since the beginning of a transfer that is believed.
const LASTING_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The longest estimate, in seconds.
const LEFT_MAX: u64 = 7 * 24 * 3_600;
/// How long a transfer that its agent no longer reports is shown of a node that is still joining. The agent may know that
/// its server is a member before the console does.
const UNREPORTED_SHOWN: Duration = Duration::from_secs(60);
/// How long a failed transfer is shown.
const FAILED_SHOWN: Duration = Duration::from_secs(3_600);

/// Adds the transfers to the views of `nodes`, which come first and in their order. `previous` shows which ones lasted
/// until now. Returns the last full one that completed.
pub(super) fn attach(
    views: &mut [NodeView],
    nodes: &[NodeFacts<'_>],
    previous: Option<&ClusterView>,
    health: &RegistryHealth,
    now: Timestamp,
) -> Option<CompletedTransfer> {
    let reports: Vec<Option<TransferRecord>> = views
        .iter()
        .zip(nodes)
        .map(|(view, facts)| reported(view, facts))
        .collect();
    // While peers answer, a joiner that they list has the state `Joining`.
    let peers_answer = nodes.iter().any(|facts| facts.fresh_answer().is_some());
    let observed = health.reachable && peers_answer;
    let mut last = previous.and_then(|view| view.last_transfer.clone());
    for (index, facts) in nodes.iter().enumerate() {
        let Some(view) = views.get(index) else { break };
        let earlier = previous.and_then(|previous| {
            let node = previous.nodes.iter().find(|node| node.id == view.id)?;
            node.transfer.as_ref()
        });
        let report = reports.get(index).and_then(Option::as_ref);
        let transfer = match (report, earlier) {
            (Some(report), _) => Some(full(index, report, views, &reports, facts, earlier, now)),
            (None, Some(earlier)) if was_received(earlier) => match view.state {
                NodeState::Synced | NodeState::Joined | NodeState::Donor => {
                    last = completed(view, earlier, now).or(last);
                    None
                }
                _ => ended(view, earlier, observed, now),
            },
            (None, _) => incremental(view, facts, only_donor(views), now),
        };
        if let (Some(view), Some(mut transfer)) = (views.get_mut(index), transfer) {
            transfer.percent = percent(&transfer);
            view.transfer = Some(transfer);
        }
    }
    word(views);
    last
}

/// Writes the sentences, once it is known how all nodes are called.
fn word(views: &mut [NodeView]) {
    let names: Vec<(NodeId, String)> = views
        .iter()
        .map(|view| {
            let name = view.name.clone();
            (view.id.clone(), name.unwrap_or_else(|| view.id.to_string()))
        })
        .collect();
    for view in views {
        let behind = view.behind;
        if let Some(transfer) = &mut view.transfer {
            let peer = transfer.peer.as_ref();
            let name = names.iter().find(|(id, _)| Some(id) == peer);
            transfer.summary = words::summary(transfer, name.map(|(_, name)| name), behind);
        }
    }
}

/// What the agent reports, unless the node's state contradicts it.
fn reported(view: &NodeView, facts: &NodeFacts<'_>) -> Option<TransferRecord> {
    let registered = facts.fresh_registration()?;
    if !registered.observation.leased {
        return None;
    }
    let record = TransferRecord::parse(registered.observation.fields.get("transfer")?)?;
    let contradicted = match record.role {
        TransferRole::Receives => matches!(
            view.state,
            NodeState::Synced | NodeState::Donor | NodeState::Stopped
        ),
        TransferRole::Sends => !matches!(view.state, NodeState::Donor | NodeState::Synced),
    };
    (!contradicted).then_some(record)
}

/// A full transfer that the agent of the node at `index` reports now.
fn full(
    index: usize,
    report: &TransferRecord,
    views: &[NodeView],
    reports: &[Option<TransferRecord>],
    facts: &NodeFacts<'_>,
    earlier: Option<&TransferView>,
    now: Timestamp,
) -> TransferView {
    let peer = peer_of(index, report, views, reports);
    let of_peer = peer.and_then(|peer| reports.get(peer)?.as_ref());
    let fallback = || match report.role {
        TransferRole::Receives => only_donor(views),
        TransferRole::Sends => only(views, NodeState::Joining),
    };
    let peer = peer.and_then(|peer| Some(views.get(peer)?.id.clone()));
    // A donor has done its part before the joiner has.
    let known = earlier.filter(|earlier| earlier.role == Some(report.role));
    let known = known.and_then(|earlier| earlier.peer.clone());
    let total = report.total.or_else(|| of_peer?.total);
    let total = total.filter(|total| *total > 0 && *total >= report.done);
    let lasted = report.since.age(now);
    let valid = report.since <= now && lasted <= LASTING_MAX;
    let first_seen = || earlier.and_then(|earlier| earlier.since).unwrap_or(now);
    let seconds_left = total
        .zip(report.rate)
        .and_then(|(total, rate)| (total - report.done).checked_div(rate))
        .filter(|left| *left <= LEFT_MAX);
    let registered = facts.registration.as_ref();
    TransferView {
        kind: TransferKind::Sst,
        role: Some(report.role),
        state: match report.applying {
            true => TransferState::Applying,
            false => TransferState::Running,
        },
        peer: peer.or(known).or_else(fallback),
        method: Some(report.method.clone()),
        done: Some(report.done),
        total,
        percent: None,
        rate: report.rate,
        seconds_left,
        since: Some(if valid { report.since } else { first_seen() }),
        source: Some(SourceKind::Registry),
        observed_at: registered.and_then(|registered| registered.observation.last_put_at),
        summary: String::new(),
    }
}

/// The only node that reports the other side of `report`.
fn peer_of(
    index: usize,
    report: &TransferRecord,
    views: &[NodeView],
    reports: &[Option<TransferRecord>],
) -> Option<usize> {
    let matches = |(other, record): &(usize, &TransferRecord)| {
        if *other == index || record.role == report.role {
            return false;
        }
        let (joiner, receives, sends) = match report.role {
            TransferRole::Receives => (index, report, *record),
            TransferRole::Sends => (*other, *record, report),
        };
        let Some(to) = sends.host() else { return false };
        let own = views.get(joiner).map(|view| view.id.host());
        sends.address == receives.address || own == Some(to) || receives.host() == Some(to)
    };
    let records = reports.iter().enumerate();
    let mut found = records
        .filter_map(|(other, record)| Some((other, record.as_ref()?)))
        .filter(matches);
    let first = found.next()?;
    found.next().is_none().then_some(first.0)
}

fn only_donor(views: &[NodeView]) -> Option<NodeId> {
    only(views, NodeState::Donor)
}

/// The only node in `state`.
fn only(views: &[NodeView], state: NodeState) -> Option<NodeId> {
    let mut found = views
        .iter()
        .filter(|view| view.state == state && !view.unconfirmed);
    let first = found.next()?;
    found.next().is_none().then(|| first.id.clone())
}

fn was_received(earlier: &TransferView) -> bool {
    earlier.kind == TransferKind::Sst && earlier.role == Some(TransferRole::Receives)
}

/// A full transfer that is over, of a node that is a member.
fn completed(view: &NodeView, earlier: &TransferView, now: Timestamp) -> Option<CompletedTransfer> {
    (earlier.state != TransferState::Failed).then_some(())?;
    Some(CompletedTransfer {
        node: view.id.clone(),
        bytes: earlier.done?,
        seconds: earlier.since?.age(now).as_secs(),
        ended_at: now,
    })
}

/// A full transfer that its agent no longer reports, of a node that is not a member yet. `observed`: whether it would be
/// seen if it were one.
fn ended(
    view: &NodeView,
    earlier: &TransferView,
    observed: bool,
    now: Timestamp,
) -> Option<TransferView> {
    let failed = || TransferView {
        state: TransferState::Failed,
        rate: None,
        seconds_left: None,
        total: None,
        ..earlier.clone()
    };
    let age = earlier.observed_at.map(|at| at.age(now));
    match (earlier.state, view.state) {
        (TransferState::Failed, NodeState::Joining) => None,
        (TransferState::Failed, _) => {
            let shown = age.is_some_and(|age| age <= FAILED_SHOWN);
            shown.then(|| earlier.clone())
        }
        (_, NodeState::Joining) => {
            let shown = observed && age.is_some_and(|age| age <= UNREPORTED_SHOWN);
            shown.then(|| TransferView {
                rate: None,
                seconds_left: None,
                ..earlier.clone()
            })
        }
        (
            _,
            NodeState::Unreachable
            | NodeState::Stopped
            | NodeState::Absent
            | NodeState::Initialized
            | NodeState::Inconsistent,
        ) => observed.then(failed),
        _ => None,
    }
}

/// An incremental transfer, as the joiner's server shows it: only one that applies transactions is certain to be one.
fn incremental(
    view: &NodeView,
    facts: &NodeFacts<'_>,
    donor: Option<NodeId>,
    now: Timestamp,
) -> Option<TransferView> {
    let answer = facts.fresh_answer()?;
    if view.state != NodeState::Joining {
        return None;
    }
    let counters = &answer.status.counters;
    let range = counters.ist_start.zip(counters.ist_end);
    let range = range
        .zip(counters.ist_current)
        .and_then(|((start, end), current)| {
            let total = end.checked_sub(start).filter(|total| *total > 0)?;
            let done = current.checked_sub(start)?;
            (done <= total).then_some((done, total))
        });
    let rate = view.commit_rate.filter(|rate| *rate >= 1.0);
    let left = range.map(|(done, total)| total - done).or(view.behind);
    if range.is_none() && (rate.is_none() || left.is_none_or(|left| left == 0)) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of commits, at least 1"
    )]
    let rate = rate.map(|rate| rate as u64);
    let seconds_left = left
        .zip(rate)
        .and_then(|(left, rate)| left.checked_div(rate))
        .filter(|left| *left <= LEFT_MAX);
    Some(TransferView {
        kind: TransferKind::Ist,
        role: Some(TransferRole::Receives),
        state: TransferState::Running,
        peer: donor,
        method: None,
        done: range.map(|(done, _)| done),
        total: range.map(|(_, total)| total),
        percent: None,
        rate,
        seconds_left,
        since: None,
        source: Some(SourceKind::Sql),
        observed_at: Some(answer.at.min(now)),
        summary: String::new(),
    })
}

/// Rounded down, so that nothing is complete before it is.
fn percent(transfer: &TransferView) -> Option<u8> {
    let (done, total) = transfer.done.zip(transfer.total)?;
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    u8::try_from(percent.min(100)).ok()
}
