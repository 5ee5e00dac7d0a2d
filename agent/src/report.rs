//! Keeps the node's keys in the registry true: all of them under one lease, written in one transaction.

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

/// Time to withdraw the report when the agent stops; after that the lease ends by itself.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// States that wait to be reported; more than that come together only when etcd is away.
pub const TRANSIENT_STATES_MAX: usize = 16;
/// How long a state that has passed is worth reporting.
const TRANSIENT_STATE_TTL: Duration = Duration::from_secs(2);

/// What identifies the node's keys.
#[derive(Clone, Debug)]
pub struct ReportTarget {
    /// Where the registry's keys lie.
    pub keys: RegistryKeys,
    /// The cluster.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeId,
}

type ReportFields = BTreeMap<&'static str, String>;

/// A state that the server was in, however shortly.
#[derive(Clone, Debug)]
pub struct TransientState {
    /// When.
    pub at: Instant,
    /// The state.
    pub server: ServerState,
}

/// What the registry holds of this node, as far as we wrote it.
#[derive(Debug)]
struct WrittenReport {
    /// When everything was written, not only what had changed.
    full_write_at: Instant,
    fields: ReportFields,
}

/// Writes one node's report.
#[derive(Debug)]
pub struct Reporter {
    registry: Registry,
    identity: ReportTarget,
    ttl: Duration,
    /// The durable registration, unless somebody else keeps it.
    registration: Option<String>,
    lease: Option<Lease>,
    lease_id: watch::Sender<Option<LeaseId>>,
    rewrite: Arc<Notify>,
    transient_states: Option<mpsc::Receiver<TransientState>>,
    written: Option<WrittenReport>,
    /// The phase that was reported last.
    logged_phase: String,
    outage_log: OutageLog,
}

impl Reporter {
    /// A reporter whose reports outlive it by `ttl`; `now` becomes the node's first sight when it was never registered.
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
            lease: None,
            lease_id: watch::Sender::new(None),
            rewrite: Arc::default(),
            transient_states: None,
            written: None,
            logged_phase: String::new(),
            outage_log: OutageLog::default(),
        }
    }

    /// Leaves the durable registration to somebody else.
    #[must_use]
    pub fn without_registration(mut self) -> Self {
        self.registration = None;
        self
    }

    /// Writes everything again whenever `rewrite` is notified.
    #[must_use]
    pub fn with_rewrite_signal(mut self, again: Arc<Notify>) -> Self {
        self.rewrite = again;
        self
    }

    /// Reports these states too, one after the other, before the newest: some are over before it is their turn.
    #[must_use]
    pub fn with_transient_states(mut self, states: mpsc::Receiver<TransientState>) -> Self {
        self.transient_states = Some(states);
        self
    }

    /// The lease under which everything is written; `None` while nothing is.
    #[must_use]
    pub fn subscribe_lease_id(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease_id.subscribe()
    }

    /// Reports every change of `server` at once and everything each third of the time to live, until `stop`; then
    /// withdraws the report.
    pub async fn run(mut self, mut server: watch::Receiver<ServerState>, stop: CancellationToken) {
        let mut passing = self.transient_states.take();
        let mut passed: Option<TransientState> = None;
        loop {
            // What has passed long ago is nobody's news.
            if let Some(state) = passed
                .take()
                .filter(|state| state.at.elapsed() < TRANSIENT_STATE_TTL)
            {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.reconcile(&state.server) => {}
                }
            }
            passed = passing.as_mut().and_then(|passing| passing.try_recv().ok());
            if passed.is_some() {
                continue;
            }
            let now = server.borrow_and_update().clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.reconcile(&now) => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                state = next_transient_state(passing.as_mut()) => passed = Some(state),
                changed = server.changed() => if changed.is_err() { break },
                () = sleep(self.ttl / 3) => {}
                () = self.rewrite.notified() => self.written = None,
                reason = until_lease_lost(self.lease.as_mut()) => self.forget_lease(reason),
            }
        }
        self.withdraw().await;
    }

    /// Writes what the registry does not hold yet, or not recently.
    async fn reconcile(&mut self, server: &ServerState) {
        if matches!(server, ServerState::Unknown) {
            return;
        }
        let fields = server.fields();
        let whole_at = match &self.written {
            Some(written) if written.full_write_at.elapsed() < self.ttl / 3 => {
                if written.fields == fields {
                    return;
                }
                written.full_write_at
            }
            // Long ago, or unknown: everything, so that whatever was removed meanwhile comes back.
            _ => {
                self.written = None;
                Instant::now()
            }
        };
        // Boxed: the etcd client's calls make large futures.
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

    /// Writes what is not known to be there, in one transaction; a lease that has vanished is replaced once.
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
                "Registration created: the registry had none of this node"
            ),
            TransactionOutcome::Committed { .. } | TransactionOutcome::Refused { .. } => {}
        }
        Ok(())
    }

    /// The fields under the lease, the missing ones removed; the durable registration only when there is none. Of
    /// what is known to be there nothing is repeated: every value written stays in etcd's history until compaction.
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
            .chain(["recovered_position"])
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
        tracing::warn!(node.id = %self.identity.node, "Lease lost, the report is written again under a new one: {reason}");
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
                    tracing::info!(node.id = %node, outage_s = outage.as_secs(), "Registry answers again");
                }
                let phase = fields.get("phase").map_or("", String::as_str);
                if self.logged_phase != phase {
                    tracing::info!(node.id = %node, phase, "Reported to the registry as {phase}");
                    phase.clone_into(&mut self.logged_phase);
                }
            }
            Err(error) => {
                let kind = std::mem::discriminant(error);
                if let Some(outage) = self.outage_log.failed(&format!("{kind:?}")) {
                    let outage_s = outage.as_secs();
                    tracing::warn!(node.id = %node, outage_s, "Report not written, trying again; the database is left alone: {error}");
                }
            }
        }
    }

    /// Ends the lease, and with it everything but the durable registration.
    async fn withdraw(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let node = &self.identity.node;
        match timeout(REVOKE_TIMEOUT, Box::pin(lease.revoke())).await {
            Ok(Ok(())) => tracing::info!(node.id = %node, "Report withdrawn from the registry"),
            Ok(Err(error)) => {
                tracing::warn!(node.id = %node, "Report not withdrawn, it expires by itself: {error}")
            }
            Err(_) => {
                tracing::warn!(node.id = %node, "Report not withdrawn in time, it expires by itself")
            }
        }
    }
}

/// The next state that passes; never when nobody tells of any.
async fn next_transient_state(
    passing: Option<&mut mpsc::Receiver<TransientState>>,
) -> TransientState {
    if let Some(passing) = passing
        && let Some(state) = passing.recv().await
    {
        return state;
    }
    std::future::pending().await
}

/// Waits until the lease is lost; for ever when there is none.
async fn until_lease_lost(lease: Option<&mut Lease>) -> LeaseLostReason {
    match lease {
        Some(lease) => lease.wait_until_lost().await,
        None => std::future::pending().await,
    }
}
