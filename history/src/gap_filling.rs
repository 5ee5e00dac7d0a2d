//! Handing over from one recording leader to the next without losing events.
//!
//! A new leader that started observing after its predecessor's last heartbeat has missed the time in between. Other
//! replicas may have observed it, so the leader writes a gap request and waits. While the request exists, every replica that
//! observed without a gap records what it saw; writes compare the heads as usual, so several may do so. Each replica
//! registers under a lease since when it observes, from which the leader knows whether to wait. A period that no replica
//! observed is recorded as `unknown`.

use std::time::Duration;

use galera::Timestamp;
use registry::{Lease, Precondition, Transaction, TransactionOutcome, WriteOp};
use tokio::time::Instant;

use super::HistoryError;
use super::cache::ObservedUntilRecord;
use super::recorder::Recorder;
use super::writes::put_json;

/// How long the leader waits for live replicas to fill a gap.
const GAP_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Lease of an observer: a replica that died is waited for no longer than this.
const OBSERVER_TTL: Duration = Duration::from_secs(10);
/// Shorter unobserved periods are not recorded as `unknown`.
const GAP_TOLERANCE: Duration = Duration::from_secs(15);

impl Recorder {
    /// Resolves the gap before this term. Returns whether that is finished, so that this replica may record.
    pub(super) async fn resolve_gap(&mut self, term: &Precondition) -> Result<bool, HistoryError> {
        let Some(recording) = self
            .recording
            .as_ref()
            .filter(|recording| !recording.gap_resolved)
        else {
            return Ok(self.recording.is_some());
        };
        let request = recording.gap_request;
        let entry = self.registry.get(self.keys.observed_until()).await?;
        let observed: Option<ObservedUntilRecord> =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let until = observed.map(|observed| observed.until);
        match (until, self.observing_since) {
            (Some(until), Some(since)) if since > until => {
                if !self.gap_request_finished(term, request, until).await? {
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

    /// Returns whether there is no replica left to wait for. Once a replica has filled the gap, [`Recorder::resolve_gap`]
    /// no longer finds one.
    async fn gap_request_finished(
        &mut self,
        term: &Precondition,
        request: Option<(Instant, i64)>,
        until: Timestamp,
    ) -> Result<bool, HistoryError> {
        let key = self.keys.gap_request();
        let has_observer = self.has_observer_since(until).await?;
        let Some((since, revision)) = request else {
            if !has_observer {
                return Ok(true);
            }
            let write = put_json(key, &self.settings.replica)?;
            let transaction = Transaction::new().when(term.clone()).then([write]);
            if let (TransactionOutcome::Committed { revision }, Some(recording)) = (
                self.registry.transact(&transaction).await?,
                &mut self.recording,
            ) {
                recording.gap_request = Some((Instant::now(), revision));
            }
            return Ok(false);
        };
        if has_observer && since.elapsed() < GAP_REQUEST_TIMEOUT {
            return Ok(false);
        }
        // Once the request is deleted, a late replica's writes are refused.
        let transaction = Transaction::new()
            .when(term.clone())
            .when(Precondition::Unchanged(key.clone().into_bytes(), revision))
            .then([WriteOp::delete(key)]);
        let ended = self.registry.transact(&transaction).await?;
        if matches!(ended, TransactionOutcome::Refused { .. })
            && let Some(recording) = &mut self.recording
        {
            // A replica has just filled the gap, and the next check finds none; or another request is needed.
            recording.gap_request = None;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a live replica has been observing since `until` or earlier.
    async fn has_observer_since(&self, until: Timestamp) -> Result<bool, HistoryError> {
        let observers = self.registry.list(self.keys.observers()).await?;
        let since =
            |entry: &registry::RegistryEntry| serde_json::from_slice::<Timestamp>(&entry.value);
        Ok(observers
            .entries
            .iter()
            .any(|entry| since(entry).is_ok_and(|since| since <= until)))
    }

    /// Registers since when this replica observes, under a lease.
    pub(super) async fn register_observer(&mut self) -> Result<(), HistoryError> {
        let is_live = |lease: &Lease| lease.lost_reason().is_none();
        let Some(since) = self
            .observing_since
            .filter(|_| !self.observer_lease.as_ref().is_some_and(is_live))
        else {
            return Ok(());
        };
        let lease = self.registry.grant(OBSERVER_TTL).await?;
        // The lease ID makes the key unique to this process.
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
        tracing::warn!(from = %until, until = %since, "No replica was observing from {until} to {since}; recorded as unknown");
        for tracked in self.clusters.values_mut() {
            let view = tracked.view().cloned();
            tracked.tracker.insert_gap(until, since, view.as_ref());
        }
    }

    /// Answers a new leader's gap request if this replica observed the whole gap.
    pub(super) async fn fill_gap(&mut self) -> Result<(), HistoryError> {
        let (Some(request), Some(observed)) =
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
        let request_exists = Precondition::Unchanged(key.clone().into_bytes(), request);
        let until = self.tracked_until;
        self.write_pending(&request_exists).await?;
        let transaction = Transaction::new()
            .when(request_exists)
            .then([self.observed_until_write(until)?, WriteOp::delete(key)]);
        self.registry.transact(&transaction).await?;
        // Answered, by this replica or by another one.
        self.cache.gap_request_revision = None;
        Ok(())
    }
}
