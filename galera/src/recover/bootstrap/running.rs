//! Plans for a running cluster without quorum: which component becomes Primary, and which member executes the
//! statement (I5, I12, I14, I15).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::flavour::ServerFlavour;
use super::situation::{MemberCondition, Situation, SourcedPosition};
use super::statement::StatementDialect;
use super::{RecoveryCase, RecoveryReach, common_checks, forks, loss, loss_estimate, settled};
use crate::id::NodeId;
use crate::position::Position;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, EvidenceSource, ManualCommand, Mechanism, PlanStep, PlanTarget,
    TransientCause,
};
use crate::view::{ClusterStatus, NodeState};

/// Shows whether a bootstrap had an effect.
pub(super) const SHOW_STATUS: &str = "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'";

/// A component that could become Primary.
struct CandidateComponent {
    component: usize,
    /// Its reachable members.
    reporters: Vec<usize>,
    /// All known members, reachable or not.
    members: BTreeSet<usize>,
    /// The highest position among the reporters.
    best: Option<Position>,
}

pub(super) fn plan(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
) -> String {
    let candidates = candidates(situation);
    let known = known_positions(situation);
    let agree = check_one_history(situation, draft, &known);
    let branch = forks::check(case, situation, draft, &known);
    let branch: BTreeSet<usize> = branch.into_iter().map(|(node, _)| node).collect();
    let chosen = if agree {
        choose_component(case, situation, &candidates, &branch)
    } else {
        None
    };
    let target = check_candidate(situation, draft, &candidates, chosen, agree);
    loss::check_for_loss(case, situation, draft, target.as_ref());
    settled::check(case, situation, draft);
    let executor = check_executor(situation, draft, chosen);
    check_sql_account(case, situation, draft, executor);
    let (Some(chosen), Some(target)) = (chosen, target) else {
        return summarize(draft, None);
    };
    complete_draft(case, situation, draft, chosen, &target.position, executor);
    if !continues_branch(chosen, &branch) {
        draft.loss.transactions = None;
        draft.loss.at_least = false;
        draft.loss.explanation.push_str(
            " Its data are of an older fork than those of other members, so that positions cannot be compared: what these \
             have since is lost.",
        );
    }
    summarize(draft, Some(situation.component_name(chosen.component)))
}

fn candidates(situation: &Situation<'_>) -> Vec<CandidateComponent> {
    let components = situation.components.observed.iter().enumerate();
    components
        .filter(|(_, observed)| observed.view.status == ClusterStatus::NonPrimary)
        .map(|(component, observed)| {
            let reporters: Vec<usize> = situation
                .members_where(|condition| condition == MemberCondition::NonPrimary(component))
                .collect();
            let best = reporters
                .iter()
                .filter_map(|&node| reported_position(situation, node))
                .max_by_key(|position| position.seqno);
            CandidateComponent {
                component,
                reporters,
                members: observed.members.clone(),
                best,
            }
        })
        .collect()
}

/// The position that a node reports now.
fn reported_position(situation: &Situation<'_>, node: usize) -> Option<Position> {
    situation.nodes()[node].fresh_answer()?.status.position()
}

/// The position of every node whose data are known: that of a running server, or of stopped data.
fn known_positions(situation: &Situation<'_>) -> Vec<(usize, SourcedPosition)> {
    let position = |node: usize| match situation.conditions[node] {
        MemberCondition::NonPrimary(_)
        | MemberCondition::Disconnected
        | MemberCondition::Indeterminate => situation.last_known_position(node),
        _ => situation.stopped_position(node),
    };
    (0..situation.nodes().len())
        .filter_map(|node| Some((node, position(node)?)))
        .collect()
}

/// Whether a component has data of the newest fork among all members.
fn continues_branch(candidate: &CandidateComponent, branch: &BTreeSet<usize>) -> bool {
    candidate.reporters.iter().any(|node| branch.contains(node))
}

/// Positions are comparable only within one history (I6); across histories a person must decide whose data to keep.
fn check_one_history(
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    known: &[(usize, SourcedPosition)],
) -> bool {
    let mut uuids = BTreeSet::new();
    let mut evidence = Vec::new();
    for (node, known) in known {
        uuids.insert(known.position.uuid);
        evidence.push(fact(
            Some(&situation.nodes()[*node].id),
            known.source,
            known.at,
            known.position.to_string(),
        ));
    }
    common_checks::check_one_history(
        draft,
        uuids.len(),
        "Decide whose data to keep, copy the data directories of the other nodes, and stop those.",
        evidence,
    )
}

/// A component with data of the newest fork, then the most advanced one (I35), then one with a member of the newest Primary view, then the largest, then the one with
/// the first name: the same on every replica (I10).
fn choose_component<'c>(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    candidates: &'c [CandidateComponent],
    branch: &BTreeSet<usize>,
) -> Option<&'c CandidateComponent> {
    let rank = |candidate: &CandidateComponent| {
        let best = candidate.best.as_ref();
        let newest = best.and_then(|best| case.history.newest_primary_view(&best.uuid));
        let represents = newest.is_some_and(|newest| {
            let mut members = candidate.members.iter();
            members.any(|&node| newest.nodes.contains(&situation.nodes()[node].id))
        });
        (
            continues_branch(candidate, branch),
            best.map(|best| best.seqno),
            represents,
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
        let mut message = if agree {
            "No component has a member with a valid position. A nil UUID or an undefined sequence number is never a candidate."
        } else {
            "Without one common history no component can be chosen."
        }
        .to_owned();
        let mut switched_off = (0..situation.nodes().len())
            .filter(|&node| {
                let answer = situation.nodes()[node].fresh_answer();
                answer.is_some_and(|answer| answer.status.lacks_provider_status())
            })
            .peekable();
        if switched_off.peek().is_some() {
            let names = situation.join_names(switched_off);
            message.push_str(&format!(
                " No state or position is read from {names}, because wsrep_on is OFF: run SET GLOBAL wsrep_on=ON there."
            ));
        }
        draft.add_check(CheckCode::CANDIDATE, CheckStatus::Fail, message, evidence);
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
        let rank = match others {
            0 => "the only reachable component".to_owned(),
            _ => format!("the most advanced of {} reachable components", others + 1),
        };
        (
            CheckStatus::Pass,
            format!("{name} at {} is {rank}.", best.seqno),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "{}, and holds the highest position, {}. Damaged data must not become the cluster's: stop it, copy its data \
                 directory, and plan again.",
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

/// Why a node must be neither source nor executor (I14); `None` if there is no reason.
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
        return Some(format!("reports {:?}", comment.unwrap_or_default()));
    }
    if answer.status.local_state_uuid.is_some()
        && answer.status.cluster_state_uuid.is_some()
        && answer.status.local_state_uuid != answer.status.cluster_state_uuid
    {
        return Some("holds another history than its component".to_owned());
    }
    None
}

/// The node that has evicted this node's process, if any; an evicted process cannot rejoin without a restart.
fn evicted_by(situation: &Situation<'_>, node: usize) -> Option<usize> {
    let process = situation.nodes()[node].fresh_answer()?.status.gcomm_uuid?;
    situation.nodes().iter().position(|facts| {
        let answer = facts.fresh_answer();
        answer.is_some_and(|answer| answer.status.evicted.contains(&process))
    })
}

/// The EVS state of a node that has left or is leaving its group. (`GATHER` and `INSTALL` lead into one.)
fn left_group_state(evs_state: Option<&str>) -> Option<&str> {
    evs_state.filter(|state| {
        let gone = ["CLOSED", "LEAVING"];
        gone.iter().any(|word| state.eq_ignore_ascii_case(word))
    })
}

/// Whether a node that cannot execute the statement will be able to within seconds: one without peers searches for
/// them now and then, and one with a receive queue is applying it.
fn is_temporarily_unfit(situation: &Situation<'_>, node: usize) -> bool {
    let Some(answer) = situation.nodes()[node].fresh_answer() else {
        return false;
    };
    let status = answer.status;
    let connects = status.evs_state.as_deref().is_some_and(|state| {
        let transitional = ["GATHER", "INSTALL"];
        transitional
            .iter()
            .any(|word| state.eq_ignore_ascii_case(word))
    });
    let applies = status.recv_queue.is_some_and(|queue| queue > 0);
    damage_reason(situation, node).is_none() && !status.frozen && (connects || applies)
}

/// Why a node cannot execute the statement now (I15); `None` if it can.
fn unfit_reason(situation: &Situation<'_>, node: usize) -> Option<String> {
    let facts = &situation.nodes()[node];
    let Some(answer) = facts.fresh_answer() else {
        return Some("is unreachable".to_owned());
    };
    let status = answer.status;
    if let Some(why) = damage_reason(situation, node) {
        return Some(why);
    }
    if status.frozen {
        return Some(
            "is held by a lock such as FLUSH TABLES WITH READ LOCK (run UNLOCK TABLES in that session, or find it with SHOW PROCESSLIST and KILL it)"
                .to_owned(),
        );
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
        None => return Some("does not report wsrep_evs_state".to_owned()),
    }
    match status.recv_queue {
        Some(0) => {}
        Some(queue) => return Some(format!("has {queue} write-sets to apply")),
        None => return Some("does not report wsrep_local_recv_queue".to_owned()),
    }
    status
        .position()
        .is_none()
        .then(|| "has no valid position".to_owned())
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
            "Without a component there is no member to run the statement.".to_owned(),
            Vec::new(),
        );
        return None;
    };
    let mut evidence = Vec::new();
    let mut ready: Vec<(Reverse<u64>, &NodeId, usize)> = Vec::new();
    let mut reasons = Vec::new();
    for &node in &chosen.reporters {
        let facts = &situation.nodes()[node];
        let at = facts.fresh_answer().map(|answer| answer.at);
        match unfit_reason(situation, node) {
            None => {
                let seqno = reported_position(situation, node).map_or(0, |position| position.seqno);
                ready.push((Reverse(seqno), &facts.id, node));
                evidence.push(fact(
                    Some(&facts.id),
                    EvidenceSource::Sql,
                    at,
                    "connected, non-Primary, OPERATIONAL, empty receive queue",
                ));
            }
            Some(why) => {
                evidence.push(fact(Some(&facts.id), EvidenceSource::Sql, at, why.clone()));
                reasons.push(format!("{} {why}", facts.id));
            }
        }
    }
    let executor = ready.into_iter().min().map(|(_, _, node)| node);
    let temporary = chosen
        .reporters
        .iter()
        .any(|&node| is_temporarily_unfit(situation, node));
    let (status, message) = match executor {
        Some(node) => (
            CheckStatus::Pass,
            format!(
                "{} can run the statement. {}",
                situation.join_names(std::iter::once(node)),
                dialect_of(situation, node).condition()
            ),
        ),
        None => (
            CheckStatus::Fail,
            format!(
                "No member of this component can run the statement: {}.{}",
                reasons.join("; "),
                if temporary {
                    " This may resolve within seconds; plan again."
                } else {
                    ""
                }
            ),
        ),
    };
    draft.add_check(CheckCode::EXECUTOR_READY, status, message, evidence);
    if temporary {
        draft.mark_transient(TransientCause::ShortLivedState);
    }
    executor
}

/// The account must exist, and be allowed to connect to the member that executes the statement.
fn check_sql_account(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    executor: Option<usize>,
) {
    let reach = case.context.recovery_reach;
    let executor = executor.map(|node| &situation.nodes()[node].id);
    let (status, message) = match executor {
        _ if reach == RecoveryReach::Nowhere => (
            CheckStatus::Fail,
            "The console has no recovery account. Configure one (--recovery-user), or run the command manually.".to_owned(),
        ),
        Some(node) if !reach.includes(node.host()) => (
            CheckStatus::Fail,
            format!("The recovery account may not connect to {node}: the connection has no verified TLS. Configure --mysql-tls-ca, allow any transport (--recovery-transport any), or run the command manually."),
        ),
        _ => (
            CheckStatus::Pass,
            "The console has a recovery account.".to_owned(),
        ),
    };
    draft.add_check(CheckCode::SQL_ACCOUNT, status, message, Vec::new());
}

/// The dialect of a node; without an answer the one that reads nothing else.
fn dialect_of(situation: &Situation<'_>, node: usize) -> StatementDialect {
    situation.nodes()[node]
        .fresh_answer()
        .map_or(StatementDialect::MysqlProviderOptions, |answer| {
            StatementDialect::of(answer.status)
        })
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
        let dialect = dialect_of(situation, node);
        let flavour = ServerFlavour::of(facts);
        draft.steps.push(PlanStep::Statement {
            node: facts.id.clone(),
            statement: dialect.bootstrap_statement().to_owned(),
        });
        draft.commands.push(ManualCommand {
            node: Some(facts.id.clone()),
            command: flavour.client_command(dialect.manual_statement()),
            why: format!(
                "Makes {} Primary. Run it on one node only, once.",
                situation.component_name(chosen.component)
            ),
        });
        draft.commands.push(ManualCommand {
            node: Some(facts.id.clone()),
            command: flavour.client_command(SHOW_STATUS),
            why: "Must show Primary; the statement succeeds even when it was ignored.".to_owned(),
        });
    }
    draft.loss = loss_estimate::estimate(case, situation, position, &chosen.members);
    draft.target = Some(PlanTarget {
        mechanism: Mechanism::Statement,
        node: executor.map(|node| situation.nodes()[node].id.clone()),
        process: executor.and_then(|node| {
            let answer = situation.nodes()[node].fresh_answer()?;
            answer.status.process().map(|process| process.to_string())
        }),
        revives: members.clone(),
        members,
        position: Some(position.clone()),
        leaves_out: left_out,
        removes: Vec::new(),
    });
}

/// The summary of a plan to make `what` Primary.
pub(super) fn summarize(draft: &PlanDraft, what: Option<String>) -> String {
    let failing: Vec<&str> = draft
        .checks
        .iter()
        .filter(|check| !check.status.permits())
        .map(|check| check.message.as_str())
        .collect();
    match (what, failing.as_slice()) {
        (Some(what), []) if !draft.steps.is_empty() => format!("Make {what} Primary again."),
        (Some(what), [first, ..]) => format!("{what} is the best candidate, but: {first}"),
        (_, [first, ..]) => format!("Blocked: {first}"),
        _ => "The console cannot do this; run the commands manually.".to_owned(),
    }
}
