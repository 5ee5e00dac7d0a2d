//! Docker, through its command line: what an operator types.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest run of one command; none of those used here waits for anything.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// The bridge through which the host reaches every container of an overlay network; overlay addresses are not reachable
/// from the host.
const BRIDGE_NETWORK: &str = "docker_gwbridge";

/// A running container of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its full id.
    pub(crate) id: String,
    /// The task name without the task id: service and slot.
    pub(crate) task: String,
    /// Its address on the stack's network, by which the others know it.
    pub(crate) address: Ipv4Addr,
    /// Where this host reaches it.
    pub(crate) host_address: Ipv4Addr,
}

impl Container {
    /// The slot of its service, counted from 1.
    pub(crate) fn slot(&self) -> &str {
        self.task.rsplit('.').next().unwrap_or_default()
    }
}

/// Runs `docker ARGUMENTS…` and returns what it printed.
///
/// # Errors
/// If it fails or does not end in time; quotes what it complained of.
pub(crate) async fn docker<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<String> {
    run(Command::new("docker").args(arguments)).await
}

/// Runs `docker ARGUMENTS…` in `directory` with further variables.
///
/// # Errors
/// As [`docker`].
pub(crate) async fn docker_in(
    directory: &Path,
    variables: &BTreeMap<&str, String>,
    arguments: &[&str],
) -> Result<String> {
    let mut command = Command::new("docker");
    run(command
        .args(arguments)
        .current_dir(directory)
        .envs(variables))
    .await
}

/// Runs a program to its successful end.
///
/// # Errors
/// As [`docker`].
pub(crate) async fn run(command: &mut Command) -> Result<String> {
    let words: Vec<_> = std::iter::once(command.as_std().get_program())
        .chain(command.as_std().get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words = words.join(" ");
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(COMMAND_TIMEOUT, ended)
        .await
        .with_context(|| format!("{words}: not done in {COMMAND_TIMEOUT:?}"))?
        .with_context(|| format!("cannot run {words}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{words}: {} ({})", complaint.trim(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a container wrote so far, on both of its outputs.
///
/// # Errors
/// If Docker cannot be run.
pub(crate) async fn logs(id: &str, lines: usize) -> Result<String> {
    let tail = lines.to_string();
    let mut command = Command::new("docker");
    command.args(["logs", "--tail", &tail, id]);
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(COMMAND_TIMEOUT, ended).await??;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Runs a shell command in a container.
///
/// # Errors
/// As [`docker`].
pub(crate) async fn shell(container: &Container, script: &str) -> Result<String> {
    docker(["exec", &container.id, "sh", "-c", script]).await
}

/// The ids of the running containers of a service.
///
/// # Errors
/// As [`docker`].
pub(crate) async fn running(service: &str) -> Result<Vec<String>> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let ids = docker(["ps", "--no-trunc", "--quiet", "--filter", &filter]).await?;
    Ok(ids.lines().map(ToOwned::to_owned).collect())
}

/// Inspects running containers; unreachable ones are left out.
///
/// # Errors
/// As [`docker`], or if Docker's output has an unexpected format.
pub(crate) async fn inspect(ids: &[String], network: &str) -> Result<Vec<Container>> {
    let mut found = Vec::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let host_addresses_by_id = host_addresses().await?;
    for id in ids {
        // One by one: a container that has just ended must not hide the others.
        let Ok(text) = docker(["inspect", id]).await else {
            continue;
        };
        let inspected: Value = serde_json::from_str(&text)?;
        let Some(&host_address) = host_addresses_by_id.get(id) else {
            continue;
        };
        if let Some(container) = parse_container(id, &inspected[0], network, host_address) {
            found.push(container);
        }
    }
    found.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(found)
}

async fn host_addresses() -> Result<BTreeMap<String, Ipv4Addr>> {
    let text = docker(["network", "inspect", BRIDGE_NETWORK]).await?;
    let inspected: Value = serde_json::from_str(&text)?;
    let members = inspected[0]["Containers"]
        .as_object()
        .context("no containers on docker_gwbridge")?;
    let host_address = |member: &Value| {
        let address = member["IPv4Address"].as_str()?;
        address.split('/').next()?.parse().ok()
    };
    Ok(members
        .iter()
        .filter_map(|(id, member)| Some((id.clone(), host_address(member)?)))
        .collect())
}

fn parse_container(
    id: &str,
    inspected: &Value,
    network: &str,
    host_address: Ipv4Addr,
) -> Option<Container> {
    let name = inspected["Config"]["Labels"]["com.docker.swarm.task.name"].as_str()?;
    let address = inspected["NetworkSettings"]["Networks"][network]["IPAddress"].as_str()?;
    Some(Container {
        id: id.to_owned(),
        task: name.rsplit_once('.')?.0.to_owned(),
        address: address.parse().ok()?,
        host_address,
    })
}
