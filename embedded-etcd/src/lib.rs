//! A dedicated etcd for a machine that has none: a child process on loopback with its own data directory.
//!
//! A small shell (the watchdog) runs next to it. It reads from a pipe whose writing end only this process holds, and
//! stops etcd when that closes: so etcd ends with the console even if the console is killed, without unsafe code.

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

/// The quota of the database in bytes.
pub const QUOTA_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Why there is no embedded etcd; the message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedEtcdError {
    /// The program cannot be executed.
    #[error(
        "cannot start etcd: {0}; install it (Debian: apt install etcd-server), or use an existing cluster with --etcd-endpoints"
    )]
    NotExecutable(std::io::Error),
    /// The data directory cannot be used.
    #[error(
        "cannot use the embedded etcd's data directory {path}: {cause}; fix it or choose another with --etcd-data-dir"
    )]
    Directory {
        /// The directory, or a file in it.
        path: std::path::PathBuf,
        cause: std::io::Error,
    },
    /// Another console uses the data directory.
    #[error(
        "another galera-console uses the embedded etcd in {0}; stop it, or give this one its own --etcd-data-dir or a shared --etcd-endpoints"
    )]
    InUse(std::path::PathBuf),
    /// etcd did not start.
    #[error("the embedded etcd in {path} did not start: {cause}")]
    NotStarted {
        path: std::path::PathBuf,
        /// etcd's last log lines, or the reason.
        cause: String,
    },
}

impl EmbeddedEtcdError {
    /// Whether the operating system denied access.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Directory { cause, .. } | Self::NotExecutable(cause)
            if cause.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

/// A running embedded etcd: our own, or that of a console running on the same directory.
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

    /// Attaches to the etcd of a console running on this data directory, or starts one for the lifetime of this
    /// value.
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

    /// The client URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connection settings, with the client certificate.
    #[must_use]
    pub fn settings(&self) -> registry::EtcdSettings {
        registry::EtcdSettings {
            ca: Some(self.certificates.authority()),
            cert: Some(self.certificates.certificate()),
            key: Some(self.certificates.key()),
            ..registry::EtcdSettings::new([&self.url])
        }
    }

    /// Stops etcd if this process started it, and waits for its exit.
    pub async fn stop(self) {
        if let Some(supervised) = self.supervised {
            supervised.stop.cancel();
            // The child exits within this time or is killed.
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
