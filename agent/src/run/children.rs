//! Child processes: started and reaped here, along with the orphans that the first process of a container inherits.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// SIGCHLD signals may be coalesced, so children are also polled.
const REAP_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessExit {
    Code(i32),
    Signal(i32),
    /// Unknown: it was not a child of this process.
    Unknown,
}

impl ProcessExit {
    #[must_use]
    pub(crate) fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// The exit code as a shell reports it.
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => 1,
        };
        u8::try_from(code).unwrap_or(1)
    }
}

impl std::fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => write!(f, "an unknown exit code"),
        }
    }
}

type ExitSenders = HashMap<i32, watch::Sender<Option<ProcessExit>>>;

/// All children of this process. Nothing else may wait for children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    exit_senders: Arc<Mutex<ExitSenders>>,
}

/// A child process. Dropping it leaves the process running.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pid: Pid,
    exit: watch::Receiver<Option<ProcessExit>>,
}

/// A child process that is killed with its process group when dropped.
#[derive(Debug)]
pub(crate) struct HelperProcess(ChildProcess);

impl Children {
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<ChildProcess> {
        // Locked first, so that the child cannot be reaped before it is registered.
        let mut exit_senders = self
            .exit_senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id out of range"))?;
        let (sender, ended) = watch::channel(None);
        exit_senders.insert(pid.as_raw_nonzero().get(), sender);
        Ok(ChildProcess { pid, exit: ended })
    }

    /// Starts `command` in a new process group that is killed when the returned value is dropped.
    pub(crate) fn spawn_helper(&self, command: &mut Command) -> io::Result<HelperProcess> {
        self.spawn(command.process_group(0)).map(HelperProcess)
    }

    /// Reaps children until dropped.
    ///
    /// # Errors
    /// If SIGCHLD cannot be subscribed to.
    pub(crate) async fn reap(self) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        let mut ticks = interval(REAP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.reap_all();
            tokio::select! {
                _ = ended.recv() => {}
                _ = ticks.tick() => {}
            }
        }
    }

    fn reap_all(&self) {
        let mut exit_senders = self
            .exit_senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ProcessExit::Code(code),
                (None, Some(signal)) => ProcessExit::Signal(signal),
                (None, None) => continue,
            };
            // An unknown child is an orphan that this process inherited.
            if let Some(sender) = exit_senders.remove(&pid.as_raw_nonzero().get()) {
                sender.send_replace(Some(ended));
            }
        }
    }
}

impl ChildProcess {
    #[must_use]
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its exit.
    pub(crate) async fn wait(&mut self) -> ProcessExit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(ProcessExit::Code(1)),
            // The reaper is gone: this process is shutting down.
            Err(_) => std::future::pending().await,
        }
    }

    /// Sends a signal unless it has exited.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit.borrow().is_none() {
            // Fails if it has just exited.
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl HelperProcess {
    pub(crate) async fn wait(&mut self) -> ProcessExit {
        self.0.wait().await
    }
}

impl Drop for HelperProcess {
    fn drop(&mut self) {
        if self.0.exit.borrow().is_none() {
            let _ = kill_process_group(self.0.pid, Signal::KILL);
        }
    }
}
