//! The demo's promise: when it ends, however it ends, nothing that it started is left.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::program;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A few seconds.
const SOON: Duration = Duration::from_secs(120);

struct DemoProcess {
    process: Child,
    started: Vec<u64>,
    directory: PathBuf,
}

async fn start_demo() -> Result<DemoProcess> {
    let mut command = Command::new(program("demo")?);
    command.args(["--json", "--port", "0", "--nodes", "1", "--etcd", "1"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = command.kill_on_drop(true).spawn()?;
    let output = process.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    let line = tokio::time::timeout(Duration::from_secs(120), lines.next_line()).await??;
    let printed: Value = serde_json::from_str(&line.context("the demo ended early")?)?;
    let mut started: Vec<u64> = ["nodes", "etcd"]
        .into_iter()
        .flat_map(|kind| printed[kind].as_array().into_iter().flatten())
        .filter_map(|one| one["pid"].as_u64())
        .collect();
    started.extend(printed["console"]["pid"].as_u64());
    ensure!(started.len() == 3, "{printed}");
    Ok(DemoProcess {
        process,
        started,
        directory: printed["directory"]
            .as_str()
            .context("no directory")?
            .into(),
    })
}

impl DemoProcess {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .process
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.context("it has ended")?, signal)?)
    }

    async fn ensure_nothing_left(&self) -> Result<()> {
        eventually("everything that was started to end", SOON, async || {
            let alive: Vec<_> = self
                .started
                .iter()
                .filter(|pid| is_running(**pid))
                .collect();
            ensure!(alive.is_empty(), "{alive:?} run still");
            Ok(())
        })
        .await
    }
}

/// Whether a process is running; a zombie is not.
fn is_running(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_everything_that_the_demo_started() -> Result<()> {
    let mut demo = start_demo().await?;
    demo.signal(Signal::INT)?;
    let status = tokio::time::timeout(SOON, demo.process.wait()).await??;
    ensure!(status.success(), "it ended with {status}");
    demo.ensure_nothing_left().await?;
    ensure!(
        !demo.directory.exists(),
        "{} is left",
        demo.directory.display()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_demo_leaves_no_process_behind() -> Result<()> {
    let mut demo = start_demo().await?;
    demo.signal(Signal::KILL)?;
    demo.process.wait().await?;
    demo.ensure_nothing_left().await
}
