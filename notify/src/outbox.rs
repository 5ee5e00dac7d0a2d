//! Deliveries in etcd: waiting ones are in the outbox, finished ones in the log.

use std::time::Duration;

use console_core::clock::now;
use console_core::delivery_seal::DeliverySeals;
use console_core::keyspace::NotifyKeys;
use galera::Timestamp;
use galera::publish::notification::Notification;
use galera::publish::notification::delivery::{Delivery, DeliveryAttempt, DeliveryState};
use rand::Rng;
use registry::{Precondition, Registry, RegistryEntry, Transaction, WriteOp};

/// A delivery fails when it was not accepted for this long.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);
/// A delivery fails after this many attempts when the receiver rejects the message itself.
const REJECTIONS_MAX: u32 = 4;
/// Attempts kept per delivery.
const ATTEMPTS_KEPT_MAX: usize = 10;
/// Finished deliveries kept per target.
const LOG_MAX: usize = 200;
const REMOVE_BATCH_SIZE: usize = 100;
const RETRY_DELAY_MAX: Duration = Duration::from_secs(600);

/// Number, revision of the creation, key.
pub(super) type OrderKey = (u64, i64, Vec<u8>);

/// A waiting delivery as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueuedDelivery {
    pub(super) key: Vec<u8>,
    pub(super) revision: i64,
    /// Deliveries without numbers are sent in the order of this revision.
    pub(super) create_revision: i64,
    pub(super) delivery: Delivery,
}

impl QueuedDelivery {
    /// Parses an entry of the outbox; `None` when it is unreadable.
    pub(super) fn parse(entry: &RegistryEntry) -> Option<Self> {
        match serde_json::from_slice::<Delivery>(&entry.value) {
            Ok(mut delivery) => {
                // The time is not sealed: a later one would hold back the target's other deliveries.
                let latest = now().plus(RETRY_DELAY_MAX);
                delivery.next_at = delivery.next_at.map(|at| at.min(latest));
                Some(Self {
                    key: entry.key.clone(),
                    revision: entry.mod_revision,
                    create_revision: entry.create_revision,
                    delivery,
                })
            }
            Err(error) => {
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                tracing::warn!(key, %error, "Ignoring an unreadable delivery: {error}");
                None
            }
        }
    }

    /// Sorts deliveries in the order in which they were queued; those without numbers first, of one transaction by key.
    pub(super) fn order_key(&self) -> OrderKey {
        let number = self.delivery.number;
        (number, self.create_revision, self.key.clone())
    }
}

/// A new delivery of `notification` to `target`, sealed.
pub(super) fn new_delivery(
    seals: &DeliverySeals,
    target: &str,
    number: u64,
    notification: Notification,
    now: Timestamp,
) -> Delivery {
    let mut delivery = Delivery {
        target: target.to_owned(),
        notice: notification,
        state: DeliveryState::Waiting,
        queued_at: now,
        next_at: None,
        ended_at: None,
        attempts: 0,
        tries: Vec::new(),
        number,
        seal: None,
    };
    seals.seal(&mut delivery);
    delivery
}

/// The write that puts a delivery into the outbox.
pub(super) fn enqueue_write(keys: &NotifyKeys, delivery: &Delivery) -> WriteOp {
    let key = keys.outbox_entry(&delivery.target, &delivery.notice.id);
    WriteOp::put(key, encode(delivery), None)
}

/// The write that puts a delivery into the log.
pub(super) fn log_write(keys: &NotifyKeys, delivery: &Delivery) -> WriteOp {
    let key = keys.log_entry(&delivery.target, &delivery.notice.id);
    WriteOp::put(key, encode(delivery), None)
}

/// The delivery after an attempt: finished, or waiting for the next one.
pub(super) fn after_attempt(
    delivery: &Delivery,
    attempt: DeliveryAttempt,
    rejected: bool,
    now: Timestamp,
) -> Delivery {
    let mut next = delivery.clone();
    next.attempts = next.attempts.saturating_add(1);
    let accepted = attempt.error.is_none();
    next.tries.push(attempt);
    let surplus = next.tries.len().saturating_sub(ATTEMPTS_KEPT_MAX);
    next.tries.drain(..surplus);
    let give_up =
        next.queued_at.age(now) >= GIVE_UP_AFTER || (rejected && next.attempts >= REJECTIONS_MAX);
    match (accepted, give_up) {
        (true, _) => finish(&mut next, DeliveryState::Delivered, now),
        (false, true) => finish(&mut next, DeliveryState::Failed, now),
        (false, false) => next.next_at = Some(now.plus(retry_delay(next.attempts))),
    }
    next
}

/// The delivery, failed without another attempt.
pub(super) fn give_up(delivery: &Delivery, why: &str, now: Timestamp) -> Delivery {
    let mut next = delivery.clone();
    next.tries.push(DeliveryAttempt {
        at: now,
        millis: 0,
        status: None,
        error: Some(why.to_owned()),
        answer: String::new(),
    });
    finish(&mut next, DeliveryState::Failed, now);
    next
}

/// A finished delivery, waiting to be sent again.
pub(super) fn requeued(delivery: &Delivery, now: Timestamp) -> Delivery {
    Delivery {
        state: DeliveryState::Waiting,
        queued_at: now,
        next_at: None,
        ended_at: None,
        attempts: 0,
        ..delivery.clone()
    }
}

/// Replaces `queued` by `next`, which waits for another attempt.
pub(super) fn retry_transaction(queued: &QueuedDelivery, next: &Delivery) -> Transaction {
    unchanged(queued).then([WriteOp::put(queued.key.clone(), encode(next), None)])
}

/// Moves `queued` to the log, as `next`.
pub(super) fn finish_transaction(
    keys: &NotifyKeys,
    queued: &QueuedDelivery,
    next: &Delivery,
) -> Transaction {
    discard_transaction(queued).then([log_write(keys, next)])
}

/// Removes `queued`.
pub(super) fn discard_transaction(queued: &QueuedDelivery) -> Transaction {
    unchanged(queued).then([WriteOp::delete(queued.key.clone())])
}

fn unchanged(queued: &QueuedDelivery) -> Transaction {
    Transaction::new().when(Precondition::Unchanged(queued.key.clone(), queued.revision))
}

/// Removes the oldest deliveries of a target's log, while `guard` holds.
pub(super) async fn prune_log(
    registry: &Registry,
    keys: &NotifyKeys,
    target: &str,
    guard: Precondition,
) -> Result<(), registry::Error> {
    let mut entries = registry.list(keys.log_of(target)).await?.entries;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.mod_revision));
    remove_entries(registry, entries.into_iter().skip(LOG_MAX), &guard).await
}

/// Removes entries in batches, while `guard` holds.
pub(super) async fn remove_entries(
    registry: &Registry,
    entries: impl Iterator<Item = RegistryEntry>,
    guard: &Precondition,
) -> Result<(), registry::Error> {
    let deletions: Vec<WriteOp> = entries.map(|entry| WriteOp::delete(entry.key)).collect();
    for chunk in deletions.chunks(REMOVE_BATCH_SIZE) {
        let transaction = Transaction::new().when(guard.clone()).then(chunk.to_vec());
        registry.transact(&transaction).await?;
    }
    Ok(())
}

fn finish(delivery: &mut Delivery, state: DeliveryState, now: Timestamp) {
    delivery.state = state;
    delivery.next_at = None;
    delivery.ended_at = Some(now);
}

/// Exponential backoff from one second, with jitter so that a recovered receiver does not get all retries simultaneously.
fn retry_delay(attempts: u32) -> Duration {
    let delay = Duration::from_secs(1 << attempts.saturating_sub(1).min(10)).min(RETRY_DELAY_MAX);
    delay.mul_f64(rand::rng().random_range(0.5..1.0))
}

fn encode(delivery: &Delivery) -> Vec<u8> {
    // Strings, numbers and times always serialize.
    serde_json::to_vec(delivery).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use galera::publish::notification::{Audience, NotificationKind, Severity};

    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

    fn sample_delivery() -> Delivery {
        let notification = Notification {
            id: "lab.1".to_owned(),
            kind: NotificationKind::Verdict,
            at: NOW,
            cluster: None,
            severity: Severity::Info,
            title: String::new(),
            text: String::new(),
            path: "/".to_owned(),
            problem: None,
            action: None,
            finding: None,
            audience: Audience::Everyone,
        };
        new_delivery(&DeliverySeals::default(), "t", 1, notification, NOW)
    }

    fn attempt(error: Option<&str>) -> DeliveryAttempt {
        DeliveryAttempt {
            at: NOW,
            millis: 3,
            status: None,
            error: error.map(str::to_owned),
            answer: String::new(),
        }
    }

    #[test]
    fn retry_delays_grow_up_to_a_limit() {
        let mut delivery = sample_delivery();
        for attempts in 1..=40 {
            delivery = after_attempt(&delivery, attempt(Some("500")), false, NOW);
            let pause = NOW.age(delivery.next_at.unwrap());
            let longest = Duration::from_secs(1 << (attempts - 1).min(10)).min(RETRY_DELAY_MAX);
            assert!(
                pause <= longest && pause >= longest.mul_f64(0.49),
                "{attempts}: {pause:?}"
            );
            assert_eq!(
                delivery.tries.len(),
                usize::try_from(attempts).unwrap().min(ATTEMPTS_KEPT_MAX)
            );
        }
        let late = after_attempt(
            &delivery,
            attempt(Some("500")),
            false,
            NOW.plus(GIVE_UP_AFTER),
        );
        assert_eq!((late.state, late.next_at), (DeliveryState::Failed, None));
        let again = requeued(&late, NOW.plus(GIVE_UP_AFTER));
        assert_eq!((again.state, again.attempts), (DeliveryState::Waiting, 0));
        let taken = after_attempt(&again, attempt(None), false, NOW);
        assert_eq!(
            (taken.state, taken.ended_at),
            (DeliveryState::Delivered, Some(NOW))
        );
    }

    #[test]
    fn a_rejected_message_soon_fails() {
        let mut delivery = sample_delivery();
        while delivery.state == DeliveryState::Waiting {
            delivery = after_attempt(&delivery, attempt(Some("400")), true, NOW);
        }
        assert_eq!(
            (delivery.state, delivery.attempts),
            (DeliveryState::Failed, REJECTIONS_MAX)
        );
    }
}
