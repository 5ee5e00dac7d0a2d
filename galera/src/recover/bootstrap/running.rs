//! A running cluster without quorum: which component goes on, and who executes the statement (I5, I12, I14, I15).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::situation::{MemberCondition, Situation};
use super::statement::StatementDialect;
use super::{RecoveryCase, loss};
use crate::id::NodeId;
use crate::observe::registration::AgentPhase;
use crate::position::Position;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, EvidenceSource, ManualCommand, Mechanism, PlanStep, PlanTarget,
    TransientCause,
};
use crate::view::{ClusterStatus, NodeState};

/// A component that might go on.
struct CandidateComponent {
    component: usize,
    /// Who answers from within it.
    reporters: Vec<usize>,
    /// Everybody in it, as far as known.
    members: BTreeSet<usize>,
    best: Option<Position>,
}

pub(super) fn plan(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) -> String {
    let candidates = candidates(situation);
    let agree = check_one_history(situation, draft);
    let chosen = if agree {
        choose_component(&candidates)
    } else {
        None
    };
    let target = check_candidate(situation, draft, &candidates, chosen, agree);
    loss::check_for_loss(case, situation, draft, target.as_ref());
    check_settled(case, situation, draft);
    let executor = check_executor(situation, draft, chosen);
    check_sql_account(case, draft);
    let (Some(chosen), Some(target)) = (chosen, target) else {
        return summarize(draft, None);
    };
    complete_draft(case, situation, draft, chosen, &target.position, executor);
    summarize(draft, Some(situation.component_name(chosen.component)))
}

fn candidates(situation: &Situation<'_>) -> Vec<CandidateComponent> {
    let seen = situation.components.observed.iter().enumerate();
    seen.filter(|(_, seen)| seen.view.status == ClusterStatus::NonPrimary)
        .map(|(component, seen)| {
            let reporters: Vec<usize> = situation
                .members_where(|standing| standing == MemberCondition::NonPrimary(component))
                .collect();
            let best = reporters
                .iter()
                .filter_map(|&node| reported_position(situation, node))
                .max_by_key(|position| position.seqno);
            CandidateComponent {
                component,
                reporters,
                members: seen.members.clone(),
                best,
            }
        })
        .collect()
}

/// The position that a node itself tells now.
fn reported_position(situation: &Situation<'_>, node: usize) -> Option<Position> {
    situation.nodes()[node].fresh_answer()?.status.position()
}

/// Positions have an order within one history only (I6): across histories a person must decide whose data counts.
fn check_one_history(situation: &Situation<'_>, draft: &mut PlanDraft) -> bool {
    let mut uuids = BTreeSet::new();
    let mut evidence = Vec::new();
    for node in 0..situation.nodes().len() {
        let id = &situation.nodes()[node].id;
        let known = match situation.conditions[node] {
            MemberCondition::NonPrimary(_)
            | MemberCondition::Disconnected
            | MemberCondition::Indeterminate => situation.last_known_position(node),
            _ => situation.stopped_position(node),
        };
        if let Some(known) = known {
            uuids.insert(known.position.uuid);
            evidence.push(fact(
                Some(id),
                known.source,
                known.at,
                known.position.to_string(),
            ));
        }
    }
    let (status, message) = match uuids.len() {
        0 => (
            CheckStatus::Unknown,
            "No node tells a defined position.".to_owned(),
        ),
        1 => (
            CheckStatus::Pass,
            "All known positions belong to one history.".to_owned(),
        ),
        count => (
            CheckStatus::Fail,
            format!(
                "The nodes hold {count} different histories, which have no order. Decide whose data counts, keep copies \
                 of the others' data directories, and stop those nodes."
            ),
        ),
    };
    draft.add_check(CheckCode::ONE_HISTORY, status, message, evidence);
    uuids.len() == 1
}

/// The same choice on every replica: the most advanced, then the largest, then the one with the smallest name (I10).
fn choose_component(candidates: &[CandidateComponent]) -> Option<&CandidateComponent> {
    let rank = |candidate: &CandidateComponent| {
        (
            candidate.best.as_ref().map(|best| best.seqno),
            candidate.members.len(),
            Reverse(candidate.members.first().copied()),
        )
    };
    candidates
        .iter()
        .filter(|candidate| candidate.best.is_some())
        .max_by_key(|candidate| rank(candidate))
}

fn check_candidate(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    candidates: &[CandidateComponent],
    chosen: Option<&CandidateComponent>,
    agree: bool,
) -> Option<loss::RecoveryPoint> {
    let evidence = candidates
        .iter()
        .flat_map(|candidate| &candidate.reporters)
        .map(|&node| situation.evidence(node))
        .collect();
    let Some((chosen, best)) = chosen.and_then(|chosen| Some((chosen, chosen.best.clone()?)))
    else {
        let message = if agree {
            "No component has a member with a defined position: a nil UUID or an undefined number is never a candidate."
        } else {
            "Without one common history no component can be called the right one."
        };
        draft.add_check(
            CheckCode::CANDIDATE,
            CheckStatus::Fail,
            message.to_owned(),
            evidence,
        );
        return None;
    };
    let name = situation.component_name(chosen.component);
    let holds = |&&node: &&usize| reported_position(situation, node).as_ref() == Some(&best);
    let mut damaged = Vec::new();
    let mut source = false;
    for &node in chosen.reporters.iter().filter(holds) {
        match damage_reason(situation, node) {
            Some(why) => damaged.push(format!(
                "{} {why}",
                situation.join_names(std::iter::once(node))
            )),
            None => source = true,
        }
    }
    let (status, message) = if source {
        let others = candidates.len() - 1;
        let of = match others {
            0 => "the only component that answers".to_owned(),
            _ => format!("the most advanced of {} components that answer", others + 1),
        };
        (
            CheckStatus::Pass,
            format!("{name} at {} is {of}.", best.seqno),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "{}, and holds the highest position, {}: damaged data must not become the cluster's. Stop it, keep a copy \
                 of its data directory, and plan again.",
                damaged.join("; "),
                best.seqno
            ),
        )
    };
    draft.add_check(CheckCode::CANDIDATE, status, message, evidence);
    Some(loss::RecoveryPoint {
        position: best,
        holders: chosen.members.clone(),
    })
}

/// Why a node must be neither source nor executor (I14); `None` when nothing speaks against it.
fn damage_reason(situation: &Situation<'_>, node: usize) -> Option<String> {
    let facts = &situation.nodes()[node];
    let answer = facts.fresh_answer()?;
    if facts.state() == NodeState::Inconsistent {
        return Some("lost an inconsistency vote".to_owned());
    }
    if let Some(by) = evicted_by(situation, node) {
        let by = &situation.nodes()[by].id;
        return Some(format!("was evicted (wsrep_evs_evict_list of {by})"));
    }
    if let Some(state) = left_group_state(answer.status.evs_state.as_deref()) {
        return Some(format!("has left its group (wsrep_evs_state {state})"));
    }
    if answer.status.transfer_failed() {
        let comment = answer.status.local_state_comment.as_deref();
        return Some(format!("says {:?}", comment.unwrap_or_default()));
    }
    if answer.status.local_state_uuid.is_some()
        && answer.status.cluster_state_uuid.is_some()
        && answer.status.local_state_uuid != answer.status.cluster_state_uuid
    {
        return Some("holds another history than its component".to_owned());
    }
    None
}

/// Who shuts this node's process out of every view, if anybody does; it cannot come back without a restart.
fn evicted_by(situation: &Situation<'_>, node: usize) -> Option<usize> {
    let process = situation.nodes()[node].fresh_answer()?.status.gcomm_uuid?;
    situation.nodes().iter().position(|facts| {
        let answer = facts.fresh_answer();
        answer.is_some_and(|answer| answer.status.evicted.contains(&process))
    })
}

/// Whether it has left or is leaving its group; `GATHER` and `INSTALL` are on the way into one.
fn left_group_state(evs_state: Option<&str>) -> Option<&str> {
    evs_state.filter(|state| {
        let gone = ["CLOSED", "LEAVING"];
        gone.iter().any(|word| state.eq_ignore_ascii_case(word))
    })
}

/// Whether a node cannot execute the statement only because of something that it is in the midst of: one without peers
/// looks for them now and then.
fn is_temporarily_unfit(situation: &Situation<'_>, node: usize) -> bool {
    let Some(answer) = situation.nodes()[node].fresh_answer() else {
        return false;
    };
    let status = answer.status;
    let connects = status.evs_state.as_deref().is_some_and(|state| {
        let between = ["GATHER", "INSTALL"];
        between.iter().any(|word| state.eq_ignore_ascii_case(word))
    });
    let applies = status.recv_queue.is_some_and(|queue| queue > 0);
    damage_reason(situation, node).is_none() && (connects || applies)
}

/// Why a node cannot execute the statement now; `None` when it can (I15).
fn unfit_reason(situation: &Situation<'_>, node: usize) -> Option<String> {
    let facts = &situation.nodes()[node];
    let Some(answer) = facts.fresh_answer() else {
        return Some("does not answer".to_owned());
    };
    let status = answer.status;
    if let Some(why) = damage_reason(situation, node) {
        return Some(why);
    }
    if matches!(facts.state(), NodeState::Joining | NodeState::Donor) {
        return Some(format!("is {}", facts.state().as_str()));
    }
    if status.connected != Some(true) {
        return Some("has wsrep_connected other than ON".to_owned());
    }
    match status.evs_state.as_deref() {
        Some(state) if state.eq_ignore_ascii_case("OPERATIONAL") => {}
        Some(state) => return Some(format!("has wsrep_evs_state {state}")),
        None => return Some("does not tell wsrep_evs_state".to_owned()),
    }
    match status.recv_queue {
        Some(0) => {}
        Some(queue) => return Some(format!("has {queue} write-sets to apply")),
        None => return Some("does not tell wsrep_local_recv_queue".to_owned()),
    }
    status
        .position()
        .is_none()
        .then(|| "has no defined position".to_owned())
}

fn check_executor(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    chosen: Option<&CandidateComponent>,
) -> Option<usize> {
    let Some(chosen) = chosen else {
        draft.add_check(
            CheckCode::EXECUTOR_READY,
            CheckStatus::Unknown,
            "Without a component there is nobody to execute anything.".to_owned(),
            Vec::new(),
        );
        return None;
    };
    let mut evidence = Vec::new();
    let mut fit: Vec<(Reverse<u64>, &NodeId, usize)> = Vec::new();
    let mut reasons = Vec::new();
    for &node in &chosen.reporters {
        let facts = &situation.nodes()[node];
        let at = facts.fresh_answer().map(|answer| answer.at);
        match unfit_reason(situation, node) {
            None => {
                let seqno = reported_position(situation, node).map_or(0, |position| position.seqno);
                fit.push((Reverse(seqno), &facts.id, node));
                evidence.push(fact(
                    Some(&facts.id),
                    EvidenceSource::Sql,
                    at,
                    "connected, non-Primary, OPERATIONAL, nothing to apply",
                ));
            }
            Some(why) => {
                evidence.push(fact(Some(&facts.id), EvidenceSource::Sql, at, why.clone()));
                reasons.push(format!("{} {why}", facts.id));
            }
        }
    }
    let executor = fit.into_iter().min().map(|(_, _, node)| node);
    let moment = chosen
        .reporters
        .iter()
        .any(|&node| is_temporarily_unfit(situation, node));
    let (status, message) = match executor {
        Some(node) => (
            CheckStatus::Pass,
            format!(
                "{} can execute the statement.",
                situation.join_names(std::iter::once(node))
            ),
        ),
        None => (
            CheckStatus::Fail,
            format!(
                "Nobody of the component can execute the statement: {}.{}",
                reasons.join("; "),
                if moment {
                    " That may pass by itself: look again in a moment."
                } else {
                    ""
                }
            ),
        ),
    };
    draft.add_check(CheckCode::EXECUTOR_READY, status, message, evidence);
    if moment {
        draft.mark_transient(TransientCause::ShortLivedState);
    }
    executor
}

/// Views must have lasted; longer while everybody of the last Primary view may come back by itself (I12).
fn check_settled(case: &RecoveryCase<'_>, situation: &Situation<'_>, draft: &mut PlanDraft) {
    let answers = || {
        situation
            .nodes()
            .iter()
            .filter_map(|facts| Some((facts, facts.fresh_answer()?)))
    };
    let starting: Vec<usize> = (0..situation.nodes().len())
        .filter(|&node| {
            matches!(
                situation.phase(node),
                Some(AgentPhase::Starting | AgentPhase::Joining)
            ) && situation.nodes()[node].fresh_answer().is_none()
        })
        .collect();
    let alive =
        |facts: &&crate::judge::cluster::node_facts::NodeFacts<'_>| facts.fresh_answer().is_some();
    let expected: Vec<_> = situation
        .nodes()
        .iter()
        .filter(|facts| facts.expected)
        .collect();
    let all_there = !expected.is_empty()
        && expected.iter().all(alive)
        && situation
            .members_where(|standing| standing == MemberCondition::Disconnected)
            .next()
            .is_none();
    let heals = all_there || !starting.is_empty();
    let needed = if heals {
        case.settings.grace_period
    } else {
        case.settings.settle_time
    };
    let mut evidence: Vec<_> = starting
        .iter()
        .map(|&node| {
            let id = &situation.nodes()[node].id;
            fact(
                Some(id),
                EvidenceSource::Registry,
                None,
                "starts, by its agent's word",
            )
        })
        .collect();
    let (mut moving, mut seen_to_move) = (Vec::new(), false);
    for (facts, answer) in answers() {
        let steady = answer.view_since.age(case.now) >= needed;
        let value = if steady {
            "view unchanged for long enough"
        } else {
            "view changed lately"
        };
        evidence.push(fact(
            Some(&facts.id),
            EvidenceSource::Sql,
            Some(answer.view_since),
            value,
        ));
        if !steady {
            moving.push(facts.id.to_string());
            seen_to_move |= answer.view_start_observed;
        }
    }
    // Whoever has only begun to watch knows of no change: for how long a view has been there, another replica may know.
    let unwatched = !moving.is_empty() && !seen_to_move;
    let seconds = needed.as_secs();
    let (status, message) = if unwatched {
        (
            CheckStatus::Unknown,
            format!(
                "The console has watched the view of {} for less than {seconds} s: wait for that long.",
                moving.join(", ")
            ),
        )
    } else if !moving.is_empty() {
        let why = if heals {
            "the cluster may still heal by itself"
        } else {
            "views may still change"
        };
        (
            CheckStatus::Unknown,
            format!(
                "The view of {} changed less than {seconds} s ago: {why}.",
                moving.join(", ")
            ),
        )
    } else if heals {
        (
            CheckStatus::Pass,
            format!("Everybody runs, yet nothing healed by itself for {seconds} s."),
        )
    } else {
        (
            CheckStatus::Pass,
            format!("No view changed for {seconds} s."),
        )
    };
    draft.add_check(CheckCode::SETTLED, status, message, evidence);
    if unwatched {
        draft.mark_transient(TransientCause::ShortObservation);
    }
}

fn check_sql_account(case: &RecoveryCase<'_>, draft: &mut PlanDraft) {
    let (status, message) = if case.context.sql_account {
        (
            CheckStatus::Pass,
            "The console has a recovery account.".to_owned(),
        )
    } else {
        (
            CheckStatus::Fail,
            "The console has no recovery account (--recovery-user): type the command by hand, or configure one.".to_owned(),
        )
    };
    draft.add_check(CheckCode::SQL_ACCOUNT, status, message, Vec::new());
}

fn complete_draft(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    chosen: &CandidateComponent,
    position: &Position,
    executor: Option<usize>,
) {
    let ids = |nodes: &mut dyn Iterator<Item = usize>| -> Vec<NodeId> {
        nodes
            .map(|node| situation.nodes()[node].id.clone())
            .collect()
    };
    let members = ids(&mut chosen.members.iter().copied());
    let left_out = ids(&mut situation
        .accountable_members()
        .filter(|node| !chosen.members.contains(node)));
    if let Some(node) = executor {
        let facts = &situation.nodes()[node];
        let dialect = facts
            .fresh_answer()
            .map_or(StatementDialect::ProviderOptions, |answer| {
                StatementDialect::of(answer.status)
            });
        let statement = dialect.bootstrap_statement();
        draft.steps.push(PlanStep::Statement {
            node: facts.id.clone(),
            statement: statement.to_owned(),
        });
        draft.commands.push(ManualCommand {
            node: Some(facts.id.clone()),
            command: format!("mariadb -e \"{statement}\""),
            why: format!(
                "Makes {} Primary. Type it on one node only, once.",
                situation.component_name(chosen.component)
            ),
        });
        draft.commands.push(ManualCommand {
            node: Some(facts.id.clone()),
            command: "mariadb -e \"SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'\"".to_owned(),
            why: "Must say Primary: the statement answers OK even when it was ignored.".to_owned(),
        });
    }
    draft.loss = loss::estimate(case, situation, position, &chosen.members);
    draft.target = Some(PlanTarget {
        mechanism: Mechanism::Statement,
        node: executor.map(|node| situation.nodes()[node].id.clone()),
        revives: members.clone(),
        members,
        position: Some(position.clone()),
        leaves_out: left_out,
        removes: Vec::new(),
    });
}

/// One sentence on a plan for `what`.
pub(super) fn summarize(draft: &PlanDraft, what: Option<String>) -> String {
    let failing: Vec<&str> = draft
        .checks
        .iter()
        .filter(|check| !check.status.permits())
        .map(|check| check.message.as_str())
        .collect();
    match (what, failing.as_slice()) {
        (Some(what), []) if !draft.steps.is_empty() => format!("Make {what} Primary again."),
        (Some(what), [first, ..]) => format!("{what} would be the one to go on from, but: {first}"),
        (_, [first, ..]) => format!("Nothing can be done yet: {first}"),
        _ => "Nothing can be done from here; see the commands.".to_owned(),
    }
}
