//! Classifies failed probes, with messages that name the remedy.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use sql_client::{Error, TlsFailure, TlsProblem};

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
        Error::Tls(failure) => probe_error(ProbeErrorKind::TlsFailed, tls_failed(failure)),
        Error::TlsNotOffered => probe_error(
            ProbeErrorKind::TlsFailed,
            "the server does not offer TLS, which --mysql-tls requires; enable TLS on the server",
        ),
        Error::PasswordWithheld { plugin } => denied(format!(
            "account {user} uses the plugin {plugin}, for which the server asks for the password itself; it is sent over verified TLS only: set --mysql-tls-ca, or give the account the plugin ed25519, parsec or mysql_native_password"
        )),
        Error::UnsupportedPlugin(plugin) => denied(format!(
            "account {user} uses the authentication plugin {:?}, which is not supported; use ed25519, parsec, caching_sha2_password or mysql_native_password",
            shorten(plugin)
        )),
        Error::Protocol(text) => not_mysql(&shorten(text)),
    }
}

/// What is wrong with TLS, and what to do about it.
fn tls_failed(failure: &TlsFailure) -> String {
    let setting = match failure.problem {
        TlsProblem::OtherName => "or set --mysql-tls-verify ca",
        TlsProblem::UnknownIssuer => "with --mysql-tls-ca",
        TlsProblem::ClientRefused => "check --mysql-tls-cert and --mysql-tls-key",
        TlsProblem::Version1 | TlsProblem::NotInTime | TlsProblem::OwnFile => "",
        TlsProblem::Other => "check --mysql-tls-ca and the server's certificate",
    };
    let parts = [failure.problem.explanation().unwrap_or_default(), setting];
    let remedy: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let text = shorten(&failure.text);
    if remedy.is_empty() {
        return format!("TLS failed: {text}");
    }
    format!("TLS failed: {text}; {}", remedy.join(", "))
}

fn denied(message: String) -> ProbeError {
    probe_error(ProbeErrorKind::AccessDenied, message)
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
        1044 | 1045 | 1698 => denied(format!(
            "access denied for account {user}; check its name and password file, and whether it requires TLS or a client certificate (REQUIRE SSL or X509: --mysql-tls-ca, --mysql-tls-cert) ({text})"
        )),
        1129 => denied(format!(
            "the server has blocked the console's host after failed connections; run FLUSH HOSTS there ({text})"
        )),
        1130 => denied(format!(
            "the server has no account for the console's host; create {user}@HOST for it ({text})"
        )),
        3118 | 4151 => denied(format!(
            "account {user} is locked; run ALTER USER … ACCOUNT UNLOCK ({text})"
        )),
        1820 | 1862 => denied(format!(
            "the password of account {user} has expired; set a new one, or run ALTER USER … PASSWORD EXPIRE NEVER ({text})"
        )),
        3955 | 4150 => denied(format!(
            "account {user} is blocked after failed sign-ins; run ALTER USER … ACCOUNT UNLOCK (MySQL) or FLUSH PRIVILEGES (MariaDB) ({text})"
        )),
        1251 | 1275 | 1524 => denied(format!(
            "account {user} cannot sign in with its authentication plugin; use ed25519, parsec, caching_sha2_password or mysql_native_password ({text})"
        )),
        _ if code == 3159 || text.contains("insecure transport") => probe_error(
            ProbeErrorKind::TlsFailed,
            format!(
                "the server requires TLS (require_secure_transport); set --mysql-tls-ca ({text})"
            ),
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
        1047 => server_error(format!(
            "the server refuses queries: wsrep_ready is OFF or wsrep_reject_queries is set (error 1047: {text})"
        )),
        3032 => server_error(format!(
            "the server is in offline mode and accepts administrators only; run SET GLOBAL offline_mode=OFF (error 3032: {text})"
        )),
        _ => server_error(format!("the server returned error {code}: {text}")),
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

fn server_error(message: String) -> ProbeError {
    probe_error(ProbeErrorKind::ServerError, message)
}

/// A server that is not a node of the cluster; `message` continues a sentence about it.
#[must_use]
pub(super) fn not_a_member(message: impl Into<String>) -> ProbeError {
    probe_error(ProbeErrorKind::NotAMember, message)
}

/// A database that does not run Galera.
#[must_use]
pub(super) fn not_galera() -> ProbeError {
    not_a_member("runs without Galera (wsrep_provider is not set)")
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

    fn tls(problem: TlsProblem) -> Error {
        let text = "text".to_owned();
        Error::Tls(TlsFailure { text, problem })
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
        assert_eq!(server(1193), ProbeErrorKind::NotAMember);
        assert_eq!(server(1064), ProbeErrorKind::ServerError);
    }

    /// Every packet of a server is a sign of life, whatever its number, except for those of its shutdown.
    #[test]
    fn i2_an_error_of_a_server_is_no_silence() {
        for code in (1..5_000).filter(|code| ![1053, 1927].contains(code)) {
            assert!(server(code).proves_running(), "{code}");
            assert!(!server(code).proves_stopped(), "{code}");
        }
        for error in [
            tls(TlsProblem::UnknownIssuer),
            Error::TlsNotOffered,
            Error::PasswordWithheld { plugin: "x" },
            Error::UnsupportedPlugin("auth_gssapi_client".to_owned()),
        ] {
            assert!(classify("console", &error).kind.proves_running(), "{error}");
        }
        // It is not known what sends these.
        let garbage = Error::Protocol("the greeting has protocol version 72".into());
        for error in [garbage, Error::Closed] {
            assert!(
                !classify("console", &error).kind.proves_running(),
                "{error}"
            );
        }
    }

    #[test]
    fn errors_of_accounts_name_the_remedy() {
        let of = |code, message: &str| {
            let message = message.to_owned();
            classify("console", &Error::Server(ServerError { code, message }))
        };
        for (code, text, remedy) in [
            (1045, "Access denied for user 'console'", "REQUIRE SSL"),
            (
                4151,
                "Access denied, this account is locked",
                "ACCOUNT UNLOCK",
            ),
            (3118, "Access denied. Account is locked.", "ACCOUNT UNLOCK"),
            (1862, "Your password has expired", "PASSWORD EXPIRE NEVER"),
            (1820, "You must SET PASSWORD", "PASSWORD EXPIRE NEVER"),
            (4150, "User is blocked", "FLUSH PRIVILEGES"),
            (3955, "Account is blocked", "ACCOUNT UNLOCK"),
            (
                1524,
                "Plugin 'gssapi' is not loaded",
                "caching_sha2_password",
            ),
            (1251, "Client does not support", "caching_sha2_password"),
            (1129, "Host is blocked", "FLUSH HOSTS"),
            (1130, "Host is not allowed", "console@HOST"),
        ] {
            let error = of(code, text);
            assert_eq!(error.kind, ProbeErrorKind::AccessDenied, "{code}");
            assert!(error.message.contains(remedy), "{code}: {error}");
        }
        for code in [3159, 1105] {
            let error = of(code, "Connections using insecure transport are prohibited");
            assert_eq!(error.kind, ProbeErrorKind::TlsFailed, "{code}");
            assert!(error.message.contains("--mysql-tls-ca"), "{error}");
        }
    }

    #[test]
    fn certificates_that_are_not_accepted_are_named() {
        for (problem, remedy) in [
            (TlsProblem::Version1, "version 1"),
            (TlsProblem::OtherName, "--mysql-tls-verify ca"),
            (TlsProblem::UnknownIssuer, "--mysql-tls-ca"),
            (TlsProblem::NotInTime, "renew it"),
            (TlsProblem::ClientRefused, "--mysql-tls-cert"),
            (TlsProblem::Other, "--mysql-tls-ca"),
        ] {
            let error = classify("console", &tls(problem));
            assert_eq!(error.kind, ProbeErrorKind::TlsFailed);
            assert!(error.message.starts_with("TLS failed: text; "), "{error}");
            assert!(error.message.contains(remedy), "{error}");
        }
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
