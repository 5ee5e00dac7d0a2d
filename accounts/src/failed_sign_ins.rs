//! Audits failed sign-ins, whatever their number: the first of an account and address immediately, further ones as a count
//! for each period.
//!
//! Entries are kept for good, so their number must not depend on an attacker. A period has at most [`FIRST_MAX`] immediate
//! entries and [`PAIRS_MAX`] + [`ACCOUNTS_MAX`] + 1 counts in each replica: failures beyond that are counted for the account
//! alone, and beyond that together. Unknown names are counted together for each address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console_core::audit::AuditTrail;
use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::cache::now;
use super::records::UserName;

/// The actor of failures with names that are no account: no account can have this name.
const UNKNOWN_ACCOUNT: &str = "(unknown account)";
/// The actor of failures that are counted together, whatever the account.
const SEVERAL_ACCOUNTS: &str = "(several accounts)";
/// How long failures are counted before the count is written.
const PERIOD: Duration = Duration::from_secs(600);
/// Entries of a period that are written immediately.
const FIRST_MAX: usize = 20;
/// Pairs of account and address that are counted separately.
const PAIRS_MAX: usize = 50;
/// Accounts that are counted separately when there are more pairs.
const ACCOUNTS_MAX: usize = 50;
/// How long writing the counts may take at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between attempts while etcd does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why a sign-in failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureReason {
    Credentials,
    Disabled,
    Code,
    NoExternalRole,
    ExternalAnswer,
}

impl FailureReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "invalid user name or password",
            Self::Disabled => "the account is disabled",
            Self::NoExternalRole => "the identity provider names no group with a role",
            Self::ExternalAnswer => "the answer of the identity provider is not valid",
            Self::Code => "the code of the second factor is wrong or cannot be checked",
        }
    }
}

/// What failures are counted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FailureGroup {
    /// `None`: unknown names, or any.
    account: Option<UserName>,
    /// The address, an IPv6 one without its host part; `None`: any.
    network: Option<IpAddr>,
    reason: FailureReason,
}

/// Failures that are not yet in the trail.
#[derive(Clone, Copy, Debug)]
struct PendingFailures {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    /// Whether they are written before the period ends.
    immediately: bool,
}

#[derive(Debug, Default)]
struct CountedFailures {
    groups: BTreeMap<FailureGroup, Option<PendingFailures>>,
    first_entries: usize,
}

/// Counts failed sign-ins and writes them to the trail.
#[derive(Debug)]
pub struct FailedSignIns {
    trail: AuditTrail,
    counted: Mutex<CountedFailures>,
    changed: Notify,
    /// Held while entries are written, so that they are in the order of their times.
    writing: tokio::sync::Mutex<()>,
}

impl FailedSignIns {
    pub(crate) fn new(trail: AuditTrail) -> Self {
        Self {
            trail,
            counted: Mutex::default(),
            changed: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CountedFailures> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a failure. Returns before anything is written: the time of an answer must not depend on whether the account
    /// exists.
    pub(crate) fn count(
        &self,
        account: Option<UserName>,
        network: IpAddr,
        reason: FailureReason,
        at: Timestamp,
    ) {
        self.lock().count(account, network, reason, at);
        self.changed.notify_one();
    }

    /// Writes what is to be written before the period ends.
    pub(crate) async fn write_first(&self) {
        let _writing = self.writing.lock().await;
        let due = self.lock().take(true);
        self.write(due).await;
    }

    /// Writes failures until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let work = async {
            let mut period = tokio::time::interval(PERIOD);
            period.tick().await;
            loop {
                tokio::select! {
                    () = self.changed.notified() => self.write_first().await,
                    _ = period.tick() => self.end_period().await,
                }
                if self.lock().has_immediate() {
                    // etcd did not answer.
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    self.changed.notify_one();
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
        let written = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.end_period()).await;
        if written.is_err() {
            tracing::warn!("Failed sign-ins of the last minutes are not in the audit trail");
        }
    }

    async fn end_period(&self) {
        let _writing = self.writing.lock().await;
        let due = self.lock().take(false);
        self.write(due).await;
    }

    async fn write(&self, due: Vec<(FailureGroup, PendingFailures)>) {
        let mut due = due.into_iter();
        while let Some((group, pending)) = due.next() {
            let account = group.account.as_ref().map(|name| name.as_str());
            if let Err(error) = self.trail.record(audit_record(&group, &pending)).await {
                tracing::error!(user = account.unwrap_or_default(), %error, "Could not write an audit entry: {error}");
                let mut counted = self.lock();
                counted.put_back(group, pending);
                due.for_each(|(group, pending)| counted.put_back(group, pending));
                return;
            }
        }
    }
}

impl CountedFailures {
    fn count(
        &mut self,
        account: Option<UserName>,
        network: IpAddr,
        reason: FailureReason,
        at: Timestamp,
    ) {
        let pair = FailureGroup {
            account,
            network: Some(network),
            reason,
        };
        let group = self.place_of(pair);
        if let Some(pending) = self.groups.get_mut(&group) {
            let pending = pending.get_or_insert(PendingFailures {
                count: 0,
                first: at,
                last: at,
                immediately: false,
            });
            pending.count += 1;
            pending.last = pending.last.max(at);
            return;
        }
        let immediately = self.first_entries < FIRST_MAX;
        self.first_entries += usize::from(immediately);
        let pending = PendingFailures {
            count: 1,
            first: at,
            last: at,
            immediately,
        };
        self.groups.insert(group, Some(pending));
    }

    /// The group that counts a failure of `pair`.
    fn place_of(&self, pair: FailureGroup) -> FailureGroup {
        let of_account = FailureGroup {
            network: None,
            ..pair.clone()
        };
        let together = FailureGroup {
            account: None,
            network: None,
            reason: FailureReason::Credentials,
        };
        let places = |of_pairs: bool| {
            let groups = self.groups.keys();
            groups
                .filter(|group| group.network.is_some() == of_pairs)
                .count()
        };
        if self.groups.contains_key(&pair) || places(true) < PAIRS_MAX {
            return pair;
        }
        let known = of_account.account.is_some();
        if known && (self.groups.contains_key(&of_account) || places(false) < ACCOUNTS_MAX) {
            return of_account;
        }
        together
    }

    /// Takes what is to be written: immediately, or at the end of the period, which forgets groups without failures.
    fn take(&mut self, immediately: bool) -> Vec<(FailureGroup, PendingFailures)> {
        let mut due = Vec::new();
        if !immediately {
            self.first_entries = 0;
            self.groups.retain(|_, pending| pending.is_some());
        }
        for (group, pending) in &mut self.groups {
            if pending.is_some_and(|pending| pending.immediately || !immediately) {
                due.extend(pending.take().map(|pending| (group.clone(), pending)));
            }
        }
        due.sort_by_key(|(_, pending)| pending.first);
        due
    }

    fn put_back(&mut self, group: FailureGroup, pending: PendingFailures) {
        let current = self.groups.entry(group).or_default();
        *current = Some(match *current {
            Some(newer) => PendingFailures {
                count: pending.count + newer.count,
                last: newer.last,
                ..pending
            },
            None => pending,
        });
    }

    fn has_immediate(&self) -> bool {
        let mut pending = self.groups.values().flatten();
        pending.any(|pending| pending.immediately)
    }
}

fn audit_record(group: &FailureGroup, pending: &PendingFailures) -> AuditRecord {
    let account = group.account.as_ref().map(ToString::to_string);
    let address = group
        .network
        .map_or_else(|| "several".to_owned(), |network| network.to_string());
    let mut detail = BTreeMap::from([
        ("address".to_owned(), address),
        ("reason".to_owned(), group.reason.as_str().to_owned()),
    ]);
    if pending.count > 1 {
        detail.insert("count".to_owned(), pending.count.to_string());
        detail.insert("since".to_owned(), pending.first.to_string());
    }
    AuditRecord {
        at: if pending.count > 1 {
            now()
        } else {
            pending.last
        },
        actor: account.clone().unwrap_or_else(|| {
            let stands_for = if group.network.is_some() {
                UNKNOWN_ACCOUNT
            } else {
                SEVERAL_ACCOUNTS
            };
            stands_for.to_owned()
        }),
        event: AuditEvent::SIGN_IN_FAILED,
        cluster: None,
        subject: account,
        detail,
    }
}

#[cfg(test)]
mod tests;
