//! The authorities to trust.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::TlsFileError;
use crate::file::{describe_content, read, shown};

/// The certificates of a PEM file, at least one, each of which can be trusted as an authority.
///
/// # Errors
/// [`TlsFileError::Unreadable`], [`TlsFileError::NoAuthority`].
pub fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    read_both(path).map(|(found, _)| found)
}

/// The same as the file has them, for a library that parses PEM.
///
/// # Errors
/// As [`read_authorities`].
pub fn read_authorities_pem(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    read_both(path).map(|(_, bytes)| bytes)
}

fn read_both(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Vec<u8>), TlsFileError> {
    let (bytes, _) = read(path)?;
    let unusable = |reason: String| TlsFileError::NoAuthority {
        path: shown(path),
        reason,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable(describe_content(&bytes)));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|error| unusable(format!("certificate {} of the file: {error}", index + 1)))?;
    }
    Ok((found, bytes))
}
