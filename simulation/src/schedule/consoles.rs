//! The consoles of a schedule: they run between the steps, in slices of time in turn.

use actions::ActionDecision;
use galera::ActionId;
use galera::recover::attestation::Attestation;
use galera::recover::plan::{ActionKind, CheckCode, Mechanism, Plan};
use rand::Rng;

use super::counts::FaultKind;
use super::{FaultSchedule, POLL};
use crate::access::{StatementFault, lock};
use crate::agent::TTL;
use crate::replica::SimulatedPerson;
use galera_specification::NodeIndex;

/// Milliseconds between two slices while an action is carried out, and while none is.
const SLICE: u64 = 100;

/// At most how many transactions `plan` says are lost; `None` if it says that this is unknown.
const fn named_loss(plan: &Plan) -> Option<u64> {
    match plan.loss.at_least {
        true => None,
        false => plan.loss.transactions,
    }
}

/// An action that two people agreed to.
pub(super) struct ApprovedAction {
    pub(super) id: ActionId,
    /// When it was approved, in milliseconds since the beginning.
    pub(super) at: u64,
}

impl FaultSchedule {
    /// What `task` returns, which runs with the cluster where consoles reach it.
    pub(super) fn with_consoles<T>(&mut self, task: impl FnOnce(&mut Self) -> T) -> T {
        let shared = std::sync::Arc::clone(&self.shared);
        std::mem::swap(&mut lock(&shared).cluster, &mut self.cluster);
        let result = task(self);
        std::mem::swap(&mut lock(&shared).cluster, &mut self.cluster);
        result
    }

    /// The consoles run until now, and observe.
    pub(super) fn run_consoles(&mut self) {
        let (until, slices) = match self.approved {
            Some(_) => (self.now, POLL / SLICE),
            None => (self.now, 1),
        };
        self.with_consoles(|schedule| {
            for slice in (0..slices).rev() {
                let now = until.saturating_sub(slice * SLICE);
                schedule.registry.advance_to(now);
                for console in &mut schedule.consoles {
                    console.advance_to(now);
                }
            }
            for console in schedule.consoles.iter_mut().filter(|one| !one.paused) {
                console.observe();
            }
        });
        self.registry.etcd().compact();
        self.record_positions();
        self.count_statement_faults();
        self.judge_statements();
        self.follow_approved();
    }

    /// The leader records positions and every replica the members that it saw change, and all read both; another replica leads once
    /// the leader's lease ended.
    fn record_positions(&mut self) {
        let (leader, since) = &mut self.leader;
        if self.consoles[*leader].paused {
            let next = self.consoles.iter().position(|console| !console.paused);
            if let Some(next) = next.filter(|_| self.now >= *since + TTL) {
                *leader = next;
                self.counts.add(FaultKind::LeaderChange);
            }
        } else {
            *since = self.now;
        }
        let leader = &self.consoles[self.leader.0];
        if !leader.paused {
            let observer = lock(&leader.observer);
            self.recorded.0.merge(observer.positions());
        }
        for console in self.consoles.iter().filter(|console| !console.paused) {
            if let Some(members) = lock(&console.observer).take_pending_members() {
                self.recorded.1 = members;
            }
        }
        let (positions, members) = &self.recorded;
        for console in self.consoles.iter().filter(|console| !console.paused) {
            lock(&console.observer).merge(positions, members);
        }
    }

    fn count_statement_faults(&mut self) {
        let faults = std::mem::take(&mut lock(&self.shared).statement_faults);
        for (node, fault) in faults {
            self.note(format_args!("{fault:?} at the statement to n{}", node + 1));
            self.counts.add(match fault {
                StatementFault::Pause => FaultKind::PauseAtStatement,
                StatementFault::RequestLost | StatementFault::AnswerLost => {
                    FaultKind::StatementLost
                }
            });
        }
    }

    /// What statements that took effect gave up must be what their plans said.
    fn judge_statements(&mut self) {
        for (node, number) in self.cluster.take_bootstraps() {
            let losses = &lock(&self.shared).statement_losses.clone();
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let loss = losses.get(index).copied().flatten();
            self.note(format_args!("bootstrap n{}, loss {loss:?}", node + 1));
            if let Err(unnamed) = self.give_up(node, loss) {
                self.unnamed_loss.get_or_insert(unnamed);
            }
        }
    }

    /// Notes how the approved action ended.
    fn follow_approved(&mut self) {
        let Some(approved) = &self.approved else {
            return;
        };
        let id = approved.id.clone();
        let Some(console) = self.running_console() else {
            return;
        };
        let action = self.with_consoles(|schedule| schedule.consoles[console].action(&id));
        if let Some(action) = action.filter(|action| action.state.is_final()) {
            let outcome = action.outcome.unwrap_or_default();
            self.note(format_args!("{}: {outcome}", action.state.as_str()));
            *self
                .counts
                .endings
                .entry(action.state.as_str())
                .or_default() += 1;
            self.approved = None;
        }
    }

    /// A console that is not paused.
    pub(super) fn running_console(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.consoles.len())
            .filter(|&console| !self.consoles[console].paused)
            .collect();
        let chosen = self.random.random_range(0..running.len().max(1));
        running.get(chosen).copied()
    }

    pub(super) fn plan(
        &mut self,
        console: usize,
        kind: ActionKind,
        attestations: &[Attestation],
    ) -> Option<Plan> {
        self.with_consoles(|schedule| schedule.consoles[console].plan(kind, attestations))
    }

    /// One person requests what `plan` describes; `None` if that is refused.
    pub(super) fn request(
        &mut self,
        console: usize,
        plan: &Plan,
        attestations: &[Attestation],
        overrides: Option<Vec<CheckCode>>,
    ) -> Option<ActionId> {
        let requested = self.with_consoles(|schedule| {
            schedule.consoles[console].request(plan, attestations, overrides)
        });
        match requested {
            Ok(id) => {
                self.pending = Some(id.clone());
                Some(id)
            }
            Err(error) => {
                self.note(format_args!("the request is refused: {error}"));
                None
            }
        }
    }

    /// Another person approves.
    pub(super) fn approve(&mut self, id: ActionId, plan: &Plan) {
        let Some(console) = self.running_console() else {
            return;
        };
        let named = named_loss(plan);
        lock(&self.shared).approved_loss = named;
        let digest = Some(plan.digest.clone());
        let decision = ActionDecision::Approve { digest };
        let approved = self.with_consoles(|schedule| {
            schedule.consoles[console].decide(SimulatedPerson::Approver, &id, &decision)
        });
        match approved {
            Ok(()) => {
                self.counts.bootstraps += u64::from(plan.kind == ActionKind::Bootstrap);
                let mechanism = plan.target.as_ref().map(|target| target.mechanism);
                if mechanism == Some(Mechanism::Order) {
                    self.ordered_losses.insert(id.to_string(), named);
                }
                self.note(format_args!(
                    "approved on r{}: {}",
                    console + 1,
                    plan.summary
                ));
                self.pending = None;
                self.approved = Some(ApprovedAction { id, at: self.now });
            }
            Err(error) => {
                self.note(format_args!("the approval is refused: {error}"));
                self.cancel(&id);
            }
        }
    }

    /// The requester withdraws the action.
    pub(super) fn cancel(&mut self, id: &ActionId) {
        let Some(console) = self.running_console() else {
            return;
        };
        let cancelled = self.with_consoles(|schedule| {
            schedule.consoles[console].decide(
                SimulatedPerson::Operator,
                id,
                &ActionDecision::Cancel,
            )
        });
        self.pending = None;
        if let Err(error) = cancelled {
            self.note(format_args!("cancelling is refused: {error}"));
        }
    }

    /// Whether every console reaches `node` again.
    pub(super) fn show_all_nodes(&mut self) {
        for console in &self.consoles {
            lock(&console.observer).unreachable.clear();
        }
    }

    /// Hides `node` from every console; whether it was visible to one.
    pub(super) fn hide_node(&mut self, node: NodeIndex) -> bool {
        let mut hidden = false;
        for console in &self.consoles {
            hidden |= lock(&console.observer).unreachable.insert(node);
        }
        hidden
    }

    pub(super) fn pause_console(&mut self) {
        let console = self.random.random_range(0..self.consoles.len());
        self.note(format_args!("pause console r{}", console + 1));
        if !self.consoles[console].paused {
            self.counts.add(FaultKind::ConsolePause);
            self.consoles[console].paused = true;
        }
    }

    pub(super) fn resume_consoles(&mut self) {
        self.note("every console continues");
        for console in &mut self.consoles {
            console.paused = false;
        }
    }

    pub(super) fn restart_console(&mut self) {
        let console = self.random.random_range(0..self.consoles.len());
        self.note(format_args!("restart console r{}", console + 1));
        self.counts.add(FaultKind::ConsoleRestart);
        let now = self.now;
        self.with_consoles(|schedule| schedule.consoles[console].restart(now));
    }

    pub(super) fn step_console_clock(&mut self) {
        let console = self.random.random_range(0..self.consoles.len());
        let ahead = self.random_clock();
        self.note(format_args!(
            "the clock of r{} is {ahead} ms ahead",
            console + 1
        ));
        self.counts.add(FaultKind::ConsoleClock);
        self.consoles[console].set_clock(ahead);
    }

    pub(super) fn step_node_clock(&mut self, node: NodeIndex) {
        self.agents[node].clock_ahead = self.random_clock();
        let ahead = self.agents[node].clock_ahead;
        self.note(format_args!(
            "the clock of n{} is {ahead} ms ahead",
            node + 1
        ));
        self.counts.add(FaultKind::NodeClock);
    }

    fn random_clock(&mut self) -> i64 {
        let range = match self.random.random_range(0..3) {
            0 => 5_000,
            1 => 90_000,
            _ => 3_600_000,
        };
        self.random.random_range(-range..=range)
    }
}
