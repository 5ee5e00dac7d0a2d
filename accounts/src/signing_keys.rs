//! The keys that sign session tokens: one signs, former ones only verify until no session of theirs is left.
//!
//! All lie in one record, so that a rotation is one write and every replica verifies what any other signed.

use std::fmt;
use std::time::Duration;

use galera::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::token::{SessionClaims, SignInClaims, TokenError, TokenSigner};

/// Age at which the key that signs is replaced.
pub const SESSION_KEY_AGE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// How many former keys are kept; a rotation beyond it ends the sessions of the oldest.
pub(crate) const FORMER_KEYS_MAX: usize = 4;
/// How long a former key is kept at least, because a replica that has not seen the rotation still signs with it.
pub(crate) const FORMER_KEY_AGE_MIN: Duration = Duration::from_secs(60);

/// The keys of sessions, at `<state>/keys/session`; deleting it ends every session.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SigningKeyRecord {
    /// The key that signs: 32 random bytes in hexadecimal.
    pub hs256: String,
    pub created_at: Timestamp,
    /// Keys that only verify, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerKeyRecord>,
}

/// A key that was replaced.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FormerKeyRecord {
    /// 32 random bytes in hexadecimal.
    pub hs256: String,
    pub replaced_at: Timestamp,
}

impl fmt::Debug for SigningKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeyRecord").finish_non_exhaustive()
    }
}

impl SigningKeyRecord {
    /// A new random key, without former ones.
    #[must_use]
    pub(crate) fn generate(now: Timestamp) -> Self {
        Self {
            hs256: to_hex(&rand::random::<[u8; 32]>()),
            created_at: now,
            former: Vec::new(),
        }
    }

    /// A new random key before this one, which then only verifies; with `end_sessions` no former key is kept.
    #[must_use]
    pub(crate) fn rotated(&self, end_sessions: bool, now: Timestamp) -> Self {
        let mut next = Self::generate(now);
        if !end_sessions {
            let replaced = FormerKeyRecord {
                hs256: self.hs256.clone(),
                replaced_at: now,
            };
            next.former = [replaced]
                .into_iter()
                .chain(self.former.iter().cloned())
                .take(FORMER_KEYS_MAX)
                .collect();
        }
        next
    }

    /// This record without the former keys for which `is_used` is false and that were replaced some time ago; `None` if
    /// that changes nothing.
    #[must_use]
    pub(crate) fn without_unused(
        &self,
        is_used: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Option<Self> {
        let mut next = self.clone();
        next.former.retain(|former| {
            former.replaced_at.age(now) < FORMER_KEY_AGE_MIN
                || key_bytes(&former.hs256).is_some_and(|key| is_used(&key_id(&key)))
        });
        (next.former.len() < self.former.len()).then_some(next)
    }

    /// Whether the key that signs is due to be replaced.
    #[must_use]
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.created_at.age(now) >= SESSION_KEY_AGE_MAX
    }

    /// The public name of the key that signs; empty when the record is damaged.
    #[must_use]
    pub(crate) fn kid(&self) -> String {
        key_bytes(&self.hs256).map_or_else(String::new, |key| key_id(&key))
    }
}

/// The public name of a key. Derived from it, so that a record cannot name a key wrongly.
fn key_id(key: &[u8]) -> String {
    let digest = Sha256::new()
        .chain_update(b"galera-console session key id")
        .chain_update(key)
        .finalize();
    to_hex(&digest[..8])
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key's bytes; `None` when the text is damaged.
fn key_bytes(hs256: &str) -> Option<Vec<u8>> {
    if hs256.len() != 64 || !hs256.is_ascii() {
        return None;
    }
    (0..32)
        .map(|i| u8::from_str_radix(&hs256[2 * i..2 * i + 2], 16).ok())
        .collect()
}

/// The keys of a record, ready for use.
pub(crate) struct SigningKeys {
    record: SigningKeyRecord,
    /// By their public names, the one that signs first; never empty.
    signers: Vec<(String, TokenSigner)>,
}

impl SigningKeys {
    /// The keys of `record`; `None` when the key that signs is damaged. A damaged former key verifies nothing.
    #[must_use]
    pub(crate) fn new(record: SigningKeyRecord) -> Option<Self> {
        let signer = |hs256: &str| {
            let key = key_bytes(hs256)?;
            Some((key_id(&key), TokenSigner::new(&key)))
        };
        let newest = signer(&record.hs256)?;
        let former = record.former.iter().filter_map(|key| signer(&key.hs256));
        let signers = [newest].into_iter().chain(former).collect();
        Some(Self { record, signers })
    }

    pub(crate) fn record(&self) -> &SigningKeyRecord {
        &self.record
    }

    /// The public name of the key that signs.
    pub(crate) fn kid(&self) -> &str {
        &self.signers[0].0
    }

    /// The keys, the one that signs first.
    pub(crate) fn signers(&self) -> impl Iterator<Item = &TokenSigner> {
        self.signers.iter().map(|(_, signer)| signer)
    }

    /// The keys themselves, the one that signs first.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Vec<u8>> {
        let former = self.record.former.iter().map(|key| &key.hs256);
        [&self.record.hs256]
            .into_iter()
            .chain(former)
            .filter_map(|key| key_bytes(key))
    }

    fn newest(&self) -> &TokenSigner {
        &self.signers[0].1
    }

    /// Signs the claims of a session.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub(crate) fn sign(&self, claims: &SessionClaims) -> Result<String, TokenSignError> {
        self.newest().sign_as(claims, self.kid())
    }

    /// Signs the claims of a sign-in that still needs a code.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub(crate) fn sign_challenge(&self, claims: &SignInClaims) -> Result<String, TokenSignError> {
        self.newest().sign_challenge(claims, self.kid())
    }

    /// The claims of a session token that one of the keys signed.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn verify(&self, token: &str) -> Result<SessionClaims, TokenError> {
        self.with_key_of(token, |signer| signer.verify(token))
    }

    /// The claims of a sign-in that still needs a code.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn verify_challenge(&self, token: &str) -> Result<SignInClaims, TokenError> {
        self.with_key_of(token, |signer| signer.verify_challenge(token))
    }

    /// Applies `verify` to the key that `token` names. A token of version 0.1 names none: any key may have signed it.
    fn with_key_of<T>(
        &self,
        token: &str,
        verify: impl Fn(&TokenSigner) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        match super::token::key_id_of(token)? {
            Some(kid) => {
                let known = self.signers.iter().find(|(name, _)| *name == kid);
                verify(&known.ok_or(TokenError::UnknownKey)?.1)
            }
            None => {
                let mut result = Err(TokenError::Forged);
                for (_, signer) in &self.signers {
                    result = verify(signer);
                    if !matches!(result, Err(TokenError::Forged)) {
                        break;
                    }
                }
                result
            }
        }
    }
}

/// The crypto library failed.
pub(crate) type TokenSignError = jsonwebtoken::errors::Error;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        console_core::clock::now().plus(Duration::from_secs(seconds))
    }

    fn keys(record: &SigningKeyRecord) -> SigningKeys {
        SigningKeys::new(record.clone()).unwrap()
    }

    fn claims() -> SessionClaims {
        SessionClaims::new("dora".parse().unwrap(), Uuid::from_u128(7), at(0), at(60))
    }

    #[test]
    fn a_former_key_verifies_and_a_removed_one_is_unknown() {
        let first = SigningKeyRecord::generate(at(0));
        let token = keys(&first).sign(&claims()).unwrap();
        let second = first.rotated(false, at(0));
        assert_ne!(first.kid(), second.kid());
        assert_eq!(keys(&second).verify(&token), Ok(claims()));
        assert_ne!(keys(&second).sign(&claims()).unwrap(), token);
        let ended = first.rotated(true, at(0));
        assert_eq!(keys(&ended).verify(&token), Err(TokenError::UnknownKey));
        assert_eq!(
            keys(&SigningKeyRecord::generate(at(0))).verify(&token),
            Err(TokenError::UnknownKey)
        );
    }

    #[test]
    fn a_token_without_a_key_id_is_verified_with_every_key() {
        let first = SigningKeyRecord::generate(at(0));
        let key = key_bytes(&first.hs256).unwrap();
        let old = TokenSigner::new(&key).sign(&claims()).unwrap();
        let second = first.rotated(false, at(0));
        assert_eq!(keys(&second).verify(&old), Ok(claims()));
        let other = SigningKeyRecord::generate(at(0)).rotated(false, at(0));
        assert_eq!(keys(&other).verify(&old), Err(TokenError::Forged));
    }

    #[test]
    fn a_former_key_is_kept_while_a_session_uses_it() {
        let first = SigningKeyRecord::generate(at(0));
        let second = first.rotated(false, at(0));
        let used = |kid: &str| kid == first.kid();
        assert!(second.without_unused(used, at(3600)).is_none());
        assert!(
            second.without_unused(|_| false, at(30)).is_none(),
            "another replica may still sign with it"
        );
        let without = second.without_unused(|_| false, at(61)).unwrap();
        assert!(without.former.is_empty() && without.kid() == second.kid());
        let many = (0..10).fold(first, |record, _| record.rotated(false, at(0)));
        assert_eq!(many.former.len(), FORMER_KEYS_MAX);
    }

    #[test]
    fn a_key_is_due_by_age_and_a_clock_that_is_behind_changes_nothing() {
        let record = SigningKeyRecord::generate(at(3600));
        assert!(!record.is_due(at(0)) && !record.is_due(at(3600)));
        assert!(record.is_due(at(3600 + SESSION_KEY_AGE_MAX.as_secs())));
    }

    #[test]
    fn the_record_of_an_earlier_version_is_read_and_damage_is_noticed() {
        let record = SigningKeyRecord::generate(at(0));
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(
            json.as_object().unwrap().len(),
            2,
            "as version 0.1 wrote it"
        );
        let read: SigningKeyRecord = serde_json::from_value(json).unwrap();
        assert_eq!(read.kid(), record.kid());
        for damaged in ["", "00", &"zz".repeat(32), &"é".repeat(32)] {
            let mut record = record.clone();
            (*damaged).clone_into(&mut record.hs256);
            assert!(SigningKeys::new(record).is_none(), "{damaged}");
        }
    }

    #[test]
    fn debug_output_contains_no_key() {
        let record = SigningKeyRecord::generate(at(0));
        assert!(!format!("{record:?}").contains(&record.hs256));
    }
}
