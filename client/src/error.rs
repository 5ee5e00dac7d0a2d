//! Why a command did not succeed.

use std::time::Duration;

use crate::answer::ApiProblem;

/// How a command ends; the values are exit codes, those above 63 as in `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientExit {
    /// The API refused the request, or an action ended otherwise than by success.
    Refused = 1,
    /// Wrong usage or configuration.
    Usage = 64,
    /// The console cannot be reached, or something else answered.
    Unavailable = 69,
    /// Internal error.
    Internal = 70,
    /// No result within the permitted time.
    TimedOut = 75,
}

/// Why a command did not succeed. The text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Wrong usage or configuration.
    #[error("{0}")]
    Usage(String),
    /// The API answered with a problem document.
    #[error("{0}")]
    Refused(Box<ApiProblem>),
    /// An action ended otherwise than by success.
    #[error("{0}")]
    ActionFailed(String),
    /// There is no connection.
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String },
    /// The TLS handshake failed.
    #[error("cannot connect to {url} securely: {cause}")]
    Tls { url: String, cause: String },
    /// Something answered, but not as the API does.
    #[error("{url} does not answer as the console's API does: {cause}")]
    Foreign { url: String, cause: String },
    /// The answer did not arrive in time.
    #[error("no answer from {url} within {} s; raise --timeout, or find out what keeps the console busy{}", .limit.as_secs_f64(), outcome_unknown(*.changes))]
    TimedOut {
        url: String,
        limit: Duration,
        /// Whether the request changes something.
        changes: bool,
    },
    /// The connection ended before the answer was complete.
    #[error("the connection to {url} broke: {cause}{}", outcome_unknown(*.changes))]
    Broken {
        url: String,
        cause: String,
        /// Whether the request changes something.
        changes: bool,
    },
    /// What was waited for has not happened.
    #[error("{0}")]
    Waited(String),
    /// Standard output or a file cannot be written.
    #[error("{0}")]
    Internal(String),
}

fn outcome_unknown(changes: bool) -> &'static str {
    if changes {
        ". The outcome is unknown: the request may have been carried out; look before you repeat it"
    } else {
        ""
    }
}

impl ClientError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> ClientExit {
        match self {
            Self::Usage(_) => ClientExit::Usage,
            Self::Refused(refusal) if refusal.status >= 500 => ClientExit::Unavailable,
            Self::Refused(_) | Self::ActionFailed(_) => ClientExit::Refused,
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Foreign { .. }
            | Self::Broken { .. } => ClientExit::Unavailable,
            Self::TimedOut { .. } | Self::Waited(_) => ClientExit::TimedOut,
            Self::Internal(_) => ClientExit::Internal,
        }
    }

    /// Whether the same request may succeed later without any change by the caller.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(refusal.status, 429 | 500..),
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            _ => false,
        }
    }
}
