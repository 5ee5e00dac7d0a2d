//! `galera-console serve`, started and given accounts as a user would.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;

use super::agent::write_secret;
use super::clock::LabClock;
use super::etcd_security::EtcdSecurity;
use super::ports::ReservedPort;
use super::process::{LabProcess, Program};
use super::{Lab, program};
use crate::api::ConsoleClient;
use crate::eventually;

/// Longest wait for the console to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The secret that seals the records of every console of a lab.
const STATE_SECRET: &str = "6c61622d73656372657420746861742070726f7465637473206e6f7468696e67\n";

/// An account of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleUser {
    pub name: String,
    /// Its roles, separated by commas.
    pub roles: String,
    pub password: String,
}

impl ConsoleUser {
    /// An account with a name, roles and a password that is made from the name.
    #[must_use]
    pub fn new(name: &str, roles: &str) -> Self {
        Self {
            name: name.to_owned(),
            roles: roles.to_owned(),
            password: format!("wren-lantern-gravel-{name}"),
        }
    }
}

/// Settings of a console; every field is what the flag of that name gets.
#[derive(Clone)]
pub struct ConsoleSettings {
    /// `--listen`; a free port of loopback by default.
    pub listen: Option<String>,
    /// `--etcd-endpoints`.
    pub etcd_endpoints: Vec<String>,
    /// TLS and accounts of that etcd.
    pub etcd_security: Option<EtcdSecurity>,
    /// `--cluster`, each as `NAME=HOST,…`.
    pub clusters: Vec<String>,
    /// `--mysql-port`.
    pub mysql_port: u16,
    /// The content of `--mysql-password-file`; empty for none.
    pub mysql_password: String,
    /// The account of `--recovery-user` and the content of `--recovery-password-file`; `None` for neither.
    pub recovery: Option<(String, String)>,
    /// `--recovery-transport`; only given with such an account. The lab's nodes have no TLS.
    pub recovery_transport: String,
    /// `--order-key-file`; none by default.
    pub order_key: Option<PathBuf>,
    /// `--state-prefix`.
    pub state_prefix: String,
    /// `--state-secret-file`, created if it does not exist; not given with the embedded etcd, which has its own.
    pub state_secret: PathBuf,
    /// Additional arguments.
    pub extra_arguments: Vec<String>,
    /// Its clock; `None` for the machine's.
    pub clock: Option<LabClock>,
    /// The accounts that are created before it starts.
    pub users: Vec<ConsoleUser>,
    /// Where its files go.
    pub directory: PathBuf,
}

impl ConsoleSettings {
    /// A console for the whole lab, with one account per role and a dedicated state prefix.
    #[must_use]
    pub fn for_lab(lab: &Lab) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let members: Vec<_> = lab.ids().iter().map(ToString::to_string).collect();
        let pinned =
            (!members.is_empty()).then(|| format!("{}={}", lab.cluster(), members.join(",")));
        Self {
            listen: None,
            etcd_endpoints: lab.etcd().endpoints(),
            etcd_security: lab.etcd().security().cloned(),
            clusters: pinned.into_iter().collect(),
            mysql_port: lab.galera().port(),
            mysql_password: lab
                .galera()
                .accounts()
                .map(|a| a.console.clone())
                .unwrap_or_default(),
            recovery: lab
                .galera()
                .accounts()
                .map(|a| ("recovery".to_owned(), a.recovery.clone())),
            recovery_transport: "any".to_owned(),
            order_key: None,
            state_prefix: format!("/console-{number}"),
            state_secret: lab.directory().join("state-secret"),
            extra_arguments: Vec::new(),
            clock: None,
            users: ["viewer", "operator", "approver", "admin"]
                .map(|role| ConsoleUser::new(role, role))
                .to_vec(),
            directory: lab.directory().join(format!("console-{number}")),
        }
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--state-prefix".to_owned(), self.state_prefix.clone()];
        if !self.etcd_endpoints.is_empty() {
            arguments.extend(["--etcd-endpoints".to_owned(), self.etcd_endpoints.join(",")]);
            let secret = self.state_secret.display().to_string();
            arguments.extend(["--state-secret-file".to_owned(), secret]);
            let security = self.etcd_security.iter();
            arguments.extend(security.flat_map(EtcdSecurity::console_arguments));
        }
        arguments
    }
}

/// A running console.
pub struct LabConsole {
    settings: ConsoleSettings,
    program: Program,
    log: PathBuf,
    listen: String,
    _port: Option<ReservedPort>,
    process: Mutex<Option<LabProcess>>,
}

impl LabConsole {
    /// Creates the accounts through the command line, starts the console and waits until it is ready.
    ///
    /// # Errors
    /// If it is not built or does not become ready; quotes the end of its log.
    pub async fn start(settings: ConsoleSettings) -> Result<Self> {
        let console = Self::prepare(settings)?;
        for user in &console.settings.users {
            console.add_user(user).await?;
        }
        console.launch()?;
        console.wait_until_ready().await?;
        Ok(console)
    }

    /// A console that does not run yet.
    ///
    /// # Errors
    /// If it is not built.
    pub fn prepare(settings: ConsoleSettings) -> Result<Self> {
        std::fs::create_dir_all(&settings.directory)?;
        if !settings.state_secret.exists() {
            write_secret(&settings.state_secret, STATE_SECRET)?;
        }
        let port = match settings.listen {
            None => Some(ReservedPort::reserve(Ipv4Addr::LOCALHOST)?),
            Some(_) => None,
        };
        let free = || {
            format!(
                "127.0.0.1:{}",
                port.as_ref().map_or(0, ReservedPort::number)
            )
        };
        let listen = settings.listen.clone().unwrap_or_else(free);
        let log = settings.directory.join("console.log");
        let mut program = Program::new("galera-console", program("galera-console")?, &log)
            .args(["serve", "--listen", &listen])
            .args(settings.etcd_arguments())
            // A laboratory is used for longer than a proof is valid.
            .args(["--step-up-interval", "0"])
            .args(["--mysql-user", "console"])
            .args(["--mysql-port", &settings.mysql_port.to_string()]);
        if !settings.mysql_password.is_empty() {
            let password = settings.directory.join("mysql.password");
            write_secret(&password, &settings.mysql_password)?;
            program = program.args(["--mysql-password-file", &password.display().to_string()]);
        }
        if let Some((user, password)) = &settings.recovery {
            let file = settings.directory.join("recovery.password");
            write_secret(&file, password)?;
            program = program
                .args(["--recovery-user", user])
                .args(["--recovery-password-file", &file.display().to_string()])
                .args(["--recovery-transport", &settings.recovery_transport]);
        }
        if let Some(key) = &settings.order_key {
            program = program.args(["--order-key-file", &key.display().to_string()]);
        }
        for cluster in &settings.clusters {
            program = program.args(["--cluster", cluster]);
        }
        if let Some(clock) = &settings.clock {
            program = program.own_envs(clock.environment());
        }
        let program = program.args(settings.extra_arguments.clone());
        Ok(Self {
            settings,
            program,
            log,
            listen,
            _port: port,
            process: Mutex::default(),
        })
    }

    /// Its address for browsers, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    #[must_use]
    pub const fn settings(&self) -> &ConsoleSettings {
        &self.settings
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process()
            .as_ref()
            .filter(|process| process.is_alive())
            .map(LabProcess::pid)
    }

    /// The first account with this role.
    ///
    /// # Errors
    /// If there is none.
    pub fn user(&self, role: &str) -> Result<&ConsoleUser> {
        let mut users = self.settings.users.iter();
        users
            .find(|user| user.roles.split(',').any(|own| own == role))
            .with_context(|| format!("no {role}"))
    }

    /// Creates an account with `galera-console user add`.
    ///
    /// # Errors
    /// If the command fails; quotes its output.
    pub async fn add_user(&self, user: &ConsoleUser) -> Result<()> {
        let arguments = ["add", &user.name, "--role", &user.roles, "--password-stdin"];
        self.user_command(&arguments, Some(&user.password))
            .await
            .map(drop)
    }

    /// Runs `galera-console user ARGUMENTS…` and returns what it printed.
    ///
    /// # Errors
    /// If it does not exit with 0; quotes its output.
    pub async fn user_command(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let arguments: Vec<&str> = ["user"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        self.run_command(&arguments, input).await
    }

    /// Runs `galera-console ARGUMENTS…` with this console's etcd and returns what it printed.
    ///
    /// # Errors
    /// If it does not exit with 0; quotes its output.
    pub async fn command(&self, arguments: &[&str]) -> Result<String> {
        self.run_command(arguments, None).await
    }

    async fn run_command(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = tokio::process::Command::new(program("galera-console")?);
        command
            .args(arguments)
            .args(self.settings.etcd_arguments())
            .kill_on_drop(true);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().context("no standard input")?;
        if let Some(input) = input {
            pipe.write_all(format!("{input}\n").as_bytes()).await?;
        }
        drop(pipe);
        let output = tokio::time::timeout(READY_TIMEOUT, child.wait_with_output()).await??;
        let printed = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "galera-console {arguments:?}: {}: {printed}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Signs in with the first account that has `role`.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn sign_in(&self, role: &str) -> Result<ConsoleClient> {
        let user = self.user(role)?;
        let api = ConsoleClient::new(&self.url())?;
        api.sign_in(&user.name, &user.password).await
    }

    /// SIGTERM, and waits for its orderly end.
    ///
    /// # Errors
    /// If it is not running or does not end.
    pub async fn stop(&self) -> Result<std::process::ExitStatus> {
        let process = self.process().take().context("the console does not run")?;
        process.stop(Duration::from_secs(60)).await
    }

    pub fn kill(&self) {
        self.process().take();
    }

    /// SIGSTOP (`true`) or SIGCONT (`false`).
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self, paused: bool) -> Result<()> {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        self.process()
            .as_ref()
            .context("the console does not run")?
            .signal(signal)
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn launch(&self) -> Result<()> {
        self.launch_with(&[])
    }

    /// Starts it without waiting, with further arguments this once.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn launch_with(&self, more: &[&str]) -> Result<()> {
        let program = self.program.clone().args(more.iter().copied());
        *self.process() = Some(program.start()?);
        Ok(())
    }

    /// Waits until `/readyz` reports ready.
    ///
    /// # Errors
    /// If it exits early or is not ready in time.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()?;
        eventually("the console to be ready", READY_TIMEOUT, async || {
            if let Some(process) = self.process().as_ref() {
                process.ensure_running()?;
            }
            let answer = client.get(format!("{}/readyz", self.url())).send().await?;
            ensure!(
                answer.status().is_success(),
                "it responds {}: {}",
                answer.status(),
                answer.text().await?
            );
            Ok(())
        })
        .await
        .with_context(|| {
            format!(
                "the end of its log:\n{}",
                super::process::tail(&self.log, 15)
            )
        })
    }

    fn process(&self) -> MutexGuard<'_, Option<LabProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
