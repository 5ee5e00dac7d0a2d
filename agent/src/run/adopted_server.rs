//! A server that an earlier agent started on the same data directory and that is still running. It is found through
//! `/proc`, watched and signalled through a pidfd, because it is not a child of this process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

use super::error::RunError;
use crate::notify::{self, NotifyEndpoint};

/// Environment variable that names the data directory to the server and its descendants. Not a file: a state transfer
/// empties the directory.
pub(super) const DATA_VARIABLE: &str = "GALERA_AGENT_DATA";

/// How long leftover processes of an earlier server may still use the data directory.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct AdoptedServer {
    pid: i32,
    /// A pidfd: refers to this process even if its id is reused.
    process: AsyncFd<OwnedFd>,
    /// Where it sends its notifications.
    notify_endpoint: Option<NotifyEndpoint>,
}

/// A process whose environment names our data directory.
struct TaggedProcess {
    pid: i32,
    parent: i32,
    is_server: bool,
    notify_endpoint: Option<NotifyEndpoint>,
}

impl AdoptedServer {
    /// Finds the server that an earlier agent started on `directory`. Waits for leftover processes of such a server to
    /// exit.
    ///
    /// # Errors
    /// [`RunError::Unavailable`] if a process keeps using the directory or cannot be watched.
    pub(super) async fn find(directory: &Path) -> Result<Option<Self>, RunError> {
        let directory = canonical(directory);
        let end = Instant::now() + LEFTOVERS_TIMEOUT;
        loop {
            let marked = tagged_processes(&directory);
            let root = |one: &&TaggedProcess| {
                one.is_server
                    && !marked
                        .iter()
                        .any(|other| other.is_server && other.pid == one.parent)
            };
            if let Some(server) = marked.iter().find(root) {
                return Self::watch(server, &directory).map(Some);
            }
            let Some(left) = marked.first() else {
                return Ok(None);
            };
            if Instant::now() > end {
                return Err(RunError::Unavailable(format!(
                    "{} is in use by process {}, a leftover of an earlier server; stop it first",
                    directory.display(),
                    left.pid
                )));
            }
            sleep(LEFTOVERS_TIMEOUT / 20).await;
        }
    }

    fn watch(server: &TaggedProcess, directory: &Path) -> Result<Self, RunError> {
        let unwatched = |why: String| {
            RunError::Unavailable(format!(
                "{} is in use by process {}, a server started by an earlier agent that cannot be watched: {why}; stop it first",
                directory.display(),
                server.pid
            ))
        };
        let open = || -> io::Result<AsyncFd<OwnedFd>> {
            let pid = Pid::from_raw(server.pid)
                .ok_or_else(|| io::Error::other("a process id out of range"))?;
            let process = pidfd_open(pid, PidfdFlags::empty())?;
            #[expect(
                deprecated,
                reason = "an OwnedFd keeps open what this constructor takes on trust; its successor is unsafe"
            )]
            AsyncFd::with_interest(process, Interest::READABLE)
        };
        let process = open().map_err(|error| unwatched(error.to_string()))?;
        // The process id may have been reused before the pidfd was opened.
        match read_process(server.pid, directory) {
            Some(again) if again.is_server => Ok(Self {
                pid: server.pid,
                process,
                notify_endpoint: server.notify_endpoint.clone(),
            }),
            _ => Err(unwatched("it has just exited".to_owned())),
        }
    }

    #[must_use]
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Where it sends its notifications.
    #[must_use]
    pub(super) const fn notify_endpoint(&self) -> Option<&NotifyEndpoint> {
        self.notify_endpoint.as_ref()
    }

    /// Waits for its exit. Only its parent learns the exit status.
    pub(super) async fn wait(&self) {
        if let Err(error) = self.process.readable().await {
            tracing::error!("The server can no longer be watched: {error}");
            std::future::pending::<()>().await;
        }
    }

    /// Sends a signal unless it has exited.
    pub(super) fn signal(&self, signal: Signal) {
        // Fails if it has just exited.
        let _ = pidfd_send_signal(&self.process, signal);
    }
}

/// The path of `directory` as the server has it in its environment.
#[must_use]
pub(super) fn canonical(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf())
}

fn tagged_processes(directory: &Path) -> Vec<TaggedProcess> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(|pid| read_process(pid, directory))
        .collect()
}

/// Process `pid`, if it was started for `directory` and has not exited.
fn read_process(pid: i32, directory: &Path) -> Option<TaggedProcess> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    // Readable by the same user only; empty once it has exited.
    let environment = file("environ")?;
    let value = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|variable| {
            let variable = std::str::from_utf8(variable).ok()?;
            variable.strip_prefix(name)?.strip_prefix('=')
        })
    };
    if value(DATA_VARIABLE).map(Path::new) != Some(directory) {
        return None;
    }
    let arguments = file("cmdline").unwrap_or_default();
    let begins = |word: &str| {
        arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument.starts_with(word.as_bytes()))
    };
    let stat = String::from_utf8(file("stat")?).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let ended = matches!(fields.next(), Some("Z" | "X"));
    let parent = fields.next()?.parse().ok()?;
    (!ended).then(|| TaggedProcess {
        pid,
        parent,
        // SST scripts get the server's arguments after this one.
        is_server: begins("--wsrep-notify-cmd=") && !begins("--mysqld-args"),
        notify_endpoint: value(notify::VARIABLE).and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct FakeServerProcess(Child);

    impl FakeServerProcess {
        /// A process that looks like a server of `directory`, or like a child of one.
        fn new(directory: &Path, arguments: &[&str]) -> Self {
            let script = "read line; exit 0";
            let child = Command::new("sh")
                .args(["-c", script, "mariadbd"])
                .args(arguments)
                .env(DATA_VARIABLE, canonical(directory))
                .env(notify::VARIABLE, "galera-agent-x/0123456789abcdef")
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            // The process exists before the kernel shows its new environment.
            let environment = format!("/proc/{}/environ", child.id());
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while !std::fs::read(&environment).is_ok_and(|text| !text.is_empty()) {
                assert!(std::time::Instant::now() < deadline, "no {environment}");
                std::thread::yield_now();
            }
            Self(child)
        }
    }

    impl Drop for FakeServerProcess {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    async fn find_server(directory: &Path) -> Result<Option<AdoptedServer>, RunError> {
        AdoptedServer::find(directory).await
    }

    #[tokio::test]
    async fn the_server_of_a_data_directory_is_found_watched_and_signalled() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(find_server(dir.path()).await.unwrap().is_none());
        let notify = "--wsrep-notify-cmd=/x/galera-agent notify";
        let _elsewhere = FakeServerProcess::new(other.path(), &[notify]);
        let mut server = FakeServerProcess::new(dir.path(), &["--port=1", notify]);
        let _transfer =
            FakeServerProcess::new(dir.path(), &["--role", "donor", "--mysqld-args", notify]);
        let adopted = find_server(&dir.path().join(".")).await.unwrap().unwrap();
        assert_eq!(adopted.pid(), i32::try_from(server.0.id()).unwrap());
        assert_eq!(
            adopted.notify_endpoint().unwrap().to_env_value(),
            "galera-agent-x/0123456789abcdef"
        );
        let early = tokio::time::timeout(Duration::ZERO, adopted.wait()).await;
        assert!(early.is_err(), "it is running");
        adopted.signal(Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(10), adopted.wait()).await;
        assert!(ended.is_ok(), "it was sent SIGTERM");
        server.0.wait().unwrap();
        adopted.signal(Signal::TERM);
    }

    #[tokio::test(start_paused = true)]
    async fn leftover_processes_are_awaited_then_reported() {
        let dir = tempfile::tempdir().unwrap();
        let left = FakeServerProcess::new(dir.path(), &["--role", "joiner"]);
        let failure = find_server(dir.path()).await.unwrap_err();
        assert_eq!(failure.exit_code(), 69);
        assert!(
            failure
                .to_string()
                .contains(&format!("process {}", left.0.id())),
            "{failure}"
        );
        drop(left);
        assert!(find_server(dir.path()).await.unwrap().is_none());
    }
}
