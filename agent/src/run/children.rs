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
const LOOK: Duration = Duration::from_millis(500);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody told us how: it was not our child.
    Unseen,
}

impl Ended {
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
            Self::Unseen => 1,
        };
        u8::try_from(code).unwrap_or(1)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unseen => write!(f, "an exit code that only its parent was told"),
        }
    }
}

type Known = HashMap<i32, watch::Sender<Option<Ended>>>;

/// Every child of this process. Nothing else may wait for children.
#[derive(Clone, Debug, Default)]
pub(super) struct Children {
    known: Arc<Mutex<Known>>,
}

/// A started child. Dropping it leaves the process alone.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    ended: watch::Receiver<Option<Ended>>,
}

/// A started child that does not outlive this value, nor does anything in its process group.
#[derive(Debug)]
pub(super) struct Helper(Child);

impl Children {
    /// Starts `command`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // Locked before the start, so that the end cannot be seen before the child is known.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id out of range"))?;
        let (tell, ended) = watch::channel(None);
        known.insert(pid.as_raw_nonzero().get(), tell);
        Ok(Child { pid, ended })
    }

    /// Starts `command` in a process group of its own that ends with the returned value.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn helper(&self, command: &mut Command) -> io::Result<Helper> {
        self.spawn(command.process_group(0)).map(Helper)
    }

    /// Reaps until dropped.
    ///
    /// # Errors
    /// When the system does not let us listen for the signal.
    pub(super) async fn reap(self) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        let mut ticks = interval(LOOK);
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
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ended::Code(code),
                (None, Some(signal)) => Ended::Signal(signal),
                (None, None) => continue,
            };
            // One that nobody knows lost its parent and became ours.
            if let Some(tell) = known.remove(&pid.as_raw_nonzero().get()) {
                tell.send_replace(Some(ended));
            }
        }
    }
}

impl Child {
    /// Its process id.
    #[must_use]
    pub(super) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(Ended::Code(1)),
            // The reaper is gone, and so are we.
            Err(_) => std::future::pending().await,
        }
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            // It may end at this moment; then nobody needs the signal.
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Helper {
    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> Ended {
        self.0.ended().await
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.0.ended.borrow().is_none() {
            let _ = kill_process_group(self.0.pid, Signal::KILL);
        }
    }
}
