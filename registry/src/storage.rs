//! Alarms of etcd, and the space of its database.

use std::time::Duration;

use etcd_client::{Client, Error as ClientError, ResponseHeader};

use crate::{Backend, Registry, Result};

/// A fault for which etcd refuses requests until an administrator ends the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageAlarm {
    /// A member's database reached its quota: no member accepts writes.
    NoSpace,
    /// The data of the members differ: no member accepts reads or writes.
    Corrupt,
}

/// What etcd's members report about their databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageStatus {
    /// The oldest version of the members, as in `3.4.23`.
    pub version: String,
    /// The alarms, without repetition.
    pub alarms: Vec<StorageAlarm>,
    /// The size of the largest database in bytes, with pages that are free. This is what the quota limits.
    pub database_size: u64,
    /// What the largest database would have after a defragmentation, in bytes.
    pub in_use: u64,
    /// The quota in bytes, as members report it since version 3.6; the smallest.
    pub quota: Option<u64>,
    /// The newest revision, up to which the history can be compacted.
    pub revision: i64,
}

impl Registry {
    /// The alarms and the space of every endpoint that answers.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when no endpoint answers; [`crate::Error::Denied`] when the account may not read the
    /// status of members.
    pub async fn storage_status(&self) -> Result<StorageStatus> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.storage_status(),
        };
        let mut reported: Option<StorageStatus> = None;
        let mut failed = None;
        for index in 0..endpoints.count() {
            let answer = endpoints.attempt_at(index, |mut client| async move {
                let status = client.status().await?;
                // The call for alarms would need a leader, and the status names them as well.
                let alarms = status.errors().iter().filter_map(|text| alarm_in(text));
                let size = |value: i64| u64::try_from(value).unwrap_or(0);
                Ok::<_, ClientError>(StorageStatus {
                    version: status.version().to_owned(),
                    alarms: alarms.collect(),
                    database_size: size(status.db_size()),
                    in_use: size(status.raft_used_db_size()),
                    quota: Some(size(status.db_size_quota())).filter(|quota| *quota > 0),
                    revision: status.header().map_or(0, ResponseHeader::revision),
                })
            });
            match answer.await {
                Ok(status) => reported = Some(status.merged_with(reported)),
                Err(error) => failed = Some(error),
            }
        }
        match (reported, failed) {
            (Some(status), _) => Ok(status),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(StorageStatus::default()),
        }
    }

    /// Releases the free pages of every endpoint's database, one endpoint after the other. etcd answers nothing else until it
    /// has copied what is in use; `limit` is the time for one endpoint.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when an endpoint does not answer in time: it may still complete the copy, which is
    /// harmless to repeat. [`crate::Error::Denied`] without the right to maintain etcd.
    pub async fn defragment(&self, limit: Duration) -> Result<()> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.ready(),
        };
        for index in 0..endpoints.count() {
            let work = |mut client: Client| async move { client.defragment().await };
            endpoints.attempt_within(index, limit, work).await?;
        }
        Ok(())
    }
}

impl StorageStatus {
    /// Of several members: what is worst of each.
    fn merged_with(self, other: Option<Self>) -> Self {
        let Some(other) = other else {
            let mut alarms = self.alarms;
            alarms.sort();
            alarms.dedup();
            return Self { alarms, ..self };
        };
        let mut alarms = [self.alarms, other.alarms].concat();
        alarms.sort();
        alarms.dedup();
        Self {
            version: older(self.version, other.version),
            alarms,
            database_size: self.database_size.max(other.database_size),
            in_use: self.in_use.max(other.in_use),
            quota: [self.quota, other.quota].into_iter().flatten().min(),
            revision: self.revision.max(other.revision),
        }
    }
}

/// The alarm in a line of a status, as in `memberID:10276657743932975437 alarm:NOSPACE `.
fn alarm_in(text: &str) -> Option<StorageAlarm> {
    let name = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("alarm:"))?;
    match name {
        "NOSPACE" => Some(StorageAlarm::NoSpace),
        "CORRUPT" => Some(StorageAlarm::Corrupt),
        _ => None,
    }
}

/// The lower of two versions.
fn older(one: String, other: String) -> String {
    let numbers = |version: &str| -> Vec<u32> {
        version
            .split(['.', '-'])
            .map_while(|part| part.parse().ok())
            .collect()
    };
    if numbers(&one) <= numbers(&other) {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_each_member_counts() {
        let member = |version: &str, size, quota, alarms: &[StorageAlarm]| StorageStatus {
            version: version.to_owned(),
            alarms: alarms.to_vec(),
            database_size: size,
            in_use: size / 2,
            quota,
            revision: 7,
        };
        let one = member("3.10.1", 10, Some(100), &[StorageAlarm::Corrupt]);
        let other = member(
            "3.6.0",
            30,
            Some(80),
            &[StorageAlarm::NoSpace, StorageAlarm::NoSpace],
        );
        let both = member(
            "3.6.0",
            30,
            Some(80),
            &[StorageAlarm::NoSpace, StorageAlarm::Corrupt],
        );
        assert_eq!(one.merged_with(Some(other.merged_with(None))), both);
    }
}
