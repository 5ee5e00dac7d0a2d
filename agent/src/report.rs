//! Publishes the node's keys in the registry: all under one lease, written in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use galera::observe::registration::RegistryKeys;
use galera::{ClusterName, NodeId, Timestamp};
use registry::{
    Error, Lease, LeaseId, LeaseLostReason, Precondition, Registry, Transaction,
    TransactionOutcome, WriteOp,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::observation::{REPORTED_VARIABLES, ServerState};
use crate::outage_log::OutageLog;

/// Time to revoke the lease on shutdown; otherwise it expires.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Fields that a node has only while its server does not run.
const OFFLINE_FIELDS: [&str; 4] = ["recovered_position", "members_seen", "waiting_for", "held"];

/// Capacity of the queue of transient states; it fills only while etcd is unreachable.
pub const TRANSIENT_STATES_MAX: usize = 16;
/// Transient states older than this are not published.
const TRANSIENT_STATE_TTL: Duration = Duration::from_secs(2);

/// The node whose keys are published.
#[derive(Clone, Debug)]
pub struct ReportTarget {
    pub keys: RegistryKeys,
    pub cluster: ClusterName,
    pub node: NodeId,
}

type ReportFields = BTreeMap<&'static str, String>;

/// A state that may already have been replaced by the next.
#[derive(Clone, Debug)]
pub struct TransientState {
    pub at: Instant,
    pub server: ServerState,
}

/// What this agent has written to the registry.
#[derive(Debug)]
struct WrittenReport {
    /// When all fields were last written, not only changed ones.
    full_write_at: Instant,
    fields: ReportFields,
}

/// Publishes one node's report.
#[derive(Debug)]
pub struct Reporter {
    registry: Registry,
    identity: ReportTarget,
    ttl: Duration,
    /// Value of the durable registration; `None` if it is maintained elsewhere.
    registration: Option<String>,
    /// Published with every state of the server.
    constant_fields: ReportFields,
    /// The identity of the data, published likewise.
    data_id: Option<watch::Receiver<String>>,
    /// The newest fork that the data continued, published likewise.
    fork_epoch: Option<watch::Receiver<u64>>,
    lease: Option<Lease>,
    lease_id: watch::Sender<Option<LeaseId>>,
    rewrite: Arc<Notify>,
    transient_states: Option<mpsc::Receiver<TransientState>>,
    written: Option<WrittenReport>,
    logged_phase: String,
    outage_log: OutageLog,
}

impl Reporter {
    /// A reporter with lease TTL `ttl`. `now` becomes `first_seen` if the node has never been registered.
    #[must_use]
    pub fn new(registry: Registry, identity: ReportTarget, ttl: Duration, now: Timestamp) -> Self {
        let registered = serde_json::json!({
            "first_seen": now,
            "agent_version": env!("CARGO_PKG_VERSION"),
        });
        Self {
            registry,
            identity,
            ttl,
            registration: Some(registered.to_string()),
            constant_fields: ReportFields::new(),
            data_id: None,
            fork_epoch: None,
            lease: None,
            lease_id: watch::Sender::new(None),
            rewrite: Arc::default(),
            transient_states: None,
            written: None,
            logged_phase: String::new(),
            outage_log: OutageLog::default(),
        }
    }

    /// Leaves the durable registration to the caller.
    #[must_use]
    pub fn without_registration(mut self) -> Self {
        self.registration = None;
        self
    }

    /// Also publishes these fields, whatever the server's state.
    #[must_use]
    pub fn with_constant_fields(
        mut self,
        fields: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        self.constant_fields.extend(fields);
        self
    }

    /// Also publishes the current `data_id`, whatever the server's state.
    #[must_use]
    pub fn with_data_id(mut self, data_id: watch::Receiver<String>) -> Self {
        self.data_id = Some(data_id);
        self
    }

    /// Also publishes the current `fork_epoch`, whatever the server's state.
    #[must_use]
    pub fn with_fork_epoch(mut self, fork_epoch: watch::Receiver<u64>) -> Self {
        self.fork_epoch = Some(fork_epoch);
        self
    }

    /// Rewrites all fields whenever `rewrite` is notified.
    #[must_use]
    pub fn with_rewrite_signal(mut self, again: Arc<Notify>) -> Self {
        self.rewrite = again;
        self
    }

    /// Also publishes these states, in order, before the current one, even if they have pending by then.
    #[must_use]
    pub fn with_transient_states(mut self, states: mpsc::Receiver<TransientState>) -> Self {
        self.transient_states = Some(states);
        self
    }

    /// The lease of the published fields; `None` while nothing is published.
    #[must_use]
    pub fn subscribe_lease_id(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease_id.subscribe()
    }

    /// Publishes every change of `server` immediately and all fields every third of the TTL. On `stop` it withdraws the
    /// report.
    pub async fn run(mut self, mut server: watch::Receiver<ServerState>, stop: CancellationToken) {
        let mut transient_states = self.transient_states.take();
        let mut pending: Option<TransientState> = None;
        loop {
            // Outdated transient states are dropped.
            if let Some(state) = pending
                .take()
                .filter(|state| state.at.elapsed() < TRANSIENT_STATE_TTL)
            {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.reconcile(&state.server) => {}
                }
            }
            pending = transient_states
                .as_mut()
                .and_then(|transient_states| transient_states.try_recv().ok());
            if pending.is_some() {
                continue;
            }
            let now = server.borrow_and_update().clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.reconcile(&now) => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                state = next_transient_state(transient_states.as_mut()) => pending = Some(state),
                changed = server.changed() => if changed.is_err() { break },
                () = sleep(self.ttl / 3) => {}
                () = self.rewrite.notified() => self.written = None,
                reason = until_lease_lost(self.lease.as_mut()) => self.forget_lease(reason),
            }
        }
        self.withdraw().await;
    }

    /// Writes what the registry lacks, or all fields if the last full write is too old.
    async fn reconcile(&mut self, server: &ServerState) {
        if matches!(server, ServerState::Unknown) {
            return;
        }
        let mut fields = server.fields();
        fields.extend(self.constant_fields.clone());
        if let Some(data_id) = &self.data_id {
            fields.insert("data_id", data_id.borrow().clone());
        }
        if let Some(epoch) = &self.fork_epoch {
            fields.insert("fork_epoch", epoch.borrow().to_string());
        }
        let whole_at = match &self.written {
            Some(written) if written.full_write_at.elapsed() < self.ttl / 3 => {
                if written.fields == fields {
                    return;
                }
                written.full_write_at
            }
            // Full write: also restores keys that were removed since.
            _ => {
                self.written = None;
                Instant::now()
            }
        };
        // Boxed: the etcd client's futures are large.
        let outcome = Box::pin(self.write(&fields)).await;
        self.log_outcome(&outcome, &fields);
        let lease = self
            .lease
            .as_ref()
            .filter(|_| outcome.is_ok())
            .map(Lease::id);
        self.lease_id
            .send_if_modified(|standing| std::mem::replace(standing, lease) != lease);
        self.written = outcome.is_ok().then_some(WrittenReport {
            full_write_at: whole_at,
            fields,
        });
    }

    /// Writes in one transaction; replaces an expired lease once.
    async fn write(&mut self, fields: &ReportFields) -> Result<(), Error> {
        match self.write_once(fields).await {
            Err(Error::LeaseGone { .. }) => {
                self.forget_lease(LeaseLostReason::Gone);
                self.write_once(fields).await
            }
            outcome => outcome,
        }
    }

    async fn write_once(&mut self, fields: &ReportFields) -> Result<(), Error> {
        let lease = match &self.lease {
            Some(lease) => lease.id(),
            None => self.lease.insert(self.registry.grant(self.ttl).await?).id(),
        };
        match self
            .registry
            .transact(&self.transaction(fields, lease))
            .await?
        {
            TransactionOutcome::Committed { .. } if self.registration.is_some() => tracing::info!(
                node.id = %self.identity.node,
                cluster.id = %self.identity.cluster,
                "Registration created: the node was not registered"
            ),
            TransactionOutcome::Committed { .. } | TransactionOutcome::Refused { .. } => {}
        }
        Ok(())
    }

    /// Puts changed fields under the lease and deletes missing ones; creates the durable registration if absent.
    /// Unchanged fields are not written again: every value stays in etcd's history until compaction.
    fn transaction(&self, fields: &ReportFields, lease: i64) -> Transaction {
        let known = self.written.as_ref().map(|written| &written.fields);
        let holds = |field: &str, value: Option<&String>| {
            known.is_some_and(|known| known.get(field) == value)
        };
        let puts = fields
            .iter()
            .filter(|(field, value)| !holds(field, Some(value)))
            .map(|(field, value)| WriteOp::put(self.key(field), value.as_str(), Some(lease)));
        let deletions = REPORTED_VARIABLES
            .into_iter()
            .chain(OFFLINE_FIELDS)
            .filter(|field| !fields.contains_key(field) && !holds(field, None))
            .map(|field| WriteOp::delete(self.key(field)));
        let writes: Vec<_> = puts.chain(deletions).collect();
        let Some(value) = &self.registration else {
            return Transaction::new().then(writes);
        };
        let registered = self.key("registered");
        Transaction::new()
            .when(Precondition::Absent(registered.clone().into()))
            .then(writes.clone())
            .then([WriteOp::put(registered, value.as_str(), None)])
            .otherwise(writes)
    }

    fn key(&self, field: &str) -> String {
        let ReportTarget {
            keys,
            cluster,
            node,
        } = &self.identity;
        keys.node_key(cluster, node, field)
    }

    fn forget_lease(&mut self, reason: LeaseLostReason) {
        tracing::warn!(node.id = %self.identity.node, "Lease lost, publishing again under a new one: {reason}");
        self.lease = None;
        self.written = None;
        self.lease_id.send_replace(None);
    }

    /// Logs a change of phase, and a failure once a minute.
    fn log_outcome(&mut self, outcome: &Result<(), Error>, fields: &ReportFields) {
        let node = &self.identity.node;
        match outcome {
            Ok(()) => {
                if let Some(outage) = self.outage_log.recovered() {
                    tracing::info!(node.id = %node, outage_s = outage.as_secs(), "etcd is reachable again");
                }
                let phase = fields.get("phase").map_or("", String::as_str);
                if self.logged_phase != phase {
                    tracing::info!(node.id = %node, phase, "Published phase {phase}");
                    phase.clone_into(&mut self.logged_phase);
                }
            }
            Err(error) => {
                let kind = std::mem::discriminant(error);
                if let Some(outage) = self.outage_log.failed(&format!("{kind:?}")) {
                    let outage_s = outage.as_secs();
                    tracing::warn!(node.id = %node, outage_s, "Could not publish the report, will retry; the database is unaffected: {error}");
                }
            }
        }
    }

    /// Revokes the lease, which removes everything but the durable registration.
    async fn withdraw(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let node = &self.identity.node;
        match timeout(REVOKE_TIMEOUT, Box::pin(lease.revoke())).await {
            Ok(Ok(())) => tracing::info!(node.id = %node, "Report withdrawn from the registry"),
            Ok(Err(error)) => {
                tracing::warn!(node.id = %node, "Could not withdraw the report, it will expire: {error}")
            }
            Err(_) => {
                tracing::warn!(node.id = %node, "Could not withdraw the report in time, it will expire")
            }
        }
    }
}

/// The next transient state; pending forever without a queue.
async fn next_transient_state(
    transient_states: Option<&mut mpsc::Receiver<TransientState>>,
) -> TransientState {
    if let Some(transient_states) = transient_states
        && let Some(state) = transient_states.recv().await
    {
        return state;
    }
    std::future::pending().await
}

/// Waits until the lease is lost; pending forever without one.
async fn until_lease_lost(lease: Option<&mut Lease>) -> LeaseLostReason {
    match lease {
        Some(lease) => lease.wait_until_lost().await,
        None => std::future::pending().await,
    }
}
