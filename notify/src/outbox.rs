//! Deliveries in etcd: those that wait lie in the outbox, those that ended in the log.

use std::time::Duration;

use galera::Timestamp;
use galera::publish::notification::Notice;
use galera::publish::notification::delivery::{Attempt, Delivery, DeliveryState};
use rand::Rng;
use registry::{Entry, Guard, Registry, Transaction, Write};

use super::keys::Keys;

/// How long a delivery is tried.
pub(super) const GIVE_UP: Duration = Duration::from_secs(86_400);
/// How often a receiver may refuse a message itself before it is given up.
const UNWANTED_MAX: u32 = 4;
/// Attempts that are kept of a delivery.
const TRIES_MAX: usize = 10;
/// Deliveries that are kept of each target after they ended.
const LOG_MAX: usize = 200;
/// Keys removed in one transaction.
const REMOVED_AT_ONCE: usize = 100;
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// A delivery that waits, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) key: Vec<u8>,
    pub(super) revision: i64,
    /// Tells the order in which deliveries were queued.
    pub(super) created: i64,
    pub(super) delivery: Delivery,
}

impl Queued {
    /// Reads an entry of the outbox.
    pub(super) fn read(entry: &Entry) -> Option<Self> {
        match serde_json::from_slice(&entry.value) {
            Ok(delivery) => Some(Self {
                key: entry.key.clone(),
                revision: entry.mod_revision,
                created: entry.create_revision,
                delivery,
            }),
            Err(error) => {
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                tracing::warn!(key, %error, "A delivery in etcd cannot be read: {error}");
                None
            }
        }
    }

    /// Among deliveries that were queued in one transaction, the order is that of their keys.
    pub(super) fn place(&self) -> (i64, Vec<u8>) {
        (self.created, self.key.clone())
    }
}

/// A new delivery of `notice` to `target`.
pub(super) fn delivery(target: &str, notice: Notice, now: Timestamp) -> Delivery {
    Delivery {
        target: target.to_owned(),
        notice,
        state: DeliveryState::Waiting,
        queued_at: now,
        next_at: None,
        ended_at: None,
        attempts: 0,
        tries: Vec::new(),
    }
}

/// Puts a delivery into the outbox.
pub(super) fn queue(keys: &Keys, delivery: &Delivery) -> Write {
    let key = keys.waiting(&delivery.target, &delivery.notice.id);
    Write::put(key, encode(delivery), None)
}

/// Puts a delivery into the log.
pub(super) fn log(keys: &Keys, delivery: &Delivery) -> Write {
    let key = keys.logged(&delivery.target, &delivery.notice.id);
    Write::put(key, encode(delivery), None)
}

/// What a delivery is after an attempt.
pub(super) fn after(
    delivery: &Delivery,
    attempt: Attempt,
    unwanted: bool,
    now: Timestamp,
) -> Delivery {
    let mut next = delivery.clone();
    next.attempts = next.attempts.saturating_add(1);
    let taken = attempt.error.is_none();
    next.tries.push(attempt);
    let surplus = next.tries.len().saturating_sub(TRIES_MAX);
    next.tries.drain(..surplus);
    let over = next.queued_at.age(now) >= GIVE_UP || (unwanted && next.attempts >= UNWANTED_MAX);
    match (taken, over) {
        (true, _) => end(&mut next, DeliveryState::Delivered, now),
        (false, true) => end(&mut next, DeliveryState::Failed, now),
        (false, false) => next.next_at = Some(now.plus(pause(next.attempts))),
    }
    next
}

/// Gives a delivery up without another attempt.
pub(super) fn give_up(delivery: &Delivery, why: &str, now: Timestamp) -> Delivery {
    let mut next = delivery.clone();
    next.tries.push(Attempt {
        at: now,
        millis: 0,
        status: None,
        error: Some(why.to_owned()),
        answer: String::new(),
    });
    end(&mut next, DeliveryState::Failed, now);
    next
}

/// A delivery that ended, to be sent once more.
pub(super) fn again(delivery: &Delivery, now: Timestamp) -> Delivery {
    Delivery {
        state: DeliveryState::Waiting,
        queued_at: now,
        next_at: None,
        ended_at: None,
        attempts: 0,
        ..delivery.clone()
    }
}

/// Keeps what became of `queued`: in its place, or in the log.
pub(super) fn settle(keys: &Keys, queued: &Queued, next: &Delivery) -> Transaction {
    let transaction =
        Transaction::new().when(Guard::Unchanged(queued.key.clone(), queued.revision));
    if next.state == DeliveryState::Waiting {
        transaction.then([Write::put(queued.key.clone(), encode(next), None)])
    } else {
        transaction.then([Write::delete(queued.key.clone()), log(keys, next)])
    }
}

/// Removes the oldest deliveries of a target's log, while `guard` holds.
pub(super) async fn shorten(
    registry: &Registry,
    keys: &Keys,
    target: &str,
    guard: Guard,
) -> Result<(), registry::Error> {
    let mut entries = registry.list(keys.log_of(target)).await?.entries;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.mod_revision));
    remove(registry, entries.into_iter().skip(LOG_MAX), &guard).await
}

/// Removes entries, some at once, while `guard` holds.
pub(super) async fn remove(
    registry: &Registry,
    entries: impl Iterator<Item = Entry>,
    guard: &Guard,
) -> Result<(), registry::Error> {
    let deletions: Vec<Write> = entries.map(|entry| Write::delete(entry.key)).collect();
    for chunk in deletions.chunks(REMOVED_AT_ONCE) {
        let transaction = Transaction::new().when(guard.clone()).then(chunk.to_vec());
        registry.transact(&transaction).await?;
    }
    Ok(())
}

fn end(delivery: &mut Delivery, state: DeliveryState, now: Timestamp) {
    delivery.state = state;
    delivery.next_at = None;
    delivery.ended_at = Some(now);
}

/// Doubles from one second; a part of it is chance, so that receivers that come back are not met by everybody at once.
fn pause(attempts: u32) -> Duration {
    let whole = Duration::from_secs(1 << attempts.saturating_sub(1).min(10)).min(PAUSE_MAX);
    whole.mul_f64(rand::rng().random_range(0.5..1.0))
}

fn encode(delivery: &Delivery) -> Vec<u8> {
    // Texts, numbers and times: nothing that JSON cannot hold.
    serde_json::to_vec(delivery).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use galera::publish::notification::{Audience, Kind, Severity};

    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

    fn fresh() -> Delivery {
        let notice = Notice {
            id: "lab.1".to_owned(),
            kind: Kind::Verdict,
            at: NOW,
            cluster: None,
            severity: Severity::Info,
            title: String::new(),
            text: String::new(),
            path: "/".to_owned(),
            problem: None,
            action: None,
            audience: Audience::Everyone,
        };
        delivery("t", notice, NOW)
    }

    fn attempt(error: Option<&str>) -> Attempt {
        Attempt {
            at: NOW,
            millis: 3,
            status: None,
            error: error.map(str::to_owned),
            answer: String::new(),
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut delivery = fresh();
        for attempts in 1..=40 {
            delivery = after(&delivery, attempt(Some("500")), false, NOW);
            let pause = NOW.age(delivery.next_at.unwrap());
            let longest = Duration::from_secs(1 << (attempts - 1).min(10)).min(PAUSE_MAX);
            assert!(
                pause <= longest && pause >= longest.mul_f64(0.49),
                "{attempts}: {pause:?}"
            );
            assert_eq!(
                delivery.tries.len(),
                usize::try_from(attempts).unwrap().min(TRIES_MAX)
            );
        }
        let late = after(&delivery, attempt(Some("500")), false, NOW.plus(GIVE_UP));
        assert_eq!((late.state, late.next_at), (DeliveryState::Failed, None));
        let again = again(&late, NOW.plus(GIVE_UP));
        assert_eq!((again.state, again.attempts), (DeliveryState::Waiting, 0));
        let taken = after(&again, attempt(None), false, NOW);
        assert_eq!(
            (taken.state, taken.ended_at),
            (DeliveryState::Delivered, Some(NOW))
        );
    }

    #[test]
    fn an_unwanted_message_holds_nobody_up_for_long() {
        let mut delivery = fresh();
        while delivery.state == DeliveryState::Waiting {
            delivery = after(&delivery, attempt(Some("400")), true, NOW);
        }
        assert_eq!(
            (delivery.state, delivery.attempts),
            (DeliveryState::Failed, UNWANTED_MAX)
        );
    }
}
