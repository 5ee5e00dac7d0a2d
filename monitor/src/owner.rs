//! The owner of one cluster: takes in what probes and the registry say, folds it, and publishes what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::judge::cluster::{Settings, fold, primary_members};
use galera::judge::known_positions::History;
use galera::observe::observation::Evidence;
use galera::view::{ClusterStatus, ClusterView, RegistryHealth};
use galera::{ClusterName, NodeId, Timestamp};
use registry::{Change, Entry, LeaseId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Publisher};
use super::known::Known;
use super::leases::{Leases, Question};
use super::memory::{Memory, Wish};
use super::metrics::MonitorMetrics;
use super::pace::Pace;
use super::positions::{self, Positions};
use super::probed::{Probed, Prober};
use super::registrations::Registrations;
use crate::probe::ProbeReport;

/// Inputs that wait for a busy owner before the registry's watch is slowed down.
pub(super) const QUEUE: usize = 64;
/// Time passes without anybody saying so: evidence grows stale.
const TICK: Duration = Duration::from_secs(1);
/// How much earlier than after a whole interval the next readings may be there.
const JITTER: Duration = Duration::from_millis(100);
/// How long an answer may wait for states that were told before it: somebody may tell states without end.
const ANSWER_WAITS: Duration = Duration::from_millis(500);
/// A wish to remember members that was not fulfilled is repeated after this time.
const WISH_AGAIN: Duration = Duration::from_secs(5);

/// What an owner is told, apart from the probes' reports.
#[derive(Debug)]
pub(super) enum Input {
    /// Every key of the cluster.
    Reset(Vec<Entry>),
    /// Changes of some of them.
    Changes(Vec<Change>),
    /// The members that are remembered.
    Remembered(BTreeSet<NodeId>),
    /// The positions that are remembered.
    Positions(Box<History>),
    /// How long a lease was granted for, in seconds.
    Granted { lease: LeaseId, ttl: u64 },
}

/// What an owner needs besides its inputs.
pub(super) struct Surroundings {
    pub(super) registry_prefix: String,
    pub(super) fold: Settings,
    pub(super) poll_interval: Duration,
    pub(super) leases: Leases,
    pub(super) memory: Memory,
    pub(super) positions: Positions,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<MonitorMetrics>,
}

/// Where an owner's news come from.
pub(super) struct Inbox {
    pub(super) inputs: mpsc::Receiver<Input>,
    /// For answers to the owner's own questions.
    pub(super) myself: mpsc::Sender<Input>,
    pub(super) reports: mpsc::Receiver<ProbeReport>,
    pub(super) health: watch::Receiver<RegistryHealth>,
}

/// A cluster's state.
pub(super) struct Owner {
    around: Surroundings,
    evidence: Evidence,
    registrations: Registrations,
    probed: Probed,
    /// Answers that wait for the states that were told before them, each with the time since when one does.
    answers: BTreeMap<NodeId, (Instant, ProbeReport)>,
    publisher: Publisher,
    view: Option<ClusterView>,
    published_at: Option<Instant>,
    asked: BTreeSet<LeaseId>,
    /// Members that are not in etcd yet, and when that was last tried.
    wish: Option<(BTreeSet<NodeId>, Instant)>,
    history: History,
    /// The history that was last given to be written, and when.
    written: Option<(History, Instant)>,
}

impl Owner {
    pub(super) fn new(
        name: ClusterName,
        configured: BTreeSet<NodeId>,
        health: RegistryHealth,
        prober: Box<dyn Prober>,
        around: Surroundings,
    ) -> Self {
        let mut evidence = Evidence::new(name.clone(), health);
        evidence.configured = configured;
        Self {
            registrations: Registrations::new(&around.registry_prefix, around.fold.default_port),
            probed: Probed::new(prober),
            answers: BTreeMap::new(),
            publisher: around.board.publisher(name),
            evidence,
            around,
            view: None,
            published_at: None,
            asked: BTreeSet::new(),
            wish: None,
            history: History::default(),
            written: None,
        }
    }

    /// Works until cancelled; the cluster is then no longer known.
    pub(super) async fn run(mut self, mut inbox: Inbox, cancel: CancellationToken) {
        let mut pace = Pace::new();
        pace.at_once();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(input) = inbox.inputs.recv() => {
                    self.take(input, now());
                    pace.at_once();
                }
                Some(report) = inbox.reports.recv() => {
                    self.report(report);
                    pace.soon();
                }
                Ok(()) = inbox.health.changed() => {
                    self.evidence.registry_health = inbox.health.borrow_and_update().clone();
                    pace.at_once();
                }
                _ = tick.tick() => pace.soon(),
                () = pace.due() => {
                    let more = self.work(now(), &inbox.myself);
                    pace.done();
                    if more {
                        pace.at_once();
                    }
                }
            }
        }
    }

    fn take(&mut self, input: Input, at: Timestamp) {
        match input {
            Input::Reset(entries) => {
                self.asked.clear();
                self.registrations.reset(at, entries);
            }
            Input::Changes(changes) => {
                for node in self.registrations.apply(at, changes) {
                    self.probed.ask(&node);
                }
            }
            Input::Remembered(members) => {
                if self
                    .wish
                    .as_ref()
                    .is_none_or(|(wished, _)| *wished == members)
                {
                    self.wish = None;
                    self.evidence.last_primary = members;
                }
                return;
            }
            Input::Positions(history) => {
                self.history.merge(&history);
                return;
            }
            Input::Granted { lease, ttl } => self.registrations.granted(lease, ttl),
        }
        self.observe();
    }

    fn observe(&mut self) {
        self.evidence.registry = self.registrations.observations();
        self.evidence.garbage = self.registrations.unexplained();
    }

    fn report(&mut self, report: ProbeReport) {
        if !self.probed.contains(&report.node) {
            return;
        }
        // What came first is folded first: an answer is not to hide the states that were told before it.
        let node = report
            .node
            .clone()
            .normalized(self.around.fold.default_port);
        if self.registrations.waits(&node) {
            let since = self.answers.get(&report.node).map(|(since, _)| *since);
            let since = since.unwrap_or_else(Instant::now);
            self.answers.insert(report.node.clone(), (since, report));
            return;
        }
        self.take_in(report);
    }

    fn take_in(&mut self, report: ProbeReport) {
        let observation = self.evidence.sql.entry(report.node).or_default();
        match report.outcome {
            Ok(status) => observation.answered(report.at, status),
            Err(error) => observation.failed(report.at, error),
        }
    }

    /// Takes in the answers that need not wait any longer. Whether there was one.
    fn release(&mut self) -> bool {
        let port = self.around.fold.default_port;
        let waits = |(since, report): &(Instant, ProbeReport)| {
            let node = report.node.clone().normalized(port);
            self.registrations.waits(&node) && since.elapsed() < ANSWER_WAITS
        };
        let (waiting, free) = std::mem::take(&mut self.answers)
            .into_iter()
            .partition(|(_, answer)| waits(answer));
        self.answers = waiting;
        let free: BTreeMap<NodeId, (Instant, ProbeReport)> = free;
        let any = !free.is_empty();
        for (_, report) in free.into_values() {
            self.take_in(report);
        }
        any
    }

    /// Folds, publishes, and does what follows from the view. Whether the next fold has something new already.
    fn work(&mut self, at: Timestamp, myself: &mpsc::Sender<Input>) -> bool {
        self.probed
            .reconcile(&mut self.evidence, at, self.around.fold.default_port);
        self.around.metrics.folded();
        let view = fold(&self.evidence, at, &self.around.fold, self.view.as_ref());
        self.remember(&view);
        self.history.learn(&self.evidence, at, &self.around.fold);
        self.keep_positions(&view);
        self.publisher.hand_out(Known {
            evidence: self.evidence.clone(),
            history: self.history.clone(),
            registrations: self.registrations.clone(),
        });
        self.announce(&view);
        self.publish(view);
        let notices = self.probed.notice(&self.evidence).into_iter().collect();
        self.around
            .board
            .set_notices(&format!("cluster/{}", self.evidence.name), notices);
        self.ask_for_leases(myself);
        let more = self.registrations.folded();
        if more {
            self.observe();
        }
        self.release() || more
    }

    /// Publishes what changed at once, and what only grew older at most once an interval.
    fn publish(&mut self, view: ClusterView) {
        let same = self
            .view
            .as_ref()
            .is_some_and(|before| timeless(before) == timeless(&view));
        let recent = self
            .published_at
            .is_some_and(|at| at.elapsed() + JITTER < self.around.poll_interval);
        if same && recent {
            return;
        }
        self.published_at = Some(Instant::now());
        self.publisher.publish(view.clone());
        self.view = Some(view);
    }

    /// Keeps the members of the Primary component for the day when there is none.
    fn remember(&mut self, view: &ClusterView) {
        if let Some(members) = self.members_to_remember(view) {
            self.evidence.last_primary.clone_from(&members);
            self.wish = Some((members, Instant::now()));
            self.ask_to_remember();
        } else if self
            .wish
            .as_ref()
            .is_some_and(|(_, tried)| tried.elapsed() >= WISH_AGAIN)
        {
            self.ask_to_remember();
        }
    }

    /// The members when they changed under our own eyes.
    fn members_to_remember(&self, view: &ClusterView) -> Option<BTreeSet<NodeId>> {
        let mut members = primary_members(view).filter(|members| !members.is_empty())?;
        let before = self.view.as_ref().and_then(primary_members);
        let size = view
            .components
            .iter()
            .find(|c| c.status == ClusterStatus::Primary)
            .and_then(|c| c.size);
        // A component that counts more members than it names must not shorten what is remembered.
        if size.is_some_and(|size| u64::try_from(members.len()).unwrap_or(u64::MAX) < size) {
            members.extend(self.evidence.last_primary.iter().cloned());
        } else if before.as_ref() == Some(&members) {
            return None;
        }
        (members != self.evidence.last_primary).then_some(members)
    }

    /// Writes the positions now and then, and at once when the verdict changes: then they may soon be needed.
    fn keep_positions(&mut self, view: &ClusterView) {
        let before = self.view.as_ref().map(|view| view.verdict.state);
        let changed = before.is_some_and(|before| before != view.verdict.state);
        let due = match &self.written {
            Some((written, at)) => {
                *written != self.history && (changed || at.elapsed() >= positions::PERIOD)
            }
            None => self.history != History::default(),
        };
        if due {
            let history = (self.evidence.name.clone(), self.history.clone());
            // Without room it is tried again after the next change.
            if self.around.positions.try_send(history).is_ok() {
                self.written = Some((self.history.clone(), Instant::now()));
            }
        }
    }

    fn ask_to_remember(&mut self) {
        if let Some((members, tried)) = &mut self.wish {
            *tried = Instant::now();
            let wish = Wish {
                cluster: self.evidence.name.clone(),
                members: members.clone(),
            };
            // Without room it is tried again later.
            let _ = self.around.memory.try_send(wish);
        }
    }

    fn ask_for_leases(&mut self, myself: &mpsc::Sender<Input>) {
        for lease in self.registrations.unknown_leases() {
            if self.asked.insert(lease) {
                let owner = myself.clone();
                // Without room the default goes on to hold until the next reset.
                let _ = self.around.leases.try_send(Question { lease, owner });
            }
        }
    }

    /// Logs what an operator would want to read.
    fn announce(&self, view: &ClusterView) {
        let before = self.view.as_ref().map(|view| view.verdict.state);
        let state = view.verdict.state;
        if before != Some(state) {
            let reason = view
                .verdict
                .reasons
                .first()
                .map_or("", |reason| reason.message.as_str());
            tracing::info!(
                cluster.id = %view.name,
                verdict = state.word(),
                before = before.map(galera::view::VerdictState::word),
                "Cluster {} is {}: {reason}",
                view.name,
                state.word(),
            );
        }
    }
}

/// A view without the times at which its facts were observed.
fn timeless(view: &ClusterView) -> ClusterView {
    let mut view = view.clone();
    view.revision = 0;
    view.observed_at = Timestamp::default();
    for source in view.nodes.iter_mut().flat_map(|node| &mut node.sources) {
        source.observed_at = None;
    }
    view
}

#[cfg(test)]
mod tests;
