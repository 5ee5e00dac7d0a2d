//! Keeps the records in etcd trustworthy: seals them with the state secret, and reports those that were changed outside the
//! console.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::audit::AuditTrail;
use console_core::authority::{AuthorityError, RecordAuthority, check_unsealed};
use console_core::clock::now;
use console_core::keyspace::{self, ActionKeys, protected_prefixes};
use console_core::leader::Leadership;
use console_core::state_secret::StateSecretFileError;
use console_core::state_secret::StateSecretSealer;
use galera::record::audit::{AuditEvent, AuditRecord};
use monitor::Monitor;
use registry::{Registry, TamperedRecord, TamperedRecords};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::StateSecretConfig;

/// How long the start waits for etcd before records are checked in the background.
const START_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between attempts while etcd does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The source of the notices.
const NOTICE_SOURCE: &str = "authority";
/// Keys that a notice names.
const NAMED_MAX: usize = 5;
/// Audit entries about tampered records in an hour, so that they cannot fill the trail.
const AUDITED_PER_HOUR: usize = 60;

/// Why the console cannot use the records in etcd.
#[derive(Debug, thiserror::Error)]
pub enum StateSecretError {
    /// The file of the secret.
    #[error(transparent)]
    File(#[from] StateSecretFileError),
    /// The records, or etcd.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// A connection to etcd and what its records are sealed with.
#[derive(Clone, Debug)]
pub struct SealedState {
    /// Seals records if there is a secret.
    pub registry: Registry,
    state_prefix: String,
    authority: Option<RecordAuthority>,
}

impl SealedState {
    /// The records below `state_prefix`, sealed with the secret of `config`. `actor` appears in the audit trail.
    ///
    /// # Errors
    /// [`StateSecretFileError`].
    pub fn new(
        registry: Registry,
        state_prefix: &str,
        config: Option<&StateSecretConfig>,
        actor: &str,
    ) -> Result<Self, StateSecretFileError> {
        let Some(config) = config else {
            return Ok(Self {
                registry,
                state_prefix: state_prefix.to_owned(),
                authority: None,
            });
        };
        let secrets = config.secrets_or_new()?;
        let registry = if registry.seals_records() {
            registry
        } else {
            let sealer = StateSecretSealer::new(state_prefix, secrets.clone());
            registry.with_sealer(Arc::new(sealer)).hold_writes()
        };
        Ok(Self {
            registry: registry.clone(),
            state_prefix: state_prefix.to_owned(),
            authority: Some(RecordAuthority {
                registry: registry.unheld(),
                state_prefix: state_prefix.to_owned(),
                secrets,
                migration: config.migration,
                secret_file: Some(config.file.clone()),
                actor: actor.to_owned(),
            }),
        })
    }

    /// Checks the secret against the records, and seals plain ones at the first start with a secret.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn establish(&self) -> Result<(), AuthorityError> {
        match &self.authority {
            Some(authority) => {
                authority.establish().await?;
                self.registry.release_writes();
                Ok(())
            }
            None => check_unsealed(&self.registry, &self.state_prefix).await,
        }
    }

    /// Checks the secret against the records and writes nothing.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn check(&self) -> Result<(), AuthorityError> {
        match &self.authority {
            Some(authority) => authority.check().await,
            None => check_unsealed(&self.registry, &self.state_prefix).await,
        }
    }

    /// [`SealedState::establish`], unless etcd does not answer soon: then it is done in the background.
    ///
    /// # Errors
    /// [`AuthorityError`] for a wrong configuration.
    pub async fn establish_if_reachable(&self) -> Result<(), AuthorityError> {
        match timeout(START_TIMEOUT, self.establish()).await {
            Ok(Err(error)) if !error.is_transient() => Err(error),
            _ => Ok(()),
        }
    }

    /// Warns in the log and on every page if records are not sealed.
    pub(crate) fn warn_if_unsealed(&self, monitor: &Monitor) {
        if self.authority.is_none() {
            let warning = "Records in etcd are not authenticated: every program that can write etcd can act as any account of the console";
            tracing::warn!("{warning}; set --state-secret-file");
            monitor.set_notices(
                NOTICE_SOURCE,
                vec![format!("{warning}. Set --state-secret-file.")],
            );
        }
    }

    /// Establishes the authority of the records and reports tampered ones until `shutdown`.
    pub(crate) async fn run(self, mut reporter: TamperReporter, shutdown: CancellationToken) {
        let work = async {
            self.establish_persistently(&reporter.monitor).await;
            if self.authority.is_none() {
                return;
            }
            tokio::join!(
                self.follow_unwatched_records(),
                self.seal_with_newest(),
                reporter.run(&self.registry)
            );
        };
        shutdown.run_until_cancelled(work).await;
    }

    async fn establish_persistently(&self, monitor: &Monitor) {
        loop {
            let error = match self.establish().await {
                Ok(()) => return,
                Err(error) => error,
            };
            if !error.is_transient() {
                tracing::error!(%error, "{error}");
                monitor.set_notices(
                    NOTICE_SOURCE,
                    vec![format!("Records cannot be read: {error}.")],
                );
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Reads the records that no other part of the console watches, so that a change of them is noticed.
    async fn follow_unwatched_records(&self) {
        let keys = ActionKeys::new(&self.state_prefix);
        let prefixes = [
            keyspace::authority(&self.state_prefix),
            keys.switches_prefix(),
            keys.open_actions_prefix(),
            keyspace::expected_members(&self.state_prefix),
            keyspace::known_positions(&self.state_prefix),
            keyspace::position_corrections(&self.state_prefix),
        ];
        let watches = prefixes.map(|prefix| async {
            let mut events = self.registry.watch(prefix);
            while events.next().await.is_some() {}
        });
        futures::future::join_all(watches).await;
    }

    /// Seals the records of an older secret with the newest one.
    async fn seal_with_newest(&self) {
        for prefix in protected_prefixes(&self.state_prefix) {
            loop {
                match self.registry.reseal(prefix.as_str()).await {
                    Ok(0) => break,
                    Ok(count) => {
                        tracing::info!(
                            prefix,
                            count,
                            "{count} records below {prefix} are now sealed with the newest state secret"
                        );
                    }
                    Err(error) => {
                        tracing::debug!(%error, prefix, "Records below {prefix} could not be sealed again: {error}");
                        sleep(RETRY_INTERVAL).await;
                    }
                }
            }
        }
    }
}

/// Reports tampered records: in the log, on every page, and in the audit trail.
pub(crate) struct TamperReporter {
    pub(crate) monitor: Monitor,
    pub(crate) trail: AuditTrail,
    pub(crate) leadership: Leadership,
    pub(crate) actor: String,
}

impl TamperReporter {
    async fn run(&mut self, registry: &Registry) {
        let Some(mut changes) = registry.watch_tampered() else {
            return;
        };
        let mut reported: BTreeMap<String, String> = BTreeMap::new();
        let mut unaudited: VecDeque<TamperedRecord> = VecDeque::new();
        let mut audited: VecDeque<Instant> = VecDeque::new();
        loop {
            let tampered = Arc::clone(&changes.borrow_and_update());
            self.monitor
                .set_notices(NOTICE_SOURCE, notice(&tampered).into_iter().collect());
            reported.retain(|key, _| tampered.records.iter().any(|record| record.key == *key));
            unaudited.retain(|record| tampered.records.contains(record));
            for record in &tampered.records {
                let before = reported.insert(record.key.clone(), record.reason.clone());
                if before.as_ref() != Some(&record.reason) {
                    tracing::error!(
                        key = record.key,
                        "The record {} in etcd was changed outside the console and is ignored: {}",
                        record.key,
                        record.reason
                    );
                    unaudited.push_back(record.clone());
                }
            }
            self.audit(&mut unaudited, &mut audited).await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(RETRY_INTERVAL), if !unaudited.is_empty() => {}
            }
        }
    }

    /// Audits what was not yet, if this replica leads: of all replicas one does.
    async fn audit(
        &self,
        unaudited: &mut VecDeque<TamperedRecord>,
        audited: &mut VecDeque<Instant>,
    ) {
        if self.leadership.borrow().is_none() {
            return;
        }
        while let Some(record) = unaudited.front() {
            while audited
                .front()
                .is_some_and(|at| at.elapsed() > Duration::from_secs(3600))
            {
                audited.pop_front();
            }
            if audited.len() >= AUDITED_PER_HOUR {
                return;
            }
            let entry = AuditRecord {
                at: now(),
                actor: self.actor.clone(),
                event: AuditEvent::RECORD_TAMPERED,
                cluster: None,
                subject: Some(record.key.clone()),
                detail: BTreeMap::from([("reason".to_owned(), record.reason.clone())]),
            };
            if let Err(error) = self.trail.record(entry).await {
                tracing::warn!(%error, "Could not write an audit entry: {error}");
                return;
            }
            audited.push_back(Instant::now());
            unaudited.pop_front();
        }
    }
}

/// The notice on every page.
fn notice(tampered: &TamperedRecords) -> Option<String> {
    let named: Vec<&str> = tampered
        .records
        .iter()
        .take(NAMED_MAX)
        .map(|record| record.key.as_str())
        .collect();
    let count = tampered.count();
    let named = named.join(", ");
    let more = match count.saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = match count {
        0 => return None,
        1 => format!("1 record in etcd was changed outside the console and is ignored: {named}"),
        _ => format!(
            "{count} records in etcd were changed outside the console and are ignored: {named}{more}"
        ),
    };
    Some(format!("{text}. See docs/etcd.md."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_names_the_first_keys_and_counts_the_rest() {
        let tampered = |keys: usize, unlisted| TamperedRecords {
            records: (0..keys)
                .map(|number| TamperedRecord {
                    key: format!("/s/users/{number}"),
                    reason: "it is not sealed".to_owned(),
                    since: now(),
                })
                .collect(),
            unlisted,
        };
        assert_eq!(notice(&tampered(0, 0)), None);
        assert_eq!(
            notice(&tampered(1, 0)).unwrap(),
            "1 record in etcd was changed outside the console and is ignored: /s/users/0. See docs/etcd.md."
        );
        let many = notice(&tampered(6, 3)).unwrap();
        assert!(
            many.starts_with("9 records") && many.contains("/s/users/4 and 4 more."),
            "{many}"
        );
    }
}
