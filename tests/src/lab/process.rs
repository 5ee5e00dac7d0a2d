//! Child processes that never outlive their owner: each leads its own process group, is ended by id when dropped, and
//! is killed by the kernel when this process dies.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use crate::lab::release::ServerRelease;
use crate::poll::EndedEarlyError;

/// Mounts its first argument over /usr, where only this process and its children see it, and becomes the rest.
const WITH_USR: &str = r#"mount --bind "$0" /usr && exec "$@""#;

/// How a program is to be run.
#[derive(Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    namespace: Option<PathBuf>,
    release: ServerRelease,
    user: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    own_environment: Vec<(String, String)>,
    log: PathBuf,
}

impl Program {
    /// `path`, called `name` in messages, with its output appended to the file `log`.
    #[must_use]
    pub fn new(name: &str, path: impl Into<PathBuf>, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: path.into(),
            namespace: None,
            release: ServerRelease::Installed,
            user: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            own_environment: Vec::new(),
            log: log.to_path_buf(),
        }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable; the rest of the environment is this process's own.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Sets variables that the programs which start this one do not get, such as a library to preload: they run as another
    /// user.
    #[must_use]
    pub fn own_envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.own_environment.extend(variables);
        self
    }

    /// Runs it in the network namespace of this file; requires root.
    #[must_use]
    pub fn in_namespace(mut self, namespace: Option<&Path>) -> Self {
        self.namespace = namespace.map(Path::to_path_buf);
        self
    }

    /// Runs it with the programs and libraries of this release in place of the machine's; see [`ServerRelease::usr`].
    #[must_use]
    pub fn of_release(mut self, release: ServerRelease) -> Self {
        self.release = release;
        self
    }

    /// Runs it as another user; only root can.
    #[must_use]
    pub fn user(mut self, user: Option<&str>) -> Self {
        self.user = user.map(ToOwned::to_owned);
        self
    }

    /// Replaces the arguments.
    #[must_use]
    pub fn with_arguments<A: Into<String>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments.clear();
        self.args(arguments)
    }

    /// Runs it until it exits, and returns its output instead of logging it.
    ///
    /// # Errors
    /// If it cannot be run.
    pub async fn output(&self) -> Result<Output> {
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn(command).with_context(|| format!("starting {}", self.name))?;
        let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        waiting
            .await?
            .with_context(|| format!("running {}", self.name))
    }

    fn command(&self) -> Result<Command> {
        let log = append(&self.log)?;
        // The kernel forgets the parent-death signal when a process changes its user, so setpriv does both, in order.
        let mut words = self.surroundings()?;
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(OsString::from));
        let mut command = Command::new(words.remove(0));
        command.args(words);
        if let Some(user) = &self.user {
            command.args(["--reuid", user, "--regid", user, "--init-groups"]);
        }
        command.arg("--");
        if !self.own_environment.is_empty() {
            let own = self.own_environment.iter();
            command.arg("env");
            command.args(own.map(|(name, value)| format!("{name}={value}")));
        }
        command.arg(&self.path).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }

    /// The programs that enter its namespaces and then become what follows, while it is still permitted.
    fn surroundings(&self) -> Result<Vec<OsString>> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(namespace) = &self.namespace {
            let net = format!("--net={}", namespace.display());
            words.extend(["nsenter", &net, "--"].map(OsString::from));
        }
        let Some(usr) = self.release.usr()? else {
            return Ok(words);
        };
        words.push("unshare".into());
        let is_root = rustix::process::getuid().is_root();
        if !is_root {
            // Mounting needs a user namespace; the one within it has the user's own id again.
            words.push("--map-root-user".into());
        }
        words.extend(["--mount", "sh", "-c", WITH_USR].map(OsString::from));
        words.push(usr.into());
        if !is_root {
            let user = format!("--map-user={}", rustix::process::getuid().as_raw());
            let group = format!("--map-group={}", rustix::process::getgid().as_raw());
            words.extend(["unshare", "--user", &user, &group, "--"].map(OsString::from));
        }
        Ok(words)
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the log cannot be written, `setpriv` (util-linux) cannot be run, or the release is not unpacked.
    pub fn start(&self) -> Result<LabProcess> {
        let child = spawn(self.command()?).with_context(|| format!("starting {}", self.name))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(LabProcess {
            name: self.name.clone(),
            log: self.log.clone(),
            pid: pid.context("a process id out of range")?,
            child: Mutex::new(child),
        })
    }
}

fn append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

type SpawnRequest = (Command, Sender<io::Result<Child>>);

/// Starts a child from a thread that lives as long as this process: the parent-death signal is sent when the *thread*
/// that forked ends, and test threads end early.
fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Sender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = channel::<SpawnRequest>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // The requester is gone: the child ends as if it had been dropped.
                if let Err(unclaimed) = answer.send(command.spawn())
                    && let Ok(mut child) = unclaimed.0
                {
                    child.kill().ok();
                    child.wait().ok();
                }
            }
        });
        sender
    });
    let (answer, result) = channel();
    spawner
        .send((command, answer))
        .ok()
        .context("the spawning thread is gone")?;
    Ok(result.recv().context("the spawning thread is gone")??)
}

/// A running (or ended, but not yet forgotten) child process and its group.
pub struct LabProcess {
    name: String,
    log: PathBuf,
    pid: Pid,
    child: Mutex<Child>,
}

/// Sends a signal, and after SIGSTOP waits until no thread runs any more: until then a server may execute what it receives.
///
/// # Errors
/// If there is no such process, or it does not stop.
pub(crate) fn send_signal(pid: Pid, signal: Signal) -> Result<()> {
    kill_process(pid, signal)?;
    if signal == Signal::STOP {
        testing::process::wait_until_stopped(pid.as_raw_nonzero().get().unsigned_abs())?;
    }
    Ok(())
}

impl LabProcess {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // NOWAIT keeps the zombie, so that the group id stays reserved until the group has been signalled.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Sends a signal to this process alone.
    ///
    /// # Errors
    /// If it has ended and was waited for.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send_signal(self.pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// SIGKILL for the whole group, and waits for the process.
    pub fn kill(&self) {
        // Before the wait: afterwards the id may be reused.
        if self.exists() {
            kill_process_group(self.pid, Signal::KILL).ok();
        }
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait()
            .ok();
    }

    /// Whether the process exists, if only as a zombie.
    fn exists(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), options).is_ok()
    }

    /// SIGTERM, then SIGKILL for the rest of the group after it has exited or `patience` has passed.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(&self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM).ok();
        let ended = self.wait(patience).await;
        self.kill();
        let status = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait()?;
        ended.map(|()| status)
    }

    /// Waits until it exits.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub async fn wait(&self, patience: Duration) -> Result<()> {
        crate::eventually(&format!("{} to end", self.name), patience, async || {
            if self.is_alive() {
                bail!("it runs still");
            }
            Ok(())
        })
        .await
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()
            .ok()
            .flatten()
    }

    /// Fails with [`EndedEarlyError`] when it has ended, quoting the end of its log.
    ///
    /// # Errors
    /// If that does not hold.
    pub fn ensure_running(&self) -> Result<()> {
        if self.is_alive() {
            return Ok(());
        }
        Err(EndedEarlyError {
            name: self.name.clone(),
            log: self.log.clone(),
            log_tail: tail(&self.log, 25),
        }
        .into())
    }
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
