//! A server that an earlier agent started on the same data and that lives on: found, watched and told what others want,
//! though it is no child of ours.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use crate::notify::{self, Place};

/// Names the data to the server and to everything that it starts. No file: a state transfer empties the directory.
pub(super) const VARIABLE: &str = "GALERA_AGENT_DATA";

/// How long what an earlier server left behind may still use the data.
const REMNANTS: Duration = Duration::from_secs(5);

/// The living server.
#[derive(Debug)]
pub(super) struct Living {
    pid: i32,
    /// Of this process for ever, whoever gets the number next.
    process: AsyncFd<OwnedFd>,
    /// Where it tells of its state.
    place: Option<Place>,
}

/// A process that was started for our data.
struct Marked {
    pid: i32,
    parent: i32,
    server: bool,
    place: Option<Place>,
}

impl Living {
    /// Finds the server that an earlier agent started on `directory`; what such a server left behind is waited for.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when something goes on using the directory or cannot be watched.
    pub(super) async fn find(directory: &Path) -> Result<Option<Self>, Failure> {
        let directory = real(directory);
        let end = Instant::now() + REMNANTS;
        loop {
            let marked = marked(&directory);
            let root = |one: &&Marked| {
                one.server
                    && !marked
                        .iter()
                        .any(|other| other.server && other.pid == one.parent)
            };
            if let Some(server) = marked.iter().find(root) {
                return Self::watch(server, &directory).map(Some);
            }
            let Some(left) = marked.first() else {
                return Ok(None);
            };
            if Instant::now() > end {
                return Err(Failure::Unavailable(format!(
                    "{} is in use by process {}, which an earlier server left behind; end it first",
                    directory.display(),
                    left.pid
                )));
            }
            sleep(REMNANTS / 20).await;
        }
    }

    fn watch(server: &Marked, directory: &Path) -> Result<Self, Failure> {
        let unwatched = |why: String| {
            Failure::Unavailable(format!(
                "{} is in use by process {}, a server of an earlier agent that cannot be watched: {why}; stop it first",
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
        // The number may have become somebody else's before it was opened.
        match read(server.pid, directory) {
            Some(again) if again.server => Ok(Self {
                pid: server.pid,
                process,
                place: server.place.clone(),
            }),
            _ => Err(unwatched("it has just ended".to_owned())),
        }
    }

    /// Its process id.
    #[must_use]
    pub(super) const fn id(&self) -> i32 {
        self.pid
    }

    /// Where it tells of its state.
    #[must_use]
    pub(super) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Waits for its end. How it ended only its parent is told.
    pub(super) async fn ended(&self) {
        if let Err(error) = self.process.readable().await {
            tracing::error!("The server cannot be watched any more: {error}");
            std::future::pending::<()>().await;
        }
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended at this moment; then nobody needs the signal.
        let _ = pidfd_send_signal(&self.process, signal);
    }
}

/// The path under which `directory` is named to the server.
#[must_use]
pub(super) fn real(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf())
}

fn marked(directory: &Path) -> Vec<Marked> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(|pid| read(pid, directory))
        .collect()
}

/// The process `pid` when it was started for `directory` and has not ended.
fn read(pid: i32, directory: &Path) -> Option<Marked> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    // Readable by the same user alone, and empty once it has ended.
    let environment = file("environ")?;
    let value = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|variable| {
            let variable = std::str::from_utf8(variable).ok()?;
            variable.strip_prefix(name)?.strip_prefix('=')
        })
    };
    if value(VARIABLE).map(Path::new) != Some(directory) {
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
    (!ended).then(|| Marked {
        pid,
        parent,
        // Scripts of a state transfer are given the server's arguments behind this one.
        server: begins("--wsrep-notify-cmd=") && !begins("--mysqld-args"),
        place: value(notify::VARIABLE).and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Started(Child);

    impl Started {
        /// A process that looks as a server of `directory` does, or as something that it started.
        fn new(directory: &Path, arguments: &[&str]) -> Self {
            let script = "read line; exit 0";
            let child = Command::new("sh")
                .args(["-c", script, "mariadbd"])
                .args(arguments)
                .env(VARIABLE, real(directory))
                .env(notify::VARIABLE, "galera-agent-x/0123456789abcdef")
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            Self(child)
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    async fn found(directory: &Path) -> Result<Option<Living>, Failure> {
        Living::find(directory).await
    }

    #[tokio::test]
    async fn the_server_of_these_data_is_found_watched_and_told() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(found(dir.path()).await.unwrap().is_none());
        let notify = "--wsrep-notify-cmd=/x/galera-agent notify";
        let _elsewhere = Started::new(other.path(), &[notify]);
        let mut server = Started::new(dir.path(), &["--port=1", notify]);
        let _transfer = Started::new(dir.path(), &["--role", "donor", "--mysqld-args", notify]);
        let living = found(&dir.path().join(".")).await.unwrap().unwrap();
        assert_eq!(living.id(), i32::try_from(server.0.id()).unwrap());
        assert_eq!(
            living.place().unwrap().value(),
            "galera-agent-x/0123456789abcdef"
        );
        let early = tokio::time::timeout(Duration::ZERO, living.ended()).await;
        assert!(early.is_err(), "it lives");
        living.signal(Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(10), living.ended()).await;
        assert!(ended.is_ok(), "it was told to end");
        server.0.wait().unwrap();
        living.signal(Signal::TERM);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_left_behind_is_waited_for_and_then_named() {
        let dir = tempfile::tempdir().unwrap();
        let left = Started::new(dir.path(), &["--role", "joiner"]);
        let failure = found(dir.path()).await.unwrap_err();
        assert_eq!(failure.code(), 69);
        assert!(
            failure
                .to_string()
                .contains(&format!("process {}", left.0.id())),
            "{failure}"
        );
        drop(left);
        assert!(found(dir.path()).await.unwrap().is_none());
    }
}
