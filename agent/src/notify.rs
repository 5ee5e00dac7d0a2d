//! `galera-agent notify`, the server's `wsrep_notify_cmd`: forwards the server's notifications to the running agent.
//!
//! The server waits for the command to exit (B5), so it sends one datagram and returns, whether or not it is received.

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

/// Environment variable with the agent's endpoint, `NAME/SECRET`. The server inherits it and passes it to the command.
pub const VARIABLE: &str = "GALERA_AGENT_NOTIFY";

/// Longest socket name, in bytes; abstract socket names have at most 107.
const NAME_MAX: usize = 100;
/// Allowed lengths of a secret, in bytes.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

const DATAGRAM_MAX: usize = 16 * 1024;

/// An abstract Unix socket on which an agent listens, and the secret that each datagram must start with.
#[derive(Clone, PartialEq, Eq)]
pub struct NotifyEndpoint {
    name: String,
    secret: String,
}

impl NotifyEndpoint {
    /// An endpoint unique to this agent, from two random tokens.
    #[must_use]
    pub fn from_tokens(name: &str, secret: &str) -> Self {
        Self {
            name: format!("galera-agent-{name}"),
            secret: secret.to_owned(),
        }
    }

    /// The value of [`VARIABLE`] for the server.
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
            .ok_or("is not NAME/SECRET; use a name and a random secret, for example galera-agent/$(openssl rand -hex 16)")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
            return Err(format!(
                "the name {name:?} must have 1 to {NAME_MAX} characters: letters, digits and . _ -"
            ));
        }
        if !SECRET_LENGTH.contains(&secret.len()) || !secret.chars().all(plain) {
            return Err(format!(
                "the secret must have {} to {} characters: letters, digits and . _ -",
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

/// Sends a notification to the agent at `endpoint` without blocking.
///
/// # Errors
/// If it cannot be delivered.
pub fn send(endpoint: &NotifyEndpoint, arguments: &[String]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let words =
        std::iter::once(endpoint.secret.as_str()).chain(arguments.iter().map(String::as_str));
    let address = SocketAddr::from_abstract_name(&endpoint.name)?;
    socket.send_to_addr(&WsrepEvent::encode_datagram(words), &address)?;
    Ok(())
}

/// The agent's side. The socket is abstract: there is no file that a state transfer could remove or that could be left
/// behind.
#[derive(Debug)]
pub struct NotifyListener {
    socket: tokio::net::UnixDatagram,
    endpoint: NotifyEndpoint,
}

impl NotifyListener {
    /// Listens at `endpoint`; datagrams without its secret are ignored.
    ///
    /// # Errors
    /// If the socket cannot be bound.
    pub fn bind(endpoint: NotifyEndpoint) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(&endpoint.name)?;
        let socket = UnixDatagram::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: tokio::net::UnixDatagram::from_std(socket)?,
            endpoint,
        })
    }

    #[must_use]
    pub const fn endpoint(&self) -> &NotifyEndpoint {
        &self.endpoint
    }

    /// Publishes the state after each notification, queues it for the report even if the next one follows immediately,
    /// and triggers a probe. Runs until dropped.
    pub async fn run(
        &self,
        publish: &watch::Sender<ServerState>,
        transient_states: &mpsc::Sender<TransientState>,
        probe_now: &Notify,
    ) {
        loop {
            let event = self.next_event().await;
            tracing::debug!(?event, "Notification received");
            publish.send_modify(|server| *server = server.after_event(&event));
            // Fails if the queue is full or there is no reporter.
            let _ = transient_states.try_send(TransientState {
                at: Instant::now(),
                server: publish.borrow().clone(),
            });
            probe_now.notify_one();
        }
    }

    /// The next event. Cancel safe.
    pub async fn next_event(&self) -> WsrepEvent {
        let mut bytes = vec![0; DATAGRAM_MAX];
        loop {
            match self.socket.recv(&mut bytes).await {
                Ok(length) => {
                    let payload = bytes[..length].strip_prefix(self.endpoint.secret.as_bytes());
                    if let Some(payload) = payload.and_then(|rest| rest.strip_prefix(b"\0")) {
                        return WsrepEvent::from_datagram(payload);
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
        let endpoint: NotifyEndpoint =
            format!("galera-agent-test-{}/0123456789abcdef", std::process::id())
                .parse()
                .unwrap();
        let arguments_of = |status: &str| ["--status".to_owned(), status.to_owned()];
        assert!(send(&endpoint, &arguments_of("joined")).is_err());
        let listener = NotifyListener::bind(endpoint.clone()).unwrap();
        let wrong_secret = NotifyEndpoint {
            secret: "0123456789abcdee".to_owned(),
            ..endpoint.clone()
        };
        send(&wrong_secret, &arguments_of("donor")).unwrap();
        send(&endpoint, &arguments_of("joined")).unwrap();
        assert_eq!(
            listener.next_event().await.status.as_deref(),
            Some("joined")
        );
        // Sending to a full queue fails instead of blocking.
        while send(&endpoint, &arguments_of("synced")).is_ok() {}
    }

    #[test]
    fn an_endpoint_is_a_name_and_a_secret() {
        let endpoint: NotifyEndpoint = "galera-agent/0123456789abcdef".parse().unwrap();
        assert_eq!(endpoint.to_env_value(), "galera-agent/0123456789abcdef");
        assert!(!format!("{endpoint:?}").contains("0123"));
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
