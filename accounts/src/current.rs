//! Reads accounts from etcd for decisions that must not rest on a cache.

use console_core::current_labels::CurrentLabels;
use console_core::keyspace::AccountKeys;
use galera::ClusterName;
use galera::access::{GroupName, Operation, check_permission};
use galera::recover::action::{CurrentAccount, CurrentAccounts};
use registry::{Precondition, Registry};

use super::cache::parse_user;
use super::records::{UserName, UserRecord};

/// Reads accounts, linearizably.
#[derive(Clone)]
pub struct AccountReader {
    registry: Registry,
    keys: AccountKeys,
    labels: CurrentLabels,
}

/// Accounts as of a reading, and what makes a transaction fail once they change.
pub struct AccountReading {
    pub accounts: CurrentAccounts,
    pub unchanged: Vec<Precondition>,
}

impl AccountReader {
    /// Reads the accounts under `state_prefix`.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: &str) -> Self {
        Self {
            registry,
            keys: AccountKeys::new(state_prefix),
            labels: CurrentLabels::default(),
        }
    }

    /// The same reader, in which clusters have `labels`; without them no role counts by label.
    #[must_use]
    pub fn with_labels(self, labels: CurrentLabels) -> Self {
        Self { labels, ..self }
    }

    /// The groups of each enabled account of a person, other than `except`, that has the role approver on `cluster` now.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn approvers(
        &self,
        cluster: &ClusterName,
        except: &str,
    ) -> Result<Vec<Vec<GroupName>>, registry::Error> {
        let prefix = self.keys.users();
        let labels = self.labels.get();
        let entries = self.registry.list(prefix.clone()).await?.entries;
        let accounts = entries.iter().filter_map(|entry| {
            let name = std::str::from_utf8(&entry.key).ok()?;
            let name = name.strip_prefix(prefix.as_str())?;
            let record = parse_user(entry)?;
            let roles = record.roles_on(cluster, &labels);
            let counts = !record.disabled
                && !record.kind.is_service()
                && !name.eq_ignore_ascii_case(except)
                && check_permission(&roles, Operation::ApproveAction).is_ok();
            counts.then(|| record.groups())
        });
        Ok(accounts.collect())
    }

    /// Reads `names` now, with the roles that they have on `cluster`. A name that is invalid, or whose account is removed, disabled or unreadable, is missing in the
    /// result.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn read(
        &self,
        names: impl Iterator<Item = &str>,
        cluster: &ClusterName,
    ) -> Result<AccountReading, registry::Error> {
        let mut reading = AccountReading {
            accounts: CurrentAccounts::default(),
            unchanged: Vec::new(),
        };
        let labels = self.labels.get();
        for name in names.filter_map(|name| name.parse::<UserName>().ok()) {
            let key = self.keys.user(name.as_str());
            let entry = self.registry.get(key.clone()).await?;
            let revision = entry.as_ref().map(|entry| entry.mod_revision);
            reading.unchanged.push(match revision {
                Some(revision) => Precondition::Unchanged(key.into_bytes(), revision),
                None => Precondition::Absent(key.into_bytes()),
            });
            let record: Option<UserRecord> = entry.as_ref().and_then(parse_user);
            if let Some(record) = record.filter(|record| !record.disabled) {
                let account = CurrentAccount {
                    credential: record.credential_tag(),
                    roles: record.roles_on(cluster, &labels),
                    groups: record.groups(),
                };
                reading.accounts.insert(name.as_str(), account);
            }
        }
        Ok(reading)
    }
}
