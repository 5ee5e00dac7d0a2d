//! Certificates for the tests.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    file: PathBuf,
}

/// What to issue.
#[derive(Clone, Copy)]
pub(crate) enum Certificate {
    /// A server's, for this address.
    For(&'static str),
    /// The same, expired years ago.
    Expired(&'static str),
    /// A client's.
    OfClient,
    /// The same, expired years ago.
    ExpiredOfClient,
}

/// A certificate and its key, in files.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, parameters.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(parameters, key),
            directory: directory.to_path_buf(),
            file,
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn issue(&self, certificate: Certificate) -> Files {
        let (stem, name, usage) = match certificate {
            Certificate::For(name) => ("server", Some(name), ExtendedKeyUsagePurpose::ServerAuth),
            Certificate::Expired(name) => {
                ("expired", Some(name), ExtendedKeyUsagePurpose::ServerAuth)
            }
            Certificate::OfClient => ("client", None, ExtendedKeyUsagePurpose::ClientAuth),
            Certificate::ExpiredOfClient => {
                ("expired-client", None, ExtendedKeyUsagePurpose::ClientAuth)
            }
        };
        let names: Vec<String> = name.into_iter().map(str::to_owned).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, stem);
        parameters.extended_key_usages = vec![usage];
        if matches!(
            certificate,
            Certificate::Expired(_) | Certificate::ExpiredOfClient
        ) {
            parameters.not_before = date_time_ymd(2020, 1, 1);
            parameters.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let files = Files {
            certificate: self.directory.join(format!("{stem}.pem")),
            key: self.directory.join(format!("{stem}.key")),
        };
        let signed = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(&files.certificate, signed.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        files
    }
}
