//! Homogeneous nodes: `galera-agent run` with the same command line, each on its own address and directory.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use registry::Registry;

use super::agent::write_secret;
use super::clock::LabClock;
use super::console::{ConsoleSettings, ConsoleUser};
use super::copy_agent;
use super::directory::LabDirectory;
use super::etcd::LabEtcd;
use super::galera::PATIENT_TIMEOUTS;
use super::network::{HostPlacement, LabNetwork};
use super::ports::ReservedPort;
use super::process::{Program, tail};
use super::release::ServerRelease;
use super::template::server_user;
use crate::eventually;
use crate::observer::ObservedNode;

mod data;
mod node;
mod recorder;
mod signals;

pub use data::SmallDisk;
pub use node::HomogeneousNode;
pub use recorder::KeyRecorder;

/// The name of the cluster that they form.
pub const CLUSTER: &str = "same";
/// Seconds; the minimum, so that expiry of leases is fast.
const TTL: u64 = 3;
/// Longest wait for a write to have reached every node.
const APPLIED: Duration = Duration::from_secs(60);
/// The consoles' private key of orders, in the lab's directory.
const ORDER_KEY: &str = "order.key";
/// Its public key, for the agents.
const ORDER_PUBLIC_KEY: &str = "order-keys.pem";
/// One password for every account of this lab.
const PASSWORD: &str = "one'for\\all\"";

/// Nodes of which any may run.
pub struct HomogeneousLab {
    // Dropped in this order.
    nodes: Vec<HomogeneousNode>,
    etcd: LabEtcd,
    network: Option<LabNetwork>,
    directory: LabDirectory,
}

struct HomogeneousPorts {
    mysql: ReservedPort,
    gcomm: ReservedPort,
    ist: ReservedPort,
    sst: ReservedPort,
    health: ReservedPort,
}

impl HomogeneousLab {
    /// Prepares `count` nodes with empty directories; nothing is started yet but etcd.
    ///
    /// # Errors
    /// If something is not installed.
    pub async fn prepare(count: usize) -> Result<Self> {
        Self::prepare_release(count, ServerRelease::Installed).await
    }

    /// Like [`HomogeneousLab::prepare`], with the servers and the etcd of `release`;
    /// [`HomogeneousNode::switch_release`] changes one node's.
    ///
    /// # Errors
    /// As [`HomogeneousLab::prepare`], and if the release is not unpacked.
    pub async fn prepare_release(count: usize, release: ServerRelease) -> Result<Self> {
        let places = (1..=count).map(|number| {
            let address = Ipv4Addr::new(127, 0, 1, u8::try_from(number)?);
            Ok(HostPlacement::local(address))
        });
        let directory = LabDirectory::create()?;
        Self::make(directory, places.collect::<Result<_>>()?, None, release).await
    }

    /// Like [`HomogeneousLab::prepare`], with each node in its own network namespace; see [`HomogeneousLab::network`].
    ///
    /// # Errors
    /// As [`HomogeneousLab::prepare`] and [`LabNetwork::create`].
    pub async fn prepare_with_network(count: usize, subnet: u8) -> Result<Self> {
        let directory = LabDirectory::create()?;
        let network = LabNetwork::create(directory.path(), subnet, count).await?;
        let places = network.hosts().to_vec();
        Self::make(directory, places, Some(network), ServerRelease::Installed).await
    }

    async fn make(
        directory: LabDirectory,
        places: Vec<HostPlacement>,
        network: Option<LabNetwork>,
        release: ServerRelease,
    ) -> Result<Self> {
        let middle = network
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, LabNetwork::router);
        let etcd = LabEtcd::start_on(directory.path(), middle, 3, release).await?;
        // As in containers, the ports are the same on all nodes. In separate namespaces they cannot conflict.
        let addresses: Vec<Ipv4Addr> = match &network {
            Some(_) => vec![middle],
            None => places.iter().map(|place| place.address).collect(),
        };
        let ports = Arc::new(HomogeneousPorts {
            mysql: ReservedPort::reserve_on(&addresses)?,
            gcomm: ReservedPort::reserve_on(&addresses)?,
            ist: ReservedPort::reserve_on(&addresses)?,
            sst: ReservedPort::reserve_on(&addresses)?,
            health: ReservedPort::reserve_on(&addresses)?,
        });
        let secret = directory.path().join("password");
        write_secret(&secret, PASSWORD)?;
        if let Some(user) = server_user() {
            chown(&secret, user)?;
        }
        copy_agent(directory.path())?;
        let order_key = order_signature::create_key_file(&directory.path().join(ORDER_KEY))?;
        let public = order_key.public().to_pem();
        std::fs::write(directory.path().join(ORDER_PUBLIC_KEY), public)?;
        let nodes = places
            .iter()
            .enumerate()
            .map(|(index, place)| {
                node::make_node(directory.path(), &etcd, &ports, index + 1, place)
            })
            .collect::<Result<Vec<_>>>()?;
        for node in &nodes {
            node.switch_release(release);
        }
        Ok(Self {
            nodes,
            etcd,
            network,
            directory,
        })
    }

    /// Nodes only bootstrap with an approved order (`AUTO_BOOTSTRAP=never`).
    #[must_use]
    pub fn without_auto_bootstrap(mut self) -> Self {
        let nodes = self.nodes.into_iter();
        self.nodes = nodes
            .map(|node| node.with_variable("AUTO_BOOTSTRAP", "never"))
            .collect();
        self
    }

    /// Each node has its own clock, which agent and server read.
    ///
    /// # Errors
    /// As [`LabClock::create`].
    pub fn with_clocks(mut self) -> Result<Self> {
        let directory = self.directory.path();
        let nodes = self.nodes.into_iter().map(|node| {
            let clock = LabClock::create(directory, &format!("clock-{}", node.number))?;
            anyhow::Ok(node.with_clock(clock))
        });
        self.nodes = nodes.collect::<Result<_>>()?;
        Ok(self)
    }

    /// The private key whose orders the agents obey.
    #[must_use]
    pub fn order_key_file(&self) -> PathBuf {
        self.directory.path().join(ORDER_KEY)
    }

    /// Settings of a console for these nodes, with one account a role.
    #[must_use]
    pub fn console_settings(&self) -> ConsoleSettings {
        let port = self.nodes.first().map_or(3306, HomogeneousNode::mysql_port);
        ConsoleSettings {
            listen: None,
            etcd_endpoints: self.etcd.endpoints(),
            etcd_security: None,
            clusters: Vec::new(),
            mysql_port: port,
            mysql_password: PASSWORD.to_owned(),
            recovery: Some(("recovery".to_owned(), PASSWORD.to_owned())),
            recovery_transport: "any".to_owned(),
            order_key: Some(self.order_key_file()),
            state_prefix: "/console-same".to_owned(),
            state_secret: self.directory.path().join("state-secret"),
            extra_arguments: Vec::new(),
            clock: None,
            users: ["viewer", "operator", "approver", "admin"]
                .map(|role| ConsoleUser::new(role, role))
                .to_vec(),
            directory: self.directory.path().join("console"),
        }
    }

    /// Node `number`, counted from 1.
    ///
    /// # Panics
    /// If it does not exist.
    #[must_use]
    pub fn node(&self, number: usize) -> &HomogeneousNode {
        &self.nodes[number - 1]
    }

    #[must_use]
    pub fn nodes(&self) -> &[HomogeneousNode] {
        &self.nodes
    }

    #[must_use]
    pub const fn etcd(&self) -> &LabEtcd {
        &self.etcd
    }

    /// A client of the lab's etcd.
    ///
    /// # Errors
    /// If the endpoints are invalid.
    pub fn registry(&self) -> Result<Registry> {
        Ok(Registry::connect(registry::EtcdSettings::new(
            self.etcd.endpoints(),
        ))?)
    }

    /// What the registry holds of the cluster, by key below the cluster's prefix.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub async fn keys(&self) -> Result<BTreeMap<String, String>> {
        let prefix = format!("/galera/{CLUSTER}/");
        let listing = self.registry()?.list(prefix.clone()).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pairs = listing.entries.iter().map(|entry| {
            let key = text(&entry.key);
            let key = key.strip_prefix(&prefix).unwrap_or(&key).to_owned();
            (key, text(&entry.value))
        });
        Ok(pairs.collect())
    }

    /// Waits until all of `numbers` are Synced in one Primary component of exactly that many.
    ///
    /// # Errors
    /// If that takes longer than `patience`; lists what each node reports.
    pub async fn wait_until_synced(&self, numbers: &[usize], patience: Duration) -> Result<()> {
        let size = numbers.len().to_string();
        let waiting = eventually("one cluster", patience, async || {
            for number in numbers {
                let node = self.node(*number);
                node.ensure_running()?;
                let status = node.wsrep().await?;
                let read = |name: &str| status.get(name).map(String::as_str);
                ensure!(
                    read("wsrep_local_state_comment") == Some("Synced")
                        && read("wsrep_cluster_status") == Some("Primary")
                        && read("wsrep_cluster_size") == Some(&size),
                    "node {number} reports {:?}, {:?}, {:?}",
                    read("wsrep_local_state_comment"),
                    read("wsrep_cluster_status"),
                    read("wsrep_cluster_size")
                );
            }
            Ok(())
        });
        waiting.await.map_err(|error| {
            let logs = self
                .nodes
                .iter()
                .map(|node| format!("\nnode {}:\n{}", node.number, tail(&node.log(), 12)));
            error.context(logs.collect::<String>())
        })
    }

    /// Waits until all of `numbers` have applied what the most advanced of them has, and none is in the middle of a
    /// schema change: until that ends a node has no position that survives a crash.
    ///
    /// # Errors
    /// If that takes too long; names the nodes that are behind.
    pub async fn wait_until_applied(&self, numbers: &[usize]) -> Result<()> {
        let mut ahead = 0;
        for number in numbers {
            ahead = ahead.max(self.node(*number).position().await?.seqno);
        }
        eventually("all to have applied everything", APPLIED, async || {
            for number in numbers {
                let node = self.node(*number);
                let (position, saved) = (node.position().await?.seqno, node.saved_state()?);
                ensure!(
                    position >= ahead && saved.uuid.is_some(),
                    "node {number} is at {position} of {ahead} and saved {saved:?}"
                );
            }
            Ok(())
        })
        .await
    }

    /// Remembers every value that keys of the cluster get from now on.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn recorder(&self) -> Result<KeyRecorder> {
        KeyRecorder::start(self.registry()?)
    }

    /// The network between the nodes, when they have one that can be cut.
    #[must_use]
    pub const fn network(&self) -> Option<&LabNetwork> {
        self.network.as_ref()
    }

    /// How an arbitrator of this cluster is started, on the address that is in reach of every node; its output goes to `log`.
    #[must_use]
    pub fn arbitrator(&self, port: u16, log: &Path) -> Program {
        let middle = self
            .network
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, LabNetwork::router);
        let members: Vec<String> = self
            .nodes
            .iter()
            .map(HomogeneousNode::group_address)
            .collect();
        Program::new("garbd", "garbd", log)
            .args(["--group", CLUSTER, "--name", "arbitrator"])
            // For gvwstate.dat.
            .args(["--workdir", &self.directory.path().display().to_string()])
            .args(["--address", &format!("gcomm://{}", members.join(","))])
            .args([
                "--options",
                &format!("gmcast.listen_addr=tcp://{middle}:{port};{PATIENT_TIMEOUTS}"),
            ])
    }

    /// How the agent of an arbitrator is started, which listens at `address` and works in `directory`.
    #[must_use]
    pub fn arbitrator_agent(&self, name: &str, address: SocketAddr, directory: &Path) -> Program {
        let log = directory.join("agent.log");
        let agent = self.directory.path().join("galera-agent");
        let port = self.nodes.first().map_or(0, HomogeneousNode::group_port);
        Program::new("galera-agent arbitrator", agent, &log)
            .args(["arbitrator"])
            .env("CLUSTER_NAME", CLUSTER)
            .env("DISCOVERY_SERVICE", self.etcd().endpoints().join(","))
            .env("TTL", TTL.to_string())
            .env("GALERA_PORT", port.to_string())
            .env("ARBITRATOR_NAME", name)
            .env("ARBITRATOR_LISTEN", address.to_string())
            .env("ARBITRATOR_DIRECTORY", directory.display().to_string())
            .env("ARBITRATOR_OPTIONS", PATIENT_TIMEOUTS)
    }

    /// Every node, for an observer that connects as `user`.
    #[must_use]
    pub fn observed_nodes(&self, user: &str) -> Vec<ObservedNode> {
        self.nodes
            .iter()
            .map(|node| ObservedNode {
                key: node.number.to_string(),
                name: format!("n{}", node.number),
                address: node.address().to_string(),
                options: node.options(user),
            })
            .collect()
    }

    /// Where all files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn chown(path: &Path, user: &str) -> Result<()> {
    let given = std::process::Command::new("chown")
        .arg(format!("{user}:"))
        .arg(path)
        .status()?;
    ensure!(given.success(), "chown {}", path.display());
    Ok(())
}
