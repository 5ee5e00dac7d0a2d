//! CA certificates, and explanations of TLS errors. They appear in the delivery log and are read by the administrator of a
//! target, who need not know TLS libraries.

use std::error::Error as StdError;
use std::path::Path;

use galera::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, InvalidMessage};

/// How many names of a certificate an explanation lists.
const NAMES_SHOWN_MAX: usize = 3;

/// Loads the CA certificates of a PEM file: at least one.
///
/// # Errors
/// When the file cannot be read or has no certificate; the message names the file.
pub(super) fn load_ca_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| bad(&error))?;
    if found.is_empty() {
        return Err(bad(
            &"no certificate found; expected CA certificates in PEM",
        ));
    }
    Ok(found)
}

/// Explains a TLS failure in `error` or one of its causes, and its remedy. The text continues a sentence that names the
/// server.
pub(super) fn explain_tls_error(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return explain_rustls_error(error);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // `source` skips the inner error itself.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

fn explain_rustls_error(error: &Error) -> Option<String> {
    let error = match error {
        Error::InvalidCertificate(error) => error,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return Some("the server does not speak TLS".to_owned());
        }
        _ => return None,
    };
    Some(match error {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an unknown authority; if it is yours, add it with --notify-ca"
                .to_owned()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name; use the name in the certificate".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => name_mismatch(presented),
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}", to_timestamp(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}", to_timestamp(*not_before))
        }
        // What `openssl req -x509` creates by default; rustls has no variant for it.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is a CA certificate (self-signed); have a CA issue a server certificate for the name, and add that CA with --notify-ca"
                .to_owned()
        }
        _ => return None,
    })
}

fn name_mismatch(presented: &[String]) -> String {
    // rustls formats names as DnsName("…") and addresses as bytes.
    let names = presented
        .iter()
        .filter_map(|name| name.strip_prefix("DnsName(\"")?.strip_suffix("\")"));
    let names: Vec<&str> = names.take(NAMES_SHOWN_MAX).collect();
    if names.is_empty() {
        return "its certificate does not contain that name".to_owned();
    }
    format!(
        "its certificate is for {}, not for that name",
        names.join(", ")
    )
}

fn to_timestamp(at: UnixTime) -> Timestamp {
    let millis = at.as_secs().saturating_mul(1_000);
    Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let missing = load_ca_certificates(&path).unwrap_err();
        assert!(missing.contains("ca.pem: "), "{missing}");
        std::fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        let none = load_ca_certificates(&path).unwrap_err();
        assert!(none.contains("no certificate found"), "{none}");
    }

    #[test]
    fn a_cause_is_found_however_deep_it_is_wrapped() {
        let wrong = Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: "a.example".try_into().unwrap(),
            presented: vec![
                "DnsName(\"b.example\")".to_owned(),
                "IpAddress(..)".to_owned(),
            ],
        });
        let wrapped = std::io::Error::other(std::io::Error::other(wrong));
        assert_eq!(
            explain_tls_error(&wrapped).unwrap(),
            "its certificate is for b.example, not for that name"
        );
        assert_eq!(explain_tls_error(&std::io::Error::other("cut off")), None);
    }
}
