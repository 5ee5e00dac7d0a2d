//! The SQL probe of one node: one task, one connection, one reading per interval, each with a hard deadline.
//!
//! Probes are independent of each other and nothing waits for one: each sends its reports to the cluster's monitor.

pub(crate) mod supervision;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use console_core::address_policy::AddressPolicy;
use console_core::clock::now;
use console_core::tasks::panic_message;
use futures::FutureExt;
use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::wsrep::WsrepStatus;
use galera::{ClusterName, NodeId, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::MonitorMetrics;
use crate::mysql::{MysqlSettings, ReserveAccount, StatusConnection, failure};

/// Minimum time between two readings off the schedule: requests may come too often.
const READING_GAP_MIN: Duration = Duration::from_millis(50);
/// Attempts to read with the reserved connection, and the pause between two.
const RESERVE_ATTEMPTS: usize = 4;
const RESERVE_DELAY: Duration = Duration::from_millis(100);

/// Settings shared by all probes.
#[derive(Clone, Debug)]
pub(crate) struct ProbeSettings {
    /// Account, port and TLS.
    pub mysql: MysqlSettings,
    /// Reads a server that has no connection left for the account of `mysql`.
    pub reserve: Option<ReserveAccount>,
    /// Time between the starts of two readings.
    pub poll_interval: Duration,
    /// Deadline of one reading, connecting included.
    pub timeout: Duration,
    /// Members that the configuration pins, normalized: their addresses are permitted whatever they are.
    pub pinned: BTreeMap<ClusterName, BTreeSet<NodeId>>,
    /// All probes read at this instant plus whole intervals, so that one publication covers all nodes of a cluster.
    pub schedule_start: Instant,
}

/// The result of one reading of one node.
#[derive(Debug)]
pub(crate) struct ProbeReport {
    pub node: NodeId,
    /// When the reading succeeded or failed.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The address of the connection, if there is one.
    pub connected_to: Option<SocketAddr>,
    /// The node's status, or why it could not be read.
    pub outcome: Result<WsrepStatus, ProbeError>,
}

/// Reads `node` of `cluster` once per interval, and immediately when `probe_now` is notified, until cancelled or the
/// receiver is gone.
pub(crate) async fn run(
    cluster: ClusterName,
    node: NodeId,
    settings: Arc<ProbeSettings>,
    reports: mpsc::Sender<ProbeReport>,
    metrics: Arc<MonitorMetrics>,
    probe_now: Arc<Notify>,
    cancel: CancellationToken,
) {
    let mut probe = NodeProbe::new(cluster, node, settings);
    // The first reading starts immediately, all others on schedule.
    let interval = probe.settings.poll_interval;
    let first = probe.settings.schedule_start + schedule_offset(&probe.cluster, interval);
    let mut grid = interval_at(first, interval);
    grid.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let started = Instant::now();
        let outcome = tokio::select! {
            outcome = probe.read() => outcome,
            () = cancel.cancelled() => return,
        };
        let took = started.elapsed();
        metrics.probe(&probe.cluster, &probe.node, took, outcome.as_ref());
        let report = ProbeReport {
            node: probe.node.clone(),
            at: now(),
            took,
            connected_to: probe.address(),
            outcome,
        };
        if reports.send(report).await.is_err() {
            return;
        }
        // Skip ticks missed during the reading: the next one starts on schedule, never late and never twice.
        while grid.tick().now_or_never().is_some() {}
        tokio::select! {
            _ = grid.tick() => {}
            () = requested(&probe_now, started + READING_GAP_MIN) => {}
            () = cancel.cancelled() => return,
        }
    }
}

/// When in each interval the nodes of `cluster` are read: those of one cluster together, so that one fold covers all
/// answers, and different clusters at different times, so that no change waits until thousands of nodes are read.
fn schedule_offset(cluster: &ClusterName, interval: Duration) -> Duration {
    const STEPS: u32 = 1_000;
    let mut hasher = DefaultHasher::new();
    cluster.as_str().hash(&mut hasher);
    let step = hasher.finish() % u64::from(STEPS);
    interval * u32::try_from(step).unwrap_or_default() / STEPS
}

/// Waits until a reading is requested, and not before `earliest`. A scheduled one in between serves the request as
/// well.
async fn requested(probe_now: &Notify, earliest: Instant) {
    probe_now.notified().await;
    sleep_until(earliest).await;
}

/// Reads `node` of `cluster` once, now, on a dedicated connection. `extra_port` is the one that its server last reported.
pub(crate) async fn probe_once(
    cluster: ClusterName,
    node: NodeId,
    extra_port: Option<u16>,
    settings: Arc<ProbeSettings>,
) -> ProbeReport {
    let mut probe = NodeProbe::new(cluster, node, settings);
    probe.extra_port = extra_port;
    let started = Instant::now();
    let read = AssertUnwindSafe(probe.read()).catch_unwind().await;
    let outcome = read.unwrap_or_else(|panic| {
        let reason = panic_message(&*panic);
        tracing::error!(node.id = %probe.node, "A reading of {} panicked: {reason}", probe.node);
        Err(failure::internal(reason))
    });
    ProbeReport {
        at: now(),
        took: started.elapsed(),
        connected_to: probe.address(),
        outcome,
        node: probe.node,
    }
}

struct NodeProbe {
    cluster: ClusterName,
    node: NodeId,
    settings: Arc<ProbeSettings>,
    connection: Option<StatusConnection>,
    /// The server's `extra_port`, as it last reported.
    extra_port: Option<u16>,
}

impl NodeProbe {
    fn new(cluster: ClusterName, node: NodeId, settings: Arc<ProbeSettings>) -> Self {
        Self {
            cluster,
            node,
            settings,
            connection: None,
            extra_port: None,
        }
    }

    /// One reading. After any failure the connection is dropped: after a timeout its protocol state is unknown, and
    /// the server may still answer the previous query.
    async fn read(&mut self) -> Result<WsrepStatus, ProbeError> {
        let limit = self.settings.timeout;
        let connected = self.connection.is_some();
        let connection = self.connection.take();
        match timeout(limit, Box::pin(self.attempt(connection))).await {
            Ok(Ok((connection, status))) => {
                self.connection = connection;
                self.extra_port = status.extra_port;
                Ok(status)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(failure::timed_out(limit, connected)),
        }
    }

    async fn attempt(
        &self,
        connection: Option<StatusConnection>,
    ) -> Result<(Option<StatusConnection>, WsrepStatus), ProbeError> {
        if let Some(mut open) = connection {
            match open.read_status().await {
                // Closed since the last reading: only a new attempt shows whether anything listens there now.
                Err(error) if error.kind == ProbeErrorKind::Closed => {}
                read => return read.map(|status| (Some(open), status)),
            }
        }
        let mysql = &self.settings.mysql;
        let policy = (!self.is_pinned()).then_some(&mysql.probe_policy);
        let (host, port) = (self.node.host(), self.port());
        match StatusConnection::open(host, mysql, policy, port, &self.cluster).await {
            Ok(mut connection) => {
                let status = connection.read_status().await?;
                Ok((Some(connection), status))
            }
            Err(error) if error.kind == ProbeErrorKind::TooManyConnections => {
                if let Some(status) = self.read_at_extra_port(policy).await {
                    return Ok((None, status));
                }
                match self.read_with_reserve(policy).await {
                    Some(Ok(status)) => Ok((None, status)),
                    Some(Err(failed)) => Err(failure::also_refused(&error, &failed)),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a server on which every connection is in use over its `extra_port`. That connection is closed immediately: there are
    /// few, and people need them. `None` if there is none, or it cannot be read either.
    async fn read_at_extra_port(&self, policy: Option<&AddressPolicy>) -> Option<WsrepStatus> {
        let (host, mysql) = (self.node.host(), &self.settings.mysql);
        let opened =
            StatusConnection::open(host, mysql, policy, self.extra_port?, &self.cluster).await;
        opened.ok()?.read_status().await.ok()
    }

    /// Reads a server on which every connection is in use, with the account for which it reserves one. That connection
    /// is closed immediately: the statement of a recovery may need it. `None` if there is no account for this node.
    async fn read_with_reserve(
        &self,
        policy: Option<&AddressPolicy>,
    ) -> Option<Result<WsrepStatus, ProbeError>> {
        let reserve = self.settings.reserve.as_ref()?;
        let (host, port) = (self.node.host(), self.port());
        if !reserve.may_read(host, self.is_pinned()) {
            return None;
        }
        let mut attempt = 1;
        loop {
            let opened =
                StatusConnection::open(host, &reserve.mysql, policy, port, &self.cluster).await;
            match opened {
                Ok(mut connection) => return Some(connection.read_status().await),
                // Another reading of the console may hold it for a moment.
                Err(error)
                    if error.kind == ProbeErrorKind::TooManyConnections
                        && attempt < RESERVE_ATTEMPTS =>
                {
                    attempt += 1;
                    sleep(RESERVE_DELAY).await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Whether the configuration names this node.
    fn is_pinned(&self) -> bool {
        let node = self.node.clone().normalized(self.settings.mysql.port);
        let pinned = self.settings.pinned.get(&self.cluster);
        pinned.is_some_and(|pinned| pinned.contains(&node))
    }

    fn address(&self) -> Option<SocketAddr> {
        self.connection.as_ref()?.address()
    }

    fn port(&self) -> u16 {
        self.node.port().unwrap_or(self.settings.mysql.port)
    }
}

#[cfg(test)]
mod tests;
