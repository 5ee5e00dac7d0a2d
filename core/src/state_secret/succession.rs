//! Proofs that one state secret followed another.
//!
//! A console that begins to seal with a new secret notes at `successions/{former}` in etcd which secret followed the former one,
//! authenticated with the former. A replica that has the former only can so tell a newer secret from a forged name: only
//! the holders of the former secret can write the note.

use aws_lc_rs::hmac;
use registry::{OutdatedSecret, RegistryEntry};
use serde::{Deserialize, Serialize};

use super::envelope::{from_hex, to_hex};
use super::{StateSecret, StateSecrets};
use crate::keyspace;

/// Part of what is authenticated: the format of these notes.
const FORMAT: &[u8] = b"galera-console secret succession 1";

/// The value of a note.
#[derive(Serialize, Deserialize)]
struct SuccessionNote {
    /// The name of the secret that followed.
    next: String,
    tag: String,
}

/// What the former secret authenticates, with parts of known length.
fn message(state_prefix: &str, former: &str, next: &str) -> Vec<u8> {
    let mut message = FORMAT.to_vec();
    for part in [state_prefix.trim_end_matches('/'), former, next] {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(part.as_bytes());
    }
    message
}

impl StateSecret {
    /// The secret that followed this one, if `value` proves it.
    fn successor(&self, state_prefix: &str, value: &[u8]) -> Option<String> {
        let SuccessionNote { next, tag } = serde_json::from_slice(value).ok()?;
        let message = message(state_prefix, &self.kid, &next);
        let is_genuine = hmac::verify(&self.successions, &message, &from_hex(&tag)?).is_ok();
        (is_genuine && next != self.kid).then_some(next)
    }
}

impl StateSecrets {
    /// The key and value of the note that `next` followed `former`; `None` if this process does not have `former`.
    pub(crate) fn note_succession(
        &self,
        state_prefix: &str,
        former: &str,
        next: &str,
    ) -> Option<(String, Vec<u8>)> {
        let secret = self.find(former)?;
        let tag = hmac::sign(&secret.successions, &message(state_prefix, former, next));
        let note = SuccessionNote {
            next: next.to_owned(),
            tag: to_hex(tag.as_ref()),
        };
        let key = keyspace::secret_succession(state_prefix, former);
        Some((key, serde_json::to_vec(&note).ok()?))
    }

    /// The keys of the notes about these secrets.
    pub(crate) fn succession_keys(&self, state_prefix: &str) -> Vec<Vec<u8>> {
        let keys = self.0.iter();
        keys.map(|secret| keyspace::secret_succession(state_prefix, &secret.kid).into_bytes())
            .collect()
    }

    /// The secret that followed `former`, if one of `notes` proves it.
    pub(crate) fn successor(
        &self,
        state_prefix: &str,
        former: &str,
        notes: &[RegistryEntry],
    ) -> Option<String> {
        let secret = self.find(former)?;
        let key = keyspace::secret_succession(state_prefix, former);
        let note = notes.iter().find(|note| note.key == key.as_bytes())?;
        secret.successor(state_prefix, &note.value)
    }

    /// The secret that these lack, if `notes` prove that it followed the newest one, directly or after the other.
    pub(crate) fn outdated_by(
        &self,
        state_prefix: &str,
        notes: &[RegistryEntry],
    ) -> Option<OutdatedSecret> {
        let mut newest = self.newest().kid().to_owned();
        // Notes may contradict each other only if the order of the lines was changed; then the process has both secrets.
        for _ in 0..=self.0.len() {
            newest = self.successor(state_prefix, &newest, notes)?;
            if !self.contains(&newest) {
                return Some(self.lacking(newest));
            }
        }
        None
    }

    /// That these lack the secret `needed`, which is in use.
    pub(crate) fn lacking(&self, needed: String) -> OutdatedSecret {
        OutdatedSecret {
            given: self.kids(),
            needed,
        }
    }

    /// These secrets with the one before as the one that is used for writing.
    #[must_use]
    pub fn with_previous_first(&self) -> Self {
        Self(self.0.iter().rev().cloned().collect())
    }
}
