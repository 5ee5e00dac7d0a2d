//! A sealer for tests: it protects every key, and a checksum stands for the seal.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use registry::{
    Error, OpenedRecord, RecordSealer, RecordToSeal, Registry, SealTag, SealedRecord, numbered_key,
};

#[derive(Debug)]
struct TestSealer;

/// `registry`, all of whose records are sealed.
pub(crate) fn sealed(registry: Registry) -> Registry {
    registry.with_sealer(Arc::new(TestSealer))
}

const HEADER_BYTES: usize = 8 + 1 + 16;

fn tag(key: &[u8], version: u64, flags: u8, content: &[u8]) -> SealTag {
    let mut hasher = DefaultHasher::new();
    (key, version, flags, content).hash(&mut hasher);
    let half = hasher.finish().to_be_bytes();
    let mut tag = SealTag::default();
    tag[..8].copy_from_slice(&half);
    tag[8..].copy_from_slice(&half);
    tag
}

impl RecordSealer for TestSealer {
    fn protects(&self, key: &[u8]) -> bool {
        // Ranges are deleted of numbered keys only, which no console seals.
        let digits = numbered_key("", 0).len();
        let number = key.len().checked_sub(digits).map(|at| &key[at..]);
        !number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
    }

    fn seal(&self, record: &RecordToSeal<'_>) -> Result<SealedRecord, Error> {
        let flags = u8::from(record.leased) | u8::from(record.content.is_none()) << 1;
        let content = record.content.unwrap_or_default();
        let tag = tag(record.key, record.version, flags, content);
        let mut value = record.version.to_be_bytes().to_vec();
        value.push(flags);
        value.extend_from_slice(&tag);
        value.extend_from_slice(content);
        Ok(SealedRecord { value, tag })
    }

    fn open(&self, key: &[u8], value: &[u8]) -> Result<OpenedRecord, String> {
        let (header, content) = value.split_at_checked(HEADER_BYTES).ok_or("too short")?;
        let version = u64::from_be_bytes(header[..8].try_into().map_err(|_| "malformed")?);
        let flags = header[8];
        let expected = tag(key, version, flags, content);
        if header[9..] != expected {
            return Err("its seal is not valid".to_owned());
        }
        Ok(OpenedRecord {
            version,
            leased: flags & 1 != 0,
            content: (flags & 2 == 0).then(|| content.to_vec()),
            tag: expected,
            current: true,
        })
    }
}
