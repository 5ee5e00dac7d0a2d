//! What can fail.

use std::borrow::Cow;
use std::io;

use tls_files::TlsFileError;

use crate::limits::TEXT_MAX;
use crate::tls_failure::TlsFailure;

/// Why a connection could not be opened or a statement has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network failed.
    #[error("{0}")]
    Io(io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server ended the connection with an error that answers no statement, for example at its shutdown.
    #[error("the server ended the connection: {0}")]
    Ended(ServerError),
    /// The server refused the sign-in or the statement.
    #[error("{0}")]
    Server(ServerError),
    /// TLS failed: certificate files that cannot be used, or a certificate that is not valid for the server.
    #[error("{0}")]
    Tls(TlsFailure),
    /// TLS is required and the server does not offer it.
    #[error("the server does not offer TLS")]
    TlsNotOffered,
    /// The server asked for the password itself, which only a verified server gets.
    #[error(
        "plugin {plugin} asks for the password itself, which is sent over verified TLS or a Unix socket only"
    )]
    PasswordWithheld {
        /// The authentication plugin.
        plugin: &'static str,
    },
    /// The account uses an authentication plugin that this client does not have.
    #[error("the account uses the authentication plugin {0:?}, which is not supported")]
    UnsupportedPlugin(String),
    /// The server violated the protocol or a limit.
    #[error("{0}")]
    Protocol(Cow<'static, str>),
    /// An earlier call on this connection failed or was dropped.
    #[error("the connection is no longer usable after an earlier failure")]
    Unusable,
}

impl Error {
    pub(crate) const fn protocol(text: &'static str) -> Self {
        Self::Protocol(Cow::Borrowed(text))
    }
}

impl From<TlsFileError> for Error {
    fn from(error: TlsFileError) -> Self {
        Self::Tls(TlsFailure::from(error))
    }
}

impl From<io::Error> for Error {
    /// A TLS failure can appear at any read: a server refuses a client certificate after the client's handshake.
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Tls(TlsFailure::from(tls));
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// An error that the server reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {message}")]
pub struct ServerError {
    /// The number, as 1045 for access denied.
    pub code: u16,
    /// At most [`TEXT_MAX`] characters; invalid UTF-8 is replaced. It may contain control characters.
    pub message: String,
}

/// A server's text, bounded.
pub(crate) fn bounded_text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..TEXT_MAX * 4).unwrap_or(bytes);
    String::from_utf8_lossy(bytes)
        .chars()
        .take(TEXT_MAX)
        .collect()
}
