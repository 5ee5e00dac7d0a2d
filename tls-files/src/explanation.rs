//! Why a peer's certificate, or this side's, was refused, for people who need not know TLS libraries.

use std::error::Error as StdError;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::timestamp;

/// How many names of a certificate an explanation lists.
const NAMES_SHOWN_MAX: usize = 3;

/// The TLS error in `error` or one of its causes, however deep it is wrapped.
#[must_use]
pub fn find_tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(error);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // `source` skips the inner error itself.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Explains a TLS failure and its remedy; `authorities` names the setting or file of the authorities that are trusted. The
/// text continues a sentence that names the server.
#[must_use]
pub fn explain_tls_error(error: &Error, authorities: &str) -> Option<String> {
    let error = match error {
        Error::InvalidCertificate(error) => error,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return Some("the server does not speak TLS".to_owned());
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            return Some("it requires a client certificate".to_owned());
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => return Some("it requires a client certificate, or refuses the one it got".to_owned()),
        _ => return None,
    };
    Some(match error {
        CertificateError::UnknownIssuer => {
            format!(
                "its certificate is signed by an unknown authority; if it is yours, add it with {authorities}"
            )
        }
        // An authority that was created again under its former name.
        CertificateError::BadSignature => {
            format!(
                "its certificate is signed by another authority than the trusted one of the same name; if it is yours, give its present certificate with {authorities}"
            )
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name; use the name in the certificate".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => name_mismatch(presented),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!(
                "its certificate {}; renew it",
                describe_dates(error).unwrap_or_default()
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!(
                "its certificate {}; compare the clocks",
                describe_dates(error).unwrap_or_default()
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers; issue one with the purpose serverAuth".to_owned()
        }
        // What `openssl req -x509` creates by default; rustls has no variant for it.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            format!(
                "its certificate is a CA certificate (self-signed); have a CA issue a server certificate for the name, and add that CA with {authorities}"
            )
        }
        CertificateError::Other(other)
            if format!("{other:?}").contains("UnsupportedCertVersion") =>
        {
            "its certificate has X.509 version 1, which has no place for names; issue one of version 3 with subjectAltName"
                .to_owned()
        }
        _ => return None,
    })
}

/// How the dates of a certificate exclude the present, if that is what is wrong with it: `expired at …`.
#[must_use]
pub fn describe_dates(error: &CertificateError) -> Option<String> {
    Some(match error {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired at {}", timestamp(*not_after))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", timestamp(*not_before))
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let found = find_tls_error(&wrapped).unwrap();
        assert_eq!(
            explain_tls_error(found, "--notify-ca").unwrap(),
            "its certificate is for b.example, not for that name"
        );
        assert!(find_tls_error(&std::io::Error::other("cut off")).is_none());
    }
}
