//! Observations of one node by one source, and the [`Evidence`] that they add up to, from which a view is folded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{ClusterName, NodeId};
use crate::observe::address_use::AddressUses;
use crate::observe::confirmed_nodes::ConfirmedNodes;
use crate::observe::history_alarm::HistoryAlarm;
use crate::observe::node_map::NodeMap;
use crate::observe::registration::{
    ArbitratorName, ArbitratorRecord, RegisteredFields, V2Access, V2Registration,
};
use crate::observe::started_bootstrap::StartedBootstrap;
use crate::observe::workload::WorkloadAverages;
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::RegistryHealth;

/// How many recent commit rates are kept.
pub const RECENT_RATES_MAX: usize = 30;
/// How long a server must report Primary without a vote before its status counts as frozen: longer than a view change,
/// during which every member does.
pub const FROZEN_AFTER: Duration = Duration::from_secs(2);
/// Shortest interval for a rate, in seconds: over a shorter one, a single commit dominates.
const MIN_RATE_INTERVAL_SECS: f64 = 0.1;

/// Over how many seconds figures of flow control are averaged: single pauses are normal.
const FLOW_CONTROL_SECS: f64 = 5.0;
/// Average fraction of the time above which flow control counts as lasting, and below which it no longer does.
const FLOW_CONTROL_BEGINS: f64 = 0.2;
const FLOW_CONTROL_ENDS: f64 = 0.05;

/// The kind of a probe failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeErrorKind {
    /// Connection refused: nothing listens on the port. The only proof of a stopped server.
    Refused,
    /// No answer within the deadline.
    TimedOut,
    /// The host name does not resolve.
    Unresolvable,
    /// The console does not connect to this address (`--probe-allow`).
    Blocked,
    /// The server answers but refuses the console's account: denied, locked, expired, or with a plugin that is not
    /// supported.
    AccessDenied,
    /// The server answers but has too many connections.
    TooManyConnections,
    /// The server answers but no TLS connection comes about: a certificate that is not valid, or TLS that one side
    /// requires and the other does not offer.
    TlsFailed,
    /// The server answers with another error.
    ServerError,
    /// A server answers that is not a node of this cluster. The address may have been given to it.
    NotAMember,
    /// The connection was closed or reset.
    Closed,
    /// The answer could not be parsed: it is not known what answers.
    Protocol,
}

named_variants!(ProbeErrorKind {
    Refused => "refused",
    TimedOut => "timed_out",
    Unresolvable => "unresolvable",
    Blocked => "blocked",
    AccessDenied => "access_denied",
    TooManyConnections => "too_many_connections",
    TlsFailed => "tls_failed",
    ServerError => "server_error",
    NotAMember => "not_a_member",
    Closed => "closed",
    Protocol => "protocol",
});

impl ProbeErrorKind {
    /// Whether it proves that no server is listening; no other failure does (I2).
    #[must_use]
    pub const fn proves_stopped(self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Whether the server accepts no connections, as while it starts or receives its state.
    #[must_use]
    pub const fn rejects_connections(self) -> bool {
        matches!(self, Self::Refused | Self::Closed)
    }

    /// Whether it proves that a server is running, although it returns no status: every packet of one does.
    #[must_use]
    pub const fn proves_running(self) -> bool {
        matches!(
            self,
            Self::AccessDenied
                | Self::TooManyConnections
                | Self::TlsFailed
                | Self::ServerError
                | Self::NotAMember
        )
    }

    /// Whether the server does not let the console sign in.
    #[must_use]
    pub const fn refuses_account(self) -> bool {
        matches!(self, Self::AccessDenied | Self::TlsFailed)
    }
}

/// A failed probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeError {
    pub kind: ProbeErrorKind,
    /// A phrase for display (`connection refused`), without the node's name and without secrets.
    pub message: String,
}

/// Rates, computed from the difference of two answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicationRates {
    /// Commits per second between the last two answers.
    pub commit_rate: Option<f64>,
    /// Fraction (0 to 1) of the time between the last two answers during which flow control paused replication.
    pub flow_control_paused: Option<f64>,
    /// The last [`RECENT_RATES_MAX`] commit rates, oldest first.
    pub recent_commit_rates: Vec<f64>,
    /// Flow control over several answers.
    pub flow_control: FlowControlAverages,
    /// Writes and conflicts over about a minute.
    pub workload: WorkloadAverages,
}

/// Flow control of one node, as exponential averages over a few seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowControlAverages {
    /// Fraction (0 to 1) of the time during which replication was paused.
    pub paused: f64,
    /// How often this node asked the others to pause, per second.
    pub sent: f64,
    /// Whether replication is paused for much of the time, for longer than a moment.
    pub lasting: bool,
}

impl FlowControlAverages {
    fn update(&mut self, seconds: f64, paused: f64, sent: f64) {
        let share = 1.0 - (-seconds / FLOW_CONTROL_SECS).exp();
        self.paused += (paused - self.paused) * share;
        self.sent += (sent - self.sent) * share;
        self.lasting = match self.lasting {
            true => self.paused >= FLOW_CONTROL_ENDS,
            false => self.paused >= FLOW_CONTROL_BEGINS,
        };
    }
}

/// The SQL probe of one node: its last answer and the current failure, if any.
///
/// With neither, the first probe is still pending. A probe must be repeated well within `FoldSettings::stale_after`, or
/// its last answer becomes stale.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlObservation {
    /// The last answer, and when it was read.
    pub status: Option<(Timestamp, Arc<WsrepStatus>)>,
    /// The address of the connection that the last answer came from.
    pub connected_to: Option<SocketAddr>,
    /// The last attempt, if it failed.
    pub error: Option<(Timestamp, ProbeError)>,
    /// Since when every attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// Since when the node has reported its current view (status, members, identity) without change or interruption.
    pub view_since: Option<Timestamp>,
    /// Whether the start of that view was observed: the answer before it, without interruption, had another view.
    pub view_start_observed: bool,
    /// Since when the node has reported the same history (`wsrep_cluster_state_uuid`) without interruption, in any view.
    pub history_since: Option<Timestamp>,
    /// Since when every answer has reported Primary without a vote ([`WsrepStatus::contradicts_its_group`]).
    pub contradictory_since: Option<Timestamp>,
    pub rates: ReplicationRates,
}

impl SqlObservation {
    /// Records an answer. The view in one that is proven to be frozen is discarded.
    pub fn record_success(&mut self, at: Timestamp, mut status: WsrepStatus) {
        self.contradictory_since = status
            .contradicts_its_group()
            .then(|| self.contradictory_since.unwrap_or(at));
        if let Some(since) = self.contradictory_since
            && since.age(at) >= FROZEN_AFTER
        {
            status.discard_frozen_view();
        }
        // An interruption ends the proof that the view continued: a server that was suspended and resumed still reports
        // its last view for a moment.
        let continues = self.error.is_none()
            && self
                .status
                .as_ref()
                .is_some_and(|(_, before)| before.same_view(&status));
        if !continues || self.view_since.is_none() {
            self.view_since = Some(at);
            self.view_start_observed = self.error.is_none() && self.status.is_some();
        }
        let same_history = self.error.is_none()
            && self
                .status
                .as_ref()
                .is_some_and(|(_, before)| before.cluster_state_uuid == status.cluster_state_uuid);
        if !same_history || self.history_since.is_none() {
            self.history_since = Some(at);
        }
        match &self.status {
            Some((before_at, before)) => self.rates.update(*before_at, before, at, &status),
            None => self.rates = ReplicationRates::default(),
        }
        self.status = Some((at, Arc::new(status)));
        self.error = None;
        self.failing_since = None;
    }

    /// Moves every time by `millis`, as the clock was: ages stay what they are.
    pub fn follow_clock(&mut self, millis: i64) {
        let times = [
            self.status.as_mut().map(|(at, _)| at),
            self.error.as_mut().map(|(at, _)| at),
            self.failing_since.as_mut(),
            self.view_since.as_mut(),
            self.history_since.as_mut(),
        ];
        for at in times.into_iter().flatten() {
            *at = at.shifted(millis);
        }
    }

    /// Records a failed attempt.
    pub fn record_failure(&mut self, at: Timestamp, error: ProbeError) {
        self.failing_since.get_or_insert(at);
        self.contradictory_since = None;
        self.error = Some((at, error));
        self.rates.commit_rate = None;
        self.rates.flow_control_paused = None;
    }
}

impl ReplicationRates {
    fn update(
        &mut self,
        before_at: Timestamp,
        before: &WsrepStatus,
        at: Timestamp,
        now: &WsrepStatus,
    ) {
        let seconds = before_at.age(at).as_secs_f64();
        let same_process = before.gcomm_uuid == now.gcomm_uuid;
        let same_history = before.local_state_uuid == now.local_state_uuid;
        if seconds > 0.0 && seconds < MIN_RATE_INTERVAL_SECS && same_process && same_history {
            return;
        }
        let comparable = same_process && seconds > 0.0;
        if comparable {
            self.workload
                .update(seconds, &before.counters, &now.counters);
        } else {
            self.workload = WorkloadAverages::default();
        }
        let increase = |before: Option<u64>, now: Option<u64>| match (before, now) {
            (Some(before), Some(now)) if comparable => now.checked_sub(before),
            _ => None,
        };
        self.commit_rate = increase(before.last_committed, now.last_committed)
            .filter(|_| same_history)
            .map(|commits| round_rate(commits as f64 / seconds));
        self.flow_control_paused =
            increase(before.flow_control_paused_ns, now.flow_control_paused_ns)
                .map(|paused| round_rate((paused as f64 / 1e9 / seconds).min(1.0)));
        match self.flow_control_paused {
            Some(paused) => {
                let sent = increase(before.flow_control_sent, now.flow_control_sent);
                let sent = sent.map_or(0.0, |sent| sent as f64 / seconds);
                self.flow_control.update(seconds, paused, sent);
            }
            None => self.flow_control = FlowControlAverages::default(),
        }
        match self.commit_rate {
            Some(rate) => {
                if self.recent_commit_rates.len() >= RECENT_RATES_MAX {
                    self.recent_commit_rates
                        .drain(..=self.recent_commit_rates.len() - RECENT_RATES_MAX);
                }
                self.recent_commit_rates.push(rate);
            }
            None if !same_process || !same_history => self.recent_commit_rates.clear(),
            None => {}
        }
    }
}

/// Rounds to three decimals: more is clock noise, and would be sent to every viewer.
fn round_rate(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The registry's keys of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryObservation {
    /// Its recognized fields.
    pub fields: RegisteredFields,
    /// When the console last saw a non-durable field being put.
    pub last_put_at: Option<Timestamp>,
    /// When the console last saw `wsrep_local_state_comment` change.
    pub state_changed_at: Option<Timestamp>,
    /// Whether any of its keys has a lease.
    pub leased: bool,
    /// The granted TTL of the lease in seconds, if known.
    pub ttl: Option<u64>,
    /// Whether it is durably registered (`registered`), and so stays expected without a lease.
    pub durable: bool,
    /// `first_seen` of its durable registration.
    pub first_seen: Option<Timestamp>,
    /// What it has registered in etcd v2, if anything.
    pub v2: Option<V2Registration>,
}

/// The votes of a Primary view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastPrimaryVotes {
    /// `pc.weight` of its members, as far as it is known.
    pub weights: BTreeMap<NodeId, u8>,
    /// `wsrep_cluster_weight`: all votes together, arbitrators included.
    pub total: Option<u64>,
    /// `wsrep_cluster_size`: all members, arbitrators included.
    pub size: Option<u64>,
}

/// Everything known about one cluster: the input of the fold. Node ids need not be normalized. A clone shares what the
/// sources reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The cluster's name.
    pub name: ClusterName,
    /// Members that are pinned in the configuration.
    pub configured_members: BTreeSet<NodeId>,
    /// Members of the last Primary component that was seen.
    pub last_primary_members: BTreeSet<NodeId>,
    /// The votes of the last Primary view that was seen; empty if none was.
    pub last_primary_votes: LastPrimaryVotes,
    /// Bootstraps since then whose result was not seen (`judge::unseen_bootstraps`).
    pub unseen_bootstraps: Vec<StartedBootstrap>,
    /// Which data used the addresses of members so far (`judge::known_positions`).
    pub address_uses: AddressUses,
    /// Nodes that were confirmed as members (`judge::confirmation`).
    pub confirmed: ConfirmedNodes,
    /// Whether no Primary component was seen yet from which members could be confirmed: every known node counts.
    pub first_view: bool,
    pub probes: NodeMap<SqlObservation>,
    pub registrations: NodeMap<RegistryObservation>,
    /// What the agents of arbitrators report under live leases.
    pub arbitrators: Arc<BTreeMap<ArbitratorName, ArbitratorRecord>>,
    /// The console's access to the registry.
    pub registry_health: RegistryHealth,
    /// The console's access to the registry in etcd v2.
    pub v2_access: V2Access,
    /// How many keys under the cluster's prefix have an unrecognized format.
    pub unrecognized_keys: usize,
    /// Alarms about the cluster's data that are not acknowledged.
    pub history_alarms: Vec<HistoryAlarm>,
}

impl Evidence {
    /// Empty evidence about the cluster `name`.
    #[must_use]
    pub fn new(name: ClusterName, registry_health: RegistryHealth) -> Self {
        Self {
            name,
            configured_members: BTreeSet::new(),
            last_primary_members: BTreeSet::new(),
            last_primary_votes: LastPrimaryVotes::default(),
            unseen_bootstraps: Vec::new(),
            address_uses: AddressUses::new(),
            confirmed: ConfirmedNodes::new(),
            first_view: true,
            probes: NodeMap::new(),
            registrations: NodeMap::new(),
            arbitrators: Arc::default(),
            registry_health,
            v2_access: V2Access::Absent,
            unrecognized_keys: 0,
            history_alarms: Vec::new(),
        }
    }
}
