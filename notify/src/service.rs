//! Targets and deliveries as the API manages them. Each change is recorded in the audit trail.

use std::collections::BTreeMap;

use console_core::audit::AuditError;
use console_core::clock::now;
use galera::Timestamp;
use galera::publish::notification::delivery::{
    Delivery, DeliveryList, DeliveryState, TargetList, TargetView,
};
use galera::publish::notification::{Audience, Notification, NotificationKind, Severity};
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, RegistryEntry, Transaction, TransactionOutcome, WriteOp};
use uuid::Uuid;

use super::NotificationService;
use super::outbox;
use super::queue_numbers::NextNumbers;
use super::target::TargetRecord;
use super::target_request::{InvalidTarget, TargetRequest};
use crate::webhook_client::ReceiverUrl;

/// Maximum number of targets: one transaction may enqueue a delivery to each, and etcd allows 128 operations in one.
const TARGETS_MAX: usize = 50;

/// Why a request about targets or deliveries failed.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("there is no notification target {0}")]
    UnknownTarget(String),
    #[error("there is no such delivery; it may have been removed to make room for newer ones")]
    UnknownDelivery,
    #[error(
        "this delivery was not queued by a console with this state secret, so it is not sent; another client of etcd wrote it"
    )]
    ForgedDelivery,
    #[error(transparent)]
    Invalid(#[from] InvalidTarget),
    #[error("there are {TARGETS_MAX} targets already; remove one first")]
    TooManyTargets,
    /// A concurrent change was first.
    #[error("it was changed by someone else in the meantime; reload it and try again")]
    Contended,
    #[error(transparent)]
    Trail(#[from] AuditError),
}

impl From<registry::Error> for NotifyError {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}

/// A filter on deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    /// Only deliveries to this target, by ID.
    pub target: Option<String>,
    pub state: Option<DeliveryState>,
    /// Maximum number of deliveries returned.
    pub limit: usize,
}

impl NotificationService {
    /// All targets, sorted by name.
    ///
    /// # Errors
    /// When etcd fails.
    pub async fn list_targets(&self) -> Result<TargetList, NotifyError> {
        let inner = &self.inner;
        let entries = inner.registry.list(inner.keys.targets()).await?.entries;
        let mut targets = Vec::new();
        for entry in &entries {
            if let Some((id, target)) = self.parse_target(entry) {
                targets.push(
                    self.with_deliveries(target.to_view(&id, entry.mod_revision))
                        .await?,
                );
            }
        }
        targets.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        let smtp = inner.sender.mailer.is_some();
        Ok(TargetList { targets, smtp })
    }

    /// One target.
    ///
    /// # Errors
    /// [`NotifyError::UnknownTarget`], or when etcd fails.
    pub async fn get_target(&self, id: &str) -> Result<TargetView, NotifyError> {
        let (target, revision) = self.require_target(id).await?;
        self.with_deliveries(target.to_view(id, revision)).await
    }

    /// Adds a target.
    ///
    /// # Errors
    /// When the request is invalid, there are too many targets, or etcd fails.
    pub async fn create_target(
        &self,
        by: &str,
        request: &TargetRequest,
    ) -> Result<TargetView, NotifyError> {
        let at = now();
        let target = request.new_target(by, at)?;
        let inner = &self.inner;
        let entries = inner.registry.list(inner.keys.targets()).await?.entries;
        if entries.len() >= TARGETS_MAX {
            return Err(NotifyError::TooManyTargets);
        }
        let id: String = Uuid::new_v4()
            .simple()
            .to_string()
            .chars()
            .take(12)
            .collect();
        let key = inner.keys.target(&id);
        let transaction = Transaction::new()
            .when(Precondition::Absent(key.clone().into()))
            .then([WriteOp::put(key, encode(&target), None)]);
        let record = audit_record(&id, &target, by, AuditEvent::NOTIFY_TARGET_ADDED, at);
        let revision = self.commit(&transaction, record).await?;
        Ok(target.to_view(&id, revision))
    }

    /// Changes a target.
    ///
    /// # Errors
    /// When the request is invalid, the target is unknown or was changed since, or etcd fails.
    pub async fn update_target(
        &self,
        by: &str,
        id: &str,
        request: &TargetRequest,
    ) -> Result<TargetView, NotifyError> {
        let at = now();
        let (before, seen) = self.require_target(id).await?;
        if request.revision.is_some_and(|revision| revision != seen) {
            return Err(NotifyError::Contended);
        }
        let target = request.apply_to(&before, by, at)?;
        let key = self.inner.keys.target(id);
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.clone().into(), seen))
            .then([WriteOp::put(key, encode(&target), None)]);
        let record = audit_record(id, &target, by, AuditEvent::NOTIFY_TARGET_CHANGED, at);
        let revision = self.commit(&transaction, record).await?;
        self.with_deliveries(target.to_view(id, revision)).await
    }

    /// Removes a target with its waiting deliveries and its log.
    ///
    /// # Errors
    /// When the target is unknown or was changed since, or etcd fails.
    pub async fn remove_target(&self, by: &str, id: &str) -> Result<(), NotifyError> {
        let (target, seen) = self.require_target(id).await?;
        let keys = &self.inner.keys;
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(keys.target(id).into(), seen))
            .then([
                WriteOp::delete(keys.target(id)),
                WriteOp::delete(keys.queued_number(id)),
                WriteOp::delete(keys.settled_number(id)),
            ]);
        let record = audit_record(id, &target, by, AuditEvent::NOTIFY_TARGET_REMOVED, now());
        self.commit(&transaction, record).await?;
        for prefix in [keys.outbox_of(id), keys.log_of(id)] {
            let entries = self.inner.registry.list(prefix).await?.entries;
            // Nothing else is written for a removed target.
            let target_absent = Precondition::Absent(keys.target(id).into());
            outbox::remove_entries(&self.inner.registry, entries.into_iter(), &target_absent)
                .await?;
        }
        Ok(())
    }

    /// Sends a test immediately, whether the target is enabled or not, and returns its result. A failed delivery is a
    /// result, not an error.
    ///
    /// # Errors
    /// When the target is unknown or etcd fails.
    pub async fn send_test(&self, by: &str, id: &str) -> Result<Delivery, NotifyError> {
        let (target, _) = self.require_target(id).await?;
        let at = now();
        let notification = test_notification(by, &target.name, at);
        let (_, attempt) = self.inner.sender.attempt(id, &target, &notification).await;
        let mut delivery = outbox::new_delivery(&self.inner.seals, id, 0, notification, at);
        delivery.state = if attempt.error.is_none() {
            DeliveryState::Delivered
        } else {
            DeliveryState::Failed
        };
        delivery.attempts = 1;
        delivery.ended_at = Some(now());
        delivery.tries.push(attempt);
        let keys = &self.inner.keys;
        let exists = Precondition::Exists(keys.target(id).into());
        let transaction = Transaction::new()
            .when(exists.clone())
            .then([outbox::log_write(keys, &delivery)]);
        let mut record = audit_record(id, &target, by, AuditEvent::NOTIFY_TARGET_TESTED, at);
        record
            .detail
            .insert("result".to_owned(), delivery.state.as_str().to_owned());
        self.commit(&transaction, record).await?;
        outbox::prune_log(&self.inner.registry, keys, id, exists).await?;
        Ok(delivery)
    }

    /// Deliveries, newest first.
    ///
    /// # Errors
    /// When etcd fails.
    pub async fn list_deliveries(
        &self,
        query: &DeliveryQuery,
    ) -> Result<DeliveryList, NotifyError> {
        let keys = &self.inner.keys;
        let prefixes = match &query.target {
            Some(target) => [keys.outbox_of(target), keys.log_of(target)],
            None => [keys.outbox(), keys.log()],
        };
        let mut found: Vec<(i64, Delivery)> = Vec::new();
        for prefix in prefixes {
            for entry in self.inner.registry.list(prefix).await?.entries {
                let delivery = serde_json::from_slice::<Delivery>(&entry.value).ok();
                let matching =
                    |delivery: &Delivery| query.state.is_none_or(|state| delivery.state == state);
                found.extend(
                    delivery
                        .filter(matching)
                        .map(|delivery| (entry.mod_revision, delivery)),
                );
            }
        }
        found.sort_by_key(|(revision, delivery)| {
            std::cmp::Reverse((delivery.queued_at, delivery.notice.at, *revision))
        });
        let more = found.len().saturating_sub(query.limit);
        let deliveries = found
            .into_iter()
            .take(query.limit)
            .map(|(_, delivery)| delivery)
            .collect();
        Ok(DeliveryList { deliveries, more })
    }

    /// Queues a finished delivery again; a waiting one becomes due immediately.
    ///
    /// # Errors
    /// When the target or the delivery is unknown, it was changed in the meantime, or etcd fails.
    pub async fn redeliver(
        &self,
        by: &str,
        id: &str,
        notification: &str,
    ) -> Result<Delivery, NotifyError> {
        let (target, _) = self.require_target(id).await?;
        let keys = &self.inner.keys;
        let (waiting, logged) = (
            keys.outbox_entry(id, notification),
            keys.log_entry(id, notification),
        );
        let at = now();
        let in_outbox = self.inner.registry.get(waiting.clone()).await?;
        let (entry, guard) = match in_outbox {
            Some(entry) => (entry, None),
            None => {
                let entry = self.inner.registry.get(logged.clone()).await?;
                let entry = entry.ok_or(NotifyError::UnknownDelivery)?;
                (entry, Some(Precondition::Absent(waiting.clone().into())))
            }
        };
        let delivery: Delivery =
            serde_json::from_slice(&entry.value).map_err(|_| NotifyError::UnknownDelivery)?;
        if !self.inner.seals.is_genuine(&delivery) {
            return Err(NotifyError::ForgedDelivery);
        }
        let mut next = outbox::requeued(&delivery, at);
        let mut transaction = Transaction::new().when(Precondition::Unchanged(
            entry.key.clone(),
            entry.mod_revision,
        ));
        if let Some(guard) = guard {
            // A finished delivery is queued as a further one.
            let mut numbers =
                NextNumbers::read(&self.inner.registry, keys, std::iter::once(id)).await?;
            next.number = numbers.take(id);
            self.inner.seals.seal(&mut next);
            transaction = numbers.record_in(transaction);
            transaction = transaction.when(guard).then([WriteOp::delete(entry.key)]);
        }
        transaction = transaction.then([outbox::enqueue_write(keys, &next)]);
        let mut record = audit_record(id, &target, by, AuditEvent::NOTICE_REDELIVERED, at);
        record
            .detail
            .insert("notice".to_owned(), notification.to_owned());
        self.commit(&transaction, record).await?;
        Ok(next)
    }

    pub(super) async fn require_target(
        &self,
        id: &str,
    ) -> Result<(TargetRecord, i64), NotifyError> {
        let unknown = || NotifyError::UnknownTarget(id.chars().take(40).collect());
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(unknown());
        }
        let entry = self.inner.registry.get(self.inner.keys.target(id)).await?;
        let entry = entry.ok_or_else(unknown)?;
        let (_, target) = self.parse_target(&entry).ok_or_else(unknown)?;
        Ok((target, entry.mod_revision))
    }

    fn parse_target(&self, entry: &RegistryEntry) -> Option<(String, TargetRecord)> {
        let key = std::str::from_utf8(&entry.key).ok()?;
        let id = key.strip_prefix(&self.inner.keys.targets())?;
        let target = serde_json::from_slice(&entry.value).ok()?;
        Some((id.to_owned(), target))
    }

    async fn with_deliveries(&self, mut view: TargetView) -> Result<TargetView, NotifyError> {
        let query = DeliveryQuery {
            target: Some(view.id.clone()),
            state: None,
            limit: usize::MAX,
        };
        let all = self.list_deliveries(&query).await?.deliveries;
        view.waiting = all
            .iter()
            .filter(|one| one.state == DeliveryState::Waiting)
            .count();
        // The delivery attempted last, regardless of when it was queued.
        view.last = all
            .into_iter()
            .filter(|delivery| !delivery.tries.is_empty())
            .max_by_key(|delivery| delivery.tries.last().map(|attempt| attempt.at));
        Ok(view)
    }

    async fn commit(
        &self,
        transaction: &Transaction,
        record: AuditRecord,
    ) -> Result<i64, NotifyError> {
        match self
            .inner
            .sources
            .trail
            .commit(transaction, &[record])
            .await?
        {
            TransactionOutcome::Committed { revision } => Ok(revision),
            TransactionOutcome::Refused { .. } => Err(NotifyError::Contended),
        }
    }
}

fn encode(target: &TargetRecord) -> Vec<u8> {
    // Strings and numbers always serialize.
    serde_json::to_vec(target).unwrap_or_default()
}

/// An audit record about a target, without secrets. Of a URL only the origin: its path or query may be a token, and every
/// role reads the trail.
fn audit_record(
    id: &str,
    target: &TargetRecord,
    by: &str,
    event: AuditEvent,
    at: Timestamp,
) -> AuditRecord {
    let view = target.to_view(id, 0);
    let mut detail = BTreeMap::from([
        ("name".to_owned(), view.name),
        ("type".to_owned(), view.channel.as_str().to_owned()),
        ("enabled".to_owned(), view.enabled.to_string()),
    ]);
    let origin = view.url.and_then(|url| url.parse::<ReceiverUrl>().ok());
    detail.extend(origin.map(|url| ("url".to_owned(), url.origin())));
    if !view.to.is_empty() {
        detail.insert("to".to_owned(), view.to.join(", "));
    }
    AuditRecord {
        at,
        actor: by.to_owned(),
        event,
        cluster: None,
        subject: Some(id.to_owned()),
        detail,
    }
}

fn test_notification(by: &str, target: &str, at: Timestamp) -> Notification {
    Notification {
        id: format!("test.{}", Uuid::new_v4().simple()),
        kind: NotificationKind::Test,
        at,
        cluster: None,
        severity: Severity::Info,
        title: format!("Test of the notification target {target}"),
        text: format!("Test sent by {by}. No cluster is affected."),
        path: "/notifications".to_owned(),
        problem: None,
        action: None,
        finding: None,
        audience: Audience::Person {
            name: by.to_owned(),
        },
    }
}
