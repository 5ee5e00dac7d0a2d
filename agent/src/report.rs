//! Publishes the node's keys in the registry: all under one lease, which proves that the node is alive.
//!
//! A state is written immediately, with everything else that changed. While only the sequence number changes, it is written
//! once in a heartbeat interval. Every third of the TTL a transaction without writes compares whether all keys are still
//! as they were written, and all of them are written again if not.

mod written_report;

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
use written_report::{COMMIT_FIELD, WrittenReport};

/// Time to revoke the lease on shutdown; otherwise it expires.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Fields that a node has only while its server does not run.
const OFFLINE_FIELDS: [&str; 4] = ["recovered_position", "members_seen", "waiting_for", "held"];

/// Published while a state transfer lasts.
const TRANSFER_FIELD: &str = "transfer";

/// Longest time between two writes. Consoles of version 0.1 believe a registration for one TTL (10 s by default) after
/// its last write; later ones while its lease lives.
const HEARTBEAT_MAX: Duration = Duration::from_secs(9);

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

/// Fields of the node and their values.
type ReportFields = BTreeMap<&'static str, String>;

/// A state that may already have been replaced by the next.
#[derive(Clone, Debug)]
pub struct TransientState {
    pub at: Instant,
    pub server: ServerState,
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
    /// The value of [`TRANSFER_FIELD`], if the agent watches transfers.
    transfer: Option<watch::Receiver<Option<String>>>,
    lease: Option<Lease>,
    lease_id: watch::Sender<Option<LeaseId>>,
    rewrite: Arc<Notify>,
    transient_states: Option<mpsc::Receiver<TransientState>>,
    written: Option<WrittenReport>,
    logged_phase: String,
    outage_log: OutageLog,
    refusal: watch::Sender<Option<&'static str>>,
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
            transfer: None,
            lease: None,
            lease_id: watch::Sender::new(None),
            rewrite: Arc::default(),
            transient_states: None,
            written: None,
            logged_phase: String::new(),
            outage_log: OutageLog::default(),
            refusal: watch::Sender::new(None),
        }
    }

    /// Why etcd refuses what is published, if it does. An etcd that is unreachable refuses nothing.
    #[must_use]
    pub fn watch_refusal(&self) -> watch::Receiver<Option<&'static str>> {
        self.refusal.subscribe()
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

    /// Also publishes the current `transfer`, while there is one.
    #[must_use]
    pub fn with_transfer(mut self, transfer: watch::Receiver<Option<String>>) -> Self {
        self.transfer = Some(transfer);
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

    /// Publishes every change of a state immediately and the sequence number with each heartbeat, and within a third of
    /// the TTL restores fields that others changed. On `stop` it withdraws the report.
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
                () = sleep(self.until_next_write()) => {}
                () = self.rewrite.notified() => self.written = None,
                () = transfer_changed(self.transfer.as_mut()) => {}
                reason = until_lease_lost(self.lease.as_mut()) => self.forget_lease(reason),
            }
        }
        self.withdraw().await;
    }

    /// Time until the next write or comparison; until the next attempt if nothing is published.
    fn until_next_write(&self) -> Duration {
        let Some(written) = &self.written else {
            return self.ttl / 3;
        };
        let heartbeat = self
            .heartbeat()
            .saturating_sub(written.written_at.elapsed());
        let comparison = (self.ttl / 3).saturating_sub(written.compared_at.elapsed());
        heartbeat.min(comparison)
    }

    fn heartbeat(&self) -> Duration {
        HEARTBEAT_MAX.min(self.ttl * 9 / 10)
    }

    /// Writes what the registry lacks, at least one field in a heartbeat interval, or compares what it has.
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
        if let Some(transfer) = &self.transfer
            && let Some(value) = &*transfer.borrow()
        {
            fields.insert(TRANSFER_FIELD, value.clone());
        }
        if let Some(written) = &self.written
            && written.has_same_states(&fields)
            && written.written_at.elapsed() < self.heartbeat()
        {
            if written.compared_at.elapsed() < self.ttl / 3 {
                return;
            }
            // Writes nothing: only the compares matter.
            fields = written
                .fields
                .iter()
                .map(|(field, (value, _))| (*field, value.clone()))
                .collect();
        }
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
        if outcome.is_err() {
            self.written = None;
        }
    }

    /// Writes in one transaction; all fields if the lease has expired or what was written is no longer stored.
    async fn write(&mut self, fields: &ReportFields) -> Result<(), Error> {
        if let Some(written) = self.written.take()
            && let Some(lease) = self.lease.as_ref().map(Lease::id)
        {
            match Box::pin(self.update(written, fields, lease)).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Error::LeaseGone { .. }) => self.forget_lease(LeaseLostReason::Gone),
                Err(error) => return Err(error),
            }
        }
        match self.write_all(fields).await {
            Err(Error::LeaseGone { .. }) => {
                self.forget_lease(LeaseLostReason::Gone);
                self.write_all(fields).await
            }
            outcome => outcome,
        }
    }

    /// Puts what differs from `written` and deletes what is no longer reported, if everything else is still as it was
    /// written; otherwise does nothing and returns `false`. Unchanged fields are not written again, apart from one at a
    /// heartbeat: every value stays in etcd's history until compaction.
    async fn update(
        &mut self,
        mut written: WrittenReport,
        fields: &ReportFields,
        lease: LeaseId,
    ) -> Result<bool, Error> {
        let heartbeat = (written.written_at.elapsed() >= self.heartbeat()).then(|| {
            let commits = fields.contains_key(COMMIT_FIELD);
            if commits { COMMIT_FIELD } else { "phase" }
        });
        let any_differs = fields.keys().any(|field| written.differs(field, fields));
        let put: ReportFields = fields
            .iter()
            .filter(|(field, _)| {
                written.differs(field, fields) || !any_differs && heartbeat == Some(**field)
            })
            .map(|(field, value)| (*field, value.clone()))
            .collect();
        let gone: Vec<&'static str> = written
            .fields
            .keys()
            .filter(|field| !fields.contains_key(*field))
            .copied()
            .collect();
        let puts = put
            .iter()
            .map(|(field, value)| WriteOp::put(self.key(field), value.as_str(), Some(lease)));
        let deletions = gone.iter().map(|field| WriteOp::delete(self.key(field)));
        let mut transaction = Transaction::new().then(puts.chain(deletions));
        for (field, (_, revision)) in &written.fields {
            transaction =
                transaction.when(Precondition::Unchanged(self.key(field).into(), *revision));
        }
        if self.registration.is_some() {
            transaction = transaction.when(Precondition::Exists(self.key("registered").into()));
        }
        let at = Instant::now();
        match self.registry.transact(&transaction).await? {
            TransactionOutcome::Refused { .. } => Ok(false),
            TransactionOutcome::Committed { revision } => {
                if !put.is_empty() {
                    written.written_at = at;
                }
                written.compared_at = at;
                written.fields.retain(|field, _| !gone.contains(field));
                for (field, value) in put {
                    written.fields.insert(field, (value, revision));
                }
                self.written = Some(written);
                Ok(true)
            }
        }
    }

    /// Puts every field under the lease and deletes all others; creates the durable registration if absent.
    async fn write_all(&mut self, fields: &ReportFields) -> Result<(), Error> {
        let lease = match &self.lease {
            Some(lease) => lease.id(),
            None => self.lease.insert(self.registry.grant(self.ttl).await?).id(),
        };
        let at = Instant::now();
        let outcome = self
            .registry
            .transact(&self.transaction(fields, lease))
            .await?;
        let revision = match outcome {
            TransactionOutcome::Committed { revision } => {
                if self.registration.is_some() {
                    tracing::info!(
                        node.id = %self.identity.node,
                        cluster.id = %self.identity.cluster,
                        "Registration created: the node was not registered"
                    );
                }
                revision
            }
            TransactionOutcome::Refused { revision, .. } => revision,
        };
        let stored = fields.iter();
        let stored = stored.map(|(field, value)| (*field, (value.clone(), revision)));
        self.written = Some(WrittenReport {
            written_at: at,
            compared_at: at,
            fields: stored.collect(),
        });
        Ok(())
    }

    fn transaction(&self, fields: &ReportFields, lease: LeaseId) -> Transaction {
        let puts = fields
            .iter()
            .map(|(field, value)| WriteOp::put(self.key(field), value.as_str(), Some(lease)));
        let deletions = REPORTED_VARIABLES
            .into_iter()
            .chain(OFFLINE_FIELDS)
            .chain([TRANSFER_FIELD])
            .filter(|field| !fields.contains_key(field))
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
        self.refusal.send_replace(match outcome {
            Ok(()) => None,
            Err(error) => refusal_text(error),
        });
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

/// Why etcd refused a report, without its addresses: any client of the health endpoint reads it.
fn refusal_text(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoSpace { .. } => {
            Some("etcd has no space left; compact and defragment it, then disarm its NOSPACE alarm")
        }
        Error::Corrupt { .. } => {
            Some("etcd has a CORRUPT alarm; replace the member that differs, then disarm it")
        }
        Error::Denied { .. } => {
            Some("etcd refuses the agent's account; the agent's log names the right")
        }
        _ => None,
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

/// Waits for a change of the transfer; pending forever if none is watched.
async fn transfer_changed(transfer: Option<&mut watch::Receiver<Option<String>>>) {
    let changed = match transfer {
        Some(transfer) => transfer.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending().await
    }
}

/// Waits until the lease is lost; pending forever without one.
async fn until_lease_lost(lease: Option<&mut Lease>) -> LeaseLostReason {
    match lease {
        Some(lease) => lease.wait_until_lost().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
