//! Reads: linearizable, repeated on the next endpoint until the deadline.

use std::time::Duration;

use etcd_client::{Error as ClientError, GetOptions, GetResponse};

use crate::endpoints::{CallKind, Endpoints};
use crate::entry::{LeaseId, Listing, RegistryEntry};
use crate::lease::LeaseInfo;
use crate::spans::in_etcd_call;
use crate::{Backend, Error, Registry, Result};

/// Largest answer accepted, in bytes: far above etcd's default request limit of 1.5 MB.
pub(crate) const RESPONSE_LIMIT: usize = 16 * 1024 * 1024;
/// Keys per request of a listing; fewer if their values are large.
const PAGE_SIZE: i64 = 500;
/// Attempts of a listing whose revision etcd compacts between two pages.
const LISTING_ATTEMPTS: usize = 3;

/// The status of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// etcd's version, as in `3.4.23`.
    pub version: String,
    /// Whether the member has a leader.
    pub has_leader: bool,
    /// The size of its database in bytes.
    pub db_size: u64,
}

impl Registry {
    /// The entry of `key`, or `None`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no endpoint answers in time, [`Error::Denied`], [`Error::TooLarge`];
    /// [`Error::Tampered`] when it was changed outside the console.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<RegistryEntry>> {
        let key = key.into();
        let (entry, revision) = self.get_stored(&key).await?;
        match &self.sealing {
            Some(sealing) => sealing.open_one(&key, entry, revision),
            None => Ok(entry),
        }
    }

    /// The entry as it is stored, and the revision that it was read at.
    pub(crate) async fn get_stored(&self, key: &[u8]) -> Result<(Option<RegistryEntry>, i64)> {
        let floor = self.revisions.newest();
        let (entry, revision) = in_etcd_call("get", self.read_stored(key)).await?;
        self.observe_revision(floor, revision);
        Ok((entry, revision))
    }

    async fn read_stored(&self, key: &[u8]) -> Result<(Option<RegistryEntry>, i64)> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.get(key),
        };
        let response = range(endpoints, key.to_vec(), GetOptions::new()).await?;
        let revision = revision_of(&response);
        let entry = response.kvs().first().map(RegistryEntry::from);
        Ok((entry, revision))
    }

    /// Every entry under `prefix`, all as of one revision, however many and large they are. Records that were changed
    /// outside the console are left out ([`Registry::tampered`]).
    ///
    /// # Errors
    /// As [`Registry::get`], except [`Error::Tampered`].
    pub async fn list(&self, prefix: impl Into<Vec<u8>>) -> Result<Listing> {
        let prefix = prefix.into();
        let listing = self.list_stored(prefix.clone()).await?;
        Ok(match &self.sealing {
            Some(sealing) => sealing.open_listing(&prefix, listing),
            None => listing,
        })
    }

    /// The entries as they are stored.
    pub(crate) async fn list_stored(&self, prefix: Vec<u8>) -> Result<Listing> {
        let floor = self.revisions.newest();
        let listing = in_etcd_call("list", self.read_listing(prefix)).await?;
        self.observe_revision(floor, listing.revision);
        Ok(listing)
    }

    async fn read_listing(&self, prefix: Vec<u8>) -> Result<Listing> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.list(&prefix),
        };
        let mut attempt = 1;
        loop {
            match list_once(endpoints, &prefix).await {
                // Compacted between two pages: the revision is gone, a newer one is not.
                Err(Error::Compacted { .. }) if attempt < LISTING_ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    /// How long a lease was granted for and how long it still has; `None` when it does not exist.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub async fn lease_info(&self, id: LeaseId) -> Result<Option<LeaseInfo>> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.lease_info(id),
        };
        let answer = endpoints
            .call(CallKind::Read, |client| async move {
                client.lease_client().time_to_live(id, None).await
            })
            .await?;
        let seconds = |value: i64| u64::try_from(value).ok().map(Duration::from_secs);
        let info = seconds(answer.value.granted_ttl()).zip(seconds(answer.value.ttl()));
        Ok(info.map(|(granted, remaining)| LeaseInfo { granted, remaining }))
    }

    /// Whether etcd answers a read that needs a majority.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not; [`Error::Denied`] for wrong credentials.
    pub async fn ready(&self) -> Result<()> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.ready(),
        };
        match range(
            endpoints,
            b"health".to_vec(),
            GetOptions::new().with_keys_only(),
        )
        .await
        {
            Ok(_) => Ok(()),
            // A role that may not read this key proves that etcd answers.
            Err(Error::Denied { cause, .. }) if cause.contains("permission denied") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The status of the first member that answers.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub async fn status(&self) -> Result<MemberStatus> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.status(),
        };
        let answer = endpoints
            .call(CallKind::Read, |mut client| async move {
                let status = client.status().await?;
                Ok::<_, ClientError>(MemberStatus {
                    version: status.version().to_owned(),
                    has_leader: status.leader() != 0,
                    db_size: u64::try_from(status.db_size()).unwrap_or(0),
                })
            })
            .await?;
        Ok(answer.value)
    }
}

async fn list_once(endpoints: &Endpoints, prefix: &[u8]) -> Result<Listing> {
    let end = prefix_end(prefix);
    // The empty prefix is every key; the first one there can be is a zero byte.
    let mut from = if prefix.is_empty() {
        vec![0]
    } else {
        prefix.to_vec()
    };
    let mut revision = 0;
    let mut page = PAGE_SIZE;
    let mut entries = Vec::new();
    loop {
        let options = GetOptions::new()
            .with_range(end.clone())
            .with_revision(revision)
            .with_limit(page);
        let response = match range(endpoints, from.clone(), options).await {
            Err(Error::TooLarge { .. }) if page > 1 => {
                page = (page / 8).max(1);
                continue;
            }
            response => response?,
        };
        if revision == 0 {
            revision = revision_of(&response);
        }
        entries.extend(response.kvs().iter().map(RegistryEntry::from));
        match entries.last() {
            Some(last) if response.more() => {
                from.clone_from(&last.key);
                from.push(0);
            }
            _ => return Ok(Listing { revision, entries }),
        }
    }
}

fn revision_of(response: &GetResponse) -> i64 {
    response
        .header()
        .map_or(0, etcd_client::ResponseHeader::revision)
}

async fn range(endpoints: &Endpoints, key: Vec<u8>, options: GetOptions) -> Result<GetResponse> {
    let answer = endpoints
        .call(CallKind::Read, |client| {
            let (key, options) = (key.clone(), options.clone());
            let mut kv = client.kv_client().max_decoding_message_size(RESPONSE_LIMIT);
            async move { kv.get(key, Some(options)).await }
        })
        .await
        .map_err(|error| error.naming([("read", key.as_slice())]))?;
    Ok(answer.value)
}

/// The first key after every key that starts with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd's way of saying "to the end of the key space".
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"/galera/"), b"/galera0");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), b"\0");
        assert_eq!(prefix_end(b""), b"\0");
    }
}
