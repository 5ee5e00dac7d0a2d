//! Owns the state of one cluster: ingests probe reports and registry changes, folds them, and publishes what changed.

mod recording;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::{ClockSteps, now};
use console_core::published::Published;
use galera::access::ClusterLabels;
use galera::judge::cluster::{FoldSettings, fold};
use galera::judge::confirmation::{self, ConfirmedNodes, MembershipRecord};
use galera::judge::known_positions::KnownPositions;
use galera::judge::unseen_bootstraps::unseen_bootstraps;
use galera::observe::observation::Evidence;
use galera::observe::started_bootstrap::StartedBootstrap;
use galera::record::series::NodeFigures;
use galera::view::{ClusterView, LabelMap, RegistryHealth, VerdictState};
use galera::{ClusterName, NodeId, Timestamp};
use registry::LeaseId;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::debounce::Debounce;
use super::expected_members::MembershipSender;
use super::history_alarms::{self, HistoryAlarmSender, HistoryWatch};
use super::input::MonitorInput;
use super::known_positions::KnownPositionsSender;
use super::lease_lookup::{LeaseLookup, LeaseLookupSender};
use super::metrics::MonitorMetrics;
use super::probe_set::{ProbeSet, Prober};
use super::publisher::{ClusterPublisher, NodeReading, ViewPublisher};
use super::registrations::Registrations;
use super::snapshot::ClusterSnapshot;
use crate::probe::ProbeReport;
use recording::PendingMembership;

/// Inputs in the queue of a busy monitor before the registry's watch is slowed down.
pub(super) const QUEUE: usize = 64;
/// Fold at least this often: evidence becomes stale without any input.
const TICK: Duration = Duration::from_secs(1);
/// How much earlier than a whole poll interval the next reports may arrive.
const JITTER: Duration = Duration::from_millis(100);
/// How long a probe report may wait for earlier registry states: a flapping node could delay it forever.
const REPORT_DELAY_MAX: Duration = Duration::from_millis(500);

/// What a monitor needs besides its inputs.
pub(super) struct MonitorContext {
    /// The labels of all clusters.
    pub(super) labels: watch::Receiver<ClusterLabels>,
    pub(super) registry_prefix: String,
    pub(super) fold_settings: FoldSettings,
    pub(super) poll_interval: Duration,
    pub(super) leases: LeaseLookupSender,
    pub(super) expected_members: MembershipSender,
    pub(super) known_positions: KnownPositionsSender,
    pub(super) history_alarms: HistoryAlarmSender,
    pub(super) publisher: Arc<ViewPublisher>,
    pub(super) metrics: Arc<MonitorMetrics>,
}

/// The receiving ends of a monitor's inputs.
pub(super) struct InputChannels {
    pub(super) inputs: mpsc::Receiver<MonitorInput>,
    /// For replies to the monitor's own lease lookups.
    pub(super) own_inputs: mpsc::Sender<MonitorInput>,
    pub(super) reports: mpsc::Receiver<ProbeReport>,
    pub(super) health: watch::Receiver<RegistryHealth>,
}

/// A cluster's state.
pub(super) struct ClusterMonitor {
    context: MonitorContext,
    evidence: Evidence,
    registrations: Registrations,
    /// Whether `registrations` changed since the evidence was read from them.
    registrations_changed: bool,
    probes: ProbeSet,
    /// Probe reports waiting for earlier registry states to be folded, each with the time since when.
    deferred_reports: BTreeMap<NodeId, (Instant, ProbeReport)>,
    publisher: ClusterPublisher,
    /// The labels of the cluster.
    labels: LabelMap,
    /// The last published view.
    view: Option<Arc<Published<ClusterView>>>,
    published_at: Option<Instant>,
    requested_leases: BTreeSet<LeaseId>,
    /// Whether the cluster's keys were read.
    registry_read: bool,
    /// Whether the recorded members were read: only then can they be restored.
    membership_read: bool,
    /// Whether the recorded positions were read.
    positions_read: bool,
    /// A change of the recorded members that is not confirmed in etcd yet.
    pending_membership: Option<PendingMembership>,
    known_positions: KnownPositions,
    history: HistoryWatch,
    clock_steps: ClockSteps,
    /// The positions last sent to the writer, and when.
    written_positions: Option<(KnownPositions, Instant)>,
}

impl ClusterMonitor {
    pub(super) fn new(
        name: ClusterName,
        configured: BTreeSet<NodeId>,
        health: RegistryHealth,
        prober: Box<dyn Prober>,
        mut context: MonitorContext,
    ) -> Self {
        let labels = context.labels.borrow_and_update().of(&name);
        let mut evidence = Evidence::new(name.clone(), health);
        evidence.first_view = configured.is_empty();
        evidence.configured_members = configured;
        let mut registrations =
            Registrations::new(&context.registry_prefix, context.fold_settings.default_port);
        registrations.set_members(&evidence);
        Self {
            registrations,
            registrations_changed: false,
            probes: ProbeSet::new(prober),
            deferred_reports: BTreeMap::new(),
            history: HistoryWatch::new(name.clone(), context.history_alarms.clone()),
            publisher: context.publisher.cluster_publisher(name),
            labels,
            evidence,
            context,
            view: None,
            published_at: None,
            requested_leases: BTreeSet::new(),
            registry_read: false,
            membership_read: false,
            positions_read: false,
            pending_membership: None,
            known_positions: KnownPositions::default(),
            clock_steps: ClockSteps::new(now(), std::time::Instant::now()),
            written_positions: None,
        }
    }

    /// Runs until cancelled; the cluster is then no longer known.
    pub(super) async fn run(mut self, mut channels: InputChannels, cancel: CancellationToken) {
        let mut debounce = Debounce::new();
        debounce.trigger_now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(input) = channels.inputs.recv() => {
                    self.apply_input(input, now());
                    debounce.trigger_now();
                }
                Some(report) = channels.reports.recv() => {
                    self.follow_clock(now(), std::time::Instant::now());
                    self.on_report(report);
                    debounce.trigger_soon();
                }
                Ok(()) = channels.health.changed() => {
                    self.evidence.registry_health = channels.health.borrow_and_update().clone();
                    debounce.trigger_now();
                }
                _ = tick.tick() => debounce.trigger_soon(),
                () = debounce.wait_due() => {
                    self.follow_clock(now(), std::time::Instant::now());
                    let more = self.fold_and_publish(now(), &channels.own_inputs);
                    debounce.mark_done();
                    if more {
                        debounce.trigger_now();
                    }
                }
            }
        }
    }

    /// Keeps the ages of what nodes reported when the system clock is set: the start of a view never lies ahead of the time,
    /// and a view is not older than it was observed.
    pub(super) fn follow_clock(&mut self, wall: Timestamp, monotonic: std::time::Instant) {
        let Some(step) = self.clock_steps.next_step(wall, monotonic) else {
            return;
        };
        tracing::warn!(
            cluster.id = %self.evidence.name,
            "The system clock was set by {step} ms: observed ages are kept"
        );
        for observation in self.evidence.probes.values_mut() {
            observation.follow_clock(step);
        }
    }

    pub(super) fn apply_input(&mut self, input: MonitorInput, at: Timestamp) {
        match input {
            MonitorInput::Reset(entries) => {
                self.requested_leases.clear();
                self.registry_read = true;
                self.registrations.reset(at, entries);
            }
            MonitorInput::Changes(changes) => {
                self.registry_read = true;
                for node in self.registrations.apply(at, changes) {
                    self.probes.probe_now(&node);
                }
            }
            MonitorInput::V2Keys(keys) => {
                self.registry_read |= self.evidence.registry_health.reachable;
                for node in self.registrations.reset_v2(at, keys) {
                    self.probes.probe_now(&node);
                }
            }
            MonitorInput::V2Access(access) => self.evidence.v2_access = access,
            MonitorInput::Membership(record) => {
                self.apply_membership(record.map(|record| *record));
                return;
            }
            MonitorInput::KnownPositions(positions) => {
                self.positions_read = true;
                self.history.follow_positions(&positions);
                self.known_positions.merge(&positions);
                return;
            }
            MonitorInput::KnownPositionsLost => {
                // Written again with the next fold.
                self.written_positions = None;
                return;
            }
            MonitorInput::PositionCorrections(corrections) => {
                self.known_positions.correct(&corrections);
                self.history.correct(&corrections);
                return;
            }
            MonitorInput::HistoryAlarms(record) => {
                self.history.follow_record(record.map(|record| *record));
                return;
            }
            MonitorInput::LeaseTtl { lease, ttl } => self.registrations.set_lease_ttl(lease, ttl),
        }
        self.registrations_changed = true;
    }

    /// Adopts the recorded members, and restores a record that is lost or was changed outside the console: the set of
    /// expected members does not shrink with it (I36).
    fn apply_membership(&mut self, record: Option<MembershipRecord>) {
        let Some(record) = record else {
            if self.membership_read {
                self.pending_membership = Some(PendingMembership {
                    members: Some(self.evidence.last_primary_members.clone()),
                    sent_at: Instant::now(),
                });
                self.send_membership();
            }
            return;
        };
        self.membership_read = true;
        match &record.confirmed {
            Some(confirmed) => {
                self.evidence.first_view = false;
                self.confirm(confirmed);
            }
            // Of version 0.1: nodes that are down now were never confirmed.
            None => self.evidence.first_view = true,
        }
        let recorded = self.pending_membership.as_ref().is_none_or(|pending| {
            record.contains(pending.members.as_ref(), &self.evidence.confirmed)
        });
        if recorded {
            self.pending_membership = None;
            self.evidence.last_primary_members = record.members;
            self.registrations.set_members(&self.evidence);
        }
    }

    /// Adds `confirmed` to the confirmed nodes.
    fn confirm(&mut self, confirmed: &ConfirmedNodes) {
        let Evidence {
            confirmed: known,
            registrations,
            last_primary_members,
            ..
        } = &mut self.evidence;
        let port = self.context.fold_settings.default_port;
        let registered = |id: &NodeId| {
            registrations
                .keys()
                .any(|registered| registered.clone().normalized(port) == *id)
        };
        confirmation::merge(known, confirmed, |id| {
            last_primary_members.contains(id) || registered(id)
        });
    }

    /// Reads the evidence from the registrations, once for all changes since the last fold. Returns whether there were
    /// any.
    fn refresh_registry_evidence(&mut self) -> bool {
        if !std::mem::take(&mut self.registrations_changed) {
            return false;
        }
        self.evidence.registrations = self.registrations.observations();
        self.evidence.unrecognized_keys = self.registrations.unknown_key_count();
        self.evidence.arbitrators = self.registrations.arbitrators();
        true
    }

    pub(super) fn on_report(&mut self, report: ProbeReport) {
        if !self.probes.contains(&report.node) {
            return;
        }
        // Fold in arrival order: a probe result must not hide registry states reported before it.
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
        // The clock may have been set back since the reading.
        let at = report.at.min(now());
        if let Ok(status) = &report.outcome {
            let micros = u64::try_from(report.took.as_micros()).unwrap_or(u64::MAX);
            let node = report.node.clone();
            self.publisher.send_reading(NodeReading {
                cluster: self.evidence.name.clone(),
                node: node.normalized(self.context.fold_settings.default_port),
                at: report.at,
                figures: NodeFigures::new(status, micros),
            });
        }
        let observation = self.evidence.probes.entry(report.node).or_default();
        match report.outcome {
            Ok(status) => {
                observation.record_success(at, status);
                observation.connected_to = report.connected_to;
            }
            Err(error) => observation.record_failure(at, error),
        }
    }

    /// Applies deferred reports that need not wait any longer. Returns whether there was one.
    fn apply_deferred_reports(&mut self) -> bool {
        let port = self.context.fold_settings.default_port;
        let waits = |(since, report): &(Instant, ProbeReport)| {
            let node = report.node.clone().normalized(port);
            self.registrations.has_unfolded_state(&node) && since.elapsed() < REPORT_DELAY_MAX
        };
        let (waiting, ready) = std::mem::take(&mut self.deferred_reports)
            .into_iter()
            .partition(|(_, deferred)| waits(deferred));
        self.deferred_reports = waiting;
        let ready: BTreeMap<NodeId, (Instant, ProbeReport)> = ready;
        let any = !ready.is_empty();
        for (_, report) in ready.into_values() {
            self.apply_report(report);
        }
        any
    }

    /// Folds, publishes, and acts on the new view. Returns whether there is already something to fold next.
    pub(super) fn fold_and_publish(
        &mut self,
        at: Timestamp,
        own_inputs: &mpsc::Sender<MonitorInput>,
    ) -> bool {
        let registrations_changed = self.refresh_registry_evidence();
        let listed = confirmation::newly_listed(&self.evidence, at, &self.context.fold_settings);
        self.confirm(&listed);
        self.probes
            .reconcile(&mut self.evidence, at, &self.context.fold_settings);
        self.evidence.last_primary_votes = self.known_positions.last_votes();
        self.evidence
            .address_uses
            .clone_from(&self.known_positions.address_uses);
        self.evidence.unseen_bootstraps = self.unseen_bootstraps();
        self.context.metrics.folded();
        let labels = self.current_labels();
        let previous = self.view.as_ref().map(|published| &published.value);
        let view = ClusterView {
            labels,
            ..fold(&self.evidence, at, &self.context.fold_settings, previous)
        };
        self.update_membership(&view, !listed.is_empty());
        self.known_positions
            .update(&self.evidence, at, &self.context.fold_settings);
        self.persist_positions(&view);
        let alarms_changed = self.observe_history(&view, at);
        self.publisher.publish_snapshot(ClusterSnapshot {
            evidence: self.evidence.clone(),
            known_positions: self.known_positions.clone(),
            registrations: self.registrations.clone(),
        });
        self.log_verdict_change(&view);
        self.publish(view);
        let notices = self.probes.limit_notice(&self.evidence).into_iter();
        let alarms = history_alarms::notice(&self.evidence);
        self.publisher.set_notices(notices.chain(alarms).collect());
        if registrations_changed {
            self.request_lease_ttls(own_inputs);
        }
        let more = self.registrations.mark_folded();
        self.registrations_changed |= more;
        self.apply_deferred_reports() || more || alarms_changed
    }

    /// The labels of the cluster, which a reload of the settings may have replaced.
    fn current_labels(&mut self) -> LabelMap {
        // An error: no reload can follow.
        if self.context.labels.has_changed().unwrap_or(false) {
            let all = self.context.labels.borrow_and_update();
            self.labels = all.of(&self.evidence.name);
        }
        self.labels.clone()
    }

    /// Bootstraps, by actions or recorded as forks, after which no Primary view was seen.
    fn unseen_bootstraps(&self) -> Vec<StartedBootstrap> {
        let by_actions = self
            .context
            .publisher
            .started_bootstraps(&self.evidence.name);
        let port = self.context.fold_settings.default_port;
        let recorded = StartedBootstrap::of_forks(self.registrations.forks(), port);
        unseen_bootstraps(
            by_actions.into_iter().chain(recorded),
            &self.known_positions,
        )
    }

    /// Looks for alarms about the data, which the next view shows. Returns whether they changed.
    fn observe_history(&mut self, view: &ClusterView, at: Timestamp) -> bool {
        let (evidence, settings) = (&self.evidence, &self.context.fold_settings);
        let alarms = self
            .history
            .observe(view, evidence, &self.known_positions, at, settings);
        let changed = alarms != self.evidence.history_alarms;
        self.evidence.history_alarms = alarms;
        changed
    }

    /// Publishes changes of states immediately, and views that differ only in numbers and times at most once per poll
    /// interval.
    fn publish(&mut self, view: ClusterView) {
        let same = self
            .view
            .as_ref()
            .is_some_and(|published| published.value.has_same_states(&view));
        let recent = self
            .published_at
            .is_some_and(|at| at.elapsed() + JITTER < self.context.poll_interval);
        if same && recent {
            return;
        }
        self.published_at = Some(Instant::now());
        self.view = Some(self.publisher.publish(view));
    }

    fn request_lease_ttls(&mut self, own_inputs: &mpsc::Sender<MonitorInput>) {
        for lease in self.registrations.leases_without_ttl() {
            if self.requested_leases.insert(lease) {
                let reply_to = own_inputs.clone();
                // If the queue is full, the default stays in effect until the next reset.
                let _ = self
                    .context
                    .leases
                    .try_send(LeaseLookup { lease, reply_to });
            }
        }
    }

    fn published_state(&self) -> Option<VerdictState> {
        let published = self.view.as_ref()?;
        Some(published.value.verdict.state)
    }

    /// Logs a changed verdict with its first reason.
    fn log_verdict_change(&self, view: &ClusterView) {
        let before = self.published_state();
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
                before = before.map(VerdictState::as_str),
                "Cluster {} is {}: {reason}",
                view.name,
                state.as_str(),
            );
        }
    }
}

#[cfg(test)]
mod tests;
