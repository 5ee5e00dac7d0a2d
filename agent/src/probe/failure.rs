//! Classifies probe failures, with messages that name the remedy.

use std::io;

use galera::observe::observation::{ProbeError, ProbeErrorKind};

use crate::settings::DatabaseSettings;

pub(super) fn from_io(location: &str, error: &io::Error) -> ProbeError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => probe_error(
            ProbeErrorKind::Refused,
            format!("{location} refuses connections: no server is running there"),
        ),
        // The socket file is removed when the server stops.
        Kind::NotFound => probe_error(
            ProbeErrorKind::Refused,
            format!("{location} does not exist: no server is running there"),
        ),
        Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable => probe_error(
            ProbeErrorKind::TimedOut,
            format!("{location} is unreachable: {error}"),
        ),
        Kind::PermissionDenied => probe_error(
            ProbeErrorKind::AccessDenied,
            format!(
                "this user cannot open {location}; run the agent as a user that can, or set MYSQL_HOST"
            ),
        ),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => connection_closed(location),
        _ if error.to_string().contains("lookup") => probe_error(
            ProbeErrorKind::Unresolvable,
            format!("{location} does not resolve to an address: {error}"),
        ),
        _ => probe_error(
            ProbeErrorKind::Closed,
            format!("{location}: connection failed: {error}"),
        ),
    }
}

pub(super) fn from_server(
    location: &str,
    database: &DatabaseSettings,
    code: u16,
    text: &str,
) -> ProbeError {
    let (user, text) = (&database.user, one_line(text));
    match code {
        1044 | 1045 | 1698 => probe_error(
            ProbeErrorKind::AccessDenied,
            format!(
                "{location} denies access to account {user}; check MYSQL_USER and MYSQL_PASSWORD_FILE ({text})"
            ),
        ),
        1129 | 1130 => probe_error(
            ProbeErrorKind::AccessDenied,
            format!("{location} denies connections from this host: {text}"),
        ),
        1040 | 1203 | 1226 => probe_error(
            ProbeErrorKind::TooManyConnections,
            format!("{location} has no free connection for {user}: {text}"),
        ),
        // The server is shutting down.
        1053 | 1927 => connection_closed(location),
        _ => probe_error(
            ProbeErrorKind::Protocol,
            format!("{location} returned error {code}: {text}"),
        ),
    }
}

pub(super) fn connection_closed(location: &str) -> ProbeError {
    probe_error(
        ProbeErrorKind::Closed,
        format!("{location} closed the connection: the server is stopping or has crashed"),
    )
}

pub(super) fn probe_error(kind: ProbeErrorKind, message: String) -> ProbeError {
    ProbeError { kind, message }
}

/// Text from the server, truncated and on one line.
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
    fn failures_are_classified() {
        let kind = |kind: io::ErrorKind| from_io("p", &kind.into()).kind;
        assert_eq!(
            kind(io::ErrorKind::ConnectionRefused),
            ProbeErrorKind::Refused
        );
        assert_eq!(kind(io::ErrorKind::NotFound), ProbeErrorKind::Refused);
        assert_eq!(
            kind(io::ErrorKind::HostUnreachable),
            ProbeErrorKind::TimedOut
        );
        assert_eq!(kind(io::ErrorKind::UnexpectedEof), ProbeErrorKind::Closed);
        let database = DatabaseSettings {
            host: "h".to_owned(),
            port: 1,
            socket: None,
            user: "console".to_owned(),
            password: None,
        };
        let server = |code| from_server("p", &database, code, "a\nb\u{1b}[31m");
        assert_eq!(server(1040).kind, ProbeErrorKind::TooManyConnections);
        assert_eq!(server(1053).kind, ProbeErrorKind::Closed);
        let denied = server(1045);
        assert_eq!(denied.kind, ProbeErrorKind::AccessDenied);
        assert!(denied.message.contains("MYSQL_PASSWORD_FILE") && !denied.message.contains('\n'));
    }
}
