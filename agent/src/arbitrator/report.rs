//! Publishes the arbitrator's record under a lease, which proves that its agent is alive.

use std::time::Duration;

use galera::observe::registration::ArbitratorRecord;
use registry::{Error, Lease, Precondition, Registry, Transaction, TransactionOutcome, WriteOp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::outage_log::OutageLog;
use crate::run::RunError;

/// Time to revoke the lease on shutdown; otherwise it expires.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Publishes one arbitrator's record.
pub(super) struct ArbitratorReporter {
    registry: Registry,
    key: String,
    ttl: Duration,
    lease: Option<Lease>,
    outage_log: OutageLog,
}

impl ArbitratorReporter {
    pub(super) fn new(registry: Registry, key: String, ttl: Duration) -> Self {
        Self {
            registry,
            key,
            ttl,
            lease: None,
            outage_log: OutageLog::default(),
        }
    }

    /// Publishes `record` for the first time. An etcd that cannot be reached is waited for, and so is the lease of an earlier
    /// agent on this host.
    ///
    /// # Errors
    /// [`RunError::Refused`] if another agent reports an arbitrator of this name.
    pub(super) async fn claim(&mut self, record: &ArbitratorRecord) -> Result<(), RunError> {
        let mut taken_since: Option<Instant> = None;
        loop {
            match self.publish(record).await {
                Some(true) => return Ok(()),
                Some(false) => {
                    let since = *taken_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.ttl * 2 {
                        return Err(RunError::Refused(format!(
                            "another agent reports an arbitrator at {}: set ARBITRATOR_NAME to another name",
                            self.key
                        )));
                    }
                }
                None => {}
            }
            sleep(self.ttl / 3).await;
        }
    }

    /// Publishes every change, and within a third of the TTL restores what others changed.
    pub(super) async fn run(&mut self, mut record: watch::Receiver<ArbitratorRecord>) {
        loop {
            let current = record.borrow_and_update().clone();
            if self.publish(&current).await == Some(false) {
                tracing::warn!(
                    "Another agent reports an arbitrator at {}; this one continues unreported",
                    self.key
                );
            }
            let lease = self.lease.as_mut();
            tokio::select! {
                changed = record.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = sleep(self.ttl / 3) => {}
                () = until_lost(lease) => self.lease = None,
            }
        }
    }

    /// Whether the record was written, or another agent holds the key; `None` if etcd cannot be reached.
    async fn publish(&mut self, record: &ArbitratorRecord) -> Option<bool> {
        // Boxed: the etcd client's futures are large.
        match Box::pin(self.write(&record.to_value())).await {
            Ok(written) => {
                if let Some(outage) = self.outage_log.recovered() {
                    tracing::info!(outage_s = outage.as_secs(), "etcd is reachable again");
                }
                Some(written)
            }
            Err(error) => {
                let kind = std::mem::discriminant(&error);
                if let Some(outage) = self.outage_log.failed(&format!("{kind:?}")) {
                    let outage_s = outage.as_secs();
                    tracing::warn!(
                        outage_s,
                        "Could not publish the report, will retry; the arbitrator is unaffected: {error}"
                    );
                }
                None
            }
        }
    }

    /// Writes the record, unless the key has it. Returns false if another agent holds the key.
    async fn write(&mut self, value: &str) -> Result<bool, Error> {
        let lease = match &self.lease {
            Some(lease) => lease.id(),
            None => self.lease.insert(self.registry.grant(self.ttl).await?).id(),
        };
        let put = || WriteOp::put(self.key.clone(), value, Some(lease));
        let own = Transaction::new()
            .when(Precondition::Leased(self.key.clone().into(), lease))
            .then([put()]);
        match self.registry.transact(&own).await? {
            TransactionOutcome::Committed { .. } => return Ok(true),
            TransactionOutcome::Refused { .. } => {}
        }
        let new = Transaction::new()
            .when(Precondition::Absent(self.key.clone().into()))
            .then([put()]);
        let outcome = self.registry.transact(&new).await;
        if let Err(Error::LeaseGone { .. }) = outcome {
            self.lease = None;
        }
        Ok(matches!(outcome?, TransactionOutcome::Committed { .. }))
    }

    /// Revokes the lease, which removes the record.
    pub(super) async fn withdraw(mut self) {
        if let Some(lease) = self.lease.take() {
            // It expires otherwise.
            let _ = timeout(REVOKE_TIMEOUT, Box::pin(lease.revoke())).await;
        }
    }
}

async fn until_lost(lease: Option<&mut Lease>) {
    match lease {
        Some(lease) => drop(lease.wait_until_lost().await),
        None => std::future::pending().await,
    }
}
