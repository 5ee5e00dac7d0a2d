//! The data directory: its lock, the ports, and the URL of the etcd that runs on it.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::EmbeddedEtcdError;
use super::certificates::Certificates;

/// How long a console that has just started may take to write its etcd's URL.
const URL_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct DataDir {
    root: PathBuf,
}

/// Exclusive use of the directory; released when dropped, or with the process.
#[derive(Debug)]
pub(super) struct DataDirLock {
    _lock: File,
}

/// The ports of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct EtcdPorts {
    client: u16,
    peer: u16,
}

impl EtcdPorts {
    pub(super) fn client_url(self) -> String {
        format!("https://127.0.0.1:{}", self.client)
    }

    pub(super) fn peer_url(self) -> String {
        format!("https://127.0.0.1:{}", self.peer)
    }
}

impl DataDir {
    /// Creates the directory if it is missing, accessible by its owner only: it holds password hashes.
    pub(super) fn open(root: &Path) -> Result<Self, EmbeddedEtcdError> {
        let directory = Self {
            root: root.to_owned(),
        };
        let created = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root);
        created
            .and_then(|()| fs::set_permissions(root, fs::Permissions::from_mode(0o700)))
            .map_err(|cause| directory.unusable(root, cause))?;
        Ok(directory)
    }

    /// etcd's own files.
    pub(super) fn etcd_data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Client and server certificates.
    pub(super) fn certificates(&self) -> Certificates {
        Certificates::in_data_dir(&self.root)
    }

    pub(super) fn generate_certificates(&self) -> Result<(), EmbeddedEtcdError> {
        self.certificates()
            .generate()
            .map_err(|cause| self.unusable(&self.root.join("tls"), cause))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Locks the directory; `None` when another process holds the lock.
    pub(super) fn try_lock(&self) -> Result<Option<DataDirLock>, EmbeddedEtcdError> {
        let path = self.root.join("lock");
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|cause| self.unusable(&path, cause))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(DataDirLock { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(self.unusable(&path, cause)),
        }
    }

    /// Free ports; the client port of the last run if it is still free, so that tools keep finding etcd.
    pub(super) fn choose_ports(&self) -> Result<EtcdPorts, EmbeddedEtcdError> {
        let last = fs::read_to_string(self.url_file()).ok();
        let last = last.and_then(|url| url.trim().rsplit_once(':')?.1.parse::<u16>().ok());
        let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let client = last
            .and_then(|port| bind(port).ok())
            .map_or_else(|| bind(0), Ok);
        let ports = client.and_then(|client| {
            let peer = bind(0)?;
            Ok(EtcdPorts {
                client: client.local_addr()?.port(),
                peer: peer.local_addr()?.port(),
            })
        });
        ports.map_err(|cause| EmbeddedEtcdError::NotStarted {
            path: self.root.clone(),
            cause: cause.to_string(),
        })
    }

    /// Writes the URL of the running etcd.
    pub(super) fn write_url(&self, url: &str) -> Result<(), EmbeddedEtcdError> {
        let (path, temporary) = (self.url_file(), self.root.join("client-url.new"));
        let written = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| writeln!(file, "{url}"))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|cause| self.unusable(&path, cause))
    }

    /// Waits for the URL of the etcd that another process runs on this directory.
    pub(super) async fn wait_for_url(&self) -> Result<String, EmbeddedEtcdError> {
        let path = self.url_file();
        let began = Instant::now();
        loop {
            match fs::read_to_string(&path) {
                Ok(url) if url.ends_with('\n') => return Ok(url.trim().to_owned()),
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.unusable(&path, cause));
                }
                _ if began.elapsed() > URL_WAIT => {
                    let cause = format!("a console uses it but has not written {}", path.display());
                    return Err(EmbeddedEtcdError::NotStarted {
                        path: self.root.clone(),
                        cause,
                    });
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn url_file(&self) -> PathBuf {
        self.root.join("client-url")
    }

    fn unusable(&self, path: &Path, cause: std::io::Error) -> EmbeddedEtcdError {
        EmbeddedEtcdError::Directory {
            path: path.to_owned(),
            cause,
        }
    }
}
