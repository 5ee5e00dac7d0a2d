//! Classifies probe failures, with messages that name the remedy.

use std::io;

use galera::observe::observation::{ProbeError, ProbeErrorKind};

use sql_client::{Error, TlsProblem};

use crate::settings::DatabaseSettings;

/// Maps a client error of a probe of `database`.
pub(super) fn classify(database: &DatabaseSettings, error: &Error) -> ProbeError {
    let (location, user) = (database.location(), &database.user);
    let protocol = |text: String| probe_error(ProbeErrorKind::Protocol, text);
    let tls = |text: String| probe_error(ProbeErrorKind::TlsFailed, text);
    match error {
        Error::Io(error) => from_io(&location, error),
        Error::Closed | Error::Unusable => connection_closed(&location),
        Error::Ended(error) => probe_error(
            ProbeErrorKind::Closed,
            format!(
                "{location} ended the connection: {}",
                one_line(&error.to_string())
            ),
        ),
        Error::Server(error) => from_server(&location, database, error.code, &error.message),
        Error::Tls(failure) => {
            let text = one_line(&failure.text);
            let explanation = failure.problem.explanation();
            let remedy = match failure.problem {
                TlsProblem::OwnFile => String::new(),
                _ => format!(
                    "; {}",
                    explanation.unwrap_or("check the server's certificate")
                ),
            };
            tls(format!(
                "TLS with {location} failed: {text}{remedy} (MYSQL_TLS_CA, MYSQL_TLS_VERIFY, MYSQL_TLS_CERT)"
            ))
        }
        Error::TlsNotOffered => tls(format!(
            "{location} does not offer TLS, which MYSQL_TLS requires; enable TLS on the server"
        )),
        Error::PasswordWithheld { plugin } => denied(format!(
            "account {user} uses the plugin {plugin}, for which {location} asks for the password itself; it is sent over verified TLS or a Unix socket only: set MYSQL_TLS_CA or MYSQL_SOCKET, or give the account the plugin ed25519, parsec or mysql_native_password"
        )),
        Error::UnsupportedPlugin(plugin) => denied(format!(
            "account {user} of {location} uses the authentication plugin {:?}, which is not supported; use ed25519, parsec, caching_sha2_password or mysql_native_password",
            one_line(plugin)
        )),
        Error::Protocol(text) => protocol(format!(
            "{location} violates the MySQL protocol: {}",
            one_line(text)
        )),
    }
}

/// A fault of the agent itself, which is no evidence about the server.
pub(super) fn internal(reason: &str) -> ProbeError {
    probe_error(
        ProbeErrorKind::Protocol,
        format!(
            "internal error of the agent: the probe ended ({}); please report it",
            one_line(reason)
        ),
    )
}

pub(super) fn unresolvable(location: &str, error: &io::Error) -> ProbeError {
    probe_error(
        ProbeErrorKind::Unresolvable,
        format!("{location} does not resolve to an address: {error}"),
    )
}

/// The server at `location` denies access to every account of the agent: it runs, but its state is unknown.
pub(super) fn all_denied(location: &str, users: &[&str], first: &ProbeError) -> ProbeError {
    probe_error(
        ProbeErrorKind::AccessDenied,
        format!(
            "the server runs, but {location} denies access to the accounts {}: set MYSQL_ROOT_PASSWORD to the password that \
             root@localhost has in these data, or correct it in the database ({})",
            users.join(", "),
            first.message
        ),
    )
}

fn from_io(location: &str, error: &io::Error) -> ProbeError {
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
        _ => probe_error(
            ProbeErrorKind::Closed,
            format!("{location}: connection failed: {error}"),
        ),
    }
}

fn from_server(location: &str, database: &DatabaseSettings, code: u16, text: &str) -> ProbeError {
    let (user, text) = (&database.user, one_line(text));
    match code {
        1044 | 1045 | 1698 => denied(format!(
            "{location} denies access to account {user}; check MYSQL_USER and MYSQL_PASSWORD_FILE, and whether it requires TLS (MYSQL_TLS_CA, MYSQL_TLS_CERT) ({text})"
        )),
        1129 | 1130 => denied(format!(
            "{location} denies connections from this host: {text}"
        )),
        1820 | 1862 | 3118 | 3955 | 4150 | 4151 => denied(format!(
            "{location} does not let account {user} sign in: its password has expired, or it is locked or blocked; change that with ALTER USER ({text})"
        )),
        1251 | 1275 | 1524 => denied(format!(
            "account {user} of {location} cannot sign in with its authentication plugin; use ed25519, parsec, caching_sha2_password or mysql_native_password ({text})"
        )),
        _ if code == 3159 || text.contains("insecure transport") => probe_error(
            ProbeErrorKind::TlsFailed,
            format!("{location} requires TLS; set MYSQL_TLS_CA, or use MYSQL_SOCKET ({text})"),
        ),
        1040 | 1203 | 1226 => probe_error(
            ProbeErrorKind::TooManyConnections,
            format!("{location} has no free connection for {user}: {text}"),
        ),
        // The server is shutting down.
        1053 | 1927 => connection_closed(location),
        _ => probe_error(
            ProbeErrorKind::ServerError,
            format!("{location} returned error {code}: {text}"),
        ),
    }
}

fn denied(message: String) -> ProbeError {
    probe_error(ProbeErrorKind::AccessDenied, message)
}

fn connection_closed(location: &str) -> ProbeError {
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
    use sql_client::Tls;

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
            tls: Tls::Off,
            user: "console".to_owned(),
            password: None,
        };
        let server = |code| from_server("p", &database, code, "a\nb\u{1b}[31m");
        assert_eq!(server(1040).kind, ProbeErrorKind::TooManyConnections);
        assert_eq!(server(1053).kind, ProbeErrorKind::Closed);
        for code in [1130, 1524, 1862, 3118, 4151] {
            assert_eq!(server(code).kind, ProbeErrorKind::AccessDenied, "{code}");
        }
        assert_eq!(server(3159).kind, ProbeErrorKind::TlsFailed);
        assert_eq!(server(1064).kind, ProbeErrorKind::ServerError);
        let denied = server(1045);
        assert_eq!(denied.kind, ProbeErrorKind::AccessDenied);
        assert!(denied.message.contains("MYSQL_PASSWORD_FILE") && !denied.message.contains('\n'));
    }
}
