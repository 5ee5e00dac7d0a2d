//! From one recording replica to the next.
//!
//! A new leader that did not observe since its predecessor last said that it did (it was started meanwhile) has missed what
//! happened in between. Another replica may have seen it: so the new leader calls, and waits. Whoever observed without a
//! gap answers by recording what it saw, for as long as the call stands. The heads are compared as always, so it does not
//! matter how many answer. Who there is to be waited for is known from leases. What nobody saw is unknown.

use std::time::Duration;

use galera::Timestamp;
use registry::{Guard, Lease, Outcome, Transaction, Write};
use tokio::time::Instant;

use super::ChronicleError;
use super::mirror::Observed;
use super::recorder::Recorder;
use super::writing::put;

/// How long others may take to answer a call, as long as they live.
const ANSWERING: Duration = Duration::from_secs(30);
/// How long a replica that died is waited for.
const PRESENCE: Duration = Duration::from_secs(10);
/// A longer silence than this was blindness, unless somebody observed meanwhile.
const GRACE: Duration = Duration::from_secs(15);

impl Recorder {
    /// Finds out what happened before this term; whether that is settled, and this replica may record.
    pub(super) async fn begin(&mut self, term: &Guard) -> Result<bool, ChronicleError> {
        let Some(recording) = self.recording.as_ref().filter(|recording| !recording.begun) else {
            return Ok(self.recording.is_some());
        };
        let called = recording.called;
        let entry = self.registry.get(self.keys.observed()).await?;
        let observed: Option<Observed> =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let until = observed.map(|observed| observed.until);
        match (until, self.observing) {
            (Some(until), Some(since)) if since > until => {
                if !self.answered(term, called, until).await? {
                    return Ok(false);
                }
                self.take_down_blindness(until, since);
            }
            _ => {}
        }
        if let Some(recording) = &mut self.recording {
            recording.begun = true;
        }
        Ok(true)
    }

    /// Whether nobody needs to be waited for any more. Once somebody has answered, [`Recorder::begin`] finds no gap.
    async fn answered(
        &mut self,
        term: &Guard,
        called: Option<(Instant, i64)>,
        until: Timestamp,
    ) -> Result<bool, ChronicleError> {
        let key = self.keys.call();
        let somebody = self.somebody_observed(until).await?;
        let Some((since, revision)) = called else {
            if !somebody {
                return Ok(true);
            }
            let call = put(key, &self.settings.replica)?;
            let transaction = Transaction::new().when(term.clone()).then([call]);
            if let (Outcome::Committed { revision }, Some(recording)) = (
                self.registry.transact(&transaction).await?,
                &mut self.recording,
            ) {
                recording.called = Some((Instant::now(), revision));
            }
            return Ok(false);
        };
        if somebody && since.elapsed() < ANSWERING {
            return Ok(false);
        }
        // From here on an answer comes too late, and is refused.
        let transaction = Transaction::new()
            .when(term.clone())
            .when(Guard::Unchanged(key.clone().into_bytes(), revision))
            .then([Write::delete(key)]);
        let ended = self.registry.transact(&transaction).await?;
        if matches!(ended, Outcome::Refused { .. })
            && let Some(recording) = &mut self.recording
        {
            // Somebody answered just now; looked at again, there is no gap. Or another call is needed.
            recording.called = None;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether another replica lives that observed since before `until`.
    async fn somebody_observed(&self, until: Timestamp) -> Result<bool, ChronicleError> {
        let present = self.registry.list(self.keys.observers()).await?;
        let since = |entry: &registry::Entry| serde_json::from_slice::<Timestamp>(&entry.value);
        Ok(present
            .entries
            .iter()
            .any(|entry| since(entry).is_ok_and(|since| since <= until)))
    }

    /// Says since when this replica observes, for as long as it lives.
    pub(super) async fn be_present(&mut self) -> Result<(), ChronicleError> {
        let lives = |lease: &Lease| lease.is_lost().is_none();
        let Some(since) = self
            .observing
            .filter(|_| !self.presence.as_ref().is_some_and(lives))
        else {
            return Ok(());
        };
        let lease = self.registry.grant(PRESENCE).await?;
        // The lease's number makes the name unique, also to this process.
        let key = format!("{}{:x}", self.keys.observers(), lease.id());
        let value = serde_json::to_vec(&since)
            .map_err(|error| registry::Error::Invalid(error.to_string()))?;
        self.registry.put(key, value, Some(lease.id())).await?;
        self.presence = Some(lease);
        Ok(())
    }

    fn take_down_blindness(&mut self, until: Timestamp, since: Timestamp) {
        if until.plus(GRACE) >= since {
            return;
        }
        tracing::warn!(from = %until, until = %since, "No console was watching from {until} to {since}; the chronicle says unknown for that time");
        for followed in self.followed.values_mut() {
            let view = followed.view().cloned();
            followed.witness.blind(until, since, view.as_ref());
        }
    }

    /// Records what a new leader calls for, if this replica saw it.
    pub(super) async fn help(&mut self) -> Result<(), ChronicleError> {
        let (Some(call), Some(observed)) = (self.mirror.call, &self.mirror.observed) else {
            return Ok(());
        };
        if self.observing.is_none_or(|since| since > observed.until) {
            return Ok(());
        }
        let key = self.keys.call();
        let standing = Guard::Unchanged(key.clone().into_bytes(), call);
        let before = self.sighted;
        self.write_all(&standing).await?;
        let transaction = Transaction::new()
            .when(standing)
            .then([self.observed(before)?, Write::delete(key)]);
        self.registry.transact(&transaction).await?;
        // Answered by this replica or by another one.
        self.mirror.call = None;
        Ok(())
    }
}
