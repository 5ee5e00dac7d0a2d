//! `galera-agent report` beside a node.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::etcd_security::EtcdSecurity;
use super::node::GaleraNode;
use super::process::{LabProcess, Program};
use super::{Lab, program};

/// The side-car of one node.
pub struct AgentSidecar {
    program: Program,
    log: PathBuf,
    process: Mutex<Option<LabProcess>>,
}

impl AgentSidecar {
    /// Starts it for `node`, with the settings that a person would give.
    ///
    /// # Errors
    /// If it is not built.
    pub fn start(lab: &Lab, node: &GaleraNode) -> Result<Self> {
        let log = lab.directory().join(format!("agent-{}.log", node.name()));
        // One file each: another agent may be reading while this one is written.
        let password = lab
            .directory()
            .join(format!("agent-{}.password", node.name()));
        write_secret(
            &password,
            &lab.galera()
                .accounts()
                .context("no database accounts")?
                .agent,
        )?;
        let program = Program::new(
            &format!("galera-agent of {}", node.name()),
            program("galera-agent")?,
            &log,
        )
        .arg("report")
        .env("CLUSTER_NAME", lab.cluster())
        .env("DISCOVERY_SERVICE", lab.etcd().endpoints().join(","))
        .env("TTL", lab.ttl().as_secs().to_string())
        .env("NODE_ADDRESS", node.id().to_string())
        .env("MYSQL_HOST", node.address().to_string())
        .env("MYSQL_PORT", node.port().to_string())
        .env("MYSQL_USER", "agent")
        .env("MYSQL_PASSWORD_FILE", password.display().to_string())
        .env("GALERA_AGENT_NOTIFY", node.notify.as_str())
        .env("HEALTH_LISTEN", "off");
        let security = lab.etcd().security().map(EtcdSecurity::agent_environment);
        let program = security
            .into_iter()
            .flatten()
            .fold(program, |program, (name, value)| program.env(name, value));
        let agent = Self {
            program,
            log,
            process: Mutex::default(),
        };
        agent.ensure_running()?;
        Ok(agent)
    }

    #[must_use]
    pub const fn log(&self) -> &PathBuf {
        &self.log
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process()
            .as_ref()
            .filter(|process| process.is_alive())
            .map(LabProcess::pid)
    }

    /// Starts it when it does not run; wakes it when it is stopped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn ensure_running(&self) -> Result<()> {
        let mut process = self.process();
        match process.as_ref().filter(|process| process.is_alive()) {
            Some(process) => process.signal(Signal::CONT),
            None => {
                *process = Some(self.program.start()?);
                Ok(())
            }
        }
    }

    /// Runs `galera-agent` with other arguments and the same environment.
    ///
    /// # Errors
    /// If it cannot be run.
    pub async fn run_command(&self, arguments: &[&str]) -> Result<Output> {
        let program = self.program.clone();
        program
            .with_arguments(arguments.iter().copied())
            .output()
            .await
    }

    /// SIGKILL: its lease expires.
    pub fn kill(&self) {
        self.process().take();
    }

    /// SIGTERM: it revokes its lease.
    ///
    /// # Errors
    /// If it does not exit.
    pub async fn stop(&self) -> Result<()> {
        let process = self.process().take().context("the agent does not run")?;
        process.stop(Duration::from_secs(60)).await.map(drop)
    }

    fn process(&self) -> MutexGuard<'_, Option<LabProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// If it cannot be written.
pub fn write_secret(path: &std::path::Path, secret: &str) -> Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    options
        .open(path)?
        .write_all(secret.as_bytes())
        .with_context(|| format!("writing {}", path.display()))
}
