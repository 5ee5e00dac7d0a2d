//! Why no TLS connection comes about, in terms that name the remedy.

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tls_files::{TlsFileError, describe_dates};

/// The cause of a failure, as far as it has a known remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProblem {
    /// The server's certificate has X.509 version 1, which has no place for names.
    Version1,
    /// The server's certificate is not for the name or address that was connected to.
    OtherName,
    /// An authority issued it that is not among the accepted ones.
    UnknownIssuer,
    /// It is expired, or not valid yet.
    NotInTime,
    /// The server refuses the client's certificate, or requires one.
    ClientRefused,
    /// A file of this side cannot be used; the text has the remedy.
    OwnFile,
    /// Anything else: no common version or cipher.
    Other,
}

impl TlsProblem {
    /// What is wrong and how to change it at the server, in one phrase; `None` if only the error's text says it.
    #[must_use]
    pub const fn explanation(self) -> Option<&'static str> {
        Some(match self {
            Self::Version1 => {
                "the server's certificate has X.509 version 1, as openssl x509 -req makes it without extensions; issue one of version 3 that has the server's names and addresses as subjectAltName"
            }
            Self::OtherName => {
                "the server's certificate is not for the name or address that was connected to, which is compared with its subjectAltName and never with its common name; issue one for it"
            }
            Self::UnknownIssuer => {
                "another authority issued the server's certificate, as for those that MySQL and MariaDB make automatically; give the server a certificate of your authority, or trust the authority in the file that the server's ssl_ca names (for a certificate that MySQL made, ca.pem in its data directory; one that MariaDB made has no such file)"
            }
            Self::NotInTime => {
                "the server's certificate is expired or not valid yet; renew it, and compare the clocks"
            }
            Self::ClientRefused => "the server refuses the client's certificate, or requires one",
            Self::OwnFile | Self::Other => return None,
        })
    }
}

/// A TLS failure: its text and its cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TlsFailure {
    /// For a person; it may contain text of the server.
    pub text: String,
    /// The cause.
    pub problem: TlsProblem,
}

impl TlsFailure {
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            problem: TlsProblem::Other,
        }
    }
}

impl From<TlsFileError> for TlsFailure {
    fn from(error: TlsFileError) -> Self {
        Self {
            text: error.to_string(),
            problem: TlsProblem::OwnFile,
        }
    }
}

impl From<&TlsError> for TlsFailure {
    fn from(error: &TlsError) -> Self {
        let mut text = error.to_string();
        let problem = match error {
            TlsError::InvalidCertificate(certificate) => {
                let problem = certificate_problem(certificate, &text);
                if let Some(dates) = describe_dates(certificate) {
                    text = format!("the server's certificate {dates}");
                }
                problem
            }
            TlsError::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateRequired,
            ) => TlsProblem::ClientRefused,
            _ => TlsProblem::Other,
        };
        Self { text, problem }
    }
}

fn certificate_problem(error: &CertificateError, text: &str) -> TlsProblem {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsProblem::OtherName
        }
        CertificateError::UnknownIssuer => TlsProblem::UnknownIssuer,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsProblem::NotInTime,
        // The verifier's own error is not a type of rustls.
        CertificateError::Other(_) if text.contains("UnsupportedCertVersion") => {
            TlsProblem::Version1
        }
        _ => TlsProblem::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn problem(error: CertificateError) -> TlsProblem {
        TlsFailure::from(&TlsError::InvalidCertificate(error)).problem
    }

    #[test]
    fn causes_with_a_remedy_are_told_apart() {
        let other_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("n1").unwrap(),
            presented: Vec::new(),
        };
        assert_eq!(problem(other_name), TlsProblem::OtherName);
        assert_eq!(
            problem(CertificateError::UnknownIssuer),
            TlsProblem::UnknownIssuer
        );
        // MariaDB makes a certificate without an authority that could be trusted.
        let explanation = TlsProblem::UnknownIssuer.explanation().unwrap();
        for expected in [
            "certificate of your authority",
            "ssl_ca",
            "MySQL made, ca.pem",
        ] {
            assert!(explanation.contains(expected), "{explanation}");
        }
        assert_eq!(problem(CertificateError::Expired), TlsProblem::NotInTime);
        assert_eq!(
            problem(CertificateError::NotValidYet),
            TlsProblem::NotInTime
        );
        let expired = TlsError::InvalidCertificate(CertificateError::ExpiredContext {
            time: UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)),
            not_after: UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000)),
        });
        let expired = TlsFailure::from(&expired);
        assert_eq!(expired.problem, TlsProblem::NotInTime);
        assert_eq!(
            expired.text,
            "the server's certificate expired at 2023-11-14T22:13:20Z"
        );
        assert_eq!(problem(CertificateError::BadSignature), TlsProblem::Other);
        let alert = TlsError::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(TlsFailure::from(&alert).problem, TlsProblem::ClientRefused);
        let alert = TlsError::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!(TlsFailure::from(&alert).problem, TlsProblem::Other);
    }

    /// A certificate without its version and extensions has version 1. What is verified first is the form.
    #[test]
    fn a_certificate_of_version_1_is_recognized() {
        use std::sync::Arc;

        use rustls::RootCertStore;
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier;
        use rustls::crypto::aws_lc_rs;
        use rustls::pki_types::CertificateDer;

        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(
            // Long enough for lengths in two bytes.
            (1..40)
                .map(|number| format!("n{number}.example.org"))
                .collect::<Vec<_>>(),
        )
        .unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let mut der = certificate.der().to_vec();
        // SEQUENCE, length in two bytes; the same for what is signed; then the version.
        let version = [0xa0, 3, 2, 1, 2];
        assert_eq!(
            (der[..2].to_vec(), &der[8..13]),
            (vec![0x30, 0x82], &version[..])
        );
        der.drain(8..13);
        for at in [2, 6] {
            let length = u16::from_be_bytes([der[at], der[at + 1]]) - 5;
            der[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let name = ServerName::try_from("n1").unwrap();
        let refused = verifier.build().unwrap().verify_server_cert(
            &CertificateDer::from(der),
            &[],
            &name,
            &[],
            UnixTime::now(),
        );
        let failure = TlsFailure::from(&refused.unwrap_err());
        assert_eq!(failure.problem, TlsProblem::Version1, "{failure}");
    }
}
