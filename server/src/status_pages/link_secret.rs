//! The secret of an access link: long enough not to be guessed, and stored only as a hash.

use std::fmt;

use sha2::{Digest, Sha256};

/// Random bytes per secret: 192 bits.
const SECRET_BYTES: usize = 24;

/// An access link's secret, shown once.
#[derive(Clone)]
pub struct LinkSecret(String);

impl LinkSecret {
    /// Generates a secret.
    #[must_use]
    pub fn generate() -> Self {
        Self(hex(&rand::random::<[u8; SECRET_BYTES]>()))
    }

    /// The secret as it appears in the link.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored.
    #[must_use]
    pub fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(***)")
    }
}

/// The stored hash of the secret `given`. Looking it up by hash takes a time that does not depend on the secret.
pub(super) fn hash(given: &str) -> String {
    hex(&Sha256::digest(given.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_unique_and_not_printed() {
        let (one, other) = (LinkSecret::generate(), LinkSecret::generate());
        assert_eq!(one.expose().len(), 48);
        assert_ne!(one.expose(), other.expose());
        assert!(!format!("{one:?}").contains(one.expose()));
        assert_eq!(one.hash(), hash(one.expose()));
        assert_eq!(
            hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
