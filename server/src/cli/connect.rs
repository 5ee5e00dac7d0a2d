//! The etcd connection of short-lived commands: the configured cluster, or the embedded etcd for as long as the
//! command runs.

use std::time::Duration;

use embedded_etcd::EmbeddedEtcd;
use registry::{Error, Registry};
use tokio::time::{Instant, sleep};

use super::{CliError, ExitReason};
use crate::authority::{SealedState, StateSecretError};
use crate::config::{AdminConfig, EtcdConfig};
use console_core::authority::AuthorityError;

/// How long an embedded etcd that was just started may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Invalid(_) | Error::TlsFile(_) | Error::OutdatedSecret { .. } => {
                ExitReason::Usage
            }
            Error::Denied { .. } => ExitReason::NoPermission,
            _ => ExitReason::Unavailable,
        };
        Self::new(exit, error)
    }
}

impl From<StateSecretError> for CliError {
    fn from(error: StateSecretError) -> Self {
        match error {
            StateSecretError::File(error) => Self::new(ExitReason::Usage, error),
            StateSecretError::Seen(error) => Self::new(ExitReason::Usage, error),
            StateSecretError::Authority(AuthorityError::Registry(error)) => error.into(),
            StateSecretError::Authority(AuthorityError::Audit(error)) => error.into(),
            StateSecretError::Authority(error) => Self::new(ExitReason::Usage, error),
        }
    }
}

/// What a command does with the records in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateAccess {
    /// Also seals plain records at the first start with a secret.
    Write,
    Read,
}

/// Who appears in the audit trail.
pub(super) fn actor() -> String {
    let user = rustix::process::geteuid().as_raw();
    format!("command line (uid {user})")
}

/// Runs `work` on the configured etcd, whose records are sealed with the configured secret.
pub(super) async fn with_state<T>(
    config: AdminConfig,
    access: StateAccess,
    work: impl AsyncFnOnce(SealedState) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let AdminConfig {
        etcd,
        state_prefix,
        state_secret,
        ..
    } = config;
    with_registry(etcd, async |registry| {
        let secret = state_secret.as_ref();
        let mut state = SealedState::new(registry.clone(), &state_prefix, secret, &actor())?;
        if access == StateAccess::Write {
            // A file that was rotated before the consoles are restarted: they could not read what its newest secret seals.
            state = state.with_secret_in_use(registry).await?;
        }
        let checked = match access {
            StateAccess::Write => state.establish().await,
            StateAccess::Read => state.check().await,
        };
        checked.map_err(StateSecretError::from)?;
        let trail = state.audit_trail();
        let done = work(state.clone()).await;
        if access == StateAccess::Write {
            // Also what the command wrote is known at the next start.
            state.save_seen(&trail).await;
        }
        done
    })
    .await
}

/// Runs `work` on the configured etcd, and stops an etcd that was started for it.
async fn with_registry<T>(
    etcd: EtcdConfig,
    work: impl AsyncFnOnce(Registry) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let (embedded, settings) = match etcd {
        EtcdConfig::Cluster(settings) => (None, *settings),
        EtcdConfig::Embedded(path) => {
            let etcd = EmbeddedEtcd::attach_or_start(&path).await?;
            let settings = etcd.settings();
            (Some(etcd), settings)
        }
    };
    let done = async {
        let registry = Registry::connect(settings)?;
        if embedded.is_some() {
            wait_until_ready(&registry).await?;
        }
        work(registry).await
    }
    .await;
    if let Some(etcd) = embedded {
        etcd.stop().await;
    }
    done
}

/// An etcd that was just started is not ready immediately.
async fn wait_until_ready(registry: &Registry) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        match registry.ready().await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > START_LIMIT => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
