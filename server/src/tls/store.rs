//! The certificate in use. It is replaced when its files change; a pair that cannot be used leaves the former one in place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use console_core::clock::now;
use galera::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tls_files::{CertificatePair, PemPair, TlsFileError};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::certificate::{EXPIRY_WARNING, load_certificate};
use super::{CertificateFiles, ListenerTls};

/// Time between two warnings about the same expiry.
const WARNING_INTERVAL: Duration = Duration::from_secs(86_400);

/// The certificate that new connections get.
#[derive(Debug)]
pub struct CertificateStore {
    files: CertificateFiles,
    public_host: Option<String>,
    current: RwLock<CertificatePair>,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    /// Requests to look at the files without delay.
    look: Notify,
}

/// What is known of the files: the hash of their contents, or why they cannot be read.
type FileState = Result<[u8; 32], TlsFileError>;

impl CertificateStore {
    /// Starts with the certificate of `tls`.
    #[must_use]
    pub fn new(tls: ListenerTls) -> Self {
        Self {
            files: tls.files,
            public_host: tls.public_host,
            current: RwLock::new(tls.certificate),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
            look: Notify::new(),
        }
    }

    /// The settings of TLS connections: versions 1.2 and 1.3, HTTP/1.1, no client certificates.
    ///
    /// # Errors
    /// A library that offers neither version.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let resolver = Arc::clone(self) as Arc<dyn ResolvesServerCert>;
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// When the certificate in use expires; `None` for never.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.current().expires_at
    }

    /// How often the certificate was replaced, and how often a changed pair could not be used.
    #[must_use]
    pub fn reload_counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.reloads), count(&self.failed_reloads))
    }

    /// Lets [`Self::follow_files`] look now, and use what it finds: both files are complete.
    pub fn look_now(&self) {
        self.look.notify_one();
    }

    /// Looks at the files every `interval` forever, and warns of an expiry.
    pub async fn follow_files(self: Arc<Self>, interval: Duration) {
        let mut loaded: FileState = Ok(self.current().source);
        // A pair is used once it stayed the same for an interval: its two files are written one after the other.
        let mut settling: Option<FileState> = None;
        let mut warned: Option<Instant> = None;
        loop {
            if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) && self.warn_of_expiry() {
                warned = Some(Instant::now());
            }
            let is_requested = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                () = self.look.notified() => true,
            };
            let state = self.file_state().await;
            if state == loaded {
                settling = None;
            } else if !is_requested && settling.as_ref() != Some(&state) {
                settling = Some(state);
            } else {
                self.replace().await;
                warned = None;
                settling = None;
                loaded = state;
            }
        }
    }

    async fn replace(self: &Arc<Self>) {
        let store = Arc::clone(self);
        let load = move || load_certificate(&store.files, store.public_host.as_deref(), now());
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(certificate)) => {
                let expires_at = certificate.expires_at.map(|at| at.to_string());
                let expires_at = expires_at.as_deref().unwrap_or("never");
                tracing::info!(
                    expires_at,
                    "The certificate in {} was replaced; new connections use it (expires: {expires_at})",
                    self.files.certificate.display()
                );
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = certificate;
                self.reloads.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => {
                self.failed_reloads.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "The former certificate stays in use: {error}");
            }
            Err(error) => tracing::error!(%error, "The certificate could not be read"),
        }
    }

    /// Warns when the certificate in use has expired or soon will.
    fn warn_of_expiry(&self) -> bool {
        let (certificate, now) = (self.current(), now());
        let (Some(expires_at), Some(remaining)) =
            (certificate.expires_at, certificate.remaining(now))
        else {
            return false;
        };
        let file = self.files.certificate.display();
        if remaining.is_zero() {
            tracing::error!(%expires_at, "The certificate in {file} expired at {expires_at}; renew it");
        } else if remaining < EXPIRY_WARNING {
            tracing::warn!(%expires_at, "The certificate in {file} expires at {expires_at}; renew it");
        } else {
            return false;
        }
        true
    }

    async fn file_state(&self) -> FileState {
        let files = self.files.clone();
        let hash = move || PemPair::read(&files).map(|pair| pair.hash());
        tokio::task::spawn_blocking(hash)
            .await
            .unwrap_or_else(|error| {
                Err(TlsFileError::Unreadable {
                    text: error.to_string(),
                    permission_denied: false,
                })
            })
    }

    fn current(&self) -> CertificatePair {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use tokio_util::task::TaskTracker;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    struct CertificatePair {
        certificate: String,
        key: String,
    }

    fn pair(name: &str, last_year: i32) -> CertificatePair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        CertificatePair {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            tokio::time::sleep(INTERVAL).await;
        }
    }

    #[tokio::test]
    async fn a_request_to_look_uses_a_renewed_pair_without_an_interval() {
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: dir.path().join("tls.crt"),
            key: dir.path().join("tls.key"),
        };
        let write_pair = |year| {
            let pair = pair("console.test", year);
            write(&files.certificate, &pair.certificate);
            write(&files.key, &pair.key);
        };
        write_pair(2090);
        let tls = ListenerTls::load(files.clone(), None).unwrap();
        let store = Arc::new(CertificateStore::new(tls));
        let rarely = Duration::from_secs(86_400);
        let following = TaskTracker::new().spawn(Arc::clone(&store).follow_files(rarely));
        write_pair(2091);
        store.look_now();
        until("the pair is used", || store.reload_counts() == (1, 0)).await;
        following.abort();
    }

    #[tokio::test]
    async fn a_renewed_pair_is_used_and_an_unusable_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: dir.path().join("tls.crt"),
            key: dir.path().join("tls.key"),
        };
        let first = pair("console.test", 2090);
        write(&files.certificate, &first.certificate);
        write(&files.key, &first.key);
        let tls = ListenerTls::load(files.clone(), Some("console.test".to_owned())).unwrap();
        let store = Arc::new(CertificateStore::new(tls));
        let following = TaskTracker::new().spawn(Arc::clone(&store).follow_files(INTERVAL));
        let year = || store.expires_at().unwrap().to_string()[..4].to_owned();
        assert_eq!(year(), "2090");

        // A certificate without its key.
        let second = pair("console.test", 2091);
        write(&files.certificate, &second.certificate);
        until("the mismatch is noticed", || {
            store.reload_counts() == (0, 1)
        })
        .await;
        assert_eq!(year(), "2090");
        write(&files.key, &second.key);
        until("the pair is used", || store.reload_counts() == (1, 1)).await;
        assert_eq!(year(), "2091");

        // For another host, expired, readable by all users, gone: each is reported once.
        let mut failures = 1;
        for unusable in [pair("other.test", 2092), pair("console.test", 2020)] {
            write(&files.certificate, &unusable.certificate);
            write(&files.key, &unusable.key);
            failures += 1;
            until("the pair is refused", || {
                store.reload_counts().1 >= failures
            })
            .await;
            failures = store.reload_counts().1;
        }
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
        until("the mode is noticed", || store.reload_counts().1 > failures).await;
        failures = store.reload_counts().1;
        std::fs::remove_file(&files.key).unwrap();
        until("the missing file is noticed", || {
            store.reload_counts().1 > failures
        })
        .await;
        assert_eq!((year().as_str(), store.reload_counts().0), ("2091", 1));

        let third = pair("console.test", 2093);
        write(&files.key, &third.key);
        write(&files.certificate, &third.certificate);
        until("the last pair is used", || store.reload_counts().0 == 2).await;
        assert_eq!(year(), "2093");
        following.abort();
    }
}
