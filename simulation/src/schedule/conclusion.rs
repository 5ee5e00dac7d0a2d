//! The end of a schedule: the faults end, two people follow the remedies that the product names, and the cluster becomes healthy.

use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{ActionKind, CheckCode, CheckStatus, Plan, PlanCheck};
use galera::view::VerdictState;

use super::recovery::attest;
use super::{FaultSchedule, POLL};
use crate::access::lock;
use crate::specification::{GaleraTransaction, NodeIndex};

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
        self.reconnect();
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
        for write in &self.given_up {
            self.acknowledged.remove(write);
        }
        self.give_up(node, Some(0))
            .map_err(|lost| format!("at the end: {lost}"))
    }

    /// Starts what is stopped, and requests what can be requested: a bootstrap, a rejoin, or else an override.
    fn follow_remedy(&mut self) -> Result<(), String> {
        for node in 0..self.agents.len() {
            self.agents[node].start(&mut self.registry);
        }
        let Some(console) = self.running_console() else {
            return Ok(());
        };
        if let Some(id) = self.pending.clone() {
            *self.counts.remedies.entry("cancelled request").or_default() += 1;
            self.cancel(&id);
        }
        let gone: Vec<Attestation> = self
            .abandoned
            .iter()
            .map(|node| attest(node, AttestedState::Decommissioned))
            .collect();
        for (kind, attestations, remedy) in [
            (ActionKind::Bootstrap, &[][..], "bootstrap"),
            (
                ActionKind::Bootstrap,
                &gone,
                "bootstrap without former data",
            ),
            (ActionKind::Rejoin, &[], "rejoin"),
        ] {
            let Some(plan) = self.plan(console, kind, attestations) else {
                continue;
            };
            if self.decide_branch(&plan) {
                return Ok(());
            }
            let overrides = self.overrides(&plan);
            if plan.executable || overrides.is_some() {
                let remedy = match overrides {
                    None => remedy,
                    Some(_) => "override",
                };
                *self.counts.remedies.entry(remedy).or_default() += 1;
                if let Some(id) = self.request(console, &plan, attestations, overrides) {
                    self.approve(id, &plan);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// The checks that forbid `plan`, if an administrator may override them as they say: an arbitrator is what `members_known`
    /// misses, and the transactions that are lost were only in data that were given up.
    fn overrides(&self, plan: &Plan) -> Option<Vec<CheckCode>> {
        let codes: Vec<CheckCode> = plan.failing().map(|check| check.code.clone()).collect();
        let has_arbitrator = self.cluster.nodes().iter().any(|node| node.arbitrator);
        let lost = [
            CheckCode::MOST_ADVANCED,
            CheckCode::NO_REGRESSION,
            CheckCode::LAST_PRIMARY,
        ];
        let permitted = |code: &CheckCode| {
            has_arbitrator && *code == CheckCode::MEMBERS_KNOWN
                || !self.abandoned.is_empty() && lost.contains(code)
        };
        (!codes.is_empty() && codes.iter().all(permitted)).then_some(codes)
    }

    /// Two people decide for the newest branch of the history: members of another one are kept aside and return empty, as the
    /// check `no_fork` says. Whether it said that.
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
            let own = &self.cluster.nodes()[node];
            // What the message names as only its own; unknown is everything.
            let range = format!("{} has transactions ", own.id);
            let first = message.split_once(&range).and_then(|(_, rest)| {
                let digits = rest.split(' ').next()?;
                digits.parse::<usize>().ok()
            });
            let common = first.unwrap_or(1).saturating_sub(1);
            for transaction in own.data.transactions.iter().skip(common) {
                if let GaleraTransaction::Write(write) = transaction {
                    self.given_up.insert(*write);
                }
            }
            self.replace(node);
            self.agents[node].start(&mut self.registry);
        }
        if !named.is_empty() {
            *self
                .counts
                .remedies
                .entry("decision for a branch")
                .or_default() += 1;
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
