//! The end of a schedule: the faults end, two people follow the remedies that the product names, and the cluster becomes healthy.

use galera::recover::plan::{ActionKind, Plan};
use galera::view::VerdictState;

use super::{FaultSchedule, POLL};
use crate::access::lock;

/// Polls until every action that was approved before must have ended: its expiry and its deadline.
const END_OF_ACTIONS: u64 = 700;
/// Attempts to follow a remedy.
const ATTEMPTS: usize = 40;
/// Polls between two attempts.
const PATIENCE: u64 = 20;

impl FaultSchedule {
    /// # Errors
    /// What does not end, or what nobody can repair.
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
        for kind in [ActionKind::Bootstrap, ActionKind::Rejoin] {
            let Some(plan) = self.plan(console, kind, &[]) else {
                continue;
            };
            if plan.executable {
                let remedy = match kind {
                    ActionKind::Rejoin => "rejoin",
                    _ => "bootstrap",
                };
                *self.counts.remedies.entry(remedy).or_default() += 1;
                if let Some(id) = self.request(console, &plan, &[], None) {
                    self.approve(id, &plan);
                }
                return Ok(());
            }
        }
        Ok(())
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
        format!(
            "stuck: {:?}, {}\n  bootstrap: {bootstrap}\n  rejoin: {rejoin}",
            verdict.map(|verdict| verdict.state),
            reasons.join(" ")
        )
    }
}
