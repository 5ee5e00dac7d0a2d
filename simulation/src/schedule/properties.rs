//! What must hold after each step.

use std::collections::BTreeSet;

use galera::recover::plan::{Plan, PlanCheck};
use galera::view::VerdictState;

use super::FaultSchedule;
use crate::access::lock;
use crate::agent::TTL;
use galera_specification::{GaleraTransaction, NodeIndex, RunningServer};

impl FaultSchedule {
    /// Acknowledged writes that the new Primary component lacks must be covered by what the plan said.
    pub(super) fn give_up(&mut self, node: NodeIndex, loss: Option<u64>) -> Result<(), String> {
        let own = &self.cluster.nodes()[node];
        if !own
            .server
            .as_ref()
            .is_some_and(|server| server.is_primary())
        {
            return Ok(());
        }
        let kept: BTreeSet<u64> = own
            .data
            .transactions
            .iter()
            .filter_map(|one| match one {
                GaleraTransaction::Write(write) => Some(*write),
                GaleraTransaction::View(_) => None,
            })
            .collect();
        let lost: Vec<u64> = self.acknowledged.difference(&kept).copied().collect();
        for write in &lost {
            self.acknowledged.remove(write);
        }
        match loss {
            Some(named) if (lost.len() as u64) > named => Err(format!(
                "the plan said that at most {named} transaction(s) are lost, but {} acknowledged writes are",
                lost.len()
            )),
            _ => Ok(()),
        }
    }

    /// What an order gives up is judged when its agent has obeyed it. One that an agent wrote for itself gives up nothing.
    pub(super) fn judge_order(&mut self, node: NodeIndex) {
        let Some(action) = self.agents[node].take_obeyed() else {
            return;
        };
        let named = self.ordered_losses.get(&action).copied();
        if let Err(unnamed) = self.give_up(node, named.unwrap_or(Some(0))) {
            self.unnamed_loss
                .get_or_insert(format!("order {action}: {unnamed}"));
        }
    }

    /// I43: while members serve, wherever, no verdict says that none does, for longer than the lease of an agent that
    /// reported another state may live.
    pub(super) fn check_verdicts(&mut self) {
        let serving = self.primaries_in_service();
        for console in 0..self.consoles.len() {
            let denial = self.denial(console).filter(|_| !serving.is_empty());
            let Some(denial) = denial else {
                self.denies_since.remove(&console);
                continue;
            };
            let since = *self.denies_since.entry(console).or_insert(self.now);
            if self.now - since > TTL && self.wrong_verdict.is_none() {
                self.wrong_verdict = Some(format!(
                    "the verdict of r{} is {denial} while {serving:?} serve",
                    console + 1
                ));
                self.note("a wrong verdict");
            }
        }
    }

    /// The verdict of a console that runs, if it says that no member serves.
    fn denial(&self, console: usize) -> Option<String> {
        let console = &self.consoles[console];
        let observer = lock(&console.observer);
        let verdict = &observer.view().filter(|_| !console.paused)?.verdict;
        let denies = matches!(verdict.state, VerdictState::NoPrimary | VerdictState::Down);
        let reasons = verdict.reasons.iter().map(|reason| reason.message.as_str());
        let reasons: Vec<&str> = reasons.collect();
        denies.then(|| format!("{:?} ({})", verdict.state, reasons.join(" ")))
    }

    /// No state is stuck without a reason.
    pub(super) fn check_refusal(&mut self, plan: &Plan) -> Result<(), String> {
        self.counts.refused_plans += 1;
        for check in forbidding(plan) {
            let refusals = &mut self.counts.refusals;
            *refusals.entry(check.code.to_string()).or_default() += 1;
        }
        unexplained_refusal(plan).map_or(Ok(()), Err)
    }

    /// The Primary components, without those of machines that an operator isolated while they were Primary.
    fn primaries_in_service(&self) -> Vec<BTreeSet<NodeIndex>> {
        let components = self.cluster.primary_components().into_iter();
        let serves = |&node: &NodeIndex| {
            let own = &self.cluster.nodes()[node];
            let server = own.server.as_ref();
            !own.arbitrator && server.is_some_and(RunningServer::is_synced)
        };
        components
            .filter(|members| members.iter().any(serves))
            .filter(|members| !members.is_subset(&self.fenced_primaries))
            .collect()
    }

    pub(super) fn judge(&self) -> Result<(), String> {
        if let Some(wrong) = self.unnamed_loss.as_ref().or(self.wrong_verdict.as_ref()) {
            return Err(wrong.clone());
        }
        let primaries = self.primaries_in_service();
        if primaries.len() > 1 {
            return Err(format!(
                "{} Primary components: {primaries:?}",
                primaries.len()
            ));
        }
        if self.cluster.has_diverged() {
            return Err(format!(
                "members of {primaries:?} have different data and are Synced"
            ));
        }
        Ok(())
    }
}

fn forbidding(plan: &Plan) -> impl Iterator<Item = &PlanCheck> {
    plan.checks.iter().filter(|check| !check.status.permits())
}

/// What is missing in the reasons of a refused plan: a check that forbids it, and a message of each of these.
fn unexplained_refusal(plan: &Plan) -> Option<String> {
    if forbidding(plan).next().is_none() {
        let summary = &plan.summary;
        return Some(format!(
            "a plan is refused although every check permits it: {summary}"
        ));
    }
    let silent = forbidding(plan).find(|check| check.message.trim().is_empty())?;
    Some(format!("{} forbids a plan without a message", silent.code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::RemovedSafeguard;
    use galera::recover::plan::ActionKind;

    #[test]
    fn a_refusal_without_a_reason_is_found() {
        let mut schedule = FaultSchedule::new(1, RemovedSafeguard::None);
        let plan = schedule.plan(0, ActionKind::Bootstrap, &[]).unwrap();
        assert!(!plan.executable);
        assert_eq!(unexplained_refusal(&plan), None);

        let mut silent = plan.clone();
        for check in &mut silent.checks {
            check.message.clear();
        }
        let found = unexplained_refusal(&silent).unwrap();
        assert!(
            found.ends_with("forbids a plan without a message"),
            "{found}"
        );

        let mut unforbidden = plan;
        unforbidden.checks.retain(|check| check.status.permits());
        let found = unexplained_refusal(&unforbidden).unwrap();
        assert!(found.starts_with("a plan is refused although every check permits it"));
    }
}
