//! Seals of queued notifications. A target's receiver trusts what is signed with the target's secret, and people what the
//! console sends them: a text that another client of etcd puts into the outbox must not become either.
//!
//! A delivery is no sealed record, because those leave a note when they are removed, and deliveries come and go. So one that was
//! sent can be put back and is sent again, under the same id.

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
        let sealer = registry.sealer();
        let sealer = sealer.and_then(|sealer| sealer.downcast_ref::<StateSecretSealer>());
        Self(sealer.map(|sealer| Arc::new(sealer.secrets().clone())))
    }

    /// With these secrets.
    #[must_use]
    pub fn with(secrets: StateSecrets) -> Self {
        Self(Some(Arc::new(secrets)))
    }

    /// Binds the notification to its target. Attempts may be added afterwards.
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

/// Seals the deliveries below `state_prefix` that are not newer than `up_to`, when records are sealed for the first time.
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
        for entry in registry.list(prefix).await?.entries {
            let delivery: Option<Delivery> = serde_json::from_slice(&entry.value).ok();
            let unsealed = delivery.filter(|delivery| delivery.seal.is_none());
            let Some(mut delivery) = unsealed.filter(|_| entry.mod_revision <= up_to) else {
                continue;
            };
            seals.seal(&mut delivery);
            let value = serde_json::to_vec(&delivery);
            let value = value.map_err(|error| Error::Invalid(error.to_string()))?;
            let unchanged = Precondition::Unchanged(entry.key.clone(), entry.mod_revision);
            // One that was changed meanwhile is left as it is.
            let seal = Transaction::new()
                .when(unchanged)
                .then([WriteOp::put(entry.key, value, None)]);
            registry.transact(&seal).await?;
        }
    }
    Ok(())
}

fn message(delivery: &Delivery) -> Vec<u8> {
    let target = &delivery.target;
    let mut message =
        format!("galera-console delivery v1\n{}:{target}\n", target.len()).into_bytes();
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
        let forgeries: [fn(&mut Delivery); 6] = [
            |delivery| delivery.seal = None,
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
