//! Failures by cause, each naming the endpoints or file and the remedy.

use std::path::Path;

use tls_files::{TlsFileError, explain_tls_error, find_tls_error};

use crate::entry::{LeaseId, RegistryEntry};
use crate::storage::StorageAlarm;

/// Why a call to etcd failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No endpoint answered in time. A read had no effect; a write had none either.
    #[error(
        "etcd cannot be reached at {endpoints}: {cause}; check that its members run and can elect a leader"
    )]
    Unavailable {
        /// The endpoints that were tried.
        endpoints: String,
        /// What the last attempt met.
        cause: String,
    },
    /// A write was sent and the answer did not arrive: it may or may not have happened. Read before repeating it.
    #[error(
        "etcd at {endpoints} did not confirm a write, which may have happened: {cause}; read before repeating it"
    )]
    Unconfirmed {
        /// The endpoints that were tried.
        endpoints: String,
        /// What the last attempt met.
        cause: String,
    },
    /// etcd refused the user, the password or the access to these keys.
    #[error(
        "etcd at {endpoints} refused access: {cause}; check the etcd user, its password and its role"
    )]
    Denied {
        /// The endpoint that refused.
        endpoints: String,
        /// etcd's reason.
        cause: String,
    },
    /// A value, transaction or answer is larger than etcd or this client accept.
    #[error(
        "too large for etcd at {endpoints}: {cause}; a request may have 1.5 MB unless etcd is configured otherwise"
    )]
    TooLarge {
        /// The endpoint that refused.
        endpoints: String,
        /// Which limit was exceeded.
        cause: String,
    },
    /// etcd's database has reached its quota and accepts no writes.
    #[error(
        "etcd at {endpoints} has no space left: {cause}; compact and defragment it, then disarm its NOSPACE alarm"
    )]
    NoSpace {
        /// The endpoint that refused.
        endpoints: String,
        /// etcd's reason.
        cause: String,
    },
    /// The members' data differ, and etcd accepts neither reads nor writes.
    #[error(
        "etcd at {endpoints} has a CORRUPT alarm, because the data of its members differ: {cause}; replace the member that `etcdctl endpoint hashkv --cluster` shows to differ, then disarm the alarm"
    )]
    Corrupt {
        /// The endpoint that refused.
        endpoints: String,
        /// etcd's reason.
        cause: String,
    },
    /// Another writer changed the key since it was read.
    #[error("{key:?} was changed by another writer in the meantime; read it again")]
    Conflict {
        /// The key, as far as it is text.
        key: String,
        /// The current entry; `None` if the key was deleted.
        current: Option<Box<RegistryEntry>>,
    },
    /// The lease does not exist; its keys are deleted.
    #[error("the lease {id:x} has expired or was revoked; grant a new one and write again")]
    LeaseGone {
        /// The lease.
        id: LeaseId,
    },
    /// The wanted revision is no longer, or not yet, in etcd's history.
    #[error("etcd at {endpoints} does not hold the wanted revision: {cause}; read again")]
    Compacted {
        /// The endpoint of the request.
        endpoints: String,
        /// etcd's reason.
        cause: String,
    },
    /// A record that was changed outside the console is never used.
    #[error(
        "the record {key} in etcd was changed outside the console and is ignored: {reason}; see docs/etcd.md"
    )]
    Tampered {
        /// The record's key.
        key: String,
        /// Why it is not genuine.
        reason: String,
    },
    /// Records are sealed with a secret that followed the newest one of this process, which must not replace them.
    #[error(
        "the state secret file is older than the one in use: it has {given}, and records in etcd are sealed with the state secret {needed}, which followed it; copy the file of the other replicas and restart"
    )]
    OutdatedSecret {
        /// The names of the secrets that this process has.
        given: String,
        /// The name of the missing one.
        needed: String,
    },
    /// Settings or a request that can never work.
    #[error("{0}")]
    Invalid(String),
    /// A file with a certificate, a key or authorities that cannot be used.
    #[error(transparent)]
    TlsFile(#[from] TlsFileError),
}

impl Error {
    /// Adds the right that a role lacks, when etcd refused access to a lease: to every key that the lease holds.
    pub(crate) fn naming_lease(self, id: LeaseId) -> Self {
        let keys = format!("every key of the lease {id:x}");
        self.naming([("write", keys.as_bytes())])
    }

    /// Adds the rights that a role may lack, each with its key, when that is why etcd refused access.
    pub(crate) fn naming<'a>(
        self,
        rights: impl IntoIterator<Item = (&'static str, &'a [u8])>,
    ) -> Self {
        match self {
            Self::Denied { endpoints, cause } if cause.contains("permission denied") => {
                let mut rights = rights.into_iter();
                let mut named: Vec<_> = rights
                    .by_ref()
                    .take(KEYS_NAMED_MAX)
                    .map(|(right, key)| format!("{right} {}", String::from_utf8_lossy(key)))
                    .collect();
                if rights.next().is_some() {
                    named.push("…".to_owned());
                }
                Self::Denied {
                    endpoints,
                    cause: format!("{cause} (to {})", named.join(", ")),
                }
            }
            error => error,
        }
    }

    /// The kind of error, without names, keys or causes.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::Denied { .. } => "denied",
            Self::TooLarge { .. } => "too_large",
            Self::NoSpace { .. } => "no_space",
            Self::Corrupt { .. } => "corrupt",
            Self::Conflict { .. } => "conflict",
            Self::LeaseGone { .. } => "lease_gone",
            Self::Compacted { .. } => "compacted",
            Self::Tampered { .. } => "tampered",
            Self::OutdatedSecret { .. } => "outdated_secret",
            Self::Invalid(_) => "invalid",
            Self::TlsFile(_) => "tls_file",
        }
    }

    /// The alarm of etcd for which it refused the request.
    #[must_use]
    pub const fn alarm(&self) -> Option<StorageAlarm> {
        match self {
            Self::NoSpace { .. } => Some(StorageAlarm::NoSpace),
            Self::Corrupt { .. } => Some(StorageAlarm::Corrupt),
            _ => None,
        }
    }

    /// Whether a later attempt may succeed: no endpoint answered, or etcd has an alarm, as opposed to a refusal.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Unconfirmed { .. }
                | Self::Compacted { .. }
                | Self::NoSpace { .. }
                | Self::Corrupt { .. }
        )
    }
}

/// Keys that an error names.
const KEYS_NAMED_MAX: usize = 4;

/// What a failed attempt means for the next one.
#[derive(Clone, Debug)]
pub(crate) enum AttemptError {
    /// Another endpoint, or the same one later, may do better.
    Transient {
        cause: String,
        /// The request may have been carried out all the same.
        maybe_applied: bool,
    },
    /// No other endpoint would answer differently.
    Permanent(Error),
}

/// Alerts by which a server refuses a client's certificate, as rustls names them.
const CLIENT_CERTIFICATE_ALERTS: [&str; 7] = [
    "BadCertificate",
    "CertificateExpired",
    "CertificateRequired",
    "CertificateRevoked",
    "CertificateUnknown",
    "UnknownCA",
    "UnsupportedCertificate",
];

/// How an established connection ends without an alert, in lower case.
const CLOSED_CONNECTION: [&str; 3] = ["connection closed", "connection reset", "broken pipe"];

// gRPC's status codes; this crate has no direct dependency on a gRPC library.
const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const DATA_LOSS: i32 = 15;
const UNAUTHENTICATED: i32 = 16;

/// Classifies the error of an attempt at `endpoint`.
///
/// `authorities` is the file of those that are trusted.
pub(crate) fn classify(
    endpoint: &str,
    authorities: Option<&Path>,
    error: etcd_client::Error,
) -> AttemptError {
    use etcd_client::Error as Client;
    let endpoints = endpoint.to_owned();
    match error {
        Client::GRpcStatus(status) => {
            let code = i32::from(status.code());
            let cause = cause(status.message(), authorities, &status);
            if let Some(refusal) = permanent_error(code, status.message(), endpoints, &cause) {
                return AttemptError::Permanent(refusal);
            }
            AttemptError::Transient {
                maybe_applied: !never_sent(&status),
                cause,
            }
        }
        Client::InvalidArgs(text) => AttemptError::Permanent(Error::Invalid(text)),
        Client::InvalidUri(error) => {
            AttemptError::Permanent(Error::Invalid(format!("{endpoint}: {error}")))
        }
        // Only made while a connection is configured: the certificate files are not what they should be.
        Client::TransportError(error) => AttemptError::Permanent(Error::Invalid(format!(
            "the TLS files for {endpoint} cannot be used: {}",
            root_cause(&error)
        ))),
        Client::InvalidMetadataValue(error) => {
            AttemptError::Permanent(Error::Invalid(format!("{endpoint}: {error}")))
        }
        other => AttemptError::Transient {
            cause: other.to_string(),
            maybe_applied: true,
        },
    }
}

/// The error of a status that every endpoint would return.
fn permanent_error(code: i32, message: &str, endpoints: String, cause: &str) -> Option<Error> {
    let cause = cause.to_owned();
    let says = |text: &str| message.contains(text);
    Some(match code {
        // Made by a member whose copy of the accounts lags behind.
        INVALID_ARGUMENT if says("revision of auth store is old") => return None,
        INVALID_ARGUMENT if says("authentication failed") || says("user name is empty") => {
            Error::Denied { endpoints, cause }
        }
        FAILED_PRECONDITION if says("authentication is not enabled") => Error::Denied {
            endpoints,
            cause: "a user is given, but authentication is not enabled".to_owned(),
        },
        FAILED_PRECONDITION if says("root user does not") => Error::Invalid(format!(
            "etcd at {endpoints} has no account root with the role root; create it before accounts are required"
        )),
        PERMISSION_DENIED | UNAUTHENTICATED => Error::Denied { endpoints, cause },
        INVALID_ARGUMENT if says("request is too large") => Error::TooLarge { endpoints, cause },
        RESOURCE_EXHAUSTED if says("space exceeded") => Error::NoSpace { endpoints, cause },
        RESOURCE_EXHAUSTED | OUT_OF_RANGE if says("larger than max") || says("too large") => {
            Error::TooLarge { endpoints, cause }
        }
        DATA_LOSS if says("corrupt") => Error::Corrupt { endpoints, cause },
        OUT_OF_RANGE if says("revision") => Error::Compacted { endpoints, cause },
        NOT_FOUND if says("lease not found") => Error::LeaseGone { id: 0 },
        INVALID_ARGUMENT | UNIMPLEMENTED => {
            Error::Invalid(format!("etcd at {endpoints} refused the request: {cause}"))
        }
        // A server that speaks no gRPC, for example HTTP/1.1 or TLS on a plain connection.
        UNKNOWN if says("frame with invalid size") => Error::Invalid(format!(
            "{endpoints} is not a valid etcd endpoint, or requires the other scheme (http or https): {cause}"
        )),
        _ => return None,
    })
}

/// Whether the failure proves that the request never reached etcd's state machine.
fn never_sent(status: &(dyn std::error::Error + 'static)) -> bool {
    if status.to_string().contains("no leader") {
        return true;
    }
    let mut source = Some(status);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{
                ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
            };
            // TimedOut only comes from connecting: calls have deadlines in this crate.
            return matches!(
                io.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut
            );
        }
        source = error.source();
    }
    false
}

/// etcd's message, with the root cause when there is one beneath.
fn cause(
    message: &str,
    authorities: Option<&Path>,
    status: &(dyn std::error::Error + 'static),
) -> String {
    if let Some(error) = find_tls_error(status) {
        let authorities = match authorities {
            Some(file) => file.display().to_string(),
            None => "the file of etcd's authorities".to_owned(),
        };
        let explanation = explain_tls_error(error, &authorities);
        return format!(
            "TLS failed: {}",
            explanation.unwrap_or_else(|| error.to_string())
        );
    }
    let root = root_cause(status);
    // HTTP/2 keeps only the text of an error that ends an established connection.
    if let Some((_, alert)) = root.split_once("received fatal alert: ") {
        return if CLIENT_CERTIFICATE_ALERTS.contains(&alert) {
            format!(
                "TLS failed: it requires a client certificate, or refuses the one it got ({alert})"
            )
        } else {
            format!("TLS failed: it sent the alert {alert}")
        };
    }
    if root.contains("tls handshake eof") {
        return "TLS failed: it closed the connection during the handshake; it may serve http only"
            .to_owned();
    }
    let message = message.trim_start_matches("etcdserver: ");
    let text = if root == status.to_string() || message.contains(&root) {
        message.to_owned()
    } else if message.is_empty() || message == "transport error" {
        root.clone()
    } else {
        format!("{message}: {root}")
    };
    // The alert is lost if the connection is closed before it is read.
    let ended = root.to_lowercase();
    if authorities.is_some() && CLOSED_CONNECTION.iter().any(|end| ended.contains(end)) {
        return format!(
            "{text}; if that lasts, see whether it requires a client certificate, or refuses the one it got"
        );
    }
    text
}

/// The text at the end of the chain of causes.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
