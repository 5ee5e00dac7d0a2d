//! The JSON of a sealed record. The record itself is the last member and kept byte for byte, since its bytes are what is
//! authenticated.

use registry::Error;
use serde::{Deserialize, Serialize};

use super::FORMAT;

/// The members before the content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealHeader {
    /// The version of this format.
    sealed: u32,
    kid: String,
    version: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leased: bool,
    tag: String,
}

const VERSION: u32 = 1;
/// What a sealed entry of a log begins with if it is not text: then follow the name of the secret, the tag and the content.
const BINARY: &[u8; 8] = b"\0sealed1";
/// Bytes of a secret's name and of a tag.
const KID_LENGTH: usize = 8;
const TAG_LENGTH: usize = 32;
const MEMBERS: [&str; 4] = [
    ",\"record\":",
    ",\"text\":",
    ",\"encrypted\":",
    ",\"removed\":",
];

/// A sealed record in parts.
pub(super) struct SealEnvelope {
    pub(super) kid: String,
    pub(super) version: u64,
    pub(super) leased: bool,
    pub(super) tag: Vec<u8>,
    pub(super) content: SealedContent,
}

pub(super) enum SealedContent {
    /// Readable in etcd.
    Clear(Vec<u8>),
    Encrypted {
        nonce: Vec<u8>,
        ciphertext: Vec<u8>,
    },
    /// Bytes that are not text, of an entry of a log.
    Binary(Vec<u8>),
    /// A note that the record was removed.
    Removed,
}

impl SealedContent {
    /// The content of an entry of a log: JSON or text, else bytes.
    pub(super) fn log_entry(content: &[u8]) -> Self {
        Self::clear(content).unwrap_or_else(|_| Self::Binary(content.to_vec()))
    }

    /// SealedContent in clear: JSON, or text.
    pub(super) fn clear(content: &[u8]) -> Result<Self, Error> {
        match std::str::from_utf8(content) {
            Ok(_) => Ok(Self::Clear(content.to_vec())),
            Err(_) => Err(Error::Invalid(
                "a record that is not text cannot be sealed".to_owned(),
            )),
        }
    }
}

impl SealEnvelope {
    /// What a seal is bound to besides the content: format, secret, version, kind and key, each of known length.
    pub(super) fn context(&self, key: &[u8], removed: bool) -> Vec<u8> {
        let mut context = FORMAT.to_vec();
        let kind = u8::from(self.leased) | u8::from(removed) << 1;
        context.push(kind);
        context.extend_from_slice(&self.version.to_be_bytes());
        for part in [self.kid.as_bytes(), key] {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            context.extend_from_slice(&length.to_be_bytes());
            context.extend_from_slice(part);
        }
        context
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if let SealedContent::Binary(content) = &self.content {
            // A derived name always is hexadecimal.
            let kid = from_hex(&self.kid).unwrap_or_default();
            return [&BINARY[..], &kid, &self.tag, content].concat();
        }
        let header = SealHeader {
            sealed: VERSION,
            kid: self.kid.clone(),
            version: self.version,
            leased: self.leased,
            tag: to_hex(&self.tag),
        };
        // A header of numbers and hexadecimal text always serializes.
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.pop();
        let [record, text, encrypted, removed] = MEMBERS;
        match &self.content {
            SealedContent::Clear(content) if is_json(content) => {
                bytes.extend_from_slice(record.as_bytes());
                bytes.extend_from_slice(content);
            }
            SealedContent::Clear(content) => {
                bytes.extend_from_slice(text.as_bytes());
                let content = String::from_utf8_lossy(content);
                bytes.extend(serde_json::to_vec(&*content).unwrap_or_default());
            }
            SealedContent::Encrypted { nonce, ciphertext } => {
                let content = format!("{encrypted}\"{}{}\"", to_hex(nonce), to_hex(ciphertext));
                bytes.extend_from_slice(content.as_bytes());
            }
            // A note; bytes were returned above.
            SealedContent::Removed | SealedContent::Binary(_) => {
                bytes.extend_from_slice(removed.as_bytes());
                bytes.extend_from_slice(b"true");
            }
        }
        bytes.push(b'}');
        bytes
    }

    /// Parses a value of etcd, which may be anything.
    ///
    /// # Errors
    /// Why it is not a sealed record.
    pub(super) fn parse(value: &[u8]) -> Result<Self, String> {
        let plain = || "it is not sealed".to_owned();
        if let Some(rest) = value.strip_prefix(BINARY) {
            return Self::parse_binary(rest).ok_or_else(|| "it is malformed".to_owned());
        }
        let value = std::str::from_utf8(value).map_err(|_| plain())?;
        let inner = value.strip_suffix('}').ok_or_else(plain)?;
        // No member before the content can contain one of these texts.
        let (at, member) = MEMBERS
            .iter()
            .filter_map(|member| Some((inner.find(member)?, *member)))
            .min()
            .ok_or_else(plain)?;
        let (header, rest) = inner.split_at(at);
        let content = &rest[member.len()..];
        let header: SealHeader =
            serde_json::from_str(&format!("{header}}}")).map_err(|_| plain())?;
        if header.sealed != VERSION {
            return Err(format!("it has the unknown format {}", header.sealed));
        }
        let malformed = || "it is malformed".to_owned();
        let [record, text, encrypted, _] = MEMBERS;
        let content = if member == record {
            SealedContent::Clear(content.as_bytes().to_vec())
        } else if member == text {
            let text: String = serde_json::from_str(content).map_err(|_| malformed())?;
            SealedContent::Clear(text.into_bytes())
        } else if member == encrypted {
            let hex: String = serde_json::from_str(content).map_err(|_| malformed())?;
            let mut bytes = from_hex(&hex).ok_or_else(malformed)?;
            let length = aws_lc_rs::aead::NONCE_LEN;
            if bytes.len() < length {
                return Err(malformed());
            }
            let ciphertext = bytes.split_off(length);
            SealedContent::Encrypted {
                nonce: bytes,
                ciphertext,
            }
        } else if content == "true" {
            SealedContent::Removed
        } else {
            return Err(malformed());
        };
        Ok(Self {
            kid: header.kid,
            version: header.version,
            leased: header.leased,
            tag: from_hex(&header.tag).ok_or_else(malformed)?,
            content,
        })
    }
}

impl SealEnvelope {
    fn parse_binary(rest: &[u8]) -> Option<Self> {
        let (kid, rest) = rest.split_at_checked(KID_LENGTH)?;
        let (tag, content) = rest.split_at_checked(TAG_LENGTH)?;
        Some(Self {
            kid: to_hex(kid),
            version: 0,
            leased: false,
            tag: tag.to_vec(),
            content: SealedContent::Binary(content.to_vec()),
        })
    }
}

/// Whether `content` is one JSON value without surrounding white space.
fn is_json(content: &[u8]) -> bool {
    let bounded = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_whitespace());
    bounded(content.first())
        && bounded(content.last())
        && serde_json::from_slice::<serde::de::IgnoredAny>(content).is_ok()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?))
        .collect()
}
