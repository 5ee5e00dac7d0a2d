//! The state secret: what the console's replicas share outside etcd, so that write access to etcd is not authority.
//!
//! Keys for each purpose are derived from it by HKDF-SHA256. [`StateSecretSealer`] seals the records that carry
//! authority: authenticated in clear, or encrypted where they contain secrets
//! ([`keyspace::protection`](crate::keyspace::protection)).

mod envelope;
mod file;
mod succession;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{aead, hkdf, hmac};
use galera::record::audit::{EntryAuthenticator, EntrySeal, SealVerdict};
use registry::{
    Error, OpenedRecord, OutdatedSecret, RecordSealer, RecordToSeal, Registry, RegistryEntry,
    SealTag, SealedRecord,
};

use crate::keyspace::{RecordProtection, protection};
use envelope::{SealEnvelope, SealedContent};
pub(crate) use envelope::{from_hex, to_hex};
pub use file::{StateSecretFileError, generate_file, new_secret, read_file, rotate_file};

/// Minimum length of a secret in characters; a generated one has 64.
pub const SECRET_MIN_CHARS: usize = 32;
/// How many secrets are valid concurrently.
pub const SECRETS_MAX: usize = 2;

/// Separates these keys from any other use of the same text.
const SALT: &[u8] = b"galera-console state secret";
/// Part of what is authenticated: the format of sealed records.
const FORMAT: &[u8] = b"galera-console sealed record 1";

/// One secret, as the keys derived from it.
#[derive(Clone)]
pub struct StateSecret {
    kid: String,
    authentication: hmac::Key,
    encryption: [u8; 32],
    audit: hmac::Key,
    seen: hmac::Key,
    deliveries: hmac::Key,
    log_entries: hmac::Key,
    approval_links: hmac::Key,
    successions: hmac::Key,
    exports: [u8; 32],
}

impl PartialEq for StateSecret {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid
    }
}

impl fmt::Debug for StateSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateSecret({})", self.kid)
    }
}

/// The length of a derived key.
struct KeyLength(usize);

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(secret: &hkdf::Prk, purpose: &[u8]) -> Result<[u8; N], Error> {
    let mut key = [0; N];
    let purposes = [purpose];
    secret
        .expand(&purposes, KeyLength(N))
        .and_then(|material| material.fill(&mut key))
        .map_err(|_| Error::Invalid("a key could not be derived".to_owned()))?;
    Ok(key)
}

impl StateSecret {
    /// The keys of the secret `text`.
    ///
    /// # Errors
    /// If the crypto library fails.
    fn derive(text: &str) -> Result<Self, Error> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(text.as_bytes());
        let authentication: [u8; 32] = derive(&secret, b"authentication of records")?;
        let audit: [u8; 32] = derive(&secret, b"authentication of audit entries")?;
        let seen: [u8; 32] = derive(&secret, b"authentication of seen records")?;
        let deliveries: [u8; 32] = derive(&secret, b"authentication of deliveries")?;
        let log_entries: [u8; 32] = derive(&secret, b"authentication of log entries")?;
        let approval_links: [u8; 32] = derive(&secret, b"authentication of approval links")?;
        let successions: [u8; 32] = derive(&secret, b"authentication of successions")?;
        Ok(Self {
            kid: envelope::to_hex(&derive::<8>(&secret, b"key id")?),
            authentication: hmac::Key::new(hmac::HMAC_SHA256, &authentication),
            encryption: derive(&secret, b"encryption of records")?,
            audit: hmac::Key::new(hmac::HMAC_SHA256, &audit),
            seen: hmac::Key::new(hmac::HMAC_SHA256, &seen),
            deliveries: hmac::Key::new(hmac::HMAC_SHA256, &deliveries),
            log_entries: hmac::Key::new(hmac::HMAC_SHA256, &log_entries),
            approval_links: hmac::Key::new(hmac::HMAC_SHA256, &approval_links),
            successions: hmac::Key::new(hmac::HMAC_SHA256, &successions),
            exports: derive(&secret, b"encryption of exports")?,
        })
    }

    /// The public name of this secret, which records refer to.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key that authenticates records under `protection`.
    fn authentication(&self, protection: Option<RecordProtection>) -> &hmac::Key {
        match protection {
            Some(RecordProtection::LogEntry) => &self.log_entries,
            _ => &self.authentication,
        }
    }

    fn cipher(&self) -> Result<aead::LessSafeKey, Error> {
        cipher(&self.encryption)
    }
}

fn cipher(key: &[u8; 32]) -> Result<aead::LessSafeKey, Error> {
    aead::UnboundKey::new(&aead::AES_256_GCM_SIV, key)
        .map(aead::LessSafeKey::new)
        .map_err(|_| crypto_error())
}

fn crypto_error() -> Error {
    Error::Invalid("a record could not be encrypted".to_owned())
}

/// The valid secrets, newest first; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSecrets(Vec<StateSecret>);

impl StateSecrets {
    /// The secret `newest`, and the one before.
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn derive(newest: &str, previous: Option<&str>) -> Result<Self, Error> {
        let texts = std::iter::once(newest).chain(previous);
        Ok(Self(
            texts.map(StateSecret::derive).collect::<Result<_, _>>()?,
        ))
    }

    /// The secret that is used for writing.
    #[must_use]
    pub fn newest(&self) -> &StateSecret {
        &self.0[0]
    }

    fn find(&self, kid: &str) -> Option<&StateSecret> {
        self.0.iter().find(|secret| secret.kid == kid)
    }

    /// Whether there is an older secret beside the newest one.
    #[must_use]
    pub fn has_previous(&self) -> bool {
        self.0.len() > 1
    }

    /// Whether `kid` names one of these secrets.
    #[must_use]
    pub fn contains(&self, kid: &str) -> bool {
        self.find(kid).is_some()
    }

    pub(crate) fn iter_kids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(StateSecret::kid)
    }

    /// The names of the secrets, newest first.
    #[must_use]
    pub fn kids(&self) -> String {
        let kids: Vec<&str> = self.iter_kids().collect();
        kids.join(", ")
    }

    /// Encrypts an exported state with the newest secret, and authenticates it together with `header`.
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn encrypt_export(&self, header: &[u8], mut content: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; aead::NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| crypto_error())?;
        cipher(&self.newest().exports)?
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(header),
                &mut content,
            )
            .map_err(|_| crypto_error())?;
        Ok([&nonce[..], &content].concat())
    }

    /// Decrypts what [`Self::encrypt_export`] returned with the secret `kid`; `None` if it or `header` was changed, or the secret
    /// is not known.
    #[must_use]
    pub fn decrypt_export(&self, kid: &str, header: &[u8], encrypted: &[u8]) -> Option<Vec<u8>> {
        let (nonce, content) = encrypted.split_at_checked(aead::NONCE_LEN)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut content = content.to_vec();
        let cipher = cipher(&self.find(kid)?.exports).ok()?;
        let opened = cipher.open_in_place(nonce, aead::Aad::from(header), &mut content);
        opened.ok().map(|opened| opened.to_vec())
    }

    /// Authenticates a queued notification with the newest secret.
    pub(crate) fn seal_delivery(&self, message: &[u8]) -> EntrySeal {
        let secret = self.newest();
        EntrySeal {
            kid: secret.kid.clone(),
            tag: envelope::to_hex(hmac::sign(&secret.deliveries, message).as_ref()),
        }
    }

    /// Whether `seal` authenticates a queued notification.
    pub(crate) fn verify_delivery(&self, message: &[u8], seal: &EntrySeal) -> bool {
        let tag = envelope::from_hex(&seal.tag);
        let (Some(secret), Some(tag)) = (self.find(&seal.kid), tag) else {
            return false;
        };
        hmac::verify(&secret.deliveries, message, &tag).is_ok()
    }

    /// Authenticates an approval link with the newest secret.
    pub(crate) fn sign_approval_link(&self, message: &[u8]) -> EntrySeal {
        let secret = self.newest();
        EntrySeal {
            kid: secret.kid.clone(),
            tag: envelope::to_hex(hmac::sign(&secret.approval_links, message).as_ref()),
        }
    }

    /// Whether `seal` authenticates an approval link.
    pub(crate) fn verify_approval_link(&self, message: &[u8], seal: &EntrySeal) -> SealVerdict {
        let Some(secret) = self.find(&seal.kid) else {
            return SealVerdict::UnknownSecret;
        };
        let genuine = envelope::from_hex(&seal.tag)
            .is_some_and(|tag| hmac::verify(&secret.approval_links, message, &tag).is_ok());
        if genuine {
            SealVerdict::Valid
        } else {
            SealVerdict::Invalid
        }
    }

    /// Authenticates a file of seen records with the newest secret.
    pub(crate) fn sign_seen_records(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.newest().seen, message).as_ref().to_vec()
    }

    /// Whether `tag` authenticates a file of seen records with the secret `kid`.
    pub(crate) fn verify_seen_records(&self, kid: &str, message: &[u8], tag: &[u8]) -> bool {
        let secret = self.find(kid);
        secret.is_some_and(|secret| hmac::verify(&secret.seen, message, tag).is_ok())
    }
}

impl EntryAuthenticator for StateSecrets {
    fn seal(&self, message: &[u8]) -> EntrySeal {
        let secret = self.newest();
        let tag = hmac::sign(&secret.audit, message);
        EntrySeal {
            kid: secret.kid.clone(),
            tag: envelope::to_hex(tag.as_ref()),
        }
    }

    fn verify(&self, message: &[u8], seal: &EntrySeal) -> SealVerdict {
        let Some(secret) = self.find(&seal.kid) else {
            return SealVerdict::UnknownSecret;
        };
        let valid = envelope::from_hex(&seal.tag)
            .is_some_and(|tag| hmac::verify(&secret.audit, message, &tag).is_ok());
        if valid {
            SealVerdict::Valid
        } else {
            SealVerdict::Invalid
        }
    }
}

/// The name of the secret that `value` says it is sealed with; `None` if it is not a sealed record.
#[must_use]
pub fn sealed_with(value: &[u8]) -> Option<String> {
    SealEnvelope::parse(value).ok().map(|envelope| envelope.kid)
}

/// Seals and opens the records below a state prefix.
#[derive(Clone, Debug)]
pub struct StateSecretSealer {
    state_prefix: String,
    secrets: StateSecrets,
}

impl StateSecretSealer {
    /// The sealer of the records below `state_prefix`.
    #[must_use]
    pub fn new(state_prefix: &str, secrets: StateSecrets) -> Self {
        Self {
            state_prefix: state_prefix.to_owned(),
            secrets,
        }
    }

    /// The secrets that seal the records of `registry`; `None` if nothing does.
    pub(crate) fn secrets_of(registry: &Registry) -> Option<Arc<StateSecrets>> {
        let sealer = registry.sealer()?.downcast_ref::<Self>()?;
        Some(Arc::new(sealer.secrets.clone()))
    }

    fn protection(&self, key: &[u8]) -> Option<RecordProtection> {
        protection(&self.state_prefix, key)
    }
}

impl RecordSealer for StateSecretSealer {
    fn protects(&self, key: &[u8]) -> bool {
        self.protection(key).is_some()
    }

    fn is_log_entry(&self, key: &[u8]) -> bool {
        self.protection(key) == Some(RecordProtection::LogEntry)
    }

    fn seal(&self, record: &RecordToSeal<'_>) -> Result<SealedRecord, Error> {
        let secret = self.secrets.newest();
        let mut envelope = SealEnvelope {
            kid: secret.kid.clone(),
            version: record.version,
            leased: record.leased,
            tag: Vec::new(),
            content: SealedContent::Removed,
        };
        let context = envelope.context(record.key, record.content.is_none());
        let protection = self.protection(record.key);
        let encrypted = protection == Some(RecordProtection::Encrypted);
        match record.content {
            Some(content) if encrypted => {
                let mut nonce = [0; aead::NONCE_LEN];
                aws_lc_rs::rand::fill(&mut nonce).map_err(|_| crypto_error())?;
                let mut text = content.to_vec();
                let tag = secret
                    .cipher()?
                    .seal_in_place_separate_tag(
                        aead::Nonce::assume_unique_for_key(nonce),
                        aead::Aad::from(&context),
                        &mut text,
                    )
                    .map_err(|_| crypto_error())?;
                envelope.tag = tag.as_ref().to_vec();
                envelope.content = SealedContent::Encrypted {
                    nonce: nonce.to_vec(),
                    ciphertext: text,
                };
            }
            content => {
                let key = secret.authentication(protection);
                let tag = hmac::sign(key, &message(&context, content));
                envelope.tag = tag.as_ref().to_vec();
                envelope.content = match content {
                    Some(content) if protection == Some(RecordProtection::LogEntry) => {
                        SealedContent::log_entry(content)
                    }
                    Some(content) => SealedContent::clear(content)?,
                    None => SealedContent::Removed,
                };
            }
        }
        Ok(SealedRecord {
            value: envelope.to_bytes(),
            tag: seal_tag(&envelope.tag),
        })
    }

    fn open(&self, key: &[u8], value: &[u8]) -> Result<OpenedRecord, String> {
        let envelope = SealEnvelope::parse(value)?;
        let secret = self.secrets.find(&envelope.kid).ok_or_else(|| {
            format!(
                "it is sealed with the unknown secret {} (known: {})",
                envelope.kid,
                self.secrets.kids()
            )
        })?;
        let protection = self.protection(key);
        let encrypted = protection == Some(RecordProtection::Encrypted);
        let authentication = secret.authentication(protection);
        let invalid = || "its seal is not valid for this key".to_owned();
        let context = envelope.context(key, matches!(envelope.content, SealedContent::Removed));
        let content = match &envelope.content {
            SealedContent::Encrypted { nonce, ciphertext } if encrypted => {
                let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| invalid())?;
                let mut text = ciphertext.clone();
                text.extend_from_slice(&envelope.tag);
                let cipher = secret.cipher().map_err(|error| error.to_string())?;
                let length = cipher
                    .open_in_place(nonce, aead::Aad::from(&context), &mut text)
                    .map_err(|_| invalid())?
                    .len();
                text.truncate(length);
                Some(text)
            }
            SealedContent::Encrypted { .. } => return Err(invalid()),
            SealedContent::Clear(_) if encrypted => return Err("it is not encrypted".to_owned()),
            SealedContent::Binary(_) if protection != Some(RecordProtection::LogEntry) => {
                return Err(invalid());
            }
            SealedContent::Clear(content) | SealedContent::Binary(content) => {
                let message = message(&context, Some(content));
                hmac::verify(authentication, &message, &envelope.tag).map_err(|_| invalid())?;
                Some(content.clone())
            }
            SealedContent::Removed => {
                let message = message(&context, None);
                hmac::verify(authentication, &message, &envelope.tag).map_err(|_| invalid())?;
                None
            }
        };
        Ok(OpenedRecord {
            version: envelope.version,
            leased: envelope.leased,
            content,
            tag: seal_tag(&envelope.tag),
            current: envelope.kid == self.secrets.newest().kid,
        })
    }

    fn lacks_secret_of(&self, value: &[u8]) -> bool {
        sealed_with(value).is_some_and(|kid| !self.secrets.contains(&kid))
    }

    fn succession_keys(&self) -> Vec<Vec<u8>> {
        self.secrets.succession_keys(&self.state_prefix)
    }

    fn outdated_by(&self, notes: &[RegistryEntry]) -> Option<OutdatedSecret> {
        self.secrets.outdated_by(&self.state_prefix, notes)
    }
}

/// What is authenticated: the context, which has a fixed structure, and the content.
fn message(context: &[u8], content: Option<&[u8]>) -> Vec<u8> {
    let mut message = context.to_vec();
    message.extend_from_slice(content.unwrap_or_default());
    message
}

/// The first bytes of an authentication tag.
fn seal_tag(tag: &[u8]) -> SealTag {
    let mut short = SealTag::default();
    for (short, byte) in short.iter_mut().zip(tag) {
        *short = *byte;
    }
    short
}

#[cfg(test)]
mod tests;
