//! Why a database did not answer, in words that name the remedy.

use std::io;
use std::time::Duration;

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use mysql_async::{DriverError, Error, IoError};

/// The text of an error may come from a hostile peer: at most this many characters of it are kept.
const DETAIL_MAX: usize = 200;

/// The attempt took longer than it may.
#[must_use]
pub(crate) fn timed_out(limit: Duration, connected: bool) -> ProbeError {
    let seconds = limit.as_secs_f64();
    let message = if connected {
        format!(
            "no answer within {seconds} s on an open connection: the server hangs, is stopped or was cut off"
        )
    } else {
        format!(
            "no answer within {seconds} s: the server hangs, is stopped, or packets are dropped on the way"
        )
    };
    probe_error(ProbeErrorKind::TimedOut, message)
}

/// The host name leads nowhere.
#[must_use]
pub(super) fn unresolvable(host: &str, reason: &str) -> ProbeError {
    let message = format!(
        "the name {host} does not resolve to an address: {}",
        shorten(reason)
    );
    probe_error(ProbeErrorKind::Unresolvable, message)
}

/// Something answers that is not the expected Galera node.
#[must_use]
pub(super) fn protocol_error(message: impl Into<String>) -> ProbeError {
    probe_error(ProbeErrorKind::Protocol, message)
}

/// What an error of the driver means for a node that is asked with the account `user`.
#[must_use]
pub(super) fn classify(user: &str, error: &Error) -> ProbeError {
    match error {
        Error::Io(IoError::Io(error)) => from_io(error),
        Error::Io(error @ IoError::Tls(_)) => protocol_error(format!(
            "TLS failed: {}; check --mysql-tls-ca and the server's certificate",
            shorten(&error.to_string())
        )),
        Error::Driver(DriverError::ConnectionClosed) => connection_closed(),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => protocol_error(
            "the server offers no TLS, which --mysql-tls-ca requires; enable it there",
        ),
        Error::Server(error) => from_server(user, error.code, &error.message),
        other => not_mysql(&shorten(&other.to_string())),
    }
}

fn not_mysql(text: &str) -> ProbeError {
    protocol_error(format!(
        "what answers does not speak the MySQL protocol as expected: {text}"
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
        Kind::ConnectionRefused => probe_error(
            ProbeErrorKind::Refused,
            "connection refused: nothing listens there",
        ),
        Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable => probe_error(
            ProbeErrorKind::TimedOut,
            format!("not reachable over the network: {text}"),
        ),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => connection_closed(),
        // The driver's word for packets that it cannot read.
        Kind::InvalidData | Kind::InvalidInput | Kind::Other => not_mysql(&text),
        _ => probe_error(
            ProbeErrorKind::Closed,
            format!("the connection failed: {text}"),
        ),
    }
}

fn connection_closed() -> ProbeError {
    let message =
        "the connection was closed: the server stops, or something between closes connections";
    probe_error(ProbeErrorKind::Closed, message)
}

fn from_server(user: &str, code: u16, text: &str) -> ProbeError {
    let text = shorten(text);
    match code {
        // Access denied for the user, to the database, without a password, and by a plugin.
        1044 | 1045 | 1698 => probe_error(
            ProbeErrorKind::AccessDenied,
            format!("the account {user} is refused; check its name and password file ({text})"),
        ),
        // 1129 and 1130: this host is blocked or has no grant.
        1129 | 1130 => probe_error(
            ProbeErrorKind::AccessDenied,
            format!("the server does not let the console's host connect: {text}"),
        ),
        1040 | 1203 | 1226 => probe_error(
            ProbeErrorKind::TooManyConnections,
            format!("no connection is left for the console: {text}"),
        ),
        // The server is shutting down.
        1053 | 1927 => connection_closed(),
        // It does not know wsrep_sync_wait.
        1193 => not_galera(),
        _ => protocol_error(format!("the server answers with error {code}: {text}")),
    }
}

/// A database that is no node of any cluster.
#[must_use]
pub(super) fn not_galera() -> ProbeError {
    protocol_error("a database that runs without Galera answers (wsrep_provider is not set)")
}

/// Text of a peer, on one line and bounded.
pub(super) fn shorten(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(DETAIL_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    fn server(code: u16) -> ProbeErrorKind {
        let error = Error::Server(ServerError {
            code,
            message: "text".to_owned(),
            state: "HY000".to_owned(),
        });
        classify("console", &error).kind
    }

    fn io_kind(kind: io::ErrorKind) -> ProbeErrorKind {
        classify("console", &Error::from(io::Error::from(kind))).kind
    }

    #[test]
    fn server_errors_are_told_apart() {
        for code in [1044, 1045, 1698, 1130] {
            assert_eq!(server(code), ProbeErrorKind::AccessDenied, "{code}");
        }
        assert_eq!(server(1040), ProbeErrorKind::TooManyConnections);
        assert_eq!(server(1053), ProbeErrorKind::Closed);
        assert_eq!(server(1193), ProbeErrorKind::Protocol);
        assert_eq!(server(1064), ProbeErrorKind::Protocol);
    }

    #[test]
    fn only_a_refused_connection_says_that_nothing_runs() {
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
    fn a_hostile_text_is_bounded_and_on_one_line() {
        let error = Error::Server(ServerError {
            code: 1,
            message: format!("a\n\u{1b}[31m{}", "x".repeat(10_000)),
            state: String::new(),
        });
        let message = classify("console", &error).message;
        assert!(
            message.len() < 400 && !message.contains('\n') && !message.contains('\u{1b}'),
            "{message}"
        );
    }
}
