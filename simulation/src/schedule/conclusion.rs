//! The end of a schedule: the faults end, two people follow the remedies that the product names, and the cluster becomes healthy.

use galera::NodeId;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{ActionKind, CheckCode, CheckStatus, Plan, PlanCheck};
use galera::view::VerdictState;

use super::recovery::attest;
use super::{FaultSchedule, POLL};
use crate::access::lock;
use galera_specification::NodeIndex;

/// Polls until every action that was approved before must have ended: its expiry and its deadline, by a clock that was an hour ahead.
const END_OF_ACTIONS: u64 = 700 + 3_600;
/// Attempts to follow a remedy.
const ATTEMPTS: usize = 40;
/// Polls between two attempts.
const PATIENCE: u64 = 20;

impl FaultSchedule {
    /// # Errors
    /// What does not end, or what no remedy repairs.
    pub(super) fn conclude(&mut self) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        self.end_faults();
        self.end_actions()?;
        for _ in 0..ATTEMPTS {
            for _ in 0..PATIENCE {
                self.poll()?;
            }
            if self.is_healthy() {
                return self.check_writes();
            }
            self.follow_remedy()?;
            self.end_actions()?;
        }
        Err(self.describe_stuck())
    }

    fn poll(&mut self) -> Result<(), String> {
        self.now += POLL;
        self.turn();
        self.judge()
    }

    fn end_faults(&mut self) {
        self.note("the faults end");
        lock(&self.shared).has_faults = false;
        self.resume_consoles();
        self.mend();
        self.cluster.set_transfer_time(0);
        for console in &mut self.consoles {
            console.set_clock(0);
        }
        for node in 0..self.agents.len() {
            self.agents[node].clock_ahead = 0;
            self.cluster.set_paused(node, false, self.now);
            self.agents[node].start(&mut self.registry);
        }
    }

    /// Every approved action ends.
    fn end_actions(&mut self) -> Result<(), String> {
        for _ in 0..END_OF_ACTIONS {
            if self.approved.is_none() {
                return Ok(());
            }
            self.poll()?;
        }
        let approved = self.approved.as_ref().map_or(0, |approved| approved.at);
        Err(format!(
            "the action that was approved at {approved} ms has not ended"
        ))
    }

    /// Whether every member is Synced in one Primary component, and every console says so.
    fn is_healthy(&self) -> bool {
        self.consoles.iter().all(|console| {
            let observer = lock(&console.observer);
            let state = observer.view().map(|view| view.verdict.state);
            state == Some(VerdictState::Healthy)
        })
    }

    /// No acknowledged write is missing but those that plans named.
    fn check_writes(&mut self) -> Result<(), String> {
        let nodes = 0..self.cluster.nodes().len();
        let Some(node) = nodes
            .into_iter()
            .find(|&node| !self.cluster.nodes()[node].arbitrator)
        else {
            return Ok(());
        };
        self.give_up(node, Some(0))
            .map_err(|lost| format!("at the end: {lost}"))
    }

    /// Starts what is stopped, and follows the first remedy that a plan names: a bootstrap, if need be with confirmed states, a
    /// rejoin, an override, or a decision for one branch of the history.
    fn follow_remedy(&mut self) -> Result<(), String> {
        for node in 0..self.agents.len() {
            self.agents[node].start(&mut self.registry);
        }
        let Some(console) = self.running_console() else {
            return Ok(());
        };
        if let Some(id) = self.pending.clone() {
            self.count_remedy("cancelled request");
            self.cancel(&id);
        }
        self.restart_named_arbitrators(console);
        let (plan, attestations) = self.plan_with_confirmed_states(console);
        let remedy = match attestations.is_empty() {
            true => "bootstrap",
            false => "bootstrap with confirmed states",
        };
        let executable = plan.as_ref().filter(|plan| plan.executable);
        if let Some(plan) = executable {
            self.request_remedy(console, plan, &attestations, remedy);
            return Ok(());
        }
        if plan.as_ref().is_some_and(|plan| self.decide_branch(plan)) {
            return Ok(());
        }
        // Agents name containers for the case that no member can become Primary.
        if self.restart_named_containers() {
            return Ok(());
        }
        if let Some(plan) = &plan
            && self.request_remedy(console, plan, &attestations, remedy)
        {
            return Ok(());
        }
        if let Some(plan) = self.plan(console, ActionKind::Rejoin, &[]) {
            self.request_remedy(console, &plan, &[], "rejoin");
        }
        Ok(())
    }

    fn count_remedy(&mut self, remedy: &'static str) {
        *self.counts.remedies.entry(remedy).or_default() += 1;
    }

    /// Requests what `plan` describes and approves it, if that is possible; if need be with an override.
    fn request_remedy(
        &mut self,
        console: usize,
        plan: &Plan,
        attestations: &[Attestation],
        remedy: &'static str,
    ) -> bool {
        let overrides = self.overrides(plan);
        if !plan.executable && overrides.is_none() {
            return false;
        }
        self.count_remedy(match overrides {
            None => remedy,
            Some(_) => "override",
        });
        if let Some(id) = self.request(console, plan, attestations, overrides) {
            self.approve(id, plan);
        }
        true
    }

    /// The plan of a bootstrap with the states that its checks ask two people to confirm, as far as they are true.
    fn plan_with_confirmed_states(&mut self, console: usize) -> (Option<Plan>, Vec<Attestation>) {
        let mut attestations: Vec<Attestation> = Vec::new();
        loop {
            let plan = self.plan(console, ActionKind::Bootstrap, &attestations);
            let asked: Vec<Attestation> = plan
                .iter()
                .flat_map(Plan::failing)
                .filter(|check| check.code != CheckCode::ATTESTATIONS_HOLD)
                .filter_map(|check| self.asked_state(check, &attestations))
                .collect();
            if asked.is_empty() {
                return (plan, attestations);
            }
            for attestation in asked {
                attestations.retain(|known| known.node != attestation.node);
                attestations.push(attestation);
            }
        }
    }

    /// The next true state that a check asks to confirm and that is not confirmed yet.
    fn asked_state(&self, check: &PlanCheck, confirmed: &[Attestation]) -> Option<Attestation> {
        let message = &check.message;
        let asks_removed = message.contains("permanently removed");
        let asks_stopped = message.contains("stopped or isolated");
        let stated = |id: &NodeId| {
            let known = confirmed.iter().find(|known| known.node == *id);
            known.map(|known| known.statement)
        };
        let is_named = |id: &NodeId| {
            let mut words = message.split(|c: char| !c.is_ascii_alphanumeric());
            words.any(|word| word == id.to_string())
        };
        let nodes = self.cluster.nodes().iter();
        let nodes = nodes.filter(|node| !node.arbitrator && is_named(&node.id));
        nodes
            .filter_map(|node| {
                // What its directory had is gone; nothing else has it.
                let gone = node.data.transactions.is_empty();
                // The check is about what the volume had before it was replaced, not about the server that runs there.
                let replaced = message.contains("is used by other data") && self.is_alone(&node.id);
                match stated(&node.id) {
                    None if asks_stopped && (node.server.is_none() || replaced) => {
                        Some((node, AttestedState::Stopped))
                    }
                    None | Some(AttestedState::Stopped)
                        if asks_removed && (gone && node.server.is_none() || replaced) =>
                    {
                        Some((node, AttestedState::Decommissioned))
                    }
                    _ => None,
                }
            })
            .map(|(node, statement)| attest(&node.id, statement))
            .next()
    }

    /// Whether no other node has this address.
    fn is_alone(&self, id: &NodeId) -> bool {
        let nodes = self.cluster.nodes().iter();
        nodes.filter(|node| node.id == *id).count() == 1
    }

    /// Restarts the arbitrators that a plan of a stopped cluster says to restart.
    fn restart_named_arbitrators(&mut self, console: usize) {
        let plan = self.plan(console, ActionKind::Bootstrap, &[]);
        let named = |check: &PlanCheck| check.message.contains("restart the arbitrator");
        if !plan.is_some_and(|plan| plan.checks.iter().any(named)) {
            return;
        }
        for node in 0..self.cluster.nodes().len() {
            if self.cluster.nodes()[node].arbitrator {
                self.kill(node);
                self.agents[node].start(&mut self.registry);
                self.count_remedy("restart of an arbitrator");
            }
        }
    }

    /// Restarts the containers that agents say to restart. Whether there are any.
    fn restart_named_containers(&mut self) -> bool {
        let restarts: Vec<NodeIndex> = (0..self.agents.len())
            .filter(|&node| {
                let id = &self.cluster.nodes()[node].id;
                let named = format!("restart the container or service of {id} ");
                self.cluster.nodes()[node].server.is_some()
                    && self
                        .agents
                        .iter()
                        .any(|agent| !agent.runs_server() && agent.explanation.contains(&named))
            })
            .collect();
        for &node in &restarts {
            self.kill(node);
            self.agents[node].start(&mut self.registry);
            self.count_remedy("restart of a container");
        }
        !restarts.is_empty()
    }

    /// The checks that forbid `plan`, if an administrator may override them as they say: an arbitrator is what `members_known`
    /// misses, and transactions are lost for good that a plan names.
    fn overrides(&self, plan: &Plan) -> Option<Vec<CheckCode>> {
        let codes: Vec<CheckCode> = plan.failing().map(|check| check.code.clone()).collect();
        let has_arbitrator = self.cluster.nodes().iter().any(|node| node.arbitrator);
        let lost = [
            CheckCode::MOST_ADVANCED,
            CheckCode::NO_REGRESSION,
            CheckCode::LAST_PRIMARY,
        ];
        let names_loss = plan.loss.transactions != Some(0);
        let permitted = |code: &CheckCode| {
            has_arbitrator && *code == CheckCode::MEMBERS_KNOWN || names_loss && lost.contains(code)
        };
        (!codes.is_empty() && codes.iter().all(permitted)).then_some(codes)
    }

    /// Two people decide for the newest branch of the history: members of another one are kept aside and return empty, as the
    /// check `no_fork` says. Whether it said that. What is lost by it, the plan that continues must name.
    fn decide_branch(&mut self, plan: &Plan) -> bool {
        let conflict = |check: &&PlanCheck| {
            check.code == CheckCode::NO_FORK && check.status == CheckStatus::Fail
        };
        let Some(check) = plan.checks.iter().find(conflict) else {
            return false;
        };
        let message = check.message.clone();
        let named: Vec<NodeIndex> = (0..self.agents.len())
            .filter(|&node| !self.cluster.nodes()[node].data.transactions.is_empty())
            .filter(|&node| {
                let id = &self.cluster.nodes()[node].id;
                message.contains(&format!("{id} has transactions"))
                    || message.contains(&format!("{id} may have transactions"))
            })
            .collect();
        for &node in &named {
            self.note(format_args!(
                "two people give up what only n{} has",
                node + 1
            ));
            self.kill(node);
            self.replace(node);
            self.agents[node].start(&mut self.registry);
        }
        if !named.is_empty() {
            self.count_remedy("decision for a branch");
        }
        !named.is_empty()
    }

    fn describe_stuck(&mut self) -> String {
        let observer = lock(&self.consoles[0].observer);
        let verdict = observer.view().map(|view| view.verdict.clone());
        drop(observer);
        let failing = |plan: Option<Plan>| {
            let checks = plan.map(|plan| plan.checks).unwrap_or_default();
            let failing = checks.iter().filter(|check| !check.status.permits());
            let texts: Vec<String> = failing
                .map(|check| format!("{}: {}", check.code, check.message))
                .collect();
            texts.join("; ")
        };
        let bootstrap = failing(self.plan(0, ActionKind::Bootstrap, &[]));
        let rejoin = failing(self.plan(0, ActionKind::Rejoin, &[]));
        let reasons: Vec<String> = verdict
            .iter()
            .flat_map(|verdict| &verdict.reasons)
            .map(|reason| reason.message.clone())
            .collect();
        let agents: Vec<String> = self
            .agents
            .iter()
            .zip(self.cluster.nodes())
            .map(|(agent, node)| format!("{}: {}", node.id, agent.explanation))
            .collect();
        let agents = agents.join("\n  ");
        format!(
            "stuck: {:?}, {}\n  bootstrap: {bootstrap}\n  rejoin: {rejoin}\n  {agents}",
            verdict.map(|verdict| verdict.state),
            reasons.join(" ")
        )
    }
}
