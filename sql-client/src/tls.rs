//! TLS to a server, always with a verified certificate.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};
use tls_files::{CertificateFiles, CertificatePair, PemPair, TlsFileError, read_authorities};
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::packets::ByteStream;
use crate::tls_failure::{TlsFailure, TlsProblem};

/// Whether a connection over the network uses TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    #[default]
    Off,
    /// If the server offers it; an attacker on the network can remove the offer.
    Preferred(TlsSettings),
    /// Always; a server without it is refused.
    Required(TlsSettings),
}

/// What is checked of a server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// That the authority signed it, and that it was issued for the host name or address.
    #[default]
    Identity,
    /// That the authority signed it: any holder of such a certificate can pose as the server.
    Authority,
}

/// The files of a TLS connection, read for each connection, so that they can be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The authorities (PEM) that sign the servers' certificates. The system's are not used.
    pub ca: PathBuf,
    /// The client's certificate and its private key (PEM), if the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What is checked.
    pub verify: Verify,
}

impl TlsSettings {
    /// Settings with the authority `ca` and every default.
    #[must_use]
    pub fn new(ca: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            identity: None,
            verify: Verify::default(),
        }
    }

    /// Reads the files and checks that they can be used now.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and the remedy.
    pub fn check(&self) -> Result<(), TlsFileError> {
        read_authorities(&self.ca)?;
        match self.identity_files() {
            Some(files) => CertificatePair::load(&files, tls_files::clock_time()).map(drop),
            None => Ok(()),
        }
    }

    /// Adds to the error of a sign-in what is wrong with the client's own certificate. A server that refuses one says so, or
    /// only closes the connection.
    pub(crate) fn naming_own_certificate(&self, error: Error) -> Error {
        let may_be_refused = match &error {
            Error::Tls(failure) => matches!(
                failure.problem,
                TlsProblem::ClientRefused | TlsProblem::Other
            ),
            Error::Io(_) | Error::Closed => true,
            _ => false,
        };
        match may_be_refused.then(|| self.identity_problem()).flatten() {
            Some(problem) => Error::Tls(TlsFailure {
                text: format!("{error}; {problem}"),
                problem: TlsProblem::OwnFile,
            }),
            None => error,
        }
    }

    /// What is wrong with the client's own certificate at the moment.
    fn identity_problem(&self) -> Option<String> {
        let files = self.identity_files()?;
        match CertificatePair::load(&files, tls_files::clock_time()) {
            Ok(pair) => pair.valid_from.map(|from| {
                let file = files.certificate.display();
                format!("the certificate in {file} is not valid before {from}; compare the clocks")
            }),
            Err(error) => Some(error.to_string()),
        }
    }

    fn identity_files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = self.identity.clone()?;
        Some(CertificateFiles { certificate, key })
    }

    fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in read_authorities(&self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| library_failed(&error))?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| {
                    failed(format!("{} cannot be used: {error}", self.ca.display()))
                })?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| library_failed(&error))?;
        let builder = match self.verify {
            Verify::Identity => builder.with_webpki_verifier(verifier),
            Verify::Authority => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName(verifier))),
        };
        let Some(files) = self.identity_files() else {
            return Ok(builder.with_no_client_auth());
        };
        // Whatever its dates: a server may not look at them.
        let certified = PemPair::read(&files)?.certified_key(&files)?;
        Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }

    /// Continues on `stream` with TLS, as a client of `host`.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: Box<dyn ByteStream>,
    ) -> Result<Box<dyn ByteStream>, Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| failed(format!("{host:?} cannot be the name in a certificate")))?;
        let connector = TlsConnector::from(Arc::new(self.client_config()?));
        let encrypted = connector.connect(name, stream).await.map_err(|error| {
            match error.kind() {
                // A server that ends the handshake by closing the connection has refused it.
                io::ErrorKind::UnexpectedEof => {
                    failed("the server closed the connection during the handshake")
                }
                _ => error.into(),
            }
        })?;
        Ok(Box::new(encrypted))
    }
}

fn library_failed(error: &TlsError) -> Error {
    Error::Tls(TlsFailure::from(error))
}

fn failed(text: impl Into<String>) -> Error {
    Error::Tls(TlsFailure::other(text))
}

/// Accepts a certificate of the authority for any name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is compared last, after chain and dates.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
