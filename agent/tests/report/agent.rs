//! The agent as a child process with only the given environment.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::until;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_galera-agent");

pub(crate) struct AgentProcess {
    child: Child,
    dir: tempfile::TempDir,
}

impl AgentProcess {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", BINARY, "report"])
            .env_clear()
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) async fn wait_for_log(&self, text: &str) -> String {
        let line = async || {
            self.log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        };
        until(text, Duration::from_secs(120), line).await
    }

    /// The address of the health endpoint.
    pub(crate) async fn endpoint(&self) -> SocketAddr {
        let line = self.wait_for_log("Health endpoint listening on ").await;
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The status line and body of a request to the health endpoint.
    pub(crate) async fn health(&self) -> (String, String) {
        let mut stream = TcpStream::connect(self.endpoint().await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.lines().next().unwrap().to_owned(),
            body.trim_end().to_owned(),
        )
    }

    /// Anonymous memory in kilobytes; excludes the mapped binary, which is larger without optimization.
    pub(crate) fn own_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("RssAnon:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The arguments, which every user of the host can see.
    pub(crate) fn command_line(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/cmdline", self.child.id())).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends the agent a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Stops the agent with a signal and waits for its exit code.
    pub(crate) async fn stop(&mut self, signal: &str) -> i32 {
        self.signal(signal);
        self.wait().await
    }

    /// Waits for the exit code.
    pub(crate) async fn wait(&mut self) -> i32 {
        let ended = async || self.child.try_wait().unwrap();
        let status: ExitStatus = until("exit", Duration::from_secs(120), ended).await;
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the agent:\n{}", self.log());
        }
    }
}

/// Writes `content` into `dir` and returns the file's path.
pub(crate) fn write_file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
