//! The cluster exists, but no member is Primary: wait for an order or, with automatic bootstrap, for all positions.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use super::forks;
use super::registry_snapshot::{FounderKeyState, OrderKeyState, RegistrySnapshot};
use super::reports::{self, MemberReport};
use super::{
    AutoBootstrap, DataState, ExpectedMembers, KeyPrecondition, StartingNode, StartupAction,
    StartupDecision, StartupSettings, join_names, order,
};
use crate::id::NodeId;
use crate::observe::registration::{AgentPhase, BootstrapOrder, MembersSeen, NodeField};

/// The remedy where no data of the cluster are left.
const DECOMMISSION: &str = "Start the nodes that hold the cluster's data; if these are gone for good, decommission the cluster \
     on the console's Recovery page, and it is founded again";

pub(super) fn decide(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
) -> StartupDecision {
    if let Some(founder) = starting_founder(own, snapshot) {
        return StartupDecision::wait(
            vec![founder.clone()],
            format!(
                "{founder} is founding cluster {}; waiting until it is Synced and Primary to join it",
                own.cluster
            ),
        );
    }
    match &snapshot.order {
        OrderKeyState::Known {
            order,
            revision,
            lease,
        } => decide_on_order(own, snapshot, settings, order, (*revision, *lease)),
        OrderKeyState::Absent | OrderKeyState::Unreadable => match settings.auto_bootstrap {
            AutoBootstrap::Never => StartupDecision::wait(
                Vec::new(),
                format!(
                    "{} Waiting for a member to become Primary or for an approved bootstrap order{}{}",
                    situation_text(own, snapshot),
                    own.orders.missing_keys_remark(),
                    way_out(own, snapshot)
                ),
            ),
            AutoBootstrap::AllReported => decide_automatically(own, snapshot, settings),
        },
    }
}

/// Another node that is live and founding; there is nothing to recover yet.
fn starting_founder<'a>(own: &StartingNode, snapshot: &'a RegistrySnapshot) -> Option<&'a NodeId> {
    let FounderKeyState::Known { founder, .. } = &snapshot.founder else {
        return None;
    };
    let member = snapshot.members.get(&founder.node)?;
    let is_founding = founder.state_uuid.is_none()
        && founder.node != own.node
        && !own.data.has_history()
        && member.live
        && member.phase != Some(AgentPhase::Waiting);
    is_founding.then_some(&founder.node)
}

/// The state of this node and of the cluster, as the first sentence of an explanation.
fn situation_text(own: &StartingNode, snapshot: &RegistrySnapshot) -> String {
    let data = match &own.data {
        DataState::Empty => format!("{} has no data", own.node),
        DataState::Incomplete { why } => format!("{} has no usable data ({why})", own.node),
        DataState::AtPosition(position) => format!("{} is at {position}", own.node),
        DataState::Unrecovered { .. } => format!("the position of {} is unknown", own.node),
        DataState::Unrecoverable { why, .. } => {
            format!("the position of {} is not trusted ({why})", own.node)
        }
    };
    let founder = match &snapshot.founder {
        FounderKeyState::Absent => "has no founder key".to_owned(),
        FounderKeyState::Unreadable { .. } => "has an unreadable founder key".to_owned(),
        FounderKeyState::Known { founder, .. } if founder.state_uuid.is_none() => format!(
            "was founded by {}, which never recorded its history (if its data is lost for good, remove the founder key)",
            founder.node
        ),
        FounderKeyState::Known { founder, .. } => format!("was founded by {}", founder.node),
    };
    format!(
        "{data}; cluster {} has no Primary and {founder}.",
        own.cluster
    )
}

/// What an operator can do about a node that waits for an order.
fn way_out(own: &StartingNode, snapshot: &RegistrySnapshot) -> String {
    let mut others = snapshot.members_except(&own.node);
    let alone = !others.any(|(_, member)| member.has_membership_evidence);
    match (&own.data, alone) {
        (DataState::AtPosition(_), true) => format!(
            ". {} is the only registered member: if there is no other, start it with AUTO_BOOTSTRAP=all-reported and \
             EXPECTED_MEMBERS={}",
            own.node,
            lone_member(own, snapshot)
        ),
        (DataState::AtPosition(_), false) => {
            ". Request one on the console's Recovery page, or set AUTO_BOOTSTRAP=all-reported \
             on every node"
                .to_owned()
        }
        (DataState::Empty | DataState::Incomplete { .. }, _) => format!(". {DECOMMISSION}"),
        (DataState::Unrecovered { .. } | DataState::Unrecoverable { .. }, _) => String::new(),
    }
}

/// `EXPECTED_MEMBERS` of the only member. A number does not suffice where the founder key is missing.
fn lone_member(own: &StartingNode, snapshot: &RegistrySnapshot) -> String {
    match snapshot.founder {
        FounderKeyState::Absent => own.node.to_string(),
        FounderKeyState::Known { .. } | FounderKeyState::Unreadable { .. } => "1".to_owned(),
    }
}

fn decide_on_order(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
    order: &BootstrapOrder,
    (revision, lease): (i64, i64),
) -> StartupDecision {
    let action = order.action_id.as_deref().unwrap_or_default();
    if order.node != own.node {
        return StartupDecision::wait(
            vec![order.node.clone()],
            format!(
                "{} is ordered to bootstrap cluster {} (action {action:?}); waiting for it to become Primary",
                order.node, own.cluster
            ),
        );
    }
    if lease != 0 && own.orders.own_lease == Some(lease) {
        return decide_on_own_order(own, settings, order, revision);
    }
    match order::refusal(own, snapshot, order, lease != 0) {
        None => StartupDecision::new(
            StartupAction::FollowOrder {
                order: order.clone(),
                revision,
            },
            format!(
                "Action {action} orders {} to bootstrap at {}; there is no Primary, and signature, data, position, time \
                 and lease match: bootstrapping",
                own.node, order.position
            ),
        ),
        Some(why) => StartupDecision::wait(
            Vec::new(),
            format!(
                "Ignoring the bootstrap order of action {action:?}: {why}; waiting for a valid one"
            ),
        ),
    }
}

/// An order under the lease of this process. It is this process's own only if etcd confirmed that very write; nothing
/// else with this lease is.
fn decide_on_own_order(
    own: &StartingNode,
    settings: &StartupSettings,
    order: &BootstrapOrder,
    revision: i64,
) -> StartupDecision {
    let action = order.action_id.as_deref().unwrap_or_default();
    let confirmed = own.orders.own_order == Some(revision)
        && settings.auto_bootstrap == AutoBootstrap::AllReported
        && !own.obeyed_orders.contains(action);
    if confirmed && order::position_refusal(own, order).is_none() {
        return StartupDecision::new(
            StartupAction::FollowOrder {
                order: order.clone(),
                revision,
            },
            format!(
                "Every expected member reported, {} wrote its own order ({action}) and etcd confirmed it: bootstrapping at {}",
                own.node, order.position
            ),
        );
    }
    StartupDecision::new(
        StartupAction::WithdrawOrder { revision },
        format!(
            "Removing the order {action:?} under this agent's lease: this agent did not write it, or its write was not \
             confirmed; deciding again"
        ),
    )
}

fn decide_automatically(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
) -> StartupDecision {
    let waiting = |members: Vec<NodeId>, what: String| {
        StartupDecision::wait(members, format!("{} {what}", situation_text(own, snapshot)))
    };
    let members_named = matches!(settings.expected_members, ExpectedMembers::Members(_));
    if matches!(snapshot.founder, FounderKeyState::Absent) && !members_named {
        return waiting(
            Vec::new(),
            "The registry was lost, so its members are unknown; waiting for a member to become Primary, for an approved \
             bootstrap order, or for EXPECTED_MEMBERS to name every member"
                .to_owned(),
        );
    }
    let reports = match reports::collect(own, snapshot, settings) {
        Ok(reports) => reports,
        Err(missing) => {
            let names = join_names(missing.keys());
            let why: BTreeSet<&str> = missing.values().map(String::as_str).collect();
            let why: Vec<&str> = why.into_iter().collect();
            return waiting(
                missing.keys().cloned().collect(),
                format!("Waiting for {names}: {}", why.join("; ")),
            );
        }
    };
    if let ExpectedMembers::Count(count) = settings.expected_members
        && reports.len() < count
    {
        return waiting(
            Vec::new(),
            format!(
                "Waiting for {} more member(s): {} of {count} expected have reported",
                count - reports.len(),
                reports.len()
            ),
        );
    }
    if !members_named && let Some(shrunk) = find_shrunk_membership(&reports) {
        return waiting(Vec::new(), shrunk);
    }
    let branch = match forks::newest_branch(snapshot, &reports) {
        Ok(branch) => branch,
        Err((members, why)) => return waiting(members, why),
    };
    let best = best_candidate(snapshot, &branch);
    let lost = best.is_ok().then(|| reports::lost_positions(&reports));
    if let Some((members, why)) = lost.flatten() {
        return waiting(members, why);
    }
    match best {
        Err((members, why)) => waiting(members, why),
        Ok(best) if best.node != &own.node => waiting(
            vec![best.node.clone()],
            format!(
                "All members have reported and {} is most advanced; waiting for it to bootstrap",
                best.node
            ),
        ),
        Ok(best) => decide_bootstrap(own, snapshot, &reports, best),
    }
}

/// A member that saw more members than are known now (I36).
fn find_shrunk_membership(reports: &[MemberReport<'_>]) -> Option<String> {
    let seen = |report: &MemberReport<'_>| report.members_seen.and_then(MembersSeen::members);
    let most = reports
        .iter()
        .max_by_key(|report| (seen(report), Reverse(report.node)))?;
    let (seen, count) = (most.members_seen?, seen(most)?);
    (count > reports.len()).then(|| {
        format!(
            "{}: {}, but only {} of them {} known in etcd; waiting for the others, for an approved bootstrap order, or for \
             EXPECTED_MEMBERS to name every member",
            most.node,
            seen.explanation(),
            reports.len(),
            if reports.len() == 1 { "is" } else { "are" },
        )
    })
}

fn decide_bootstrap(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    reports: &[MemberReport<'_>],
    best: &MemberReport<'_>,
) -> StartupDecision {
    let Some(position) = best.position.cloned() else {
        return StartupDecision::wait(Vec::new(), situation_text(own, snapshot));
    };
    let explanation = format!(
        "{} All {} expected members have reported the same history, and none is ahead of {position}: bootstrapping",
        situation_text(own, snapshot),
        reports.len()
    );
    let preconditions = preconditions(own, snapshot, reports);
    StartupDecision::new(
        StartupAction::Bootstrap {
            position,
            preconditions,
        },
        explanation,
    )
}

/// The most advanced member that can bootstrap; the same on every node that sees the same registry (I10).
fn best_candidate<'a>(
    snapshot: &RegistrySnapshot,
    reports: &'a [MemberReport<'a>],
) -> Result<&'a MemberReport<'a>, (Vec<NodeId>, String)> {
    let with = |report: &&'a MemberReport<'a>| report.position.is_some();
    let mut candidates = reports.iter().filter(with);
    let Some(first) = candidates.next() else {
        return Err((
            Vec::new(),
            format!("All members have reported, and none has a position. {DECOMMISSION}"),
        ));
    };
    let mut best = first;
    for report in candidates {
        let order = report
            .position
            .zip(best.position)
            .and_then(|(one, other)| one.compare(other));
        match order {
            None => {
                return Err((
                    vec![best.node.clone(), report.node.clone()],
                    format!(
                        "{} and {} hold different histories; waiting for an operator to choose",
                        best.node, report.node
                    ),
                ));
            }
            Some(Ordering::Greater) => best = report,
            // Among equals a ready member wins, then a member of the newest Primary view, then the first by name.
            Some(Ordering::Equal) => {
                let rank =
                    |report: &MemberReport<'a>| (report.ready, report.view(), Reverse(report.node));
                if rank(report) > rank(best) {
                    best = report;
                }
            }
            Some(Ordering::Less) => {}
        }
    }
    check_candidate(snapshot, best)?;
    Ok(best)
}

fn check_candidate(
    snapshot: &RegistrySnapshot,
    best: &MemberReport<'_>,
) -> Result<(), (Vec<NodeId>, String)> {
    let Some(position) = best.position else {
        return Ok(());
    };
    if !best.ready {
        return Err((
            vec![best.node.clone()],
            format!(
                "{} stopped at {position}, ahead of every member here; waiting for it to come back",
                best.node
            ),
        ));
    }
    if let FounderKeyState::Known { founder, .. } = &snapshot.founder
        && founder.state_uuid.is_some_and(|uuid| uuid != position.uuid)
    {
        return Err((
            Vec::new(),
            format!(
                "The members' history {} is not the one that {} founded; waiting for an operator",
                position.uuid, founder.node
            ),
        ));
    }
    let recorded = snapshot
        .members
        .iter()
        .filter_map(|(node, member)| Some((node, member.highest_position.as_ref()?)))
        .filter(|(_, highest)| highest.uuid == position.uuid)
        .max_by_key(|(_, highest)| highest.seqno);
    match recorded {
        Some((node, highest)) if highest.seqno > position.seqno => Err((
            vec![node.clone()],
            format!(
                "The best position reported is {}, but {node} once was at {}: {} transaction(s) may be missing; waiting \
                 for an approved bootstrap order",
                position.seqno,
                highest.seqno,
                highest.seqno - position.seqno
            ),
        )),
        _ => Ok(()),
    }
}

/// The keys that the decision rests on, which must be unchanged when it is executed.
fn preconditions(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    reports: &[MemberReport<'_>],
) -> Vec<KeyPrecondition> {
    let mut expect = vec![match &snapshot.founder {
        FounderKeyState::Known { revision, .. } | FounderKeyState::Unreadable { revision } => {
            KeyPrecondition::Unchanged(snapshot.founder_key.clone(), *revision)
        }
        FounderKeyState::Absent => KeyPrecondition::Absent(snapshot.founder_key.clone()),
    }];
    expect.push(KeyPrecondition::Absent(snapshot.order_key.clone()));
    for report in reports {
        let Some(member) = snapshot
            .members
            .get(report.node)
            .filter(|_| report.node != &own.node)
        else {
            continue;
        };
        for (key, (field, revision)) in &member.revisions {
            let matters = match field {
                NodeField::Phase | NodeField::RecoveredPosition | NodeField::DataId => report.ready,
                NodeField::Registered => true,
                _ => false,
            };
            if matters {
                expect.push(KeyPrecondition::Unchanged(key.clone(), *revision));
            }
        }
    }
    expect
}
