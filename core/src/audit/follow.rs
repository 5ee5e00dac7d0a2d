//! Follows the head: checks each change of it, and takes anchors.

use std::time::{Duration, Instant};

use galera::record::audit::{AuditAnchor, AuditEvent, AuditRecord};
use registry::{KeyChange, RegistryEntry, WatchEvent};
use tokio::time::sleep;

use super::anchors::AnchorWriter;
use super::{AnchorOutputs, AnchorSettings, AuditError, AuditTrail, decode_entry};
use crate::clock::now;

/// Time between attempts while etcd does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time between two checks of the head.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

impl AuditTrail {
    /// Checks every change of the head and takes anchors, until it is dropped. First compares the trail with the last anchor in
    /// the file of `outputs`, and with the entry `seen` by an earlier process.
    pub async fn follow(
        &self,
        settings: AnchorSettings,
        outputs: AnchorOutputs,
        seen: Option<AuditAnchor>,
    ) {
        let mut anchors = AnchorWriter::new(settings, outputs);
        for anchor in anchors.initial().cloned().into_iter().chain(seen) {
            while let Err(error) = self.check_anchor(&anchor).await {
                tracing::debug!(%error, "The audit trail could not be compared with its anchor: {error}");
                sleep(RETRY_INTERVAL).await;
            }
        }
        let mut events = self.watch_head();
        let mut compared = self.last_seen();
        loop {
            match self.check_continuation(&mut compared).await {
                Ok(()) => {
                    if let Some(head) = self.last_seen() {
                        // Small and rare; also on disk before the next one is taken.
                        anchors = take_anchor(anchors, head).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "The head of the audit trail could not be checked: {error}");
                    sleep(RETRY_INTERVAL).await;
                    continue;
                }
            }
            let wait = anchors.due().saturating_duration_since(Instant::now());
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.note_repairs(&event),
                    None => return,
                },
                () = sleep(wait.clamp(RETRY_INTERVAL, CHECK_INTERVAL)) => {}
            }
        }
    }

    /// Checks the head, and that the trail continues the entry `compared`, which becomes the newest one. A trail that was put back
    /// and written further by a console that had not seen its end has an authentic head, which is not older.
    pub(super) async fn check_continuation(
        &self,
        compared: &mut Option<AuditAnchor>,
    ) -> Result<(), AuditError> {
        let is_genuine = self.check_head().await?;
        let newest = self.last_seen();
        if let (true, Some(before), Some(newest)) = (is_genuine, &*compared, &newest)
            && newest.sequence > before.sequence
            && let Ok(Some(next)) = self.entry(before.sequence + 1).await
            && next.previous != before.hash
        {
            let reason = format!(
                "entry {} does not follow entry {} as it was seen",
                next.sequence, before.sequence
            );
            if self.memory.permits_repair_entry(Instant::now()) {
                self.record_change(reason).await?;
            } else {
                self.memory.raise(reason);
            }
        }
        *compared = self.last_seen();
        Ok(())
    }

    /// Raises the alarm that another replica recorded.
    fn note_repairs(&self, event: &WatchEvent) {
        let heads: Vec<&RegistryEntry> = match event {
            WatchEvent::Reset { entries, .. } => entries.iter().collect(),
            WatchEvent::Changes { changes, .. } => changes
                .iter()
                .filter_map(|change| match change {
                    KeyChange::Put(entry) => Some(entry),
                    KeyChange::Delete { .. } => None,
                })
                .collect(),
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => return,
        };
        for head in heads {
            if let Ok(entry) = decode_entry(head)
                && entry.record.event == AuditEvent::AUDIT_TRAIL_TAMPERED
                && self.memory.note_repair(&entry.anchor())
            {
                let reason = entry.record.detail.get("reason");
                self.memory.raise(reason.cloned().unwrap_or_default());
            }
        }
    }

    /// Whether the entry of `anchor` is no longer in etcd, as the cut says.
    async fn is_archived(&self, anchor: &AuditAnchor) -> Result<bool, AuditError> {
        match self.cut().await {
            Ok(cut) => Ok(cut.is_some_and(|cut| anchor.sequence < cut.first)),
            // Reported elsewhere; the entry counts as missing.
            Err(AuditError::Registry(registry::Error::Tampered { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks that the trail contains `anchor`, which was taken earlier; if not, raises an alarm and records it.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn check_anchor(&self, anchor: &AuditAnchor) -> Result<(), AuditError> {
        self.remember(anchor);
        if !self.check_head().await? {
            // The alarm is raised, and recorded after the place of the anchor.
            return Ok(());
        }
        let stored = self.entry(anchor.sequence).await;
        let reason = match stored {
            Ok(Some(entry)) if entry.hash == anchor.hash => return Ok(()),
            Ok(Some(_)) | Err(AuditError::Damaged { .. }) => "was replaced",
            Ok(None) if self.is_archived(anchor).await? => return Ok(()),
            Ok(None) => "is missing",
            Err(error) => return Err(error),
        };
        let reason = format!(
            "entry {}, of which an anchor was taken, {reason}",
            anchor.sequence
        );
        self.record_change(reason).await
    }

    /// Records a change of the trail outside the console, and raises the alarm.
    async fn record_change(&self, reason: String) -> Result<(), AuditError> {
        self.record(AuditRecord {
            at: now(),
            actor: self.actor.to_string(),
            event: AuditEvent::AUDIT_TRAIL_TAMPERED,
            cluster: None,
            subject: None,
            detail: [("reason".to_owned(), reason.clone())].into(),
        })
        .await?;
        self.memory.raise(reason);
        Ok(())
    }
}

/// Takes an anchor on a thread that may wait for the disk.
async fn take_anchor(mut anchors: AnchorWriter, head: AuditAnchor) -> AnchorWriter {
    if !anchors.is_due(&head) {
        return anchors;
    }
    let taking = tokio::task::spawn_blocking(move || {
        anchors.take(&head);
        anchors
    });
    match taking.await {
        Ok(anchors) => anchors,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops this task.
            Err(_) => std::future::pending().await,
        },
    }
}
