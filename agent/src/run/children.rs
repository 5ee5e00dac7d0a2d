//! Child processes: started here, reaped here, together with whatever a container's first process inherits.

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

/// A signal may be lost among others; looking costs nothing.
const REAP_INTERVAL: Duration = Duration::from_millis(500);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessExit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody told us how: it was not our child.
    Unknown,
}

impl ProcessExit {
    /// Whether all was well.
    #[must_use]
    pub(super) fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// As a shell would report it.
    #[must_use]
    pub(super) fn exit_code(self) -> u8 {
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
            Self::Unknown => write!(f, "an exit code that only its parent was told"),
        }
    }
}

type ExitSenders = HashMap<i32, watch::Sender<Option<ProcessExit>>>;

/// Every child of this process. Nothing else may wait for children.
#[derive(Clone, Debug, Default)]
pub(super) struct Children {
    exit_senders: Arc<Mutex<ExitSenders>>,
}

/// A started child. Dropping it leaves the process alone.
#[derive(Debug)]
pub(super) struct ChildProcess {
    pid: Pid,
    exit: watch::Receiver<Option<ProcessExit>>,
}

/// A started child that does not outlive this value, nor does anything in its process group.
#[derive(Debug)]
pub(super) struct HelperProcess(ChildProcess);

impl Children {
    /// Starts `command`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<ChildProcess> {
        // Locked before the start, so that the end cannot be seen before the child is known.
        let mut known = self
            .exit_senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id out of range"))?;
        let (tell, ended) = watch::channel(None);
        known.insert(pid.as_raw_nonzero().get(), tell);
        Ok(ChildProcess { pid, exit: ended })
    }

    /// Starts `command` in a process group of its own that ends with the returned value.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn spawn_helper(&self, command: &mut Command) -> io::Result<HelperProcess> {
        self.spawn(command.process_group(0)).map(HelperProcess)
    }

    /// Reaps until dropped.
    ///
    /// # Errors
    /// When the system does not let us listen for the signal.
    pub(super) async fn reap(self) -> io::Result<()> {
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
        let mut known = self
            .exit_senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ProcessExit::Code(code),
                (None, Some(signal)) => ProcessExit::Signal(signal),
                (None, None) => continue,
            };
            // One that nobody knows lost its parent and became ours.
            if let Some(tell) = known.remove(&pid.as_raw_nonzero().get()) {
                tell.send_replace(Some(ended));
            }
        }
    }
}

impl ChildProcess {
    /// Its process id.
    #[must_use]
    pub(super) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> ProcessExit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(ProcessExit::Code(1)),
            // The reaper is gone, and so are we.
            Err(_) => std::future::pending().await,
        }
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.exit.borrow().is_none() {
            // It may end at this moment; then nobody needs the signal.
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl HelperProcess {
    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> ProcessExit {
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
