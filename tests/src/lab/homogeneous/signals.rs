//! A node that is paused, as a whole or in part.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};

use super::HomogeneousNode;
use crate::lab::process::send_signal;

impl HomogeneousNode {
    /// SIGSTOP for agent and server, as when a container is paused: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// SIGCONT for agent and server.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// SIGSTOP (`true`) or SIGCONT (`false`) for the server alone; its agent continues.
    ///
    /// # Errors
    /// If it has no server.
    pub fn pause_server(&self, paused: bool) -> Result<()> {
        ensure!(!self.servers().is_empty(), "it has no server");
        self.signal_servers(signal_of(paused))
    }

    /// SIGSTOP (`true`) or SIGCONT (`false`) for the agent alone; its server continues.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause_agent(&self, paused: bool) -> Result<()> {
        let process = self.process();
        let agent = process.as_ref().context("it does not run")?;
        agent.signal(signal_of(paused))
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        self.process()
            .as_ref()
            .context("it does not run")?
            .signal(signal)?;
        self.signal_servers(signal)
    }

    pub(super) fn signal_servers(&self, signal: Signal) -> Result<()> {
        for server in self.servers() {
            let pid = Pid::from_raw(server).context("no process id")?;
            send_signal(pid, signal)?;
        }
        Ok(())
    }
}

const fn signal_of(paused: bool) -> Signal {
    if paused { Signal::STOP } else { Signal::CONT }
}
