//! The format of the records below a state prefix: which consoles can use them.
//!
//! `format` is what the newest console has written that used them, `needs` the least that a console must know to read and
//! write them. A version that only adds records or members raises `format`; one whose records an earlier console would
//! misread raises `needs` too, and the earlier console then refuses to start. docs/releasing.md has what that means for an
//! upgrade and the way back.

use galera::Timestamp;
use registry::{
    CreateOutcome, Error, KeyChange, Precondition, Registry, RegistryEntry, Transaction,
    TransactionOutcome, WatchEvent, WriteOp,
};
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::keyspace;
use crate::state_secret::sealed_with;

/// The format that this version writes. 1: records of version 0.1, which did not record it. 2: the event history is sealed,
/// deliveries have numbers.
pub const STATE_FORMAT: u32 = 2;
/// The least that a console must know to use what this version writes.
pub const NEEDED_FORMAT: u32 = 2;
/// Attempts beside other replicas.
const ATTEMPTS: usize = 10;

/// Why the records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFormatError {
    /// A newer console has written what this one would misread.
    #[error(
        "the state below {prefix} in etcd was written by version {version} of the console in format {needed}, and this version, {own}, knows formats up to {STATE_FORMAT}: \
         nothing was read or changed. Start version {version} or a later one, or go back to a state that was exported before the upgrade (docs/releasing.md)"
    )]
    Newer {
        prefix: String,
        /// The version that wrote it.
        version: String,
        needed: u32,
        /// This version.
        own: &'static str,
    },
    /// The record cannot be read, so that a newer console must be assumed.
    #[error(
        "the format of the state in {key} in etcd cannot be read by this version, {own}: nothing was changed. Start the version that ran last; if no newer one ever ran, remove the key with `etcdctl del {key}` while no console runs"
    )]
    Unreadable { key: String, own: &'static str },
    /// etcd failed.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl StateFormatError {
    /// Whether a later attempt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Newer { .. } | Self::Unreadable { .. } => false,
            Self::Registry(error) => error.is_transient(),
        }
    }
}

/// The record at `format`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFormat {
    /// What the newest console writes that has used the state.
    pub format: u32,
    /// The least that a console must know.
    pub needs: u32,
    /// The version of that console.
    pub version: String,
    pub at: Timestamp,
}

impl StateFormat {
    /// What this version writes.
    #[must_use]
    pub fn of_this_version() -> Self {
        Self {
            format: STATE_FORMAT,
            needs: NEEDED_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now(),
        }
    }

    /// Checks that this version can use a state of this format below `prefix`.
    ///
    /// # Errors
    /// [`StateFormatError::Newer`].
    pub fn check(&self, prefix: &str) -> Result<(), StateFormatError> {
        if self.needs <= STATE_FORMAT {
            return Ok(());
        }
        Err(StateFormatError::Newer {
            prefix: prefix.to_owned(),
            version: self.version.chars().take(40).collect(),
            needed: self.needs,
            own: env!("CARGO_PKG_VERSION"),
        })
    }

    /// `None` for a sealed record that was read without a state secret: what is missing then is the secret, which those say that read
    /// the other records.
    fn parse(key: &str, value: &[u8]) -> Result<Option<Self>, StateFormatError> {
        match serde_json::from_slice(value) {
            Ok(format) => Ok(Some(format)),
            Err(_) if sealed_with(value).is_some() => Ok(None),
            Err(_) => Err(StateFormatError::Unreadable {
                key: key.to_owned(),
                own: env!("CARGO_PKG_VERSION"),
            }),
        }
    }
}

/// What is recorded of the format.
enum FoundFormat {
    Absent,
    /// Another client of etcd changed it, or this program has no state secret: both are reported like those of every other record.
    Unverified,
    /// One that this version can use, and its revision.
    Usable(StateFormat, i64),
}

/// Checks that this version can use the state. Writes nothing.
///
/// # Errors
/// [`StateFormatError`].
pub async fn check(registry: &Registry, state_prefix: &str) -> Result<(), StateFormatError> {
    find(registry, state_prefix).await.map(|_| ())
}

async fn find(registry: &Registry, state_prefix: &str) -> Result<FoundFormat, StateFormatError> {
    let key = keyspace::state_format(state_prefix);
    let entry = match registry.get(key.as_str()).await {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(FoundFormat::Absent),
        Err(Error::Tampered { .. }) => return Ok(FoundFormat::Unverified),
        Err(error) => return Err(error.into()),
    };
    let Some(found) = StateFormat::parse(&key, &entry.value)? else {
        return Ok(FoundFormat::Unverified);
    };
    found.check(state_prefix)?;
    Ok(FoundFormat::Usable(found, entry.mod_revision))
}

/// Records that this version uses the state; lowers nothing that a newer one has recorded.
///
/// # Errors
/// [`StateFormatError`].
pub async fn record(registry: &Registry, state_prefix: &str) -> Result<(), StateFormatError> {
    let key = keyspace::state_format(state_prefix);
    let own = StateFormat::of_this_version();
    for _ in 0..ATTEMPTS {
        let (found, revision) = match find(registry, state_prefix).await? {
            FoundFormat::Usable(found, revision) => (found, revision),
            // It stays, since it may have replaced that of a newer console.
            FoundFormat::Unverified => return Ok(()),
            FoundFormat::Absent => {
                match registry.create(key.as_str(), encode(&own)?, None).await? {
                    CreateOutcome::Created { .. } => return Ok(()),
                    CreateOutcome::Exists(_) => continue,
                }
            }
        };
        if found.format >= own.format && found.needs >= own.needs {
            return Ok(());
        }
        let newer = if found.format > own.format {
            &found
        } else {
            &own
        };
        let raised = StateFormat {
            format: found.format.max(own.format),
            needs: found.needs.max(own.needs),
            version: newer.version.clone(),
            at: own.at,
        };
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.clone().into_bytes(), revision))
            .then([WriteOp::put(key.as_str(), encode(&raised)?, None)]);
        if let TransactionOutcome::Committed { .. } = registry.transact(&transaction).await? {
            return Ok(());
        }
    }
    Err(Error::Unavailable {
        endpoints: registry.endpoints().to_owned(),
        cause: "other consoles change the format of the state at the same time".to_owned(),
    }
    .into())
}

/// Calls `report` when a newer console raises the format above what this version knows, or the record becomes unreadable.
pub async fn follow(
    registry: &Registry,
    state_prefix: &str,
    mut report: impl FnMut(StateFormatError),
) {
    let key = keyspace::state_format(state_prefix);
    let mut events = registry.watch(key.as_str());
    while let Some(event) = events.next().await {
        let Some(entry) = newest(&event, &key) else {
            continue;
        };
        let checked = StateFormat::parse(&key, &entry.value)
            .and_then(|found| found.map_or(Ok(()), |found| found.check(state_prefix)));
        if let Err(error) = checked {
            report(error);
        }
    }
}

/// The record in `event`, if it has one.
fn newest<'a>(event: &'a WatchEvent, key: &str) -> Option<&'a RegistryEntry> {
    let is_record = |entry: &&RegistryEntry| entry.key == key.as_bytes();
    match event {
        WatchEvent::Reset { entries, .. } => entries.iter().find(is_record),
        WatchEvent::Changes { changes, .. } => {
            changes.iter().rev().find_map(|change| match change {
                KeyChange::Put(entry) => Some(entry).filter(is_record),
                KeyChange::Delete { .. } => None,
            })
        }
        WatchEvent::Unreachable { .. } | WatchEvent::Reachable => None,
    }
}

fn encode(record: &StateFormat) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record).map_err(|error| Error::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use registry::memory::MemoryEtcd;

    use super::*;

    const PREFIX: &str = "/s";

    fn format(format: u32, needs: u32) -> StateFormat {
        StateFormat {
            format,
            needs,
            version: "9.9.9".to_owned(),
            at: now(),
        }
    }

    async fn stored(registry: &Registry) -> StateFormat {
        let entry = registry.get("/s/format").await.unwrap().unwrap();
        serde_json::from_slice(&entry.value).unwrap()
    }

    async fn store(registry: &Registry, record: &StateFormat) {
        let value = serde_json::to_vec(record).unwrap();
        registry.put("/s/format", value, None).await.unwrap();
    }

    #[tokio::test]
    async fn the_format_is_recorded_once_and_never_lowered() {
        let registry = MemoryEtcd::new().registry();
        check(&registry, PREFIX).await.unwrap();
        assert_eq!(registry.get("/s/format").await.unwrap(), None);
        let (one, other) = tokio::join!(record(&registry, PREFIX), record(&registry, PREFIX));
        one.and(other).unwrap();
        let first = registry.get("/s/format").await.unwrap().unwrap();
        record(&registry, PREFIX).await.unwrap();
        let again = registry.get("/s/format").await.unwrap().unwrap();
        assert_eq!(again.mod_revision, first.mod_revision);

        for (found, expected) in [
            (format(1, 1), (STATE_FORMAT, NEEDED_FORMAT)),
            // A newer console that only added something: it can be gone back from.
            (
                format(STATE_FORMAT + 5, 1),
                (STATE_FORMAT + 5, NEEDED_FORMAT),
            ),
            (
                format(STATE_FORMAT + 5, STATE_FORMAT),
                (STATE_FORMAT + 5, STATE_FORMAT),
            ),
        ] {
            store(&registry, &found).await;
            record(&registry, PREFIX).await.unwrap();
            let now = stored(&registry).await;
            assert_eq!((now.format, now.needs), expected, "{found:?}");
            assert_eq!(now.version == "9.9.9", found.format > STATE_FORMAT);
        }
    }

    #[tokio::test]
    async fn what_a_newer_console_needs_is_refused_and_left_as_it_is() {
        let registry = MemoryEtcd::new().registry();
        store(&registry, &format(STATE_FORMAT + 2, STATE_FORMAT + 1)).await;
        let before = registry.get("/s/format").await.unwrap();
        for refused in [
            check(&registry, PREFIX).await,
            record(&registry, PREFIX).await,
        ] {
            let error = refused.unwrap_err();
            assert!(!error.is_transient());
            let text = error.to_string();
            for part in ["9.9.9", env!("CARGO_PKG_VERSION"), "docs/releasing.md"] {
                assert!(text.contains(part), "{text}");
            }
        }
        // Members that a later version adds do not matter, one that is missing does.
        for (value, readable) in [
            (
                r#"{"format":3,"needs":2,"version":"3","at":"2030-01-01T00:00:00Z","more":{}}"#,
                true,
            ),
            (
                r#"{"format":3,"version":"3","at":"2030-01-01T00:00:00Z"}"#,
                false,
            ),
            ("3", false),
            ("", false),
        ] {
            registry.put("/s/format", value, None).await.unwrap();
            let checked = check(&registry, PREFIX).await;
            assert_eq!(checked.is_ok(), readable, "{value}");
            if let Err(error) = checked {
                assert!(
                    error.to_string().contains("etcdctl del /s/format"),
                    "{error}"
                );
            }
        }
        assert_ne!(registry.get("/s/format").await.unwrap(), before);
    }

    #[tokio::test]
    async fn a_running_console_is_informed_of_a_newer_one() {
        let registry = MemoryEtcd::new().registry();
        record(&registry, PREFIX).await.unwrap();
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let following = registry.clone();
        let tracker = tokio_util::task::TaskTracker::new();
        let task = tracker.spawn(async move {
            follow(&following, PREFIX, |error| _ = sender.send(error)).await;
        });
        store(&registry, &format(STATE_FORMAT + 1, NEEDED_FORMAT)).await;
        store(&registry, &format(STATE_FORMAT + 1, STATE_FORMAT + 1)).await;
        let report = tokio::time::timeout(std::time::Duration::from_secs(10), reports.recv()).await;
        let report = report.unwrap().unwrap();
        assert!(
            matches!(report, StateFormatError::Newer { needed, .. } if needed == STATE_FORMAT + 1)
        );
        assert!(reports.try_recv().is_err());
        task.abort();
    }
}
