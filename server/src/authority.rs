//! Keeps the records in etcd trustworthy: seals them with the state secret, and reports those that were changed outside the
//! console.

mod earlier_state;
mod outdated;
mod reporter;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use console_core::acknowledgement;
use console_core::audit::{AnchorOutputs, AnchorSettings, AuditTrail};
use console_core::authority::{AuthorityError, RecordAuthority, check_unsealed};
use console_core::keyspace::{self, ActionKeys, log_entry_prefixes, protected_prefixes};
use console_core::seen_records::SeenRecordsError;
use console_core::state_format::{self, StateFormatError};
use console_core::state_secret::{StateSecretFileError, StateSecretSealer, StateSecrets};
use monitor::Monitor;
use registry::Registry;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::StateSecretConfig;
pub(crate) use reporter::TamperReporter;
use reporter::report_alarms;
use seen::SeenMemory;

/// How long the start waits for etcd before records are checked in the background.
const START_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between attempts while etcd does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const NOTICE_SOURCE: &str = "authority";
const FORMAT_NOTICE: &str = "state_format";

/// Why the console cannot use the records in etcd.
#[derive(Debug, thiserror::Error)]
pub enum StateSecretError {
    /// The file of the secret.
    #[error(transparent)]
    File(#[from] StateSecretFileError),
    /// The file of seen records.
    #[error(transparent)]
    Seen(#[from] SeenRecordsError),
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
    actor: String,
    authority: Option<RecordAuthority>,
    /// What was seen of the records before this process was started.
    seen: Option<SeenMemory>,
}

impl SealedState {
    /// The records below `state_prefix`, sealed with the secret of `config`. `actor` appears in the audit trail.
    ///
    /// # Errors
    /// [`StateSecretError`].
    pub fn new(
        registry: Registry,
        state_prefix: &str,
        config: Option<&StateSecretConfig>,
        actor: &str,
    ) -> Result<Self, StateSecretError> {
        let Some(config) = config else {
            return Ok(Self {
                registry,
                state_prefix: state_prefix.to_owned(),
                actor: actor.to_owned(),
                authority: None,
                seen: None,
            });
        };
        let secrets = config.secrets_or_new()?;
        let seen = config.seen_records.as_deref();
        let seen = seen.map(|path| SeenMemory::open(path, state_prefix, secrets.clone()));
        let seen = seen.transpose()?;
        let registry = if registry.seals_records() {
            registry
        } else {
            let sealer = StateSecretSealer::new(state_prefix, secrets.clone());
            let registry = registry.with_sealer(Arc::new(sealer)).hold_writes();
            if let Some(seen) = &seen {
                registry.remember_records(seen.records());
            }
            registry
        };
        Ok(Self {
            registry: registry.clone(),
            state_prefix: state_prefix.to_owned(),
            actor: actor.to_owned(),
            authority: Some(RecordAuthority {
                registry: registry.unheld(),
                state_prefix: state_prefix.to_owned(),
                secrets,
                migration: config.migration,
                secret_file: Some(config.file.clone()),
                actor: actor.to_owned(),
            }),
            seen,
        })
    }

    /// The same records, sealed with the former secret while no console has begun to use the newest one; `registry` is the
    /// connection that these were made of.
    ///
    /// # Errors
    /// [`StateSecretError`].
    pub async fn with_secret_in_use(self, registry: Registry) -> Result<Self, StateSecretError> {
        let Some(authority) = &self.authority else {
            return Ok(self);
        };
        let is_unused = authority.has_unused_secret().await;
        if !is_unused.map_err(AuthorityError::from)? {
            return Ok(self);
        }
        let config = StateSecretConfig {
            secrets: Some(authority.secrets.with_previous_first()),
            file: authority.secret_file.clone().unwrap_or_default(),
            migration: authority.migration,
            seen_records: self.seen.as_ref().map(|seen| seen.path().to_owned()),
        };
        Self::new(registry, &self.state_prefix, Some(&config), &self.actor)
    }

    /// The audit trail, sealed with the secret. Clones share what is known about it; each call starts without.
    #[must_use]
    pub fn audit_trail(&self) -> AuditTrail {
        let trail = AuditTrail::new(self.registry.clone(), &self.state_prefix);
        let trail = trail.with_actor(&self.actor);
        if let Some(anchor) = self.seen.as_ref().and_then(SeenMemory::anchor) {
            trail.remember(anchor);
        }
        trail
    }

    /// The etcd prefix of these records.
    #[must_use]
    pub fn state_prefix(&self) -> &str {
        &self.state_prefix
    }

    /// The secrets, if records are sealed.
    #[must_use]
    pub fn secrets(&self) -> Option<&StateSecrets> {
        self.authority.as_ref().map(|authority| &authority.secrets)
    }

    /// Checks the secret against the records, and seals plain ones at the first start with a secret.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn establish(&self) -> Result<(), AuthorityError> {
        // Before anything is written: a newer console may have changed what it would be written into.
        state_format::check(&self.registry, &self.state_prefix).await?;
        match &self.authority {
            Some(authority) => {
                authority.establish().await?;
                self.compare_with_seen(authority).await?;
                state_format::record(&authority.registry, &self.state_prefix).await?;
                self.registry.release_writes();
            }
            None => {
                check_unsealed(&self.registry, &self.state_prefix).await?;
                state_format::record(&self.registry, &self.state_prefix).await?;
            }
        }
        Ok(())
    }

    /// Checks the secret against the records and writes nothing.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn check(&self) -> Result<(), AuthorityError> {
        state_format::check(&self.registry, &self.state_prefix).await?;
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

    /// Establishes the authority of the records, follows the audit trail, and reports what was changed outside the console,
    /// until `shutdown`.
    pub(crate) async fn run(
        self,
        mut reporter: TamperReporter,
        anchors: AnchorSettings,
        anchor_outputs: AnchorOutputs,
        shutdown: CancellationToken,
    ) {
        let reporter_trail = reporter.trail.clone();
        let work = async {
            let monitor = reporter.monitor.clone();
            self.establish_persistently(&monitor).await;
            let trail = reporter.trail.clone();
            let alarms = report_alarms(reporter.monitor.clone(), trail.watch_alarms());
            let seen = self.seen.as_ref().and_then(SeenMemory::anchor).cloned();
            let follow = Box::pin(trail.follow(anchors, anchor_outputs, seen));
            let acknowledged = acknowledgement::follow(&self.registry, &trail, &self.state_prefix);
            let format = self.follow_format(&monitor);
            let follow = async { tokio::join!(follow, alarms, acknowledged, format) };
            if self.authority.is_none() {
                follow.await;
                return;
            }
            tokio::join!(
                follow,
                self.follow_unwatched_records(),
                self.seal_with_newest(),
                self.follow_restores(&monitor),
                self.follow_successions(&monitor),
                self.keep_seen(&trail),
                reporter.run(&self.registry)
            );
        };
        shutdown.run_until_cancelled(Box::pin(work)).await;
        self.save_seen(&reporter_trail).await;
    }

    /// Writes nothing more once a newer console has changed the records so that this version would misread them.
    async fn follow_format(&self, monitor: &Monitor) {
        let report = |error: StateFormatError| {
            self.registry.suspend_writes();
            tracing::error!(%error, "{error}");
            let notice = format!("This console no longer writes: {error}.");
            monitor.set_notices(FORMAT_NOTICE, vec![notice]);
        };
        state_format::follow(&self.registry, &self.state_prefix, report).await;
    }

    async fn establish_persistently(&self, monitor: &Monitor) {
        let mut reported = String::new();
        loop {
            let error = match self.establish().await {
                Ok(()) => return,
                Err(error) => error,
            };
            if !error.is_transient() && reported != error.to_string() {
                reported = error.to_string();
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
        if self.has_former_secret_first().await {
            return;
        }
        // Entries of logs may be many: they are read only if some can be sealed with an older secret.
        let has_previous = self.secrets().is_some_and(StateSecrets::has_previous);
        let entries = log_entry_prefixes(&self.state_prefix).filter(|_| has_previous);
        for prefix in protected_prefixes(&self.state_prefix).chain(entries) {
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
