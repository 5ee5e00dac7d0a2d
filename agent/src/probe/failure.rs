//! Why a server is not readable, in words that name the remedy.

use std::io;

use galera::observe::observation::{ProbeError, ProbeFailure};

use crate::settings::Database;

pub(super) fn from_io(place: &str, error: &io::Error) -> ProbeError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => failed(
            ProbeFailure::Refused,
            format!("{place} refuses connections: no server runs there"),
        ),
        // A socket's file vanishes with its server.
        Kind::NotFound => failed(
            ProbeFailure::Refused,
            format!("{place} does not exist: no server runs there"),
        ),
        Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable => failed(
            ProbeFailure::TimedOut,
            format!("{place} is not reachable: {error}"),
        ),
        Kind::PermissionDenied => failed(
            ProbeFailure::AccessDenied,
            format!(
                "{place} may not be opened by this user; run the agent as one who may, or use MYSQL_HOST"
            ),
        ),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => closed(place),
        _ if error.to_string().contains("lookup") => failed(
            ProbeFailure::Unresolvable,
            format!("{place} does not resolve to an address: {error}"),
        ),
        _ => failed(
            ProbeFailure::Closed,
            format!("{place}: the connection failed: {error}"),
        ),
    }
}

pub(super) fn from_server(place: &str, database: &Database, code: u16, text: &str) -> ProbeError {
    let (user, text) = (&database.user, one_line(text));
    match code {
        1044 | 1045 | 1698 => failed(
            ProbeFailure::AccessDenied,
            format!(
                "{place} refuses the account {user}; check MYSQL_USER and MYSQL_PASSWORD_FILE ({text})"
            ),
        ),
        1129 | 1130 => failed(
            ProbeFailure::AccessDenied,
            format!("{place} does not let this host connect: {text}"),
        ),
        1040 | 1203 | 1226 => failed(
            ProbeFailure::TooManyConnections,
            format!("{place} has no connection left for {user}: {text}"),
        ),
        // The server is shutting down.
        1053 | 1927 => closed(place),
        _ => failed(
            ProbeFailure::Protocol,
            format!("{place} answers with error {code}: {text}"),
        ),
    }
}

pub(super) fn closed(place: &str) -> ProbeError {
    failed(
        ProbeFailure::Closed,
        format!("{place} closed the connection: the server stops or crashed"),
    )
}

pub(super) fn failed(kind: ProbeFailure, message: String) -> ProbeError {
    ProbeError { kind, message }
}

/// Text of a peer, bounded and on one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_what_they_prove() {
        let kind = |kind: io::ErrorKind| from_io("p", &kind.into()).kind;
        assert_eq!(
            kind(io::ErrorKind::ConnectionRefused),
            ProbeFailure::Refused
        );
        assert_eq!(kind(io::ErrorKind::NotFound), ProbeFailure::Refused);
        assert_eq!(kind(io::ErrorKind::HostUnreachable), ProbeFailure::TimedOut);
        assert_eq!(kind(io::ErrorKind::UnexpectedEof), ProbeFailure::Closed);
        let database = Database {
            host: "h".to_owned(),
            port: 1,
            socket: None,
            user: "console".to_owned(),
            password: None,
        };
        let server = |code| from_server("p", &database, code, "a\nb\u{1b}[31m");
        assert_eq!(server(1040).kind, ProbeFailure::TooManyConnections);
        assert_eq!(server(1053).kind, ProbeFailure::Closed);
        let denied = server(1045);
        assert_eq!(denied.kind, ProbeFailure::AccessDenied);
        assert!(denied.message.contains("MYSQL_PASSWORD_FILE") && !denied.message.contains('\n'));
    }
}
