//! A real etcd cluster of one or more members.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use registry::{Error, EtcdSettings, Registry};

use super::directory::LabDirectory;
use super::etcd_security::EtcdSecurity;
use super::ports::ReservedPort;
use super::process::{LabProcess, Program};
use super::release::ServerRelease;
use crate::eventually;

mod data;

/// Longest wait for a member to serve.
const START_TIMEOUT: Duration = Duration::from_secs(120);

pub struct LabEtcd {
    members: Vec<EtcdMember>,
    security: Option<EtcdSecurity>,
}

pub struct EtcdMember {
    name: String,
    address: Ipv4Addr,
    directory: PathBuf,
    client: ReservedPort,
    peer: ReservedPort,
    initial_cluster: String,
    token: String,
    release: ServerRelease,
    security: Option<EtcdSecurity>,
    process: Mutex<Option<LabProcess>>,
}

impl LabEtcd {
    /// Starts `count` members on loopback and waits until each of them serves.
    ///
    /// # Errors
    /// When `etcd` is not installed or does not start.
    pub async fn start(directory: &LabDirectory, count: usize) -> Result<Self> {
        Self::start_on(
            directory.path(),
            Ipv4Addr::LOCALHOST,
            count,
            ServerRelease::Installed,
        )
        .await
    }

    /// Starts `count` members on loopback with TLS, and with accounts for consoles and the agents of `cluster`.
    ///
    /// # Errors
    /// As [`LabEtcd::start`].
    pub async fn start_secured(
        directory: &LabDirectory,
        count: usize,
        cluster: &str,
    ) -> Result<Self> {
        let (path, address) = (directory.path(), Ipv4Addr::LOCALHOST);
        let release = ServerRelease::Installed;
        let security = EtcdSecurity::create(path, address)?;
        let etcd =
            Self::start_members(path, address, count, release, Some(security.clone())).await?;
        if count > 0 {
            let endpoints = etcd.endpoints();
            security.require_accounts(endpoints, cluster).await?;
        }
        Ok(etcd)
    }

    /// Starts `count` members of `release` on `address`, which is this machine's, and waits until each of them serves.
    ///
    /// # Errors
    /// As [`LabEtcd::start`].
    pub async fn start_on(
        directory: &Path,
        address: Ipv4Addr,
        count: usize,
        release: ServerRelease,
    ) -> Result<Self> {
        Self::start_members(directory, address, count, release, None).await
    }

    async fn start_members(
        directory: &Path,
        address: Ipv4Addr,
        count: usize,
        release: ServerRelease,
        security: Option<EtcdSecurity>,
    ) -> Result<Self> {
        let mut members = Vec::new();
        for number in 1..=count {
            members.push(EtcdMember {
                name: format!("e{number}"),
                address,
                directory: directory.to_path_buf(),
                client: ReservedPort::reserve(address)?,
                peer: ReservedPort::reserve(address)?,
                initial_cluster: String::new(),
                token: directory.display().to_string(),
                release,
                security: security.clone(),
                process: Mutex::default(),
            });
        }
        let peers = members
            .iter()
            .map(|m| format!("{}=http://{address}:{}", m.name, m.peer.number()));
        let initial_cluster = peers.collect::<Vec<_>>().join(",");
        for member in &mut members {
            member.initial_cluster.clone_from(&initial_cluster);
        }
        let etcd = Self { members, security };
        etcd.start_all().await?;
        Ok(etcd)
    }

    /// Every member's client URL.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(EtcdMember::endpoint).collect()
    }

    /// The connection of an administrator.
    #[must_use]
    pub fn settings(&self) -> EtcdSettings {
        match &self.security {
            Some(security) => security.root_settings(self.endpoints()),
            None => EtcdSettings::new(self.endpoints()),
        }
    }

    /// TLS and accounts, if it has them.
    #[must_use]
    pub const fn security(&self) -> Option<&EtcdSecurity> {
        self.security.as_ref()
    }

    /// Member `number`, counted from 1.
    ///
    /// # Panics
    /// If it does not exist.
    #[must_use]
    pub fn member(&self, number: usize) -> &EtcdMember {
        &self.members[number - 1]
    }

    #[must_use]
    pub fn members(&self) -> &[EtcdMember] {
        &self.members
    }

    /// SIGKILL for every member.
    pub fn kill_all(&self) {
        for member in &self.members {
            member.kill();
        }
    }

    /// Starts the members that do not run and waits until all of them serve.
    ///
    /// # Errors
    /// If one does not start.
    pub async fn start_all(&self) -> Result<()> {
        for member in &self.members {
            member.launch()?;
        }
        for member in &self.members {
            member.wait_until_serving().await?;
        }
        Ok(())
    }

    /// Wakes and starts whatever does not serve.
    ///
    /// # Errors
    /// If a member does not start.
    pub async fn repair(&self) -> Result<()> {
        for member in &self.members {
            member.resume().ok();
        }
        self.start_all().await
    }
}

impl EtcdMember {
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.security.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}:{}", self.address, self.client.number())
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(LabProcess::pid)
    }

    pub fn kill(&self) {
        self.process().take();
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    /// Starts it again with its data and waits until it serves.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&self) -> Result<()> {
        self.kill();
        self.launch()?;
        self.wait_until_serving().await
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        self.process()
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?
            .signal(signal)
    }

    fn process(&self) -> MutexGuard<'_, Option<LabProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it without waiting, unless it runs.
    ///
    /// # Errors
    /// If etcd is not installed.
    pub fn launch(&self) -> Result<()> {
        let mut process = self.process();
        if process.as_ref().is_some_and(LabProcess::is_alive) {
            return Ok(());
        }
        let peer = self.peer_url();
        let log = self.directory.join(format!("{}.log", self.name));
        let program = Program::new(&format!("etcd {}", self.name), "etcd", &log)
            .of_release(self.release)
            .args(["--name", &self.name])
            .arg("--data-dir")
            .arg(self.data().display().to_string())
            .args([
                "--listen-client-urls",
                &self.endpoint(),
                "--advertise-client-urls",
                &self.endpoint(),
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &self.initial_cluster,
                "--initial-cluster-token",
                &self.token,
            ])
            .args(["--initial-cluster-state", "new"])
            // As a flag, etcd 3.3 would refuse it.
            .env("ETCD_LOGGER", "zap")
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .args(
                self.security
                    .iter()
                    .flat_map(EtcdSecurity::member_arguments),
            )
            // Tests put values of megabytes into it; etcd's own limit is 1.5 MB.
            .args(["--max-request-bytes", "10485760"])
            // etcd 3.4 refuses to start on this processor without it.
            .env("ETCD_UNSUPPORTED_ARCH", "arm64");
        *process = Some(
            program
                .start()
                .context("is etcd installed? scripts/setup lab")?,
        );
        Ok(())
    }

    fn peer_url(&self) -> String {
        format!("http://{}:{}", self.address, self.peer.number())
    }

    fn data(&self) -> PathBuf {
        self.directory.join(format!("{}.data", self.name))
    }

    async fn wait_until_serving(&self) -> Result<()> {
        let mut settings = match &self.security {
            Some(security) => security.root_settings(vec![self.endpoint()]),
            None => EtcdSettings::new([self.endpoint()]),
        };
        settings.deadline = Duration::from_secs(1);
        eventually(
            &format!("etcd {} to serve", self.name),
            START_TIMEOUT,
            async || {
                if let Some(process) = self.process().as_ref() {
                    process.ensure_running()?;
                }
                let ready = Registry::connect(settings.clone())?.ready().await;
                match (ready, &self.security) {
                    // Its accounts are not required yet.
                    (Err(Error::Denied { .. }), Some(_)) => Ok(()),
                    (ready, _) => Ok(ready?),
                }
            },
        )
        .await
    }
}
