//! A running cluster without quorum: which component goes on, and who executes the statement (I5, I12, I14, I15).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::situation::{Situation, Standing};
use super::statement::Dialect;
use super::{Case, loss};
use crate::id::NodeId;
use crate::observe::registration::Phase;
use crate::position::Position;
use crate::recover::plan::digest::{Draft, fact};
use crate::recover::plan::{
    CheckCode, CheckStatus, Command, EvidenceSource, Mechanism, Passing, Step, Target,
};
use crate::view::{ClusterStatus, NodeState};

/// A component that might go on.
struct Candidate {
    component: usize,
    /// Who answers from within it.
    reporters: Vec<usize>,
    /// Everybody in it, as far as known.
    members: BTreeSet<usize>,
    best: Option<Position>,
}

pub(super) fn plan(case: &Case<'_>, situation: &Situation<'_>, draft: &mut Draft) -> String {
    let candidates = candidates(situation);
    let agree = one_history(situation, draft);
    let chosen = if agree { choose(&candidates) } else { None };
    let target = candidate(situation, draft, &candidates, chosen, agree);
    loss::ahead(case, situation, draft, target.as_ref());
    settled(case, situation, draft);
    let executor = executor(situation, draft, chosen);
    sql_account(case, draft);
    let (Some(chosen), Some(target)) = (chosen, target) else {
        return blocked_summary(draft, None);
    };
    fill(case, situation, draft, chosen, &target.position, executor);
    blocked_summary(draft, Some(situation.component_name(chosen.component)))
}

fn candidates(situation: &Situation<'_>) -> Vec<Candidate> {
    let seen = situation.components.seen.iter().enumerate();
    seen.filter(|(_, seen)| seen.view.status == ClusterStatus::NonPrimary)
        .map(|(component, seen)| {
            let reporters: Vec<usize> = situation
                .of(|standing| standing == Standing::NonPrimary(component))
                .collect();
            let best = reporters
                .iter()
                .filter_map(|&node| position(situation, node))
                .max_by_key(|position| position.seqno);
            Candidate {
                component,
                reporters,
                members: seen.members.clone(),
                best,
            }
        })
        .collect()
}

/// The position that a node itself tells now.
fn position(situation: &Situation<'_>, node: usize) -> Option<Position> {
    situation.nodes()[node].answer()?.status.position()
}

/// Positions have an order within one history only (I6): across histories a person must decide whose data counts.
fn one_history(situation: &Situation<'_>, draft: &mut Draft) -> bool {
    let mut uuids = BTreeSet::new();
    let mut evidence = Vec::new();
    for node in 0..situation.nodes().len() {
        let id = &situation.nodes()[node].id;
        let known = match situation.standings[node] {
            Standing::NonPrimary(_) | Standing::Disconnected | Standing::Unclear => {
                situation.last_known(node)
            }
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
    draft.check(CheckCode::ONE_HISTORY, status, message, evidence);
    uuids.len() == 1
}

/// The same choice on every replica: the most advanced, then the largest, then the one with the smallest name (I10).
fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    let rank = |candidate: &Candidate| {
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

fn candidate(
    situation: &Situation<'_>,
    draft: &mut Draft,
    candidates: &[Candidate],
    chosen: Option<&Candidate>,
    agree: bool,
) -> Option<loss::Goal> {
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
        draft.check(
            CheckCode::CANDIDATE,
            CheckStatus::Fail,
            message.to_owned(),
            evidence,
        );
        return None;
    };
    let name = situation.component_name(chosen.component);
    let holds = |&&node: &&usize| position(situation, node).as_ref() == Some(&best);
    let mut damaged = Vec::new();
    let mut source = false;
    for &node in chosen.reporters.iter().filter(holds) {
        match sound(situation, node) {
            Some(why) => damaged.push(format!("{} {why}", situation.names(std::iter::once(node)))),
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
    draft.check(CheckCode::CANDIDATE, status, message, evidence);
    Some(loss::Goal {
        position: best,
        holders: chosen.members.clone(),
    })
}

/// Why a node must be neither source nor executor (I14); `None` when nothing speaks against it.
fn sound(situation: &Situation<'_>, node: usize) -> Option<String> {
    let facts = &situation.nodes()[node];
    let answer = facts.answer()?;
    if facts.state() == NodeState::Inconsistent {
        return Some("lost an inconsistency vote".to_owned());
    }
    if let Some(by) = evicted_by(situation, node) {
        let by = &situation.nodes()[by].id;
        return Some(format!("was evicted (wsrep_evs_evict_list of {by})"));
    }
    if let Some(state) = left_the_group(answer.status.evs_state.as_deref()) {
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
    let process = situation.nodes()[node].answer()?.status.gcomm_uuid?;
    situation.nodes().iter().position(|facts| {
        let answer = facts.answer();
        answer.is_some_and(|answer| answer.status.evicted.contains(&process))
    })
}

/// Whether it has left or is leaving its group; `GATHER` and `INSTALL` are on the way into one.
fn left_the_group(evs_state: Option<&str>) -> Option<&str> {
    evs_state.filter(|state| {
        let gone = ["CLOSED", "LEAVING"];
        gone.iter().any(|word| state.eq_ignore_ascii_case(word))
    })
}

/// Whether a node cannot execute the statement only because of something that it is in the midst of: one without peers
/// looks for them now and then.
fn unfit_for_a_moment(situation: &Situation<'_>, node: usize) -> bool {
    let Some(answer) = situation.nodes()[node].answer() else {
        return false;
    };
    let status = answer.status;
    let connects = status.evs_state.as_deref().is_some_and(|state| {
        let between = ["GATHER", "INSTALL"];
        between.iter().any(|word| state.eq_ignore_ascii_case(word))
    });
    let applies = status.recv_queue.is_some_and(|queue| queue > 0);
    sound(situation, node).is_none() && (connects || applies)
}

/// Why a node cannot execute the statement now; `None` when it can (I15).
fn unfit(situation: &Situation<'_>, node: usize) -> Option<String> {
    let facts = &situation.nodes()[node];
    let Some(answer) = facts.answer() else {
        return Some("does not answer".to_owned());
    };
    let status = answer.status;
    if let Some(why) = sound(situation, node) {
        return Some(why);
    }
    if matches!(facts.state(), NodeState::Joining | NodeState::Donor) {
        return Some(format!("is {}", facts.state().word()));
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

fn executor(
    situation: &Situation<'_>,
    draft: &mut Draft,
    chosen: Option<&Candidate>,
) -> Option<usize> {
    let Some(chosen) = chosen else {
        draft.check(
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
        let at = facts.answer().map(|answer| answer.at);
        match unfit(situation, node) {
            None => {
                let seqno = position(situation, node).map_or(0, |position| position.seqno);
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
        .any(|&node| unfit_for_a_moment(situation, node));
    let (status, message) = match executor {
        Some(node) => (
            CheckStatus::Pass,
            format!(
                "{} can execute the statement.",
                situation.names(std::iter::once(node))
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
    draft.check(CheckCode::EXECUTOR_READY, status, message, evidence);
    if moment {
        draft.passing(Passing::Moment);
    }
    executor
}

/// Views must have lasted; longer while everybody of the last Primary view may come back by itself (I12).
fn settled(case: &Case<'_>, situation: &Situation<'_>, draft: &mut Draft) {
    let answers = || {
        situation
            .nodes()
            .iter()
            .filter_map(|facts| Some((facts, facts.answer()?)))
    };
    let starting: Vec<usize> = (0..situation.nodes().len())
        .filter(|&node| {
            matches!(
                situation.phase(node),
                Some(Phase::Starting | Phase::Joining)
            ) && situation.nodes()[node].answer().is_none()
        })
        .collect();
    let alive = |facts: &&crate::judge::cluster::facts::Facts<'_>| facts.answer().is_some();
    let expected: Vec<_> = situation
        .nodes()
        .iter()
        .filter(|facts| facts.expected)
        .collect();
    let all_there = !expected.is_empty()
        && expected.iter().all(alive)
        && situation
            .of(|standing| standing == Standing::Disconnected)
            .next()
            .is_none();
    let heals = all_there || !starting.is_empty();
    let needed = if heals {
        case.settings.grace
    } else {
        case.settings.settle
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
        let steady = answer.since.age(case.now) >= needed;
        let value = if steady {
            "view unchanged for long enough"
        } else {
            "view changed lately"
        };
        evidence.push(fact(
            Some(&facts.id),
            EvidenceSource::Sql,
            Some(answer.since),
            value,
        ));
        if !steady {
            moving.push(facts.id.to_string());
            seen_to_move |= answer.witnessed;
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
    draft.check(CheckCode::SETTLED, status, message, evidence);
    if unwatched {
        draft.passing(Passing::Unwatched);
    }
}

fn sql_account(case: &Case<'_>, draft: &mut Draft) {
    let (status, message) = if case.circumstances.sql_account {
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
    draft.check(CheckCode::SQL_ACCOUNT, status, message, Vec::new());
}

fn fill(
    case: &Case<'_>,
    situation: &Situation<'_>,
    draft: &mut Draft,
    chosen: &Candidate,
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
        .counted()
        .filter(|node| !chosen.members.contains(node)));
    if let Some(node) = executor {
        let facts = &situation.nodes()[node];
        let dialect = facts.answer().map_or(Dialect::ProviderOptions, |answer| {
            Dialect::of(answer.status)
        });
        let statement = dialect.bootstrap();
        draft.steps.push(Step::Statement {
            node: facts.id.clone(),
            statement: statement.to_owned(),
        });
        draft.commands.push(Command {
            node: Some(facts.id.clone()),
            command: format!("mariadb -e \"{statement}\""),
            why: format!(
                "Makes {} Primary. Type it on one node only, once.",
                situation.component_name(chosen.component)
            ),
        });
        draft.commands.push(Command {
            node: Some(facts.id.clone()),
            command: "mariadb -e \"SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'\"".to_owned(),
            why: "Must say Primary: the statement answers OK even when it was ignored.".to_owned(),
        });
    }
    draft.loss = loss::estimate(case, situation, position, &chosen.members);
    draft.target = Some(Target {
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
pub(super) fn blocked_summary(draft: &Draft, what: Option<String>) -> String {
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
