//! `galera-agent notify`, the server's `wsrep_notify_cmd`: hands what the server tells to the running agent.
//!
//! The server waits for the command to end (B5), so it does one datagram and is gone, whatever became of it.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::str::FromStr;

use galera::startup::WsrepEvent;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::observation::ServerState;
use crate::report::TransientState;

/// Names the running agent to its server, and through it to the command: `NAME/SECRET`.
pub const VARIABLE: &str = "GALERA_AGENT_NOTIFY";

/// Longest name of a socket, in bytes; the kernel has room for little more.
const NAME_MAX: usize = 100;
/// Lengths of a secret, in bytes: shorter is guessed, longer is no secret but a mistake.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// Largest datagram, in bytes.
const DATAGRAM_MAX: usize = 16 * 1024;

/// Where an agent listens, and what it wants to hear first.
#[derive(Clone, PartialEq, Eq)]
pub struct NotifyEndpoint {
    name: String,
    secret: String,
}

impl NotifyEndpoint {
    /// A place that nobody else has, made of two random texts.
    #[must_use]
    pub fn from_tokens(name: &str, secret: &str) -> Self {
        Self {
            name: format!("galera-agent-{name}"),
            secret: secret.to_owned(),
        }
    }

    /// The value of [`DATA_VARIABLE`] for the server.
    #[must_use]
    pub fn to_env_value(&self) -> String {
        format!("{}/{}", self.name, self.secret)
    }
}

impl FromStr for NotifyEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, secret) = text
            .split_once('/')
            .ok_or("is not NAME/SECRET; give a name and a random secret, as in galera-agent/$(openssl rand -hex 16)")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
            return Err(format!(
                "the name {name:?} may have letters, digits and . _ - only, 1 to {NAME_MAX}"
            ));
        }
        if !SECRET_LENGTH.contains(&secret.len()) || !secret.chars().all(plain) {
            return Err(format!(
                "the secret must have {} to {} letters, digits and . _ -",
                SECRET_LENGTH.start(),
                SECRET_LENGTH.end()
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

impl fmt::Debug for NotifyEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/***", self.name)
    }
}

/// Tells the agent at `endpoint`; never waits for it.
///
/// # Errors
/// Why it was not told, for whoever calls by hand.
pub fn send(place: &NotifyEndpoint, arguments: &[String]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let words = std::iter::once(place.secret.as_str()).chain(arguments.iter().map(String::as_str));
    let address = SocketAddr::from_abstract_name(&place.name)?;
    socket.send_to_addr(&WsrepEvent::encode_datagram(words), &address)?;
    Ok(())
}

/// The agent's end. Abstract: no file that a state transfer could remove, nothing left behind.
#[derive(Debug)]
pub struct NotifyListener {
    socket: tokio::net::UnixDatagram,
    endpoint: NotifyEndpoint,
}

impl NotifyListener {
    /// Listens at `endpoint`; only who knows its secret is heard.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(place: NotifyEndpoint) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(&place.name)?;
        let socket = UnixDatagram::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: tokio::net::UnixDatagram::from_std(socket)?,
            endpoint: place,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &NotifyEndpoint {
        &self.endpoint
    }

    /// Publishes what the server tells as it comes, has each state reported though another one may follow at once, and
    /// has the server asked for the rest; until dropped.
    pub async fn run(
        &self,
        publish: &watch::Sender<ServerState>,
        passing: &mpsc::Sender<TransientState>,
        at_once: &Notify,
    ) {
        loop {
            let event = self.next_event().await;
            tracing::debug!(?event, "The server tells of a change");
            publish.send_modify(|server| *server = server.after_event(&event));
            // Nobody waits where nobody reports.
            let _ = passing.try_send(TransientState {
                at: Instant::now(),
                server: publish.borrow().clone(),
            });
            at_once.notify_one();
        }
    }

    /// The next event. Cancelling the wait loses nothing.
    pub async fn next_event(&self) -> WsrepEvent {
        let mut bytes = vec![0; DATAGRAM_MAX];
        loop {
            match self.socket.recv(&mut bytes).await {
                Ok(length) => {
                    let told = bytes[..length].strip_prefix(self.endpoint.secret.as_bytes());
                    if let Some(told) = told.and_then(|rest| rest.strip_prefix(b"\0")) {
                        return WsrepEvent::from_datagram(told);
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
    async fn datagrams_without_the_secret_are_ignored_and_sending_never_blocks() {
        let place: NotifyEndpoint =
            format!("galera-agent-test-{}/0123456789abcdef", std::process::id())
                .parse()
                .unwrap();
        let words = |status: &str| ["--status".to_owned(), status.to_owned()];
        assert!(send(&place, &words("joined")).is_err());
        let listener = NotifyListener::bind(place.clone()).unwrap();
        let stranger = NotifyEndpoint {
            secret: "0123456789abcdee".to_owned(),
            ..place.clone()
        };
        send(&stranger, &words("donor")).unwrap();
        send(&place, &words("joined")).unwrap();
        assert_eq!(
            listener.next_event().await.status.as_deref(),
            Some("joined")
        );
        // A full queue is nobody's reason to wait.
        while send(&place, &words("synced")).is_ok() {}
    }

    #[test]
    fn an_endpoint_is_a_name_and_a_secret() {
        let place: NotifyEndpoint = "galera-agent/0123456789abcdef".parse().unwrap();
        assert_eq!(place.to_env_value(), "galera-agent/0123456789abcdef");
        assert!(!format!("{place:?}").contains("0123"));
        let long = format!("{}/0123456789abcdef", "n".repeat(NAME_MAX + 1));
        for wrong in [
            "",
            "galera-agent",
            "galera-agent/short",
            "/0123456789abcdef",
            "a b/0123456789abcdef",
            "a/0123456789abcdef/0123456789abcdef",
            long.as_str(),
        ] {
            assert!(wrong.parse::<NotifyEndpoint>().is_err(), "{wrong}");
        }
    }
}
