//! From one recording replica to the next.
//!
//! A new leader that did not observe since its predecessor last said that it did (it was started meanwhile) has missed what
//! happened in between. Another replica may have seen it: so the new leader calls, and waits. Whoever observed without a
//! gap answers by recording what it saw, for as long as the call stands. The heads are compared as always, so it does not
//! matter how many answer. Who there is to be waited for is known from leases. What nobody saw is unknown.

use std::time::Duration;

use galera::Timestamp;
use registry::{Lease, Precondition, Transaction, TransactionOutcome, WriteOp};
use tokio::time::Instant;

use super::HistoryError;
use super::cache::ObservedUntilRecord;
use super::recorder::Recorder;
use super::writes::put_json;

/// How long others may take to answer a call, as long as they live.
const GAP_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a replica that died is waited for.
const OBSERVER_TTL: Duration = Duration::from_secs(10);
/// A longer silence than this was blindness, unless somebody observed meanwhile.
const GAP_TOLERANCE: Duration = Duration::from_secs(15);

impl Recorder {
    /// Finds out what happened before this term; whether that is settled, and this replica may record.
    pub(super) async fn resolve_gap(&mut self, term: &Precondition) -> Result<bool, HistoryError> {
        let Some(recording) = self
            .recording
            .as_ref()
            .filter(|recording| !recording.gap_resolved)
        else {
            return Ok(self.recording.is_some());
        };
        let called = recording.gap_request;
        let entry = self.registry.get(self.keys.observed_until()).await?;
        let observed: Option<ObservedUntilRecord> =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let until = observed.map(|observed| observed.until);
        match (until, self.observing_since) {
            (Some(until), Some(since)) if since > until => {
                if !self.gap_request_finished(term, called, until).await? {
                    return Ok(false);
                }
                self.record_unobserved_period(until, since);
            }
            _ => {}
        }
        if let Some(recording) = &mut self.recording {
            recording.gap_resolved = true;
        }
        Ok(true)
    }

    /// Whether nobody needs to be waited for any more. Once somebody has answered, [`Recorder::resolve_gap`] finds no gap.
    async fn gap_request_finished(
        &mut self,
        term: &Precondition,
        called: Option<(Instant, i64)>,
        until: Timestamp,
    ) -> Result<bool, HistoryError> {
        let key = self.keys.gap_request();
        let somebody = self.has_observer_since(until).await?;
        let Some((since, revision)) = called else {
            if !somebody {
                return Ok(true);
            }
            let call = put_json(key, &self.settings.replica)?;
            let transaction = Transaction::new().when(term.clone()).then([call]);
            if let (TransactionOutcome::Committed { revision }, Some(recording)) = (
                self.registry.transact(&transaction).await?,
                &mut self.recording,
            ) {
                recording.gap_request = Some((Instant::now(), revision));
            }
            return Ok(false);
        };
        if somebody && since.elapsed() < GAP_REQUEST_TIMEOUT {
            return Ok(false);
        }
        // From here on an answer comes too late, and is refused.
        let transaction = Transaction::new()
            .when(term.clone())
            .when(Precondition::Unchanged(key.clone().into_bytes(), revision))
            .then([WriteOp::delete(key)]);
        let ended = self.registry.transact(&transaction).await?;
        if matches!(ended, TransactionOutcome::Refused { .. })
            && let Some(recording) = &mut self.recording
        {
            // Somebody answered just now; looked at again, there is no gap. Or another call is needed.
            recording.gap_request = None;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether another replica lives that observed since before `until`.
    async fn has_observer_since(&self, until: Timestamp) -> Result<bool, HistoryError> {
        let present = self.registry.list(self.keys.observers()).await?;
        let since =
            |entry: &registry::RegistryEntry| serde_json::from_slice::<Timestamp>(&entry.value);
        Ok(present
            .entries
            .iter()
            .any(|entry| since(entry).is_ok_and(|since| since <= until)))
    }

    /// Says since when this replica observes, for as long as it lives.
    pub(super) async fn register_observer(&mut self) -> Result<(), HistoryError> {
        let lives = |lease: &Lease| lease.lost_reason().is_none();
        let Some(since) = self
            .observing_since
            .filter(|_| !self.observer_lease.as_ref().is_some_and(lives))
        else {
            return Ok(());
        };
        let lease = self.registry.grant(OBSERVER_TTL).await?;
        // The lease's number makes the name unique, also to this process.
        let key = format!("{}{:x}", self.keys.observers(), lease.id());
        let value = serde_json::to_vec(&since)
            .map_err(|error| registry::Error::Invalid(error.to_string()))?;
        self.registry.put(key, value, Some(lease.id())).await?;
        self.observer_lease = Some(lease);
        Ok(())
    }

    fn record_unobserved_period(&mut self, until: Timestamp, since: Timestamp) {
        if until.plus(GAP_TOLERANCE) >= since {
            return;
        }
        tracing::warn!(from = %until, until = %since, "No console was watching from {until} to {since}; the chronicle says unknown for that time");
        for followed in self.clusters.values_mut() {
            let view = followed.view().cloned();
            followed.tracker.insert_gap(until, since, view.as_ref());
        }
    }

    /// Records what a new leader calls for, if this replica saw it.
    pub(super) async fn fill_gap(&mut self) -> Result<(), HistoryError> {
        let (Some(call), Some(observed)) =
            (self.cache.gap_request_revision, &self.cache.observed_until)
        else {
            return Ok(());
        };
        if self
            .observing_since
            .is_none_or(|since| since > observed.until)
        {
            return Ok(());
        }
        let key = self.keys.gap_request();
        let standing = Precondition::Unchanged(key.clone().into_bytes(), call);
        let before = self.tracked_until;
        self.write_pending(&standing).await?;
        let transaction = Transaction::new()
            .when(standing)
            .then([self.observed_until_write(before)?, WriteOp::delete(key)]);
        self.registry.transact(&transaction).await?;
        // Answered by this replica or by another one.
        self.cache.gap_request_revision = None;
        Ok(())
    }
}
