//! Classifies failed probes, with messages that name the remedy.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use sql_client::Error;

/// An error's text may come from a hostile peer: at most this many characters of it are kept.
const DETAIL_MAX: usize = 200;

#[must_use]
pub(crate) fn timed_out(limit: Duration, connected: bool) -> ProbeError {
    let seconds = limit.as_secs_f64();
    let message = if connected {
        format!(
            "no answer within {seconds} s on an open connection: the server hangs, was paused, or is cut off from the network"
        )
    } else {
        format!(
            "no answer within {seconds} s: the server hangs, was paused, or packets are dropped"
        )
    };
    probe_error(ProbeErrorKind::TimedOut, message)
}

/// A fault of the console itself, which is no evidence about the node.
#[must_use]
pub(crate) fn internal(reason: &str) -> ProbeError {
    protocol_error(format!(
        "internal error of the console: the probe ended ({}); please report it",
        shorten(reason)
    ))
}

#[must_use]
pub(super) fn unresolvable(host: &str, reason: &str) -> ProbeError {
    let message = format!("cannot resolve {host}: {}", shorten(reason));
    probe_error(ProbeErrorKind::Unresolvable, message)
}

/// An address that the console does not connect to because a registration or a member list names it.
#[must_use]
pub(super) fn blocked(host: &str, address: IpAddr, what: &str) -> ProbeError {
    let leads = if host == address.to_string() {
        format!("{address} is a {what} address")
    } else {
        format!("{host} resolves to {address}, a {what} address")
    };
    let message = format!(
        "not probed: {leads}; if a database listens there, allow it with --probe-allow {address} or pin the node with --cluster"
    );
    probe_error(ProbeErrorKind::Blocked, message)
}

/// A peer that is not the expected Galera node.
#[must_use]
pub(super) fn protocol_error(message: impl Into<String>) -> ProbeError {
    probe_error(ProbeErrorKind::Protocol, message)
}

/// Maps a client error of a probe that uses the account `user`.
#[must_use]
pub(super) fn classify(user: &str, error: &Error) -> ProbeError {
    match error {
        Error::Io(error) => from_io(error),
        Error::Closed | Error::Unusable => connection_closed(),
        Error::Ended(error) => probe_error(
            ProbeErrorKind::Closed,
            format!(
                "the server ended the connection: {}",
                shorten(&error.to_string())
            ),
        ),
        Error::Server(error) => from_server(user, error.code, &error.message),
        Error::Tls(text) => protocol_error(format!(
            "TLS failed: {}; check --mysql-tls-ca and the server's certificate",
            shorten(text)
        )),
        Error::TlsNotOffered => protocol_error(
            "the server does not offer TLS, which --mysql-tls requires; enable TLS on the server",
        ),
        Error::PasswordWithheld { plugin } => protocol_error(format!(
            "account {user} uses the plugin {plugin}, for which the server asks for the password itself; it is sent over verified TLS only: set --mysql-tls-ca, or give the account the plugin ed25519, parsec or mysql_native_password"
        )),
        Error::UnsupportedPlugin(plugin) => protocol_error(format!(
            "account {user} uses the authentication plugin {:?}, which is not supported; use ed25519, parsec, caching_sha2_password or mysql_native_password",
            shorten(plugin)
        )),
        Error::Protocol(text) => not_mysql(&shorten(text)),
    }
}

fn not_mysql(text: &str) -> ProbeError {
    protocol_error(format!(
        "the peer does not speak the MySQL protocol as expected: {text}"
    ))
}

fn probe_error(kind: ProbeErrorKind, message: impl Into<String>) -> ProbeError {
    ProbeError {
        kind,
        message: message.into(),
    }
}

fn from_io(error: &io::Error) -> ProbeError {
    use io::ErrorKind as Kind;
    let text = shorten(&error.to_string());
    match error.kind() {
        Kind::ConnectionRefused => probe_error(ProbeErrorKind::Refused, "connection refused"),
        Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable => probe_error(
            ProbeErrorKind::TimedOut,
            format!("not reachable over the network: {text}"),
        ),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => connection_closed(),
        Kind::InvalidData | Kind::InvalidInput | Kind::Other => not_mysql(&text),
        _ => probe_error(
            ProbeErrorKind::Closed,
            format!("the connection failed: {text}"),
        ),
    }
}

fn connection_closed() -> ProbeError {
    let message = "connection closed: the server is shutting down, or something in between closes connections";
    probe_error(ProbeErrorKind::Closed, message)
}

fn from_server(user: &str, code: u16, text: &str) -> ProbeError {
    let text = shorten(text);
    match code {
        // Access denied for the user, to the database, without a password, and by a plugin.
        1044 | 1045 | 1698 => probe_error(
            ProbeErrorKind::AccessDenied,
            format!("access denied for account {user}; check its name and password file ({text})"),
        ),
        // 1129 and 1130: this host is blocked or has no grant.
        1129 | 1130 => probe_error(
            ProbeErrorKind::AccessDenied,
            format!("the server does not accept connections from the console's host: {text}"),
        ),
        1040 => probe_error(
            ProbeErrorKind::TooManyConnections,
            format!(
                "error 1040: all max_connections of the server are in use, none is left for account {user}; end idle \
                 sessions or raise max_connections, over the socket as root or through extra_port ({text})"
            ),
        ),
        1203 | 1226 => probe_error(
            ProbeErrorKind::TooManyConnections,
            format!(
                "error {code}: account {user} has reached its own limit of connections (max_user_connections); raise it \
                 with ALTER USER ({text})"
            ),
        ),
        // The server is shutting down.
        1053 | 1927 => connection_closed(),
        // Unknown system variable wsrep_sync_wait.
        1193 => not_galera(),
        _ => protocol_error(format!("the server returned error {code}: {text}")),
    }
}

/// A server that refused the console's account with `error`, and also the one with a reserved connection.
#[must_use]
pub(crate) fn also_refused(error: &ProbeError, reserve: &ProbeError) -> ProbeError {
    probe_error(
        error.kind,
        format!(
            "{}; the recovery account could not read it either: {}",
            error.message, reserve.message
        ),
    )
}

/// A database that does not run Galera.
#[must_use]
pub(super) fn not_galera() -> ProbeError {
    protocol_error("the database runs without Galera (wsrep_provider is not set)")
}

/// A peer's text on one line, truncated.
pub(super) fn shorten(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(DETAIL_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use sql_client::ServerError;

    use super::*;

    fn server(code: u16) -> ProbeErrorKind {
        let error = Error::Server(ServerError {
            code,
            message: "text".to_owned(),
        });
        classify("console", &error).kind
    }

    fn io_kind(kind: io::ErrorKind) -> ProbeErrorKind {
        classify("console", &Error::from(io::Error::from(kind))).kind
    }

    #[test]
    fn classifies_server_errors() {
        for code in [1044, 1045, 1698, 1130] {
            assert_eq!(server(code), ProbeErrorKind::AccessDenied, "{code}");
        }
        assert_eq!(server(1040), ProbeErrorKind::TooManyConnections);
        assert_eq!(server(1053), ProbeErrorKind::Closed);
        assert_eq!(server(1193), ProbeErrorKind::Protocol);
        assert_eq!(server(1064), ProbeErrorKind::Protocol);
    }

    #[test]
    fn only_a_refused_connection_means_a_stopped_server() {
        assert_eq!(
            io_kind(io::ErrorKind::ConnectionRefused),
            ProbeErrorKind::Refused
        );
        assert_eq!(
            io_kind(io::ErrorKind::HostUnreachable),
            ProbeErrorKind::TimedOut
        );
        assert_eq!(
            io_kind(io::ErrorKind::ConnectionReset),
            ProbeErrorKind::Closed
        );
        assert_eq!(
            io_kind(io::ErrorKind::UnexpectedEof),
            ProbeErrorKind::Closed
        );
        assert_eq!(
            io_kind(io::ErrorKind::InvalidData),
            ProbeErrorKind::Protocol
        );
    }

    #[test]
    fn hostile_text_is_truncated_to_one_line() {
        let error = Error::Server(ServerError {
            code: 1,
            message: format!("a\n\u{1b}[31m{}", "x".repeat(10_000)),
        });
        let message = classify("console", &error).message;
        assert!(
            message.len() < 400 && !message.contains('\n') && !message.contains('\u{1b}'),
            "{message}"
        );
    }
}
