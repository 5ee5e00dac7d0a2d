//! A certificate with its private key, read from two files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use rustls::CertificateError as WebPkiError;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};

use crate::file::{describe_content, read, shown};
use crate::{TlsFileError, timestamp};

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

/// The contents of the files of a certificate.
#[derive(Clone)]
pub struct PemPair {
    certificate: Vec<u8>,
    key: Vec<u8>,
    key_mode: u32,
}

impl PemPair {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsFileError::Unreadable`].
    pub fn read(files: &CertificateFiles) -> Result<Self, TlsFileError> {
        let (certificate, _) = read(&files.certificate)?;
        let (key, key_mode) = read(&files.key)?;
        Ok(Self {
            certificate,
            key,
            key_mode,
        })
    }

    /// Identifies these contents.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(&self.certificate));
        hash.update(Sha256::digest(&self.key));
        hash.update(self.key_mode.to_be_bytes());
        hash.finalize().into()
    }

    /// The contents as they are, for a library that parses them: certificate and key.
    #[must_use]
    pub fn contents(&self) -> (&[u8], &[u8]) {
        (&self.certificate, &self.key)
    }

    /// The pair for connections, whatever its dates; `files` are named by errors.
    ///
    /// # Errors
    /// [`TlsFileError::NoCertificate`], [`TlsFileError::NoKey`], [`TlsFileError::KeyMismatch`].
    pub fn certified_key(&self, files: &CertificateFiles) -> Result<CertifiedKey, TlsFileError> {
        let chain = self.chain(&files.certificate)?;
        let key = self.private_key(&files.key)?;
        let path = shown(&files.certificate);
        let provider = aws_lc_rs::default_provider();
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|error| TlsFileError::NoKey {
            path: shown(&files.key),
            reason: error.to_string(),
        })?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsFileError::KeyMismatch {
                    certificate: path,
                    key: shown(&files.key),
                })
            }
            Err(error) => Err(TlsFileError::NoCertificate {
                path,
                reason: error.to_string(),
            }),
        }
    }

    fn chain(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        let unusable = |reason: String| TlsFileError::NoCertificate {
            path: shown(path),
            reason,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| unusable(error.to_string()))?;
        if chain.is_empty() {
            return Err(unusable(describe_content(&self.certificate)));
        }
        Ok(chain)
    }

    fn private_key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsFileError::NoKey {
            path: shown(path),
            reason: match error {
                rustls::pki_types::pem::Error::NoItemsFound => describe_content(&self.key),
                error => error.to_string(),
            },
        })
    }

    fn check_key_mode(&self, path: &Path) -> Result<(), TlsFileError> {
        // A group that may read is how Kubernetes gives a file to a container.
        if self.key_mode & 0o027 != 0 {
            return Err(TlsFileError::KeyExposed {
                path: shown(path),
                mode: self.key_mode,
            });
        }
        Ok(())
    }
}

/// A certificate with its key, as it is presented to the other side.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// The chain and the key.
    pub certified: Arc<CertifiedKey>,
    /// The hash of the files' contents.
    pub source: [u8; 32],
    /// When it expires; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it becomes valid, if that is in the future.
    pub valid_from: Option<Timestamp>,
}

impl CertificatePair {
    /// Reads and checks `files` at the time `now`: the key fits the certificate, no other user can read it, and the
    /// certificate has not expired. One that is not valid yet is no error: the clock of this machine may be behind.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn load(files: &CertificateFiles, now: Timestamp) -> Result<Self, TlsFileError> {
        let pair = PemPair::read(files)?;
        pair.check_key_mode(&files.key)?;
        let certified = pair.certified_key(files)?;
        let path = shown(&files.certificate);
        let unusable = |error: &TlsError| TlsFileError::NoCertificate {
            path: path.clone(),
            reason: error.to_string(),
        };
        let leaf = certified
            .end_entity_cert()
            .map_err(|error| unusable(&error))?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| unusable(&error))?;
        let valid_from = match validity_error(&parsed, leaf, since_epoch(now)) {
            Some(WebPkiError::ExpiredContext { not_after, .. }) => {
                let expired_at = timestamp(not_after);
                return Err(TlsFileError::Expired { path, expired_at });
            }
            Some(WebPkiError::NotValidYetContext { not_before, .. }) => Some(timestamp(not_before)),
            _ => None,
        };
        let expires_at = match validity_error(&parsed, leaf, END_OF_TIME) {
            Some(WebPkiError::ExpiredContext { not_after, .. }) => Some(timestamp(not_after)),
            _ => None,
        };
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

fn since_epoch(at: Timestamp) -> Duration {
    Timestamp::from_unix_millis(0).age(at)
}
