//! PEM: which section of a file is the key, or why the file has none.

use rustls::pki_types::pem::{PemObject, SectionKind};

use crate::KeyError;

/// The PKCS#8 bytes of the one private key in `text`.
pub(crate) fn private_key(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut found = None;
    for (kind, der) in sections(text)? {
        match kind {
            SectionKind::PrivateKey if found.is_some() => return Err(KeyError::SeveralPrivateKeys),
            SectionKind::PrivateKey => found = Some(der),
            SectionKind::PublicKey => return Err(KeyError::PublicInsteadOfPrivate),
            SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(KeyError::NotEd25519);
            }
            SectionKind::Certificate => return Err(KeyError::Certificate),
            _ => {}
        }
    }
    found.ok_or(KeyError::NoKey)
}

/// The SubjectPublicKeyInfo bytes of all public keys in `text`.
pub(crate) fn public_keys(text: &[u8]) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut found = Vec::new();
    for (kind, der) in sections(text)? {
        match kind {
            SectionKind::PublicKey => found.push(der),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(KeyError::PrivateInsteadOfPublic);
            }
            SectionKind::Certificate => return Err(KeyError::Certificate),
            _ => {}
        }
    }
    match found.is_empty() {
        true => Err(KeyError::NoKey),
        false => Ok(found),
    }
}

fn sections(text: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, KeyError> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::InvalidPem)
}

/// The PEM text of `der`.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut body = String::new();
    for (index, group) in der.chunks(3).enumerate() {
        if index > 0 && index.is_multiple_of(16) {
            body.push('\n');
        }
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit > group.len() {
                body.push('=');
            } else {
                let index = (bits >> (18 - 6 * digit)) & 63;
                body.push(char::from(DIGITS[index as usize]));
            }
        }
    }
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}
