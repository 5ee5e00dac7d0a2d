//! The certificate of the listener: a pair of files for the host of `--public-url`.

use std::time::Duration;

use galera::Timestamp;
use rustls::CertificateError as WebPkiError;
use rustls::Error as TlsError;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use tls_files::{CertificateFiles, CertificatePair, TlsFileError};

/// How long before its expiry a certificate is warned about.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);

/// Why a certificate and its key cannot be used; each text names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The files themselves.
    #[error(transparent)]
    Files(#[from] TlsFileError),
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
        match self {
            Self::Files(error) => error.concerns_key(),
            Self::WrongHost { .. } => false,
        }
    }
}

/// Reads and checks `files` at the time `now`: the pair can be used, and is for `public_host`, if that is known.
///
/// # Errors
/// [`CertificateError`].
pub fn load_certificate(
    files: &CertificateFiles,
    public_host: Option<&str>,
    now: Timestamp,
) -> Result<CertificatePair, CertificateError> {
    let pair = CertificatePair::load(files, now)?;
    if let Some(host) = public_host {
        let path = files.certificate.display().to_string();
        let leaf = pair.certified.end_entity_cert();
        let parsed = leaf.and_then(ParsedCertificate::try_from);
        let parsed = parsed.map_err(|error| TlsFileError::NoCertificate {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        check_host(&parsed, &path, host)?;
    }
    Ok(pair)
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

#[cfg(test)]
mod tests;
