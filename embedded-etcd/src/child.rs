//! The etcd child process: started, monitored, restarted with backoff, stopped.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::EmbeddedEtcdError;
use super::data_dir::{DataDir, EtcdPorts};

/// How long etcd may take to stop before it is killed.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A run of at least this length resets the pause.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Lines of etcd's log that are shown when it exits unexpectedly.
const LOG_TAIL_LINES: usize = 5;

/// Reads a process id, waits until standard input closes, and stops that process if it still is etcd.
const WATCHDOG: &str = r#"
read -r pid || exit 0
read -r _
[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = etcd ] && kill -TERM "$pid"
"#;

/// One run of etcd.
#[derive(Debug)]
pub(super) struct EtcdChild {
    etcd: tokio::process::Child,
    /// Stops etcd when this process is gone: its standard input is a pipe whose writing end only we hold.
    watchdog: tokio::process::Child,
    log_tail: Arc<Mutex<VecDeque<String>>>,
    started: Instant,
}

/// Whether an etcd program can be executed.
pub(super) async fn check_installed() -> Result<(), EmbeddedEtcdError> {
    let version = Command::new("etcd")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await;
    version.map(drop).map_err(EmbeddedEtcdError::NotExecutable)
}

impl EtcdChild {
    pub(super) async fn spawn(directory: &DataDir, ports: &EtcdPorts) -> std::io::Result<Self> {
        let mut keeper = Command::new("sh")
            .args(["-c", WATCHDOG, "etcd-keeper"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut etcd = command(directory, ports).spawn()?;
        if let (Some(pipe), Some(pid)) = (&mut keeper.stdin, etcd.id()) {
            pipe.write_all(format!("{pid}\n").as_bytes()).await?;
        }
        let log_tail = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = etcd.stderr.take() {
            TaskTracker::new().spawn(forward_log(stderr, log_tail.clone()));
        }
        Ok(Self {
            etcd,
            watchdog: keeper,
            log_tail,
            started: Instant::now(),
        })
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.etcd.wait().await
    }

    async fn stop(mut self) {
        // Closing the pipe stops etcd as our own death would.
        drop(self.watchdog.stdin.take());
        if timeout(STOP_LIMIT, self.etcd.wait()).await.is_err() {
            tracing::warn!("The embedded etcd did not stop in time; killing it");
            if let Err(error) = self.etcd.kill().await {
                tracing::warn!(%error, "Could not kill the embedded etcd: {error}");
            }
        }
        // The watchdog exits as soon as etcd has.
        let _ = self.watchdog.wait().await;
    }

    fn log_tail(&self) -> String {
        let tail = self.log_tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().cloned().collect::<Vec<_>>().join(" | ")
    }
}

/// Settings that etcd has since 3.4: in the environment, where an earlier etcd ignores them, while it refuses to start with
/// a flag that it does not have.
const LATER_SETTINGS: [(&str, &str); 3] = [
    ("ETCD_LOGGER", "zap"),
    ("ETCD_LOG_LEVEL", "warn"),
    // Any web page open on this machine could reach the JSON interface.
    ("ETCD_ENABLE_GRPC_GATEWAY", "false"),
];

fn command(directory: &DataDir, ports: &EtcdPorts) -> Command {
    let (client, peer) = (ports.client_url(), ports.peer_url());
    let certificates = directory.certificates();
    let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
    let mut command = Command::new("etcd");
    // etcd would report its own state as that of the console.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command
        .arg("--name=galera-console")
        .arg(format!("--data-dir={}", directory.etcd_data().display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=galera-console={peer}"))
        .args(["client-cert-auth", "peer-client-cert-auth"].map(|flag| format!("--{flag}")))
        .args(
            ["trusted-ca-file", "peer-trusted-ca-file"]
                .map(|flag| file(flag, certificates.authority())),
        )
        .args(["cert-file", "peer-cert-file"].map(|flag| file(flag, certificates.certificate())))
        .args(["key-file", "peer-key-file"].map(|flag| file(flag, certificates.key())))
        .args([
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=5m",
        ])
        .arg(format!("--quota-backend-bytes={}", crate::QUOTA_BYTES))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal signals the whole group: etcd has to outlive the console's last writes.
        .process_group(0)
        .kill_on_drop(true);
    // etcd also reads its settings from the environment, which are not meant for this instance.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command.envs(LATER_SETTINGS);
    command
}

/// Forwards etcd's log, and keeps the last lines for the message when it exits.
async fn forward_log(stderr: ChildStderr, log_tail: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "galera_console::etcd", "{line}");
        let mut tail = log_tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == LOG_TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// Restarts etcd whenever it exits, until `stop`.
pub(super) async fn supervise(
    first: EtcdChild,
    directory: DataDir,
    ports: EtcdPorts,
    stop: CancellationToken,
) {
    let mut child = first;
    let mut pause = Duration::from_millis(200);
    loop {
        let status = tokio::select! {
            () = stop.cancelled() => return child.stop().await,
            status = child.wait() => status,
        };
        if child.started.elapsed() >= STABLE_AFTER {
            pause = Duration::from_millis(200);
        }
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::error!(
            status,
            last_words = child.log_tail(),
            "The embedded etcd exited ({status}); restarting it in {} ms",
            pause.as_millis()
        );
        child = loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            match EtcdChild::spawn(&directory, &ports).await {
                Ok(child) => break child,
                Err(error) => {
                    tracing::error!(%error, "Could not start the embedded etcd in {}: {error}", directory.root().display())
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `etcd --help` of 3.3.25, the oldest release in use; later ones have these too.
    const FLAGS_OF_ETCD_3_3: &str = include_str!("recorded/etcd-3.3.25-flags.txt");

    #[test]
    fn the_oldest_etcd_in_use_has_every_flag() -> Result<(), EmbeddedEtcdError> {
        let path = std::env::temp_dir().join(format!("etcd-flags-{}", std::process::id()));
        let directory = DataDir::open(&path)?;
        let command = command(&directory, &directory.choose_ports()?);
        std::fs::remove_dir(&path).ok();
        let known: Vec<&str> = FLAGS_OF_ETCD_3_3.lines().collect();
        for argument in command.as_std().get_args() {
            let argument = argument.to_string_lossy();
            let flag = argument.split('=').next().unwrap_or_default();
            assert!(known.contains(&flag), "{flag}");
        }
        Ok(())
    }
}
