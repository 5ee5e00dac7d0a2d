//! Seals of queued notifications. A target's receiver trusts what is signed with the target's secret, and people what the
//! console sends them: a text that another client of etcd puts into the outbox must not become either.
//!
//! A delivery is no sealed record, because those leave a note when they are removed, and deliveries come and go. So that one that
//! was sent cannot be put back and sent again, its seal covers its number among those of its target, and the highest number that
//! was settled is a sealed record.

use std::sync::Arc;

use galera::publish::notification::delivery::Delivery;
use registry::{Error, Precondition, Registry, Transaction, WriteOp};

use crate::keyspace::NotifyKeys;
use crate::state_secret::{StateSecretSealer, StateSecrets};

/// Seals deliveries with the state secret, if there is one.
#[derive(Clone, Debug, Default)]
pub struct DeliverySeals(Option<Arc<StateSecrets>>);

impl DeliverySeals {
    /// With the secrets that seal the records of `registry`.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        Self(StateSecretSealer::secrets_of(registry))
    }

    /// With these secrets.
    #[must_use]
    pub fn with(secrets: StateSecrets) -> Self {
        Self(Some(Arc::new(secrets)))
    }

    /// Whether deliveries are sealed.
    #[must_use]
    pub fn are_required(&self) -> bool {
        self.0.is_some()
    }

    /// Binds the notification and its number to its target. Attempts may be added afterwards.
    pub fn seal(&self, delivery: &mut Delivery) {
        let secrets = self.0.as_ref();
        delivery.seal = secrets.map(|secrets| secrets.seal_delivery(&message(delivery)));
    }

    /// Whether a console with one of these secrets queued this notification for this target. Always true without a secret.
    #[must_use]
    pub fn is_genuine(&self, delivery: &Delivery) -> bool {
        let Some(secrets) = &self.0 else {
            return true;
        };
        let seal = delivery.seal.as_ref();
        seal.is_some_and(|seal| secrets.verify_delivery(&message(delivery), seal))
    }
}

/// Seals the deliveries below `state_prefix` that are not newer than `up_to`, when records are sealed for the first time, and those
/// of consoles that gave them no number.
///
/// # Errors
/// etcd errors.
pub(crate) async fn seal_stored(
    registry: &Registry,
    state_prefix: &str,
    secrets: &StateSecrets,
    up_to: i64,
) -> Result<(), Error> {
    let seals = DeliverySeals::with(secrets.clone());
    let keys = NotifyKeys::new(state_prefix);
    for prefix in [keys.outbox(), keys.log()] {
        let waits = prefix == keys.outbox();
        let mut entries = registry.list(prefix).await?.entries;
        entries.retain(|entry| entry.mod_revision <= up_to);
        entries.sort_by_key(|entry| entry.create_revision);
        for entry in entries {
            let delivery: Option<Delivery> = serde_json::from_slice(&entry.value).ok();
            let Some(mut delivery) = delivery.filter(|delivery| match &delivery.seal {
                None => true,
                Some(seal) => secrets.verify_delivery(&message_without_number(delivery), seal),
            }) else {
                continue;
            };
            let unchanged = Precondition::Unchanged(entry.key.clone(), entry.mod_revision);
            let mut seal = Transaction::new().when(unchanged);
            if waits && delivery.number == 0 {
                seal = with_next_number(registry, &keys, &mut delivery, seal).await?;
            }
            seals.seal(&mut delivery);
            let value =
                serde_json::to_vec(&delivery).map_err(|error| Error::Invalid(error.to_string()))?;
            // One that was changed meanwhile is left as it is.
            let seal = seal.then([WriteOp::put(entry.key, value, None)]);
            registry.transact(&seal).await?;
        }
    }
    Ok(())
}

/// Gives `delivery` the next number of its target, in the transaction that stores it.
async fn with_next_number(
    registry: &Registry,
    keys: &NotifyKeys,
    delivery: &mut Delivery,
    transaction: Transaction,
) -> Result<Transaction, Error> {
    let (queued, settled) = (
        keys.queued_number(&delivery.target),
        keys.settled_number(&delivery.target),
    );
    let record = |number: u64| serde_json::json!({ "number": number }).to_string();
    let last = registry.get(queued.as_str()).await?;
    let number = last.as_ref().and_then(|last| {
        let last: serde_json::Value = serde_json::from_slice(&last.value).ok()?;
        last.get("number")?.as_u64()
    });
    delivery.number = number.unwrap_or_default() + 1;
    let transaction = match last {
        Some(last) => transaction.when(Precondition::Unchanged(last.key, last.mod_revision)),
        None => transaction
            .when(Precondition::Absent(queued.clone().into()))
            .then([WriteOp::put(settled, record(0), None)]),
    };
    Ok(transaction.then([WriteOp::put(queued, record(delivery.number), None)]))
}

/// What the seal covers.
fn message(delivery: &Delivery) -> Vec<u8> {
    let (target, number) = (&delivery.target, delivery.number);
    let length = target.len();
    let header = format!("galera-console delivery v2\n{length}:{target}\n{number}\n");
    with_notice(header, delivery)
}

/// What the seals of consoles cover that gave deliveries no numbers.
fn message_without_number(delivery: &Delivery) -> Vec<u8> {
    let target = &delivery.target;
    let header = format!("galera-console delivery v1\n{}:{target}\n", target.len());
    with_notice(header, delivery)
}

fn with_notice(header: String, delivery: &Delivery) -> Vec<u8> {
    let mut message = header.into_bytes();
    // Strings, numbers and times always serialize.
    message.extend(serde_json::to_vec(&delivery.notice).unwrap_or_default());
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn delivery() -> Delivery {
        let notice = json!({
            "id": "lab.1", "kind": "verdict", "at": "2026-11-29T10:00:00Z", "cluster": "lab", "severity": "critical",
            "title": "lab is down", "text": "Every member is down.", "path": "/clusters/lab", "audience": {"who": "everyone"},
        });
        let delivery = json!({
            "target": "t1", "notice": notice, "state": "waiting", "queued_at": "2026-11-29T10:00:00Z", "next_at": null,
            "ended_at": null, "attempts": 0, "tries": [],
        });
        serde_json::from_value(delivery).unwrap()
    }

    fn seals(text: &str, previous: Option<&str>) -> DeliverySeals {
        DeliverySeals::with(StateSecrets::derive(text, previous).unwrap())
    }

    #[test]
    fn only_what_was_queued_for_the_target_is_genuine() {
        let (one, other) = (seals("one", None), seals("other", None));
        let mut sealed = delivery();
        one.seal(&mut sealed);
        // As another replica reads it, after attempts and after a rotation.
        let mut later: Delivery =
            serde_json::from_slice(&serde_json::to_vec(&sealed).unwrap()).unwrap();
        later.attempts = 3;
        for genuine in [&sealed, &later] {
            assert!(one.is_genuine(genuine));
            assert!(seals("two", Some("one")).is_genuine(genuine));
            assert!(DeliverySeals::default().is_genuine(genuine));
        }
        assert!(!seals("three", Some("two")).is_genuine(&sealed));
        let forgeries: [fn(&mut Delivery); 7] = [
            |delivery| delivery.seal = None,
            |delivery| delivery.number += 1,
            |delivery| delivery.target = "t2".to_owned(),
            |delivery| delivery.notice.text += "!",
            |delivery| delivery.notice.id = "lab.2".to_owned(),
            |delivery| delivery.seal.as_mut().unwrap().tag.truncate(8),
            |delivery| delivery.seal.as_mut().unwrap().tag.clear(),
        ];
        for forge in forgeries {
            let mut forged = sealed.clone();
            forge(&mut forged);
            assert!(!one.is_genuine(&forged), "{forged:?}");
        }
        let mut forged = delivery();
        other.seal(&mut forged);
        forged.seal.as_mut().unwrap().kid = sealed.seal.as_ref().unwrap().kid.clone();
        assert!(!one.is_genuine(&forged));
    }
}
