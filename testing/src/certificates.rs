//! Certificates for tests, made by a private authority.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// Years that contain the present.
pub const VALID: (i32, i32) = (2020, 2090);
/// Years that have passed.
pub const EXPIRED: (i32, i32) = (2020, 2021);
/// Years to come.
pub const FUTURE: (i32, i32) = (2089, 2090);

/// A certificate authority.
pub struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct TestCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl TestAuthority {
    /// A new one with this common name.
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self {
            pem: parameters.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for `name`, a host name or an address, from the first of January of the first year until that of
    /// the second.
    pub fn issue(&self, name: &str, years: (i32, i32)) -> TestCertificate {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.not_before = date_time_ymd(years.0, 1, 1);
        parameters.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        TestCertificate {
            certificate: parameters.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl TestCertificate {
    /// Writes `NAME.pem` and `NAME.key` into `directory`.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let certificate = write_private(directory, &format!("{name}.pem"), &self.certificate);
        let key = write_private(directory, &format!("{name}.key"), &self.key);
        (certificate, key)
    }
}

/// Writes a file that no other user can read.
pub fn write_private(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Files of a client certificate that cannot be used at the time of the test, in `directory`: certificate, key, and words of
/// the error, among which is the name of the file at fault.
pub fn unusable_client_certificates(
    directory: &Path,
    authority: &TestAuthority,
) -> Vec<(PathBuf, PathBuf, [&'static str; 2])> {
    let (good, good_key) = authority.issue("client", VALID).write(directory, "good");
    let (expired, expired_key) = authority
        .issue("client", EXPIRED)
        .write(directory, "expired");
    let (_, other_key) = authority.issue("client", VALID).write(directory, "other");
    let file = |name: &str, text: &str| write_private(directory, name, text);
    let empty = file("empty.pem", "");
    let request = file(
        "request.pem",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    );
    let encrypted = file(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let der = file("der.pem", "0\u{3}x");
    let exposed = file("exposed.key", &std::fs::read_to_string(&good_key).unwrap());
    std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let missing = directory.join("missing.pem");
    vec![
        (
            expired,
            expired_key,
            ["expired.pem", "expired at 2021-01-01T00:00:00Z; renew it"],
        ),
        (
            good.clone(),
            other_key,
            ["other.key", "does not fit the certificate"],
        ),
        (good.clone(), exposed, ["exposed.key", "run chmod 0600"]),
        (
            good.clone(),
            good.clone(),
            ["good.pem", "it has a certificate"],
        ),
        (
            good_key.clone(),
            good_key.clone(),
            ["good.key", "it has a private key"],
        ),
        (
            request,
            good_key.clone(),
            ["request.pem", "it has a certificate request"],
        ),
        (
            good.clone(),
            encrypted,
            ["encrypted.pem", "its key has a passphrase"],
        ),
        (
            empty.clone(),
            good_key.clone(),
            ["empty.pem", "it is empty"],
        ),
        (good.clone(), empty, ["empty.pem", "it is empty"]),
        (der, good_key.clone(), ["der.pem", "it is not PEM"]),
        (missing.clone(), good_key, ["missing.pem", "does not exist"]),
        (good.clone(), missing, ["missing.pem", "does not exist"]),
        (good, directory.to_owned(), ["", "is not a regular file"]),
    ]
}
