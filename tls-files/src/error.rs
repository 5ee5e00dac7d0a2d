//! Why a file cannot be used.

use galera::Timestamp;

/// Why a file cannot be used; each text names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFileError {
    /// A file that cannot be read.
    #[error("{text}")]
    Unreadable {
        /// Names the file and the remedy.
        text: String,
        /// Whether the cause is a missing permission.
        permission_denied: bool,
    },
    /// A key that others can read.
    #[error(
        "{path} can be read by every user of the system or written by its group (mode {mode:04o}); run chmod 0600 {path}, and replace certificate and key if others used this system"
    )]
    KeyExposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// A key file without a usable key.
    #[error(
        "{path} has no private key that can be used ({reason}); give a PEM file with a key in PKCS #8, SEC 1 or PKCS #1 format, without a passphrase"
    )]
    NoKey {
        /// The file.
        path: String,
        /// What was found instead.
        reason: String,
    },
    /// A certificate file without a usable certificate.
    #[error(
        "{path} has no certificate that can be used ({reason}); give a PEM file with the certificate first, then the intermediate authorities"
    )]
    NoCertificate {
        /// The file.
        path: String,
        /// What was found instead.
        reason: String,
    },
    /// A file of authorities without a usable certificate.
    #[error(
        "{path} has no CA certificate that can be used ({reason}); give a PEM file with the certificates of the authorities to trust"
    )]
    NoAuthority {
        /// The file.
        path: String,
        /// What was found instead.
        reason: String,
    },
    /// A key of another certificate.
    #[error(
        "the private key in {key} does not fit the certificate in {certificate}; give the pair that was issued together"
    )]
    KeyMismatch {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
    },
    /// A certificate that the other side no longer accepts.
    #[error("the certificate in {path} expired at {expired_at}; renew it")]
    Expired {
        /// The file.
        path: String,
        /// When.
        expired_at: Timestamp,
    },
}

impl TlsFileError {
    /// Whether the cause is the key or its file, as opposed to the certificate.
    #[must_use]
    pub const fn concerns_key(&self) -> bool {
        matches!(
            self,
            Self::KeyExposed { .. } | Self::NoKey { .. } | Self::KeyMismatch { .. }
        )
    }

    /// Whether the cause is a missing permission.
    #[must_use]
    pub const fn is_permission_denied(&self) -> bool {
        matches!(
            self,
            Self::Unreadable {
                permission_denied: true,
                ..
            }
        )
    }
}
