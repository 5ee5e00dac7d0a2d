//! Compare-and-set of keys that any replica may write: read, decide, write if unchanged.

use registry::{CreateOutcome, Error, Registry};

/// Attempts in case of concurrent writers.
const ATTEMPTS: usize = 3;

/// What happens to a record that was changed outside the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TamperedRecords {
    /// It stays: the caller does not know what it contained.
    Keep,
    /// It is replaced: the caller has read the genuine one.
    Replace,
}

/// Writes to `key` what `wanted` makes of its current value; `None` from it leaves the key as it is. Safe to repeat:
/// each attempt compares what it read.
///
/// # Errors
/// [`Error::Conflict`] when every attempt lost against a concurrent writer, and whatever the registry returns.
pub(super) async fn converge(
    registry: &Registry,
    key: &str,
    tampered: TamperedRecords,
    wanted: impl Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>, Error>,
) -> Result<(), Error> {
    let mut lost = None;
    for _ in 0..ATTEMPTS {
        let current = match registry.get(key).await {
            Err(Error::Tampered { .. }) if tampered == TamperedRecords::Replace => None,
            current => current?,
        };
        let value = current.as_ref().map(|entry| entry.value.as_ref());
        let Some(value) = wanted(value)? else {
            return Ok(());
        };
        let written = match current {
            Some(entry) => {
                let updated = registry.update(key, entry.mod_revision, value, None).await;
                updated.map(drop)
            }
            None => match registry.create(key, value, None).await? {
                CreateOutcome::Created { .. } => Ok(()),
                CreateOutcome::Exists(entry) => Err(Error::Conflict {
                    key: key.to_owned(),
                    current: Some(Box::new(entry)),
                }),
            },
        };
        match written {
            Err(error @ Error::Conflict { .. }) => lost = Some(error),
            done => return done,
        }
    }
    lost.map_or(Ok(()), Err)
}

///
/// # Errors
/// [`Error::Invalid`] when it cannot be written as JSON.
pub(super) fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Invalid(error.to_string()))
}
