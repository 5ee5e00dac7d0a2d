//! The signals sent to the main process of a container.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug)]
pub(crate) struct SignalStreams {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
}

/// What a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// Orderly shutdown, with the name of the signal.
    Stop(&'static str),
    /// Forward the signal to the server.
    Forward(Signal),
}

impl SignalStreams {
    /// Starts listening.
    ///
    /// # Errors
    /// If a signal cannot be subscribed to.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next request. Cancel safe.
    pub(crate) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.terminate.recv() => SignalRequest::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalRequest::Stop("SIGINT"),
            _ = self.quit.recv() => SignalRequest::Stop("SIGQUIT"),
            _ = self.hangup.recv() => SignalRequest::Forward(Signal::HUP),
            _ = self.user1.recv() => SignalRequest::Forward(Signal::USR1),
            _ = self.user2.recv() => SignalRequest::Forward(Signal::USR2),
        }
    }

    /// Waits for a stop request. Other signals are dropped: there is no server to forward them to yet.
    pub(crate) async fn wait_for_stop(&mut self) -> &'static str {
        loop {
            if let SignalRequest::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
