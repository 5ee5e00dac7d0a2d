//! What must hold after each step.

use std::collections::BTreeSet;

use galera::view::VerdictState;

use super::FaultSchedule;
use crate::agent::TTL;
use crate::specification::{GaleraTransaction, NodeIndex};

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
    pub(super) fn check_verdict(&mut self) {
        let Some(view) = self.console.view() else {
            return;
        };
        let denies = matches!(
            view.verdict.state,
            VerdictState::NoPrimary | VerdictState::Down
        );
        let serving = self.primaries_in_service();
        if !denies || serving.is_empty() {
            self.denies_since = None;
            return;
        }
        let since = *self.denies_since.get_or_insert(self.now);
        if self.now - since > TTL && self.wrong_verdict.is_none() {
            let reasons: Vec<String> = view
                .verdict
                .reasons
                .iter()
                .map(|reason| reason.message.clone())
                .collect();
            self.wrong_verdict = Some(format!(
                "the verdict is {:?} while {serving:?} serve: {}",
                view.verdict.state,
                reasons.join(" ")
            ));
            self.note("a wrong verdict");
        }
    }

    /// The Primary components, without those of machines that an operator isolated while they were Primary.
    fn primaries_in_service(&self) -> Vec<BTreeSet<NodeIndex>> {
        let components = self.cluster.primary_components().into_iter();
        components
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
