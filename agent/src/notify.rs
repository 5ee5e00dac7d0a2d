//! `galera-agent notify`, the server's `wsrep_notify_cmd`: hands what the server tells to the running agent.
//!
//! The server waits for the command to end (B5), so it does one datagram and is gone, whatever became of it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use galera::startup::Event;

/// Names the running agent to its server, and through it to the command: `SOCKET/SECRET`.
pub const VARIABLE: &str = "GALERA_AGENT_NOTIFY";

/// Largest datagram, in bytes.
const DATAGRAM_MAX: usize = 16 * 1024;

/// Tells the agent that `place` names; never waits for it.
///
/// # Errors
/// Why it was not told, for whoever calls by hand.
pub fn tell(place: &str, arguments: &[String]) -> io::Result<()> {
    let (name, secret) = place.split_once('/').unwrap_or((place, ""));
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let words = std::iter::once(secret).chain(arguments.iter().map(String::as_str));
    let address = SocketAddr::from_abstract_name(name)?;
    socket.send_to_addr(&Event::datagram(words), &address)?;
    Ok(())
}

/// The agent's end. Abstract: no file that a state transfer could remove, nothing left behind.
#[derive(Debug)]
pub struct Listener {
    socket: tokio::net::UnixDatagram,
    place: String,
    secret: String,
}

impl Listener {
    /// Listens under the name `name`; only who knows `secret` is heard.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(name: &str, secret: &str) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        let socket = UnixDatagram::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: tokio::net::UnixDatagram::from_std(socket)?,
            place: format!("{name}/{secret}"),
            secret: secret.to_owned(),
        })
    }

    /// The value of [`VARIABLE`] for the server.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The next event. Cancelling the wait loses nothing.
    pub async fn next(&self) -> Event {
        let mut bytes = vec![0; DATAGRAM_MAX];
        loop {
            match self.socket.recv(&mut bytes).await {
                Ok(length) => {
                    let told = bytes[..length].strip_prefix(self.secret.as_bytes());
                    if let Some(told) = told.and_then(|rest| rest.strip_prefix(b"\0")) {
                        return Event::from_datagram(told);
                    }
                }
                Err(error) => {
                    tracing::debug!("Notification not received: {error}");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_knows_the_secret_is_heard_and_nobody_waits() {
        let name = format!("galera-agent-test-{}", std::process::id());
        let words = |status: &str| ["--status".to_owned(), status.to_owned()];
        assert!(tell(&format!("{name}/s"), &words("joined")).is_err());
        let listener = Listener::bind(&name, "s").unwrap();
        tell(&format!("{name}/other"), &words("donor")).unwrap();
        tell(listener.place(), &words("joined")).unwrap();
        assert_eq!(listener.next().await.status.as_deref(), Some("joined"));
        // A full queue is nobody's reason to wait.
        while tell(listener.place(), &words("synced")).is_ok() {}
    }
}
