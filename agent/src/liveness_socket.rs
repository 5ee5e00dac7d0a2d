//! The Unix socket on which the agent answers `galera-agent check` of its own host. Only the agent's user and root can
//! connect, so no other host and no other user can occupy it.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{Instant, sleep};

/// Directory of the default path, created if it is missing.
pub const DEFAULT_DIRECTORY: &str = "/run/galera-agent";
/// Longest path of a Unix socket, in bytes (`sun_path` without its final NUL).
pub const PATH_MAX: usize = 107;

const MODE: u32 = 0o600;
const BACKLOG: u32 = 64;
/// How long another starting agent may hold the directory's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum LivenessSocketError {
    /// A process listens on it.
    #[error("is used by another process on this host, probably another agent; choose another path")]
    InUse,
    #[error("exists and is not a socket; choose another path")]
    NotASocket,
    /// The directory is missing or not writable, for example.
    #[error(transparent)]
    Unavailable(#[from] io::Error),
}

/// A listening socket. Its file is removed on drop.
#[derive(Debug)]
pub struct LivenessSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, which another agent may have replaced.
    file: (u64, u64),
}

impl LivenessSocket {
    /// Listens at `path`. The file of an agent that has exited is replaced.
    ///
    /// # Errors
    /// [`LivenessSocketError`].
    pub async fn bind(path: &Path) -> Result<Self, LivenessSocketError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        if directory == Path::new(DEFAULT_DIRECTORY) {
            create_directory(directory)?;
        }
        // Otherwise two starting agents could both find the file stale, and one remove the other's.
        let _lock = lock_directory(directory).await?;
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // No connection is possible before `listen`.
        let listener = fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .and_then(|()| socket.listen(BACKLOG))
            .and_then(|listener| Ok((listener, file_id(path)?)));
        match listener {
            Ok((listener, file)) => Ok(Self {
                listener,
                path: path.to_path_buf(),
                file,
            }),
            Err(error) => {
                let _ = fs::remove_file(path);
                Err(error.into())
            }
        }
    }
}

impl Drop for LivenessSocket {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|file| file == self.file) {
            // A file that remains is replaced by the next agent.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

async fn lock_directory(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    let end = Instant::now() + LOCK_TIMEOUT;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                sleep(LOCK_TIMEOUT / 100).await;
            }
            Err(TryLockError::WouldBlock) => {
                let text = format!("another process holds a lock on {}", path.display());
                return Err(io::Error::new(ErrorKind::WouldBlock, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes a socket on which no process listens.
async fn remove_stale(path: &Path) -> Result<(), LivenessSocketError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(LivenessSocketError::NotASocket);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // The socket of another user: it cannot be replaced either.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error.into()),
        // Including a full backlog: a process that listens but does not accept.
        Ok(_) | Err(_) => Err(LivenessSocketError::InUse),
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_agents_user_may_connect_and_the_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket = LivenessSocket::bind(&path).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the file of an agent that was killed");
        let socket = LivenessSocket::bind(&path).await.unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());

        let refused = LivenessSocket::bind(&path).await.unwrap_err();
        assert!(matches!(refused, LivenessSocketError::InUse), "{refused}");
        assert!(UnixStream::connect(&path).await.is_ok(), "it was left");

        // Another agent replaced the file; dropping the first socket leaves it.
        fs::remove_file(&path).unwrap();
        let second = LivenessSocket::bind(&path).await.unwrap();
        drop(socket);
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(second);
    }

    #[tokio::test]
    async fn a_process_that_does_not_accept_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let _listener = socket.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        let refused = LivenessSocket::bind(&path).await.unwrap_err();
        assert!(matches!(refused, LivenessSocketError::InUse), "{refused}");
    }

    #[tokio::test]
    async fn agents_that_start_together_bind_in_turn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let lock = lock_directory(dir.path()).await.unwrap();
        let mut binding = Box::pin(LivenessSocket::bind(&path));
        tokio::select! {
            biased;
            bound = &mut binding => panic!("bound during another agent's turn: {bound:?}"),
            () = tokio::task::yield_now() => {}
        }
        drop(lock);
        let _socket = binding.await.unwrap();
        let refused = LivenessSocket::bind(&path).await.unwrap_err();
        assert!(matches!(refused, LivenessSocketError::InUse), "{refused}");
    }

    #[tokio::test]
    async fn other_files_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "text").unwrap();
        let refused = LivenessSocket::bind(&path).await.unwrap_err();
        assert!(
            matches!(refused, LivenessSocketError::NotASocket),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");

        let missing = dir.path().join("missing").join("socket");
        let error = LivenessSocket::bind(&missing).await.unwrap_err();
        assert!(
            matches!(error, LivenessSocketError::Unavailable(_)),
            "{error}"
        );
    }
}
