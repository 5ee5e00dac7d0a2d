//! Texts that a browser keeps for the console: encrypted, so that it can neither read nor change them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use crate::signing_keys::SigningKeys;

/// Length of a nonce, in bytes.
const NONCE_BYTES: usize = 12;
/// Longest sealed text, in characters; browsers keep 4096 for a cookie.
const SEALED_MAX: usize = 4_000;

/// Seals `text` for `purpose`; `None` only if the crypto library fails, or the text is too long.
pub(crate) fn seal(keys: &SigningKeys, purpose: &str, text: &[u8]) -> Option<String> {
    let key = keys.secrets().next()?;
    let mut sealed = text.to_vec();
    let nonce = cipher(&key, purpose)?
        .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut sealed)
        .ok()?;
    let sealed = [nonce.as_ref().as_slice(), &sealed].concat();
    Some(BASE64URL_NOPAD.encode(&sealed)).filter(|sealed| sealed.len() <= SEALED_MAX)
}

/// The text that was sealed for `purpose` with one of `keys`.
pub(crate) fn open(keys: &SigningKeys, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
    if sealed.len() > SEALED_MAX {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
    keys.secrets().find_map(|key| {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let opened = cipher(&key, purpose)?.open_in_place(nonce, aad, &mut sealed);
        opened.ok().map(|text| text.to_vec())
    })
}

/// The cipher of `purpose`, whose key is derived from `key`.
fn cipher(key: &[u8], purpose: &str) -> Option<RandomizedNonceKey> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let label = format!("galera-console browser state: {purpose}");
    RandomizedNonceKey::new(&AES_256_GCM, hmac::sign(&key, label.as_bytes()).as_ref()).ok()
}

#[cfg(test)]
mod tests {
    use galera::Timestamp;

    use super::*;
    use crate::signing_keys::SigningKeyRecord;

    #[test]
    fn only_what_was_sealed_for_the_purpose_opens() {
        let now = Timestamp::from_unix_millis(0);
        let record = SigningKeyRecord::generate(now);
        let keys = SigningKeys::new(record.clone()).unwrap();
        let sealed = seal(&keys, "one", b"text").unwrap();
        assert_eq!(open(&keys, "one", &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(open(&keys, "two", &sealed), None);
        let rotated = SigningKeys::new(record.rotated(false, now)).unwrap();
        assert!(open(&rotated, "one", &sealed).is_some());
        let other = SigningKeys::new(record.rotated(true, now)).unwrap();
        assert_eq!(open(&other, "one", &sealed), None);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(open(&keys, "one", &changed), None, "{index}");
        }
        for bad in ["", "A", "ä", &"A".repeat(5_000)] {
            assert_eq!(open(&keys, "one", bad), None);
        }
        assert_eq!(seal(&keys, "one", &[0; 4_000]), None);
    }
}
