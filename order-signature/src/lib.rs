//! The keys of bootstrap orders: a console signs with an Ed25519 private key, agents verify with its public key. Both are
//! PEM files (PKCS#8 and SubjectPublicKeyInfo), as `openssl genpkey -algorithm ed25519` writes them.
//!
//! What is signed is defined in [`galera::observe::registration::OrderClaims`].

mod key_file;
mod pem;

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use galera::observe::registration::{OrderClaims, OrderVerifier, SignatureCheck};

pub use key_file::{KeyFileError, create_key_file, read_key_file};

/// What precedes the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// Bytes of the hash of a public key that are its name.
const KEY_ID_BYTES: usize = 8;

/// The private key of a console.
pub struct OrderSigningKey {
    pair: Ed25519KeyPair,
    public: OrderPublicKey,
}

impl fmt::Debug for OrderSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OrderSigningKey")
            .field(&self.public.id)
            .finish()
    }
}

impl OrderSigningKey {
    /// A new random key.
    ///
    /// # Errors
    /// If the system provides no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NoRandomNumbers)?;
        Self::from_pair(pair)
    }

    /// Parses a PEM file with one PKCS#8 private key.
    ///
    /// # Errors
    /// [`KeyError`] with the remedy.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der = pem::private_key(text)?;
        let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| KeyError::NotEd25519)?;
        Self::from_pair(pair)
    }

    fn from_pair(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let raw = pair.public_key().as_ref().try_into();
        let public = OrderPublicKey::from_raw(raw.map_err(|_| KeyError::NotEd25519)?);
        Ok(Self { pair, public })
    }

    /// The PEM text of the private key.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let der = self
            .pair
            .to_pkcs8v1()
            .map_err(|_| KeyError::NoRandomNumbers)?;
        Ok(pem::encode("PRIVATE KEY", der.as_ref()))
    }

    #[must_use]
    pub const fn public(&self) -> &OrderPublicKey {
        &self.public
    }

    /// The signature of `claims`, in hexadecimal digits.
    #[must_use]
    pub fn sign(&self, claims: &OrderClaims) -> String {
        hex(self.pair.sign(&claims.to_signed_bytes()).as_ref())
    }
}

/// The public key of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPublicKey {
    id: String,
    raw: [u8; 32],
}

impl OrderPublicKey {
    fn from_raw(raw: [u8; 32]) -> Self {
        let info = [SPKI_HEAD.as_slice(), &raw].concat();
        let hash = digest(&SHA256, &info);
        let id = hex(hash.as_ref().get(..KEY_ID_BYTES).unwrap_or_default());
        Self { id, raw }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let raw = der.strip_prefix(SPKI_HEAD.as_slice());
        let raw = raw.and_then(|raw| raw.try_into().ok());
        raw.map(Self::from_raw).ok_or(KeyError::NotEd25519)
    }

    /// Its short name: the first 8 bytes of the SHA-256 hash of its SubjectPublicKeyInfo, in hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The PEM text of the key.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &[SPKI_HEAD.as_slice(), &self.raw].concat())
    }
}

/// The public keys that an agent trusts: more than one while a key is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKeys(Vec<OrderPublicKey>);

impl TrustedKeys {
    /// Parses a PEM file with one or more public keys.
    ///
    /// # Errors
    /// [`KeyError`] with the remedy.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let keys = pem::public_keys(text)?;
        let keys = keys.iter().map(|der| OrderPublicKey::from_der(der));
        keys.collect::<Result<_, _>>().map(Self)
    }
}

impl OrderVerifier for TrustedKeys {
    fn verify(&self, key_id: &str, message: &[u8], signature: &str) -> SignatureCheck {
        let Some(key) = self.0.iter().find(|key| key.id == key_id) else {
            return SignatureCheck::UnknownKey;
        };
        let key = UnparsedPublicKey::new(&ED25519, key.raw);
        match from_hex(signature).map(|signature| key.verify(message, &signature)) {
            Some(Ok(())) => SignatureCheck::Valid,
            Some(Err(_)) | None => SignatureCheck::Invalid,
        }
    }

    fn key_ids(&self) -> Vec<String> {
        self.0.iter().map(|key| key.id.clone()).collect()
    }
}

/// A key that cannot be used, with the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "contains no key in PEM format; create one with `galera-console order-key new FILE` (public part: `order-key show FILE`)"
    )]
    NoKey,
    #[error(
        "contains a public key where the private key belongs; give the file that `galera-console order-key new` created"
    )]
    PublicInsteadOfPrivate,
    #[error(
        "contains a private key where only public keys belong; replace it with the output of `galera-console order-key show`, and the private key with a new one if others could read this file"
    )]
    PrivateInsteadOfPublic,
    #[error("contains a certificate; give an Ed25519 key from `galera-console order-key`")]
    Certificate,
    #[error("contains more than one private key; keep only one")]
    SeveralPrivateKeys,
    #[error(
        "contains a key that is not a valid Ed25519 key; create one with `galera-console order-key new FILE`"
    )]
    NotEd25519,
    #[error(
        "is not valid PEM; copy the file again, or create a new key with `galera-console order-key new FILE`"
    )]
    InvalidPem,
    #[error("cannot be created: the system provides no random numbers")]
    NoRandomNumbers,
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests;
