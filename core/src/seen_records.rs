//! What this host has seen of the sealed records, in a file outside etcd: an earlier state of etcd that is restored while no
//! console runs is recognized at the next start ([`registry::Registry::remember_records`]).
//!
//! The file is authenticated with the state secret and bound to the state prefix. Several processes may share it: each write
//! merges what is there, and of each record the higher version stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use galera::Timestamp;
use galera::record::audit::AuditAnchor;
use registry::{EtcdRestore, SealTag, SeenRecord, SeenRecords};
use serde::{Deserialize, Serialize};

use crate::state_secret::{StateSecrets, from_hex, to_hex};

/// The file's name in a data directory.
pub const FILE_NAME: &str = "seen-records";
/// Bytes of a file that are read.
const FILE_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Ended sessions that are kept, the newest ones.
const ENDED_MAX: usize = 20_000;
/// The version of the format.
const FORMAT: u32 = 1;

/// Why the file cannot be used: each text names it and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeenRecordsError {
    #[error(
        "cannot use {path}: {reason}; fix the path or the permissions, or set another --data-dir"
    )]
    Io { path: String, reason: String },
    #[error(
        "{path} is not a file of seen records ({reason}); if you know why, remove it: this host then cannot detect whether etcd already holds an earlier state"
    )]
    Malformed { path: String, reason: String },
    #[error("{path} belongs to the state prefix {found}, not {expected}; set another --data-dir")]
    OtherPrefix {
        path: String,
        found: String,
        expected: String,
    },
    #[error(
        "{path} is sealed with the state secret {kid}, which is not in the file of --state-secret-file; use the right one, or remove {path}: this host then cannot detect whether etcd already holds an earlier state"
    )]
    UnknownSecret { path: String, kid: String },
    #[error(
        "{path} was changed by another program; find out by which, then remove it: this host then cannot detect whether etcd already holds an earlier state"
    )]
    Forged { path: String },
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenState {
    pub records: SeenRecords,
    /// The newest entry of the audit trail.
    pub anchor: Option<AuditAnchor>,
    /// The records of which it was reported that they are older than seen, or missing.
    pub reported: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHeader {
    seen_records: u32,
    state_prefix: String,
    kid: String,
    tag: String,
}

#[derive(Serialize, Deserialize)]
struct FileBody {
    revision: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restored: Option<StoredRestore>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anchor: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    reported: BTreeSet<String>,
    records: Vec<StoredRecord>,
}

#[derive(Serialize, Deserialize)]
struct StoredRestore {
    seen: i64,
    found: i64,
    at: Timestamp,
}

/// Key, version, tag, revision, and whether it is leased, removed, present.
#[derive(Serialize, Deserialize)]
struct StoredRecord(String, u64, String, i64, [bool; 3]);

/// The file with what was seen below one state prefix.
#[derive(Clone, Debug)]
pub struct SeenRecordsFile {
    path: PathBuf,
    state_prefix: String,
    secrets: StateSecrets,
}

impl SeenRecordsFile {
    /// The file at `path`, whose directory is created if it does not exist.
    ///
    /// # Errors
    /// [`SeenRecordsError::Io`] if it cannot be written.
    pub fn open(
        path: &Path,
        state_prefix: &str,
        secrets: StateSecrets,
    ) -> Result<Self, SeenRecordsError> {
        let file = Self {
            path: path.to_owned(),
            state_prefix: state_prefix.trim_end_matches('/').to_owned(),
            secrets,
        };
        if let Some(directory) = path.parent() {
            let created = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            created.map_err(|error| file.io_error(&error))?;
        }
        // Found at the start rather than at the first write.
        drop(file.lock()?);
        Ok(file)
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; nothing if it does not exist yet.
    ///
    /// # Errors
    /// [`SeenRecordsError`].
    pub fn read(&self) -> Result<SeenState, SeenRecordsError> {
        let text = match File::open(&self.path) {
            Ok(file) => read_text(file).map_err(|error| self.io_error(&error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SeenState::default()),
            Err(error) => return Err(self.io_error(&error)),
        };
        let malformed = |reason: &dyn std::fmt::Display| SeenRecordsError::Malformed {
            path: self.shown(),
            reason: reason.to_string(),
        };
        let (header, body) = text
            .split_once('\n')
            .ok_or_else(|| malformed(&"it has no second line"))?;
        let body = body.trim_end_matches('\n');
        let header: FileHeader = serde_json::from_str(header).map_err(|error| malformed(&error))?;
        if header.seen_records != FORMAT {
            return Err(malformed(&format!(
                "unknown format {}",
                header.seen_records
            )));
        }
        if header.state_prefix != self.state_prefix {
            return Err(SeenRecordsError::OtherPrefix {
                path: self.shown(),
                found: header.state_prefix,
                expected: self.state_prefix.clone(),
            });
        }
        if !self.secrets.contains(&header.kid) {
            return Err(SeenRecordsError::UnknownSecret {
                path: self.shown(),
                kid: header.kid,
            });
        }
        let genuine = from_hex(&header.tag).is_some_and(|tag| {
            let message = self.message(body);
            self.secrets
                .verify_seen_records(&header.kid, &message, &tag)
        });
        if !genuine {
            return Err(SeenRecordsError::Forged { path: self.shown() });
        }
        let body: FileBody = serde_json::from_str(body).map_err(|error| malformed(&error))?;
        decode(body).ok_or_else(|| malformed(&"a record cannot be decoded"))
    }

    /// Merges `state` into the file.
    ///
    /// # Errors
    /// [`SeenRecordsError`]; the file is unchanged then.
    pub fn merge(&self, state: &SeenState) -> Result<(), SeenRecordsError> {
        let _lock = self.lock()?;
        let merged = merge(&self.read()?, state);
        let body =
            serde_json::to_string(&encode(&merged)).map_err(|error| self.io_error(&error))?;
        let tag = self.secrets.sign_seen_records(&self.message(&body));
        let header = FileHeader {
            seen_records: FORMAT,
            state_prefix: self.state_prefix.clone(),
            kid: self.secrets.newest().kid().to_owned(),
            tag: to_hex(&tag),
        };
        let header = serde_json::to_string(&header).map_err(|error| self.io_error(&error))?;
        self.replace(&format!("{header}\n{body}\n"))
            .map_err(|error| self.io_error(&error))
    }

    /// What is authenticated: the prefix, and the body.
    fn message(&self, body: &str) -> Vec<u8> {
        let length = u64::try_from(self.state_prefix.len()).unwrap_or(u64::MAX);
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(self.state_prefix.as_bytes());
        message.extend_from_slice(body.as_bytes());
        message
    }

    /// Replaces the file at once: after a crash it is the former or the new one.
    fn replace(&self, text: &str) -> std::io::Result<()> {
        let next = self.beside(".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Held while the file is read and written. A separate file, because the file itself is replaced.
    fn lock(&self) -> Result<File, SeenRecordsError> {
        let lock = || {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.beside(".lock"))?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error: std::io::Error| self.io_error(&error))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn io_error(&self, error: &dyn std::fmt::Display) -> SeenRecordsError {
        SeenRecordsError::Io {
            path: self.shown(),
            reason: error.to_string(),
        }
    }
}

fn read_text(file: File) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    file.take(FILE_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// What both have seen. A process that found a restored etcd has the revision that counts from then on.
fn merge(stored: &SeenState, state: &SeenState) -> SeenState {
    let mut records: BTreeMap<&[u8], &SeenRecord> = BTreeMap::new();
    for record in stored.records.records.iter().chain(&state.records.records) {
        let place = records.entry(&record.key).or_insert(record);
        if record.version >= place.version {
            *place = record;
        }
    }
    let has_ended = |record: &SeenRecord| record.leased && !record.present;
    let mut ended: Vec<u64> = records
        .values()
        .filter(|record| has_ended(record))
        .map(|record| record.version)
        .collect();
    ended.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = ended.get(ENDED_MAX).copied();
    let kept = records
        .into_values()
        .filter(|record| !has_ended(record) || oldest.is_none_or(|oldest| record.version > oldest));
    let revision = match state.records.restored {
        Some(_) => state.records.revision,
        None if stored.records.restored.is_some() => state.records.revision,
        None => state.records.revision.max(stored.records.revision),
    };
    let anchors = [&stored.anchor, &state.anchor].into_iter().flatten();
    SeenState {
        records: SeenRecords {
            revision,
            restored: state.records.restored,
            records: kept.cloned().collect(),
        },
        anchor: anchors.max_by_key(|anchor| anchor.sequence).cloned(),
        reported: state.reported.clone(),
    }
}

fn encode(state: &SeenState) -> FileBody {
    let records = state.records.records.iter().filter_map(|record| {
        // Every key that a console writes is text.
        let key = String::from_utf8(record.key.clone()).ok()?;
        let flags = [record.leased, record.removed, record.present];
        let tag = to_hex(&record.tag);
        Some(StoredRecord(
            key,
            record.version,
            tag,
            record.revision,
            flags,
        ))
    });
    FileBody {
        revision: state.records.revision,
        restored: state.records.restored.map(|restored| StoredRestore {
            seen: restored.seen,
            found: restored.found,
            at: restored.at,
        }),
        anchor: state.anchor.as_ref().map(ToString::to_string),
        reported: state.reported.clone(),
        records: records.collect(),
    }
}

fn decode(body: FileBody) -> Option<SeenState> {
    let records = body.records.into_iter().map(|stored| {
        let StoredRecord(key, version, tag, revision, [leased, removed, present]) = stored;
        Some(SeenRecord {
            key: key.into_bytes(),
            version,
            tag: SealTag::try_from(from_hex(&tag)?).ok()?,
            revision,
            leased,
            removed,
            present,
        })
    });
    let anchor = body.anchor.map(|anchor| anchor.parse().ok());
    Some(SeenState {
        records: SeenRecords {
            revision: body.revision,
            restored: body.restored.map(|restored| EtcdRestore {
                seen: restored.seen,
                found: restored.found,
                at: restored.at,
            }),
            records: records.collect::<Option<_>>()?,
        },
        anchor: match anchor {
            Some(anchor) => Some(anchor?),
            None => None,
        },
        reported: body.reported,
    })
}

#[cfg(test)]
mod tests;
