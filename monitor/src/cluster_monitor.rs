//! The owner of one cluster: takes in what probes and the registry say, folds it, and publishes what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::judge::cluster::{FoldSettings, fold, primary_members};
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::Evidence;
use galera::view::{ClusterStatus, ClusterView, RegistryHealth};
use galera::{ClusterName, NodeId, Timestamp};
use registry::LeaseId;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::debounce::Debounce;
use super::expected_members::{ExpectedMembersSender, ExpectedMembersUpdate};
use super::input::MonitorInput;
use super::known_positions::{self, KnownPositionsSender};
use super::lease_lookup::{LeaseLookup, LeaseLookupSender};
use super::metrics::MonitorMetrics;
use super::probe_set::{ProbeSet, Prober};
use super::publisher::{ClusterPublisher, ViewPublisher};
use super::registrations::Registrations;
use super::snapshot::ClusterSnapshot;
use crate::probe::ProbeReport;

/// Inputs that wait for a busy owner before the registry's watch is slowed down.
pub(super) const QUEUE: usize = 64;
/// Time passes without anybody saying so: evidence grows stale.
const TICK: Duration = Duration::from_secs(1);
/// How much earlier than after a whole interval the next readings may be there.
const JITTER: Duration = Duration::from_millis(100);
/// How long an answer may wait for states that were told before it: somebody may tell states without end.
const REPORT_DELAY_MAX: Duration = Duration::from_millis(500);
/// A wish to remember members that was not fulfilled is repeated after this time.
const MEMBERS_RETRY: Duration = Duration::from_secs(5);

/// What an owner needs besides its inputs.
pub(super) struct MonitorContext {
    pub(super) registry_prefix: String,
    pub(super) fold_settings: FoldSettings,
    pub(super) poll_interval: Duration,
    pub(super) leases: LeaseLookupSender,
    pub(super) expected_members: ExpectedMembersSender,
    pub(super) known_positions: KnownPositionsSender,
    pub(super) publisher: Arc<ViewPublisher>,
    pub(super) metrics: Arc<MonitorMetrics>,
}

/// Where an owner's news come from.
pub(super) struct InputChannels {
    pub(super) inputs: mpsc::Receiver<MonitorInput>,
    /// For answers to the owner's own questions.
    pub(super) own_inputs: mpsc::Sender<MonitorInput>,
    pub(super) reports: mpsc::Receiver<ProbeReport>,
    pub(super) health: watch::Receiver<RegistryHealth>,
}

/// A cluster's state.
pub(super) struct ClusterMonitor {
    context: MonitorContext,
    evidence: Evidence,
    registrations: Registrations,
    probes: ProbeSet,
    /// Answers that wait for the states that were told before them, each with the time since when one does.
    deferred_reports: BTreeMap<NodeId, (Instant, ProbeReport)>,
    publisher: ClusterPublisher,
    view: Option<ClusterView>,
    published_at: Option<Instant>,
    requested_leases: BTreeSet<LeaseId>,
    /// Members that are not in etcd yet, and when that was last tried.
    pending_members: Option<(BTreeSet<NodeId>, Instant)>,
    known_positions: KnownPositions,
    /// The history that was last given to be written, and when.
    written_positions: Option<(KnownPositions, Instant)>,
}

impl ClusterMonitor {
    pub(super) fn new(
        name: ClusterName,
        configured: BTreeSet<NodeId>,
        health: RegistryHealth,
        prober: Box<dyn Prober>,
        context: MonitorContext,
    ) -> Self {
        let mut evidence = Evidence::new(name.clone(), health);
        evidence.configured_members = configured;
        Self {
            registrations: Registrations::new(
                &context.registry_prefix,
                context.fold_settings.default_port,
            ),
            probes: ProbeSet::new(prober),
            deferred_reports: BTreeMap::new(),
            publisher: context.publisher.cluster_publisher(name),
            evidence,
            context,
            view: None,
            published_at: None,
            requested_leases: BTreeSet::new(),
            pending_members: None,
            known_positions: KnownPositions::default(),
            written_positions: None,
        }
    }

    /// Works until cancelled; the cluster is then no longer known.
    pub(super) async fn run(mut self, mut inbox: InputChannels, cancel: CancellationToken) {
        let mut pace = Debounce::new();
        pace.trigger_now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(input) = inbox.inputs.recv() => {
                    self.apply_input(input, now());
                    pace.trigger_now();
                }
                Some(report) = inbox.reports.recv() => {
                    self.on_report(report);
                    pace.trigger_soon();
                }
                Ok(()) = inbox.health.changed() => {
                    self.evidence.registry_health = inbox.health.borrow_and_update().clone();
                    pace.trigger_now();
                }
                _ = tick.tick() => pace.trigger_soon(),
                () = pace.wait_due() => {
                    let more = self.fold_and_publish(now(), &inbox.own_inputs);
                    pace.mark_done();
                    if more {
                        pace.trigger_now();
                    }
                }
            }
        }
    }

    fn apply_input(&mut self, input: MonitorInput, at: Timestamp) {
        match input {
            MonitorInput::Reset(entries) => {
                self.requested_leases.clear();
                self.registrations.reset(at, entries);
            }
            MonitorInput::Changes(changes) => {
                for node in self.registrations.apply(at, changes) {
                    self.probes.probe_now(&node);
                }
            }
            MonitorInput::ExpectedMembers(members) => {
                if self
                    .pending_members
                    .as_ref()
                    .is_none_or(|(wished, _)| *wished == members)
                {
                    self.pending_members = None;
                    self.evidence.last_primary_members = members;
                }
                return;
            }
            MonitorInput::KnownPositions(history) => {
                self.known_positions.merge(&history);
                return;
            }
            MonitorInput::LeaseTtl { lease, ttl } => self.registrations.set_lease_ttl(lease, ttl),
        }
        self.refresh_registry_evidence();
    }

    fn refresh_registry_evidence(&mut self) {
        self.evidence.registrations = self.registrations.observations();
        self.evidence.unrecognized_keys = self.registrations.unknown_key_count();
    }

    fn on_report(&mut self, report: ProbeReport) {
        if !self.probes.contains(&report.node) {
            return;
        }
        // What came first is folded first: an answer is not to hide the states that were told before it.
        let node = report
            .node
            .clone()
            .normalized(self.context.fold_settings.default_port);
        if self.registrations.has_unfolded_state(&node) {
            let since = self
                .deferred_reports
                .get(&report.node)
                .map(|(since, _)| *since);
            let since = since.unwrap_or_else(Instant::now);
            self.deferred_reports
                .insert(report.node.clone(), (since, report));
            return;
        }
        self.apply_report(report);
    }

    fn apply_report(&mut self, report: ProbeReport) {
        let observation = self.evidence.probes.entry(report.node).or_default();
        match report.outcome {
            Ok(status) => observation.record_success(report.at, status),
            Err(error) => observation.record_failure(report.at, error),
        }
    }

    /// Takes in the answers that need not wait any longer. Whether there was one.
    fn apply_deferred_reports(&mut self) -> bool {
        let port = self.context.fold_settings.default_port;
        let waits = |(since, report): &(Instant, ProbeReport)| {
            let node = report.node.clone().normalized(port);
            self.registrations.has_unfolded_state(&node) && since.elapsed() < REPORT_DELAY_MAX
        };
        let (waiting, free) = std::mem::take(&mut self.deferred_reports)
            .into_iter()
            .partition(|(_, answer)| waits(answer));
        self.deferred_reports = waiting;
        let free: BTreeMap<NodeId, (Instant, ProbeReport)> = free;
        let any = !free.is_empty();
        for (_, report) in free.into_values() {
            self.apply_report(report);
        }
        any
    }

    /// Folds, publishes, and does what follows from the view. Whether the next fold has something new already.
    fn fold_and_publish(&mut self, at: Timestamp, myself: &mpsc::Sender<MonitorInput>) -> bool {
        self.probes.reconcile(
            &mut self.evidence,
            at,
            self.context.fold_settings.default_port,
        );
        self.context.metrics.folded();
        let view = fold(
            &self.evidence,
            at,
            &self.context.fold_settings,
            self.view.as_ref(),
        );
        self.update_expected_members(&view);
        self.known_positions
            .update(&self.evidence, at, &self.context.fold_settings);
        self.persist_positions(&view);
        self.publisher.publish_snapshot(ClusterSnapshot {
            evidence: self.evidence.clone(),
            known_positions: self.known_positions.clone(),
            registrations: self.registrations.clone(),
        });
        self.log_verdict_change(&view);
        self.publish(view);
        let notices = self
            .probes
            .limit_notice(&self.evidence)
            .into_iter()
            .collect();
        self.context
            .publisher
            .set_notices(&format!("cluster/{}", self.evidence.name), notices);
        self.request_lease_ttls(myself);
        let more = self.registrations.mark_folded();
        if more {
            self.refresh_registry_evidence();
        }
        self.apply_deferred_reports() || more
    }

    /// Publishes what changed at once, and what only grew older at most once an interval.
    fn publish(&mut self, view: ClusterView) {
        let same = self
            .view
            .as_ref()
            .is_some_and(|before| without_times(before) == without_times(&view));
        let recent = self
            .published_at
            .is_some_and(|at| at.elapsed() + JITTER < self.context.poll_interval);
        if same && recent {
            return;
        }
        self.published_at = Some(Instant::now());
        self.publisher.publish(view.clone());
        self.view = Some(view);
    }

    /// Keeps the members of the Primary component for the day when there is none.
    fn update_expected_members(&mut self, view: &ClusterView) {
        if let Some(members) = self.changed_members(view) {
            self.evidence.last_primary_members.clone_from(&members);
            self.pending_members = Some((members, Instant::now()));
            self.send_expected_members();
        } else if self
            .pending_members
            .as_ref()
            .is_some_and(|(_, tried)| tried.elapsed() >= MEMBERS_RETRY)
        {
            self.send_expected_members();
        }
    }

    /// The members when they changed under our own eyes.
    fn changed_members(&self, view: &ClusterView) -> Option<BTreeSet<NodeId>> {
        let mut members = primary_members(view).filter(|members| !members.is_empty())?;
        let before = self.view.as_ref().and_then(primary_members);
        let size = view
            .components
            .iter()
            .find(|c| c.status == ClusterStatus::Primary)
            .and_then(|c| c.size);
        // A component that counts more members than it names must not shorten what is remembered.
        if size.is_some_and(|size| u64::try_from(members.len()).unwrap_or(u64::MAX) < size) {
            members.extend(self.evidence.last_primary_members.iter().cloned());
        } else if before.as_ref() == Some(&members) {
            return None;
        }
        (members != self.evidence.last_primary_members).then_some(members)
    }

    /// Writes the positions now and then, and at once when the verdict changes: then they may soon be needed.
    fn persist_positions(&mut self, view: &ClusterView) {
        let before = self.view.as_ref().map(|view| view.verdict.state);
        let changed = before.is_some_and(|before| before != view.verdict.state);
        let due = match &self.written_positions {
            Some((written, at)) => {
                *written != self.known_positions
                    && (changed || at.elapsed() >= known_positions::WRITE_INTERVAL)
            }
            None => self.known_positions != KnownPositions::default(),
        };
        if due {
            let history = (self.evidence.name.clone(), self.known_positions.clone());
            // Without room it is tried again after the next change.
            if self.context.known_positions.try_send(history).is_ok() {
                self.written_positions = Some((self.known_positions.clone(), Instant::now()));
            }
        }
    }

    fn send_expected_members(&mut self) {
        if let Some((members, tried)) = &mut self.pending_members {
            *tried = Instant::now();
            let wish = ExpectedMembersUpdate {
                cluster: self.evidence.name.clone(),
                members: members.clone(),
            };
            // Without room it is tried again later.
            let _ = self.context.expected_members.try_send(wish);
        }
    }

    fn request_lease_ttls(&mut self, myself: &mpsc::Sender<MonitorInput>) {
        for lease in self.registrations.leases_without_ttl() {
            if self.requested_leases.insert(lease) {
                let owner = myself.clone();
                // Without room the default goes on to hold until the next reset.
                let _ = self.context.leases.try_send(LeaseLookup {
                    lease,
                    reply_to: owner,
                });
            }
        }
    }

    /// Logs what an operator would want to read.
    fn log_verdict_change(&self, view: &ClusterView) {
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
                verdict = state.as_str(),
                before = before.map(galera::view::VerdictState::as_str),
                "Cluster {} is {}: {reason}",
                view.name,
                state.as_str(),
            );
        }
    }
}

/// A view without the times at which its facts were observed.
fn without_times(view: &ClusterView) -> ClusterView {
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
