//! Certificates for the lab: a private authority and what it issues.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority with its certificate in a file.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    certificate: PathBuf,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Since when and until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// At any time.
    Now,
    /// Only in years that have passed.
    Expired,
}

impl CertificateAuthority {
    /// A new one with its files below `directory`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = directory.join(format!("{name}.pem"));
        fs::write(&certificate, parameters.self_signed(&key)?.pem())?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            directory: directory.to_path_buf(),
            certificate,
        })
    }

    /// The file with its certificate.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Issues a certificate for `name`, an address or a name of a host.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn issue(&self, name: &str, valid: Validity) -> Result<CertificateFiles> {
        self.issue_for(&[name], valid)
    }

    /// Issues a certificate for all of `names`; its files are named after the first.
    ///
    /// # Errors
    /// If it cannot be made or written, or `names` is empty.
    pub fn issue_for(&self, names: &[&str], valid: Validity) -> Result<CertificateFiles> {
        let name = *names.first().context("a certificate without a name")?;
        let every_name: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(every_name)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if valid == Validity::Expired {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        let stem = format!("{name}-{valid:?}");
        CertificateFiles::write(&self.directory, &stem, &certificate, &key)
    }
}

impl CertificateFiles {
    /// A certificate for `name` that is its own authority, as `openssl req -x509` makes it.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn self_signed(directory: &Path, name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?.pem();
        Self::write(directory, &format!("{name}-own"), &certificate, &key)
    }

    fn write(directory: &Path, stem: &str, certificate: &str, key: &KeyPair) -> Result<Self> {
        let identity = Self {
            certificate: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
        };
        fs::write(&identity.certificate, certificate)?;
        fs::write(&identity.key, key.serialize_pem())?;
        fs::set_permissions(&identity.key, fs::Permissions::from_mode(0o600))?;
        Ok(identity)
    }

    /// What a server of this process needs to be it.
    ///
    /// # Errors
    /// If the files cannot be read.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Ok(Arc::new(config.context("a certificate of the lab")?))
    }
}
