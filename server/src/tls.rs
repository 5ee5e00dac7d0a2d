//! TLS of the console's own listener: the certificate, checked before it is used, and replaced when its files change.

mod certificate;
mod store;

pub use certificate::{CertificateError, EXPIRY_WARNING, load_certificate};
pub use store::CertificateStore;
pub use tls_files::CertificateFiles;

use tls_files::CertificatePair;

/// The TLS settings of the listener, with the certificate that its files contained at the start.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    pub files: CertificateFiles,
    /// The host of `--public-url`, which every certificate must be issued for.
    pub public_host: Option<String>,
    /// Content of the files at the start.
    pub certificate: CertificatePair,
}

impl ListenerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(
        files: CertificateFiles,
        public_host: Option<String>,
    ) -> Result<Self, CertificateError> {
        let now = console_core::clock::now();
        let certificate = load_certificate(&files, public_host.as_deref(), now)?;
        Ok(Self {
            files,
            public_host,
            certificate,
        })
    }
}
