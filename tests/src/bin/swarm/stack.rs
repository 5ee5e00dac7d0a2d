//! The stack of deploy/stack.yaml, deployed, changed and removed as a person would.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::container_observer::DatabaseLogin;
use crate::docker::{self, Container, docker, docker_in};

/// The cluster's name, which is the default of stack.yaml.
const CLUSTER: &str = "galera";
/// Polling interval at something that takes its time; each costs a run of `docker`.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Longest wait for a removed stack to be gone.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(180);

/// How the nodes keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeStorage {
    /// It goes with the container.
    Ephemeral,
    /// A volume for each slot.
    Persistent,
}

/// A deployed stack; clones are the same one.
#[derive(Clone)]
pub(crate) struct Stack {
    name: String,
    directory: PathBuf,
}

impl Stack {
    /// Deploys stack.yaml in `directory` under `name`, with the `further` stack files.
    ///
    /// # Errors
    /// If Docker refuses.
    pub(crate) async fn deploy(
        directory: &Path,
        name: &str,
        storage: NodeStorage,
        further: &[&str],
    ) -> Result<Self> {
        let stack = Self::leftover(directory, name);
        let mut files = vec!["stack.yaml"];
        if storage == NodeStorage::Persistent {
            files.push("stack.persistent.yaml");
        }
        files.extend(further);
        let mut arguments = vec!["stack", "deploy", "--resolve-image", "never"];
        arguments.extend(files.iter().flat_map(|file| ["-c", file]));
        arguments.push(name);
        let mut variables = BTreeMap::from([("CLUSTER_NAME", CLUSTER.to_owned())]);
        for port in ["MYSQL_PORT", "CONSOLE_PORT", "HAPROXY_PORT"] {
            variables.insert(port, free_port()?.to_string());
        }
        docker_in(&stack.directory, &variables, &arguments).await?;
        Ok(stack)
    }

    /// What an earlier run may have left under this name.
    pub(crate) fn leftover(directory: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
        }
    }

    /// The full name of a service.
    pub(crate) fn service(&self, service: &str) -> String {
        format!("{}_{service}", self.name)
    }

    /// The full name of the stack's network.
    pub(crate) fn network(&self) -> String {
        self.service("galera")
    }

    /// Sets the number of tasks of services, without waiting.
    ///
    /// # Errors
    /// If Docker refuses.
    pub(crate) async fn scale(&self, services: &[(&str, usize)]) -> Result<()> {
        let mut arguments = vec!["service".to_owned(), "scale".into(), "--detach".into()];
        for (service, count) in services {
            arguments.push(format!("{}={count}", self.service(service)));
        }
        docker(arguments).await.map(drop)
    }

    /// The running containers of a service.
    ///
    /// # Errors
    /// If Docker does not respond.
    pub(crate) async fn containers(&self, service: &str) -> Result<Vec<Container>> {
        let ids = docker::running(&self.service(service)).await?;
        docker::inspect(&ids, &self.network()).await
    }

    /// Waits for exactly `count` running containers of a service.
    ///
    /// # Errors
    /// When there are not so many in time.
    pub(crate) async fn await_containers(
        &self,
        service: &str,
        count: usize,
        deadline: Duration,
    ) -> Result<Vec<Container>> {
        let what = format!("{count} container(s) of {service}");
        until(&what, deadline, async || {
            let running = self.containers(service).await?;
            ensure!(running.len() == count, "{} run", running.len());
            Ok(running)
        })
        .await
    }

    /// SIGKILL, at the same moment.
    ///
    /// # Errors
    /// If one of them does not run.
    pub(crate) async fn kill(&self, containers: &[Container]) -> Result<()> {
        let ids = containers.iter().map(|container| container.id.as_str());
        docker(["kill"].into_iter().chain(ids)).await.map(drop)
    }

    /// The account with which the console reads the status; it exists once a node runs.
    ///
    /// # Errors
    /// If no node starts in time.
    pub(crate) async fn console_login(&self) -> Result<DatabaseLogin> {
        let password = until("a first container", Duration::from_secs(60), async || {
            let nodes = docker::running(&self.service("node")).await?;
            let node = nodes.first().context("none runs")?;
            docker(["exec", node, "cat", "/run/secrets/galera-console"]).await
        })
        .await?;
        Ok(DatabaseLogin {
            user: "console".to_owned(),
            password: password.trim_end().to_owned(),
        })
    }

    /// Runs etcdctl in one of the members that run.
    ///
    /// # Errors
    /// If none runs or it fails.
    pub(crate) async fn etcdctl(&self, arguments: &str) -> Result<String> {
        for member in ["etcd1", "etcd2", "etcd3"] {
            if let Some(container) = self.containers(member).await?.first() {
                return docker::shell(
                    container,
                    &format!(
                        "etcdctl --user \"root:$(cat /run/secrets/galera-etcd-root)\" {arguments}"
                    ),
                )
                .await;
            }
        }
        anyhow::bail!("no etcd member is running")
    }

    /// The value of a key of the cluster in the registry; `None` when it is not there.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(crate) async fn registry_value(&self, key: &str) -> Result<Option<String>> {
        let text = self
            .etcdctl(&format!("get --print-value-only /galera/{CLUSTER}/{key}"))
            .await?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// Removes every key of the cluster, as an operator might by mistake.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(crate) async fn wipe_registry(&self) -> Result<()> {
        self.etcdctl(&format!("del --prefix /galera/{CLUSTER}/"))
            .await
            .map(drop)
    }

    /// Kills members of etcd; Swarm starts them again unless they are kept away.
    ///
    /// # Errors
    /// If Docker refuses.
    pub(crate) async fn kill_etcd(&self, members: &[&str]) -> Result<()> {
        let mut victims = Vec::new();
        for member in members {
            victims.extend(docker::running(&self.service(member)).await?);
        }
        docker(["kill".to_owned()].into_iter().chain(victims))
            .await
            .map(drop)
    }

    /// Whether `members` of etcd shall run.
    ///
    /// # Errors
    /// If Docker refuses.
    pub(crate) async fn set_etcd_running(&self, members: &[&str], running: bool) -> Result<()> {
        let services: Vec<_> = members
            .iter()
            .map(|member| (*member, usize::from(running)))
            .collect();
        self.scale(&services).await
    }

    /// Removes everything of it, its volumes included.
    ///
    /// # Errors
    /// When something remains.
    pub(crate) async fn remove(&self) -> Result<()> {
        let label = format!("label=com.docker.stack.namespace={}", self.name);
        until("the stack to be gone", REMOVAL_TIMEOUT, async || {
            // Docker refuses to remove a network while containers of the stack are stopping, so this is retried.
            let removal = docker(["stack", "rm", &self.name]).await;
            let containers = docker(["ps", "--all", "--quiet", "--filter", &label]).await?;
            let networks = docker(["network", "ls", "--quiet", "--filter", &label]).await?;
            ensure!(
                containers.is_empty() && networks.is_empty(),
                "something is left"
            );
            removal
        })
        .await?;
        let name = format!("name=^{}_", self.name);
        let volumes = docker(["volume", "ls", "--quiet", "--filter", &name]).await?;
        let volumes: Vec<_> = volumes.lines().collect();
        if !volumes.is_empty() {
            docker(["volume", "rm", "--force"].into_iter().chain(volumes)).await?;
        }
        Ok(())
    }
}

/// Repeats `attempt` until it succeeds.
///
/// # Errors
/// The last attempt's, when `deadline` has passed.
pub(crate) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if began.elapsed() > deadline => {
                return Err(error.context(format!("waited {deadline:?} for {what}")));
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// A free port for Swarm to publish.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("0.0.0.0", 0))?;
    Ok(listener.local_addr()?.port())
}
