//! Runs the program and reads what it prints.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::{NamedTempFile, TempDir};

use crate::etcd::{TIMEOUT, eventually};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// The program without inherited settings.
pub(crate) fn console_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_galera-console"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GALERA_CONSOLE_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn run(arguments: &[&str]) -> (i32, String) {
    code_and_output(&console_command(arguments).output().unwrap())
}

pub(crate) fn code_and_output(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

pub(crate) fn run_with_stdin(arguments: &[&str], password: &str) -> (i32, String) {
    let mut child = console_command(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(password.as_bytes())
        .unwrap();
    code_and_output(&child.wait_with_output().unwrap())
}

pub(crate) fn site() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("pkg")).unwrap();
    for name in ["c.js", "c.wasm", "c.css"] {
        std::fs::write(root.path().join("pkg").join(name), "x").unwrap();
    }
    let manifest = r#"{"js":"/pkg/c.js","wasm":"/pkg/c.wasm","css":"/pkg/c.css","status_js":"/pkg/c.js","status_css":"/pkg/c.css"}"#;
    std::fs::write(root.path().join("manifest.json"), manifest).unwrap();
    root
}

/// A running `serve`.
pub(crate) struct ConsoleProcess {
    pub(crate) child: Child,
    pub(crate) address: String,
    log: NamedTempFile,
}

impl ConsoleProcess {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let first = ["serve", "--listen", "127.0.0.1:0", "--log-level", "debug"];
        Self::start_with(&[&first, arguments].concat())
    }

    /// Starts `serve` with exactly these arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_with_variables(arguments, &[])
    }

    /// Starts `serve` with exactly these arguments and these variables in its environment.
    pub(crate) fn start_with_variables(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = console_command(arguments)
            .envs(variables.iter().copied())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("galera-console listens on http://")
            .unwrap_or_else(|| panic!("{line}"));
        Self {
            address: address.to_owned(),
            child,
            log,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The status line of a plain GET.
    pub(crate) fn get(&self, path: &str) -> String {
        get_at(&self.address, path)
    }

    /// What was logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until every one of `texts` was logged.
    pub(crate) async fn wait_for_log(&self, texts: &[&str]) {
        eventually("the log to have the lines", async || {
            let log = self.log();
            texts.iter().all(|text| log.contains(text))
        })
        .await;
    }

    pub(crate) async fn wait_until_ready(&self) {
        eventually("the console is ready", async || {
            self.get("/readyz").contains(" 200 ")
        })
        .await;
    }

    /// SIGTERM; returns the exit status.
    pub(crate) fn stop(self) -> i32 {
        self.stop_with_log().0
    }

    /// SIGTERM; returns the exit status and the log.
    pub(crate) fn stop_with_log(mut self) -> (i32, String) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap().code().unwrap();
        (status, std::fs::read_to_string(self.log.path()).unwrap())
    }
}

/// The status line of a plain GET at `address`.
pub(crate) fn get_at(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

impl Drop for ConsoleProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// etcd processes whose command line contains `directory`.
pub(crate) fn processes_of(directory: &Path) -> Vec<Pid> {
    let directory = directory.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(directory) && line.contains("--listen-client-urls")
    })
    .filter_map(Pid::from_raw)
    .collect()
}

pub(crate) fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}
