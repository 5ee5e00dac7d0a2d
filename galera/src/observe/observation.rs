//! What one source said about one node, and when; and the sum of it, from which a view is folded.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ClusterName, NodeId};
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::RegistryHealth;

/// How many rates are kept for the line of recent rates.
pub const RECENT_RATES_MAX: usize = 30;
/// Shortest time that a rate is taken over, in seconds: over less, one commit more or less is all the difference.
const MIN_RATE_INTERVAL_SECS: f64 = 0.1;

/// Why a probe got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeErrorKind {
    /// The host refuses the connection: nothing listens there. The only positive sign of a stopped server.
    Refused,
    /// No answer within the deadline.
    TimedOut,
    /// The name has no address.
    Unresolvable,
    /// The server answers but refuses the console's account.
    AccessDenied,
    /// The server answers but has no connection left.
    TooManyConnections,
    /// The connection was closed or reset.
    Closed,
    /// The answer could not be understood.
    Protocol,
}

impl ProbeErrorKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::TimedOut,
        Self::Unresolvable,
        Self::AccessDenied,
        Self::TooManyConnections,
        Self::Closed,
        Self::Protocol,
    ];

    /// The kind's word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unresolvable => "unresolvable",
            Self::AccessDenied => "access_denied",
            Self::TooManyConnections => "too_many_connections",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }

    /// Whether it proves that no server listens: everything else is only our blindness (I2).
    #[must_use]
    pub const fn proves_stopped(self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Whether no connection is accepted, as while a server starts or receives its state.
    #[must_use]
    pub const fn rejects_connections(self) -> bool {
        matches!(self, Self::Refused | Self::Closed)
    }

    /// Whether a server is there that will not tell us anything.
    #[must_use]
    pub const fn proves_running(self) -> bool {
        matches!(self, Self::AccessDenied | Self::TooManyConnections)
    }
}

/// A failed probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeError {
    /// Which kind of failure.
    pub kind: ProbeErrorKind,
    /// A phrase for people (`connection refused`), without the node's name and without secrets.
    pub message: String,
}

/// Speeds computed from the difference of two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicationRates {
    /// Commits per second between the last two readings.
    pub commit_rate: Option<f64>,
    /// Fraction (0 to 1) of the time between the last two readings that flow control paused.
    pub flow_control_paused: Option<f64>,
    /// The last [`RECENT_RATES_MAX`] commit rates, oldest first.
    pub recent_commit_rates: Vec<f64>,
}

/// The console's own probe of one node: its last answer and the present failure, if any.
///
/// With neither, the node is about to be probed for the first time. The prober must try again well within
/// `Settings::stale_after`, or what it said last is no longer believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlObservation {
    /// The last successful reading.
    pub status: Option<(Timestamp, WsrepStatus)>,
    /// The last attempt, when it failed.
    pub error: Option<(Timestamp, ProbeError)>,
    /// Since when every attempt failed.
    pub failing_since: Option<Timestamp>,
    /// Since when the node reports its present view (status, members, identity) without change or interruption.
    pub view_since: Option<Timestamp>,
    /// Whether the beginning of that view was witnessed: the answer before it, without interruption, had another.
    pub view_start_observed: bool,
    /// Since when the node reports the same history (`wsrep_cluster_state_uuid`) without interruption, whatever its view.
    pub history_since: Option<Timestamp>,
    /// Speeds.
    pub rates: ReplicationRates,
}

impl SqlObservation {
    /// Takes in a successful reading.
    pub fn record_success(&mut self, at: Timestamp, status: WsrepStatus) {
        // An interruption ends the proof that the view went on: a server that was stopped and continued still
        // repeats its last view for a moment.
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
        self.status = Some((at, status));
        self.error = None;
        self.failing_since = None;
    }

    /// Takes in a failed attempt.
    pub fn record_failure(&mut self, at: Timestamp, error: ProbeError) {
        self.failing_since.get_or_insert(at);
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
        let grown = |before: Option<u64>, now: Option<u64>| match (before, now) {
            (Some(before), Some(now)) if comparable => now.checked_sub(before),
            _ => None,
        };
        self.commit_rate = grown(before.last_committed, now.last_committed)
            .filter(|_| same_history)
            .map(|grown| round_rate(grown as f64 / seconds));
        self.flow_control_paused = grown(before.flow_control_paused_ns, now.flow_control_paused_ns)
            .map(|paused| round_rate((paused as f64 / 1e9 / seconds).min(1.0)));
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

/// Three decimals: more is noise of the clock, and every viewer would be sent it.
fn round_rate(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// What the registry holds of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryObservation {
    /// Known fields (the last segment of their keys) and their values.
    pub fields: BTreeMap<String, String>,
    /// When the console last saw a reporting field (anything but a durable one) being put.
    pub last_put_at: Option<Timestamp>,
    /// When the console last saw its state (`wsrep_local_state_comment`) change.
    pub state_changed_at: Option<Timestamp>,
    /// Whether any of its keys hangs on a lease.
    pub leased: bool,
    /// The lease's granted time to live in seconds, when known.
    pub ttl: Option<u64>,
    /// Whether it is registered durably (`registered`): it stays expected when its lease is gone.
    pub durable: bool,
    /// When it was first registered, from its durable registration.
    pub first_seen: Option<Timestamp>,
}

/// Everything known about one cluster: the input of the fold. All node ids may be in either spelling of the port.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The cluster's name.
    pub name: ClusterName,
    /// Members that the configuration pins.
    pub configured_members: BTreeSet<NodeId>,
    /// Members of the last Primary component that was seen.
    pub last_primary_members: BTreeSet<NodeId>,
    /// The console's probes.
    pub probes: BTreeMap<NodeId, SqlObservation>,
    /// The registrations.
    pub registrations: BTreeMap<NodeId, RegistryObservation>,
    /// The console's access to the registry.
    pub registry_health: RegistryHealth,
    /// How many keys under the cluster's prefix no dialect explains.
    pub unrecognized_keys: usize,
}

impl Evidence {
    /// No evidence yet about the cluster called `name`.
    #[must_use]
    pub fn new(name: ClusterName, registry_health: RegistryHealth) -> Self {
        Self {
            name,
            configured_members: BTreeSet::new(),
            last_primary_members: BTreeSet::new(),
            probes: BTreeMap::new(),
            registrations: BTreeMap::new(),
            registry_health,
            unrecognized_keys: 0,
        }
    }
}
