//! Whose certificates are trusted, and what to say when one is not: these words stand in the delivery log, where they
//! are read by somebody who set up a target and not by somebody who knows TLS libraries.

use std::error::Error as StdError;
use std::path::Path;

use galera::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, InvalidMessage};

/// Names of a certificate that are told.
const NAMES_SHOWN_MAX: usize = 3;

/// The authorities in a PEM file: at least one.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn load_ca_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| bad(&error))?;
    if found.is_empty() {
        return Err(bad(
            &"there is no certificate in it; it must hold those of the authorities, in PEM",
        ));
    }
    Ok(found)
}

/// What is wrong with the other side's TLS and what helps, where `error` or one of its causes says so. The sentence goes on
/// after the other side's name.
pub(super) fn explain_tls_error(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return explain_rustls_error(error);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // Its source is what the error that it carries comes from, not that error.
            Some(carries) => carries
                .get_ref()
                .map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

fn explain_rustls_error(error: &Error) -> Option<String> {
    let error = match error {
        Error::InvalidCertificate(error) => error,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return Some("it answers, but not in TLS".to_owned());
        }
        _ => return None,
    };
    Some(match error {
        CertificateError::UnknownIssuer => {
            "its certificate comes from an authority that the console does not know; if it is yours, give it with --notify-ca"
                .to_owned()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name; use the name that it carries".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => name_mismatch(presented),
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}", to_timestamp(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}", to_timestamp(*not_before))
        }
        // What `openssl req -x509` makes by itself; the library has no word of its own for it.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority (self-signed); have one issued for the name by an authority, and give that with --notify-ca"
                .to_owned()
        }
        _ => return None,
    })
}

fn name_mismatch(presented: &[String]) -> String {
    // Addresses come as bytes, names as DnsName("…").
    let names = presented
        .iter()
        .filter_map(|name| name.strip_prefix("DnsName(\"")?.strip_suffix("\")"));
    let names: Vec<&str> = names.take(NAMES_SHOWN_MAX).collect();
    if names.is_empty() {
        return "its certificate does not carry that name".to_owned();
    }
    format!(
        "its certificate is for {} and not for that name",
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
        assert!(none.contains("no certificate in it"), "{none}");
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
            "its certificate is for b.example and not for that name"
        );
        assert_eq!(explain_tls_error(&std::io::Error::other("cut off")), None);
    }
}
