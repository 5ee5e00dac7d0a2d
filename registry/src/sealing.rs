//! Records that only the holders of a secret can write: sealed when they are put, verified when they are read.
//!
//! A [`RecordSealer`] protects some keys. [`Registry`] seals their values in transactions and opens them in reads and
//! watches, so that its callers see plain values, and never one that does not verify: a get returns
//! [`Error::Tampered`], listings and watches treat such a record as absent.
//!
//! Versions of a record only increase. The highest one seen is remembered, so that an older genuine record that was put
//! back, and a deletion that no console made, are recognized. A removed record is replaced by a sealed note of its
//! removal, which callers see as absence; only records under a lease really disappear.

mod known;
mod prepare;
mod seen;
mod succession;
mod tampering;
mod values;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;

use crate::entry::{Listing, RegistryEntry};
use crate::event::{KeyChange, WatchEvent};
use crate::revisions::StoreRevisions;
use crate::transact::{Transaction, TransactionOutcome};
use crate::{Error, LeaseId, Registry, Result};
use known::{KnownRecords, RecordJudgement};
pub use seen::{SeenRecord, SeenRecords};
pub use succession::OutdatedSecret;
pub use tampering::{TamperCause, TamperedRecord, TamperedRecords};
pub use values::{OpenedRecord, RecordSealer, RecordToSeal, SealTag, SealedRecord};

/// Records, and bytes of them, that are sealed in one transaction: below the limits of etcd.
const BATCH_RECORDS: usize = 60;
const BATCH_BYTES: usize = 512 * 1024;
/// Such transactions under way concurrently.
const CONCURRENT_BATCHES: usize = 8;
/// Attempts of a transaction whose assumptions about sealed records were outdated.
const ATTEMPTS: usize = 8;

/// The sealer with what was learned about the records.
pub(crate) struct Sealing {
    sealer: Arc<dyn RecordSealer>,
    known: Mutex<KnownRecords>,
    revisions: Arc<StoreRevisions>,
    tampered: watch::Sender<Arc<TamperedRecords>>,
    outdated: watch::Sender<Option<OutdatedSecret>>,
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing")
            .field("sealer", &self.sealer)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// This connection with sealed records; clones share what is learned about them.
    #[must_use]
    pub fn with_sealer(self, sealer: Arc<dyn RecordSealer>) -> Self {
        Self {
            sealing: Some(Arc::new(Sealing {
                sealer,
                known: Mutex::default(),
                revisions: Arc::clone(&self.revisions),
                tampered: watch::Sender::default(),
                outdated: watch::Sender::default(),
            })),
            ..self
        }
    }

    /// This connection, through which protected records cannot be written until [`Registry::release_writes`]: a record that is
    /// not sealed yet looks absent, and must not be replaced.
    #[must_use]
    pub fn hold_writes(self) -> Self {
        Self {
            hold: Some(Arc::new(AtomicBool::new(true))),
            ..self
        }
    }

    /// Permits writes through this connection and the clones made since [`Registry::hold_writes`].
    pub fn release_writes(&self) {
        if let Some(hold) = &self.hold {
            hold.store(false, Ordering::Release);
        }
    }

    /// Permits no further writes of protected records, if [`Registry::hold_writes`] could hold them.
    pub fn suspend_writes(&self) {
        if let Some(hold) = &self.hold {
            hold.store(true, Ordering::Release);
        }
    }

    /// Whether protected records cannot be written yet, or no longer.
    #[must_use]
    pub fn holds_writes(&self) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| hold.load(Ordering::Acquire))
    }

    /// Why protected records cannot be written yet.
    #[must_use]
    pub fn held_error(&self) -> Error {
        Error::Unavailable {
            endpoints: self.endpoints().to_owned(),
            cause:
                "the records have not been checked yet, or a newer console has changed their format"
                    .to_owned(),
        }
    }

    /// This connection, whose writes are never held.
    #[must_use]
    pub fn unheld(&self) -> Self {
        Self {
            hold: None,
            ..self.clone()
        }
    }

    /// This connection without sealing: values are as etcd stores them.
    #[must_use]
    pub fn unsealed(&self) -> Self {
        Self {
            sealing: None,
            ..self.clone()
        }
    }

    /// What seals records, for those that know its type.
    #[must_use]
    pub fn sealer(&self) -> Option<&dyn Any> {
        let sealing = self.sealing.as_ref()?;
        let sealer: &dyn RecordSealer = &*sealing.sealer;
        Some(sealer)
    }

    /// Whether records are sealed.
    #[must_use]
    pub fn seals_records(&self) -> bool {
        self.sealing.is_some()
    }

    /// The records that are ignored because they were changed outside the console.
    #[must_use]
    pub fn tampered(&self) -> Arc<TamperedRecords> {
        self.sealing.as_ref().map_or_else(Arc::default, |sealing| {
            Arc::clone(&sealing.tampered.borrow())
        })
    }

    /// Notifies of changes of [`Registry::tampered`]; `None` without sealing.
    #[must_use]
    pub fn watch_tampered(&self) -> Option<watch::Receiver<Arc<TamperedRecords>>> {
        let sealing = self.sealing.as_ref()?;
        Some(sealing.tampered.subscribe())
    }

    /// The content of a sealed value as it is stored, whether or not a newer version was seen; `None` for a note that it was
    /// removed.
    ///
    /// # Errors
    /// Why no console wrote it, as part of a sentence.
    pub fn open_stored(&self, stored: &RegistryEntry) -> Result<Option<Vec<u8>>, String> {
        match &self.sealing {
            Some(sealing) => {
                let opened = sealing.sealer.open(&stored.key, &stored.value);
                opened.map(|opened| opened.content)
            }
            None => Ok(Some(stored.value.clone())),
        }
    }

    /// Replaces plain values by their sealed forms, except those that changed since they were read; returns how many.
    ///
    /// # Errors
    /// As [`Registry::transact`].
    pub async fn seal_in_place(&self, plain: &[RegistryEntry]) -> Result<usize> {
        let Some(sealing) = &self.sealing else {
            return Ok(0);
        };
        let contents: Vec<_> = plain
            .iter()
            .map(|entry| (entry, Some(entry.value.as_slice())))
            .collect();
        let (mut sealed, mut running) = (0, FuturesUnordered::new());
        for batch in batches(&contents) {
            running.push(self.replace_batch(sealing, batch).boxed());
            if running.len() >= CONCURRENT_BATCHES
                && let Some(replaced) = running.next().await
            {
                sealed += replaced?;
            }
        }
        while let Some(replaced) = running.next().await {
            sealed += replaced?;
        }
        Ok(sealed)
    }

    /// Reports that etcd does not hold the entry of a log at `key`, although a sealed record proves that it was written: until it
    /// is found, or [`Registry::retain_missing`] ends it.
    pub fn note_missing(&self, key: &[u8]) {
        if let Some(sealing) = &self.sealing {
            sealing.with_known(|known, _| known.note_missing(key));
        }
    }

    /// Ends the reports of [`Registry::note_missing`] about the keys below `folder` for which `is_missing` is false.
    pub fn retain_missing(&self, folder: &str, is_missing: impl Fn(&[u8]) -> bool) {
        if let Some(sealing) = &self.sealing {
            sealing.with_known(|known, _| known.retain_missing(folder.as_bytes(), is_missing));
        }
    }

    /// Seals every record below `prefix` with the newest secret that is sealed with an older one; returns how many.
    /// Records that change meanwhile are left to their writers.
    ///
    /// # Errors
    /// As [`Registry::transact`].
    pub async fn reseal(&self, prefix: impl Into<Vec<u8>>) -> Result<usize> {
        let Some(sealing) = &self.sealing else {
            return Ok(0);
        };
        let listing = self.list_stored(prefix.into()).await?;
        let mut outdated = Vec::new();
        for entry in &listing.entries {
            if !sealing.sealer.protects(&entry.key) {
                continue;
            }
            let judgement = sealing
                .lock()
                .judge(&*sealing.sealer, entry, listing.revision);
            let (RecordJudgement::Live(_) | RecordJudgement::Removed) = judgement else {
                continue;
            };
            if let Ok(opened) = sealing.sealer.open(&entry.key, &entry.value)
                && !opened.current
            {
                outdated.push((entry, opened.content));
            }
        }
        let contents: Vec<_> = outdated
            .iter()
            .map(|(entry, content)| (*entry, content.as_deref()))
            .collect();
        let mut resealed = 0;
        for batch in batches(&contents) {
            resealed += self.replace_batch(sealing, batch).await?;
        }
        Ok(resealed)
    }

    /// Writes the sealed form of each content over its entry, unless that changed; returns how many were written.
    async fn replace_batch(
        &self,
        sealing: &Sealing,
        batch: &[(&RegistryEntry, Option<&[u8]>)],
    ) -> Result<usize> {
        if self.replace_entries(sealing, batch).await? {
            return Ok(batch.len());
        }
        let mut replaced = 0;
        for entry in batch.chunks(1).filter(|_| batch.len() > 1) {
            replaced += usize::from(self.replace_entries(sealing, entry).await?);
        }
        Ok(replaced)
    }

    async fn replace_entries(
        &self,
        sealing: &Sealing,
        batch: &[(&RegistryEntry, Option<&[u8]>)],
    ) -> Result<bool> {
        sealing.refuse_if_outdated()?;
        let prepared = sealing.prepare_replacement(batch.iter().copied())?;
        let outcome = self.transact_stored(&prepared.transaction).await?;
        let committed = matches!(outcome, TransactionOutcome::Committed { .. });
        if let TransactionOutcome::Committed { revision } = outcome {
            sealing.learn_commit(&prepared.writes, revision);
        }
        Ok(committed)
    }

    /// Carries out `transaction` with its protected values sealed.
    pub(crate) async fn transact_sealed(
        &self,
        sealing: &Sealing,
        transaction: &Transaction,
    ) -> Result<TransactionOutcome> {
        if !sealing.concerns(transaction) {
            return self.transact_stored(transaction).await;
        }
        if self.holds_writes() {
            return Err(self.held_error());
        }
        for _ in 0..ATTEMPTS {
            // The version of a write follows the one that is stored.
            for key in sealing.unread_keys(transaction) {
                let (entry, revision) = self.get_stored(&key).await?;
                sealing.learn(&key, entry.as_ref(), revision);
            }
            self.check_secret_for(sealing, transaction).await?;
            let prepared = sealing.prepare(transaction)?;
            match self.transact_stored(&prepared.transaction).await? {
                TransactionOutcome::Committed { revision } => {
                    sealing.learn_commit(&prepared.writes, revision);
                    return Ok(TransactionOutcome::Committed { revision });
                }
                TransactionOutcome::Refused { revision, current } => {
                    for key in transaction.keys() {
                        let entry = current.iter().find(|entry| entry.key == key);
                        sealing.learn(&key, entry, revision);
                    }
                    if sealing.holds(transaction, &current) {
                        // Only what was assumed about sealed records was outdated.
                        continue;
                    }
                    let current = sealing.open_all(current, revision);
                    return Ok(TransactionOutcome::Refused { revision, current });
                }
            }
        }
        Err(Error::Unavailable {
            endpoints: self.endpoints().to_owned(),
            cause: "sealed records are being changed concurrently".to_owned(),
        })
    }
}

impl Sealing {
    fn lock(&self) -> MutexGuard<'_, KnownRecords> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.follow_falls(self.revisions.falls());
        known
    }

    /// Publishes that an earlier state of etcd was restored, or that this was accepted.
    pub(crate) fn publish_restore(&self) {
        let known = self.lock();
        self.send_tampered(&known);
    }

    fn send_tampered(&self, known: &KnownRecords) {
        let tampered = TamperedRecords {
            restored: self.revisions.restored(),
            ..self.judged(known)
        };
        self.tampered.send_replace(Arc::new(tampered));
    }

    /// Publishes the tampered records if they changed.
    fn publish(&self, known: &mut KnownRecords) {
        if known.take_changed() {
            self.send_tampered(known);
        }
    }

    fn with_known<T>(&self, change: impl FnOnce(&mut KnownRecords, &dyn RecordSealer) -> T) -> T {
        let mut known = self.lock();
        let result = change(&mut known, &*self.sealer);
        self.publish(&mut known);
        result
    }

    /// Learns the stored state of `key` as of `revision`.
    fn learn(&self, key: &[u8], entry: Option<&RegistryEntry>, revision: i64) {
        if !self.sealer.protects(key) {
            return;
        }
        self.with_known(|known, sealer| match entry {
            Some(entry) => drop(known.judge(sealer, entry, revision)),
            None => known.absent(key, revision),
        });
    }

    /// The entry of `key` as callers see it, as of `revision`.
    pub(crate) fn open_one(
        &self,
        key: &[u8],
        entry: Option<RegistryEntry>,
        revision: i64,
    ) -> Result<Option<RegistryEntry>> {
        if !self.sealer.protects(key) {
            return Ok(entry);
        }
        self.with_known(|known, sealer| {
            let tampered = |reason: String| Error::Tampered {
                key: String::from_utf8_lossy(key).into_owned(),
                reason,
            };
            match entry {
                Some(entry) => match known.judge(sealer, &entry, revision) {
                    RecordJudgement::Live(entry) => Ok(Some(entry)),
                    RecordJudgement::Removed => Ok(None),
                    RecordJudgement::Tampered(reason) => Err(tampered(reason)),
                },
                None => {
                    known.absent(key, revision);
                    match known.tampering(key) {
                        Some(record) => Err(tampered(record.reason.clone())),
                        None => Ok(None),
                    }
                }
            }
        })
    }

    /// The genuine records among `entries`, as of `revision`.
    fn open_all(&self, entries: Vec<RegistryEntry>, revision: i64) -> Vec<RegistryEntry> {
        self.with_known(|known, sealer| {
            entries
                .into_iter()
                .filter_map(|entry| open_listed(known, sealer, entry, revision))
                .collect()
        })
    }

    /// The listing of `prefix` as callers see it.
    pub(crate) fn open_listing(&self, prefix: &[u8], listing: Listing) -> Listing {
        let Listing { revision, entries } = listing;
        self.with_known(|known, sealer| {
            known.listed(prefix, &entries, revision);
            let entries = entries
                .into_iter()
                .filter_map(|entry| open_listed(known, sealer, entry, revision))
                .collect();
            Listing { revision, entries }
        })
    }

    /// The event of a watch of `prefix` as callers see it.
    pub(crate) fn open_event(&self, prefix: &[u8], event: WatchEvent) -> WatchEvent {
        match event {
            WatchEvent::Reset { revision, entries } => {
                let Listing { revision, entries } =
                    self.open_listing(prefix, Listing { revision, entries });
                WatchEvent::Reset { revision, entries }
            }
            WatchEvent::Changes { revision, changes } => {
                let changes = self.with_known(|known, sealer| {
                    changes
                        .into_iter()
                        .map(|change| open_change(known, sealer, change))
                        .collect()
                });
                WatchEvent::Changes { revision, changes }
            }
            other => other,
        }
    }
}

/// `entries` in parts that fit into one transaction.
fn batches<'a, 'b>(
    mut entries: &'a [(&'b RegistryEntry, Option<&'b [u8]>)],
) -> impl Iterator<Item = &'a [(&'b RegistryEntry, Option<&'b [u8]>)]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = entries
            .iter()
            .take(BATCH_RECORDS)
            .take_while(|(entry, _)| {
                bytes += entry.value.len();
                bytes <= BATCH_BYTES
            })
            .count();
        let (batch, rest) = entries.split_at(fitting.max(1).min(entries.len()));
        entries = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

fn open_listed(
    known: &mut KnownRecords,
    sealer: &dyn RecordSealer,
    entry: RegistryEntry,
    revision: i64,
) -> Option<RegistryEntry> {
    if !sealer.protects(&entry.key) {
        return Some(entry);
    }
    match known.judge(sealer, &entry, revision) {
        RecordJudgement::Live(entry) => Some(entry),
        RecordJudgement::Removed | RecordJudgement::Tampered(_) => None,
    }
}

/// A record that is not genuine also ends the genuine one that it replaced.
fn open_change(
    known: &mut KnownRecords,
    sealer: &dyn RecordSealer,
    change: KeyChange,
) -> KeyChange {
    match change {
        KeyChange::Put(entry) if sealer.protects(&entry.key) => {
            let (key, revision) = (entry.key.clone(), entry.mod_revision);
            match known.judge(sealer, &entry, revision) {
                RecordJudgement::Live(entry) => KeyChange::Put(entry),
                RecordJudgement::Removed | RecordJudgement::Tampered(_) => {
                    KeyChange::Delete { key, revision }
                }
            }
        }
        KeyChange::Delete { key, revision } => {
            if sealer.protects(&key) {
                known.absent(&key, revision);
            }
            KeyChange::Delete { key, revision }
        }
        put @ KeyChange::Put(_) => put,
    }
}

/// The lease of a put, as part of a sealed record.
fn is_leased(lease: Option<LeaseId>) -> bool {
    lease.is_some_and(|lease| lease != 0)
}
