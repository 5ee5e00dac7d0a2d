//! One etcd of our own, for a machine that has none: a child process on loopback with its own data directory.
//!
//! A small shell stands beside it. It holds the reading end of a pipe whose other end only we have, and stops etcd when
//! that closes: so etcd ends with the console even when the console is killed, without unsafe code.

mod certificates;
mod child;
mod data_dir;

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use certificates::Certificates;
use child::EtcdChild;
use data_dir::{DataDir, DataDirLock};

/// Why there is no embedded etcd; the text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedEtcdError {
    /// No program.
    #[error(
        "etcd cannot be started: {0}; install it (Debian: apt install etcd-server), or name an existing one with --etcd-endpoints"
    )]
    NotExecutable(std::io::Error),
    /// The data directory cannot be used.
    #[error(
        "the embedded etcd's data directory {path} cannot be used: {cause}; correct it or name another with --etcd-data-dir"
    )]
    Directory {
        /// The directory or a file in it.
        path: std::path::PathBuf,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// Another console.
    #[error(
        "another galera-console uses the embedded etcd in {0}; stop it, or give this one its own --etcd-data-dir or a shared --etcd-endpoints"
    )]
    InUse(std::path::PathBuf),
    /// It does not come up.
    #[error("the embedded etcd in {path} did not start: {cause}")]
    NotStarted {
        /// The data directory.
        path: std::path::PathBuf,
        /// What etcd said last.
        cause: String,
    },
}

impl EmbeddedEtcdError {
    /// Whether it is the system's refusal of access.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Directory { cause, .. } | Self::NotExecutable(cause)
            if cause.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

/// A running embedded etcd, or the one that a running console supervises.
#[derive(Debug)]
pub struct EmbeddedEtcd {
    url: String,
    certificates: Certificates,
    supervised: Option<SupervisedEtcd>,
}

#[derive(Debug)]
struct SupervisedEtcd {
    stop: CancellationToken,
    tasks: TaskTracker,
    _lock: DataDirLock,
}

impl EmbeddedEtcd {
    /// Starts etcd with its data in `path` and keeps it running until [`EmbeddedEtcd::stop`].
    ///
    /// # Errors
    /// [`EmbeddedEtcdError`].
    pub async fn start(path: &Path) -> Result<Self, EmbeddedEtcdError> {
        let directory = DataDir::open(path)?;
        let claim = directory
            .try_lock()?
            .ok_or_else(|| EmbeddedEtcdError::InUse(path.to_owned()))?;
        Self::supervise(directory, claim).await
    }

    /// Uses the etcd of a console that runs on this data directory, or starts it for as long as this value lives.
    ///
    /// # Errors
    /// [`EmbeddedEtcdError`].
    pub async fn attach_or_start(path: &Path) -> Result<Self, EmbeddedEtcdError> {
        let directory = DataDir::open(path)?;
        match directory.try_lock()? {
            Some(claim) => Self::supervise(directory, claim).await,
            None => Ok(Self {
                url: directory.wait_for_url().await?,
                certificates: directory.certificates(),
                supervised: None,
            }),
        }
    }

    async fn supervise(directory: DataDir, claim: DataDirLock) -> Result<Self, EmbeddedEtcdError> {
        child::check_installed().await?;
        let ports = directory.choose_ports()?;
        directory.generate_certificates()?;
        let certificates = directory.certificates();
        let url = ports.client_url();
        let first = EtcdChild::spawn(&directory, &ports)
            .await
            .map_err(EmbeddedEtcdError::NotExecutable)?;
        directory.write_url(&url)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(child::supervise(first, directory, ports, stop.clone()));
        tasks.close();
        Ok(Self {
            url,
            certificates,
            supervised: Some(SupervisedEtcd {
                stop,
                tasks,
                _lock: claim,
            }),
        })
    }

    /// Its client URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How to reach it.
    #[must_use]
    pub fn settings(&self) -> registry::EtcdSettings {
        registry::EtcdSettings {
            ca: Some(self.certificates.authority()),
            cert: Some(self.certificates.certificate()),
            key: Some(self.certificates.key()),
            ..registry::EtcdSettings::new([&self.url])
        }
    }

    /// Stops etcd, when it is ours, and waits for its end.
    pub async fn stop(self) {
        if let Some(supervised) = self.supervised {
            supervised.stop.cancel();
            // The child stops within this time or is killed.
            let limit = child::STOP_LIMIT + Duration::from_secs(2);
            if tokio::time::timeout(limit, supervised.tasks.wait())
                .await
                .is_err()
            {
                tracing::warn!("The embedded etcd did not stop in time");
            }
        }
    }
}
