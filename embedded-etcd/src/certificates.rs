//! Certificates for the embedded etcd, generated for every run. Its port is on loopback, where every local user can
//! reach it, but only users who can read this directory can authenticate.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Paths of the certificates in a data directory.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// The certificates under `root`.
    pub(super) fn in_data_dir(root: &Path) -> Self {
        Self {
            directory: root.join("tls"),
        }
    }

    /// The certificate authority.
    pub(super) fn authority(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// The certificate of etcd and of its clients.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The private key of that certificate.
    pub(super) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Generates an authority and one certificate signed by it; the authority's key is discarded.
    pub(super) fn generate(&self) -> std::io::Result<()> {
        let (authority, certificate, key) = generate_pems().map_err(std::io::Error::other)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        write_atomically(&self.authority(), &authority)?;
        write_atomically(&self.certificate(), &certificate)?;
        write_atomically(&self.key(), &key)
    }
}

fn generate_pems() -> Result<(String, String, String), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "Galera Console embedded etcd");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    leaf.distinguished_name
        .push(DnType::CommonName, "galera-console");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let leaf_pem = leaf.signed_by(&key, &issuer)?.pem();
    Ok((authority_pem, leaf_pem, key.serialize_pem()))
}

/// Writes the file atomically, readable by its owner only.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&temporary, path)
}
