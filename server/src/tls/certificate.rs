//! A certificate with its private key, read from two files.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use rustls::CertificateError as WebPkiError;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};

/// How long before its expiry a certificate is warned about.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// Bytes of a file that are read; a certificate chain has a few thousand.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// The last second that X.509 can express (9999-12-31T23:59:59Z); as a date of expiry it stands for "never".
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);

/// The files of a certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate authorities.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate and its key cannot be used; each text names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be read.
    #[error("{0}")]
    Unreadable(String),
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
        "{path} has no certificate that can be used ({reason}); give a PEM file with the server's certificate first, then the intermediate authorities"
    )]
    NoCertificate {
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
    /// A certificate that clients no longer accept.
    #[error("the certificate in {path} expired at {expired_at}; renew it")]
    Expired {
        /// The file.
        path: String,
        /// When.
        expired_at: Timestamp,
    },
    /// A certificate that browsers refuse at the public URL.
    #[error(
        "the certificate in {path} is for {names}, not for {host}, the host of --public-url; have it issued for {host}, or correct --public-url"
    )]
    WrongHost {
        /// The file.
        path: String,
        /// The names in the certificate.
        names: String,
        /// The host that is missing.
        host: String,
    },
}

impl CertificateError {
    /// Whether the cause is the key or its file, as opposed to the certificate.
    #[must_use]
    pub const fn concerns_key(&self) -> bool {
        matches!(
            self,
            Self::KeyExposed { .. } | Self::NoKey { .. } | Self::KeyMismatch { .. }
        )
    }
}

/// The contents of the files of a certificate.
pub(super) struct PemPair {
    certificate: Vec<u8>,
    key: Vec<u8>,
    key_mode: u32,
}

impl PemPair {
    /// Reads both files.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`].
    pub(super) fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let (certificate, _) = read(&files.certificate)?;
        let (key, key_mode) = read(&files.key)?;
        Ok(Self {
            certificate,
            key,
            key_mode,
        })
    }

    /// Identifies these contents.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(&self.certificate));
        hash.update(Sha256::digest(&self.key));
        hash.update(self.key_mode.to_be_bytes());
        hash.finalize().into()
    }
}

/// A certificate with its key, as it is presented to clients.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// The chain and the key.
    pub(super) certified: Arc<CertifiedKey>,
    /// The hash of the files' contents.
    pub(super) source: [u8; 32],
    /// When it expires; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it becomes valid, if that is in the future.
    pub valid_from: Option<Timestamp>,
}

impl ServerCertificate {
    /// Reads and checks `files` at the time `now`: the key fits the certificate, which has not expired and is for
    /// `public_host`, if that is known.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(
        files: &CertificateFiles,
        public_host: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let pair = PemPair::read(files)?;
        let chain = parse_chain(&pair, &files.certificate)?;
        let key = parse_key(&pair, &files.key)?;
        let path = shown(&files.certificate);
        let unusable = |error: &TlsError| CertificateError::NoCertificate {
            path: path.clone(),
            reason: error.to_string(),
        };
        let provider = aws_lc_rs::default_provider();
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|error| CertificateError::NoKey {
            path: shown(&files.key),
            reason: error.to_string(),
        })?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(CertificateError::KeyMismatch {
                    certificate: path,
                    key: shown(&files.key),
                });
            }
            Err(error) => return Err(unusable(&error)),
        }
        let leaf = certified
            .end_entity_cert()
            .map_err(|error| unusable(&error))?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| unusable(&error))?;
        let valid_from = match validity_error(&parsed, leaf, since_epoch(now)) {
            Some(WebPkiError::ExpiredContext { not_after, .. }) => {
                let expired_at = timestamp(not_after);
                return Err(CertificateError::Expired { path, expired_at });
            }
            Some(WebPkiError::NotValidYetContext { not_before, .. }) => Some(timestamp(not_before)),
            _ => None,
        };
        let expires_at = match validity_error(&parsed, leaf, END_OF_TIME) {
            Some(WebPkiError::ExpiredContext { not_after, .. }) => Some(timestamp(not_after)),
            _ => None,
        };
        if let Some(host) = public_host {
            check_host(&parsed, &path, host)?;
        }
        Ok(Self {
            certified: Arc::new(certified),
            source: pair.hash(),
            expires_at,
            valid_from,
        })
    }

    /// How long the certificate is still valid at `now`; `None` without an expiry.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        self.expires_at.map(|expiry| now.age(expiry))
    }
}

/// What a client would find wrong with the certificate at a time. Its authority is not looked at: the dates are checked
/// before it.
fn validity_error(
    parsed: &ParsedCertificate<'_>,
    leaf: &CertificateDer<'_>,
    time: Duration,
) -> Option<WebPkiError> {
    let mut roots = RootCertStore::empty();
    // The verifier refuses to work without any authority.
    roots.add(leaf.clone().into_owned()).ok()?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let verified = verify_server_cert_signed_by_trust_anchor(
        parsed,
        &roots,
        &[],
        UnixTime::since_unix_epoch(time),
        algorithms.all,
    );
    match verified {
        Err(TlsError::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

fn check_host(
    parsed: &ParsedCertificate<'_>,
    path: &str,
    host: &str,
) -> Result<(), CertificateError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let wrong = |names: String| CertificateError::WrongHost {
        path: path.to_owned(),
        names,
        host: host.to_owned(),
    };
    let name = ServerName::try_from(bare).map_err(|_| wrong("other names".to_owned()))?;
    match verify_server_name(parsed, &name) {
        Ok(()) => Ok(()),
        Err(TlsError::InvalidCertificate(WebPkiError::NotValidForNameContext {
            presented,
            ..
        })) if !presented.is_empty() => Err(wrong(names(&presented))),
        Err(_) => Err(wrong("no host name or address".to_owned())),
    }
}

/// The names of a certificate, which rustls gives as `DnsName("console.example.org")`.
fn names(presented: &[String]) -> String {
    let names = presented.iter().map(|name| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        inner.trim_end_matches(')').trim_matches('"').to_owned()
    });
    names.collect::<Vec<_>>().join(", ")
}

fn parse_chain(
    pair: &PemPair,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unusable = |reason: String| CertificateError::NoCertificate {
        path: shown(path),
        reason,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pair.certificate).collect();
    let chain = chain.map_err(|error| unusable(error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable("it contains none".to_owned()));
    }
    Ok(chain)
}

fn parse_key(pair: &PemPair, path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // A group that may read is how Kubernetes gives a file to a container.
    if pair.key_mode & 0o027 != 0 {
        return Err(CertificateError::KeyExposed {
            path: shown(path),
            mode: pair.key_mode,
        });
    }
    PrivateKeyDer::from_pem_slice(&pair.key).map_err(|error| CertificateError::NoKey {
        path: shown(path),
        reason: error.to_string(),
    })
}

/// The content of a file and its permissions.
fn read(path: &Path) -> Result<(Vec<u8>, u32), CertificateError> {
    let failed = |error: std::io::Error| {
        let shown = path.display();
        CertificateError::Unreadable(match error.kind() {
            ErrorKind::NotFound => format!("{shown} does not exist; create it or fix the path"),
            ErrorKind::PermissionDenied => {
                format!("permission denied for {shown}; change its owner to the console's user")
            }
            _ => format!("cannot read {shown}: {error}; fix the path or the file"),
        })
    };
    // Opening a named pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let shown = path.display();
        return Err(CertificateError::Unreadable(format!(
            "{shown} is not a regular file; give a file, which is read again when it changes"
        )));
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok((bytes, mode))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn since_epoch(at: Timestamp) -> Duration {
    Timestamp::from_unix_millis(0).age(at)
}

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_unix_millis(0).plus(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests;
