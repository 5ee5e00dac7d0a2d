//! A real MariaDB Galera cluster: n1 on 127.0.0.1, n2 on 127.0.0.2, …, or each in its own network namespace, all on one port.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use ::galera::id::NodeId;
use anyhow::{Context, Result, ensure};
use rand::Rng;

use super::copy_agent;
use super::directory::LabDirectory;
use super::network::{HostPlacement, LabNetwork};
use super::node::{ClusterSettings, GaleraNode, NodeStart, SYNC_TIMEOUT};
use super::ports::ReservedPort;
use super::template::{DataTemplate, LabAccounts};
use crate::eventually;
use crate::proxy::ChaosProxy;

pub struct GaleraCluster {
    nodes: Vec<GaleraNode>,
    common: Option<Arc<ClusterSettings>>,
}

/// Group communication notices a fault fast; a busy machine may take longer for an answer.
const FAST_TIMEOUTS: &str = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;evs.install_timeout=PT4S";
/// At most Galera's own, and longer than what a busy machine takes for an answer.
pub(super) const PATIENT_TIMEOUTS: &str = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT5S;evs.inactive_timeout=PT10S;evs.install_timeout=PT10S";

/// What lies between the nodes and their clients.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeProxies {
    /// Lets incremental state transfers pass at most this many bytes per second.
    pub(super) ist_bytes_per_second: Option<u64>,
    /// Whether consoles reach SQL through a proxy.
    pub(super) sql: bool,
}

impl GaleraCluster {
    /// Reserves ports and makes data directories for `count` nodes on loopback addresses; nothing is started yet.
    ///
    /// # Errors
    /// If MariaDB is not installed.
    pub(super) async fn prepare(
        directory: &LabDirectory,
        cluster: &str,
        count: usize,
        proxies: NodeProxies,
    ) -> Result<Self> {
        let places = (1..=count).map(|number| Ok(HostPlacement::local(address(number)?)));
        let places = places.collect::<Result<Vec<_>>>()?;
        let mut ports = Vec::new();
        for place in &places {
            ports.push(NodePorts::reserve(place.address)?);
        }
        let addresses: Vec<Ipv4Addr> = places.iter().map(|place| place.address).collect();
        let settings = CommonSettings {
            cluster,
            mysql: ReservedPort::reserve_on(&addresses)?,
            group_timeouts: FAST_TIMEOUTS,
            durable: false,
        };
        Self::make(directory, &places, ports, settings, proxies).await
    }

    /// The same with one node on each of the first `count` hosts of `network`. Commits are on disk before they are acknowledged, and a busy machine is not
    /// taken for a fault.
    ///
    /// # Errors
    /// If MariaDB is not installed.
    pub async fn prepare_on(
        network: &LabNetwork,
        directory: &LabDirectory,
        cluster: &str,
        count: usize,
    ) -> Result<Self> {
        let places = &network.hosts()[..count];
        // Free on the router is free in a new namespace.
        let ports = places
            .iter()
            .map(|_| NodePorts::reserve(network.router()))
            .collect::<Result<Vec<_>>>()?;
        let settings = CommonSettings {
            cluster,
            mysql: ReservedPort::reserve(network.router())?,
            group_timeouts: PATIENT_TIMEOUTS,
            durable: true,
        };
        Self::make(directory, places, ports, settings, NodeProxies::default()).await
    }

    /// The same with the ports that MariaDB and Galera have by default, on addresses of a network namespace that no other
    /// program uses.
    ///
    /// # Errors
    /// If MariaDB is not installed.
    pub async fn prepare_in_own_namespace(
        directory: &LabDirectory,
        cluster: &str,
        addresses: &[Ipv4Addr],
    ) -> Result<Self> {
        let places: Vec<_> = addresses
            .iter()
            .copied()
            .map(HostPlacement::local)
            .collect();
        let ports = places.iter().map(|_| NodePorts::by_default());
        let settings = CommonSettings {
            cluster,
            mysql: ReservedPort::in_own_namespace(3306),
            group_timeouts: FAST_TIMEOUTS,
            durable: false,
        };
        let (ports, proxies) = (ports.collect(), NodeProxies::default());
        Self::make(directory, &places, ports, settings, proxies).await
    }

    async fn make(
        directory: &LabDirectory,
        places: &[HostPlacement],
        ports: Vec<NodePorts>,
        settings: CommonSettings<'_>,
        proxies: NodeProxies,
    ) -> Result<Self> {
        if places.is_empty() {
            let (nodes, common) = (Vec::new(), None);
            return Ok(Self { nodes, common });
        }
        let peers: Vec<_> = places
            .iter()
            .zip(&ports)
            .map(|(place, ports)| format!("{}:{}", place.address, ports.gcomm.number()))
            .collect();
        let common = Arc::new(ClusterSettings {
            cluster: settings.cluster.to_owned(),
            template: DataTemplate::load_or_create().await?,
            mysql: settings.mysql,
            peers: format!("gcomm://{}", peers.join(",")),
            group_timeouts: settings.group_timeouts,
            durable: settings.durable,
            agent: copy_agent(directory.path())?,
        });
        let mut nodes = Vec::new();
        for (index, (place, ports)) in places.iter().zip(ports).enumerate() {
            let node = make_node(directory, index + 1, place, ports, proxies, &common);
            nodes.push(node.await?);
        }
        Ok(Self {
            nodes,
            common: Some(common),
        })
    }

    /// `gcomm://…` with every node.
    #[must_use]
    pub fn peers(&self) -> &str {
        self.common.as_ref().map_or("", |common| &common.peers)
    }

    /// Founds the cluster with n1, lets the others join one after the other, waits until all are Synced.
    ///
    /// # Errors
    /// If a node does not start; quotes its error log.
    pub async fn start(&self) -> Result<()> {
        for node in &self.nodes {
            node.start(if node.number == 1 {
                NodeStart::Found
            } else {
                NodeStart::Join
            })
            .await?;
        }
        self.wait_until_synced().await
    }

    #[must_use]
    pub fn nodes(&self) -> &[GaleraNode] {
        &self.nodes
    }

    /// The port for SQL of every node.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.common
            .as_ref()
            .map_or(3306, |common| common.mysql.number())
    }

    /// The database accounts.
    #[must_use]
    pub fn accounts(&self) -> Option<&LabAccounts> {
        self.common.as_ref().map(|common| &common.template.accounts)
    }

    /// Waits until every node is Synced in one Primary component of all of them.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn wait_until_synced(&self) -> Result<()> {
        let size = self.nodes.len().to_string();
        for node in &self.nodes {
            node.wait_until_synced().await?;
            eventually(
                &format!("{} to see {size} members", node.name()),
                SYNC_TIMEOUT,
                async || {
                    let seen = node.wsrep().await?.remove("wsrep_cluster_size");
                    ensure!(seen.as_deref() == Some(&size), "it sees {seen:?}");
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }
}

fn address(number: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(
        127,
        0,
        0,
        u8::try_from(number).context("too many nodes")?,
    ))
}

/// What [`GaleraCluster::make`] needs for [`ClusterSettings`].
struct CommonSettings<'a> {
    cluster: &'a str,
    mysql: ReservedPort,
    group_timeouts: &'static str,
    durable: bool,
}

/// The ports of one node that are its own.
struct NodePorts {
    gcomm: ReservedPort,
    separate_gcomm: ReservedPort,
    ist: ReservedPort,
    sst: ReservedPort,
}

impl NodePorts {
    /// Galera's default ports.
    const fn by_default() -> Self {
        Self {
            gcomm: ReservedPort::in_own_namespace(4567),
            separate_gcomm: ReservedPort::in_own_namespace(14_567),
            ist: ReservedPort::in_own_namespace(4568),
            sst: ReservedPort::in_own_namespace(4444),
        }
    }

    fn reserve(address: Ipv4Addr) -> Result<Self> {
        Ok(Self {
            gcomm: ReservedPort::reserve(address)?,
            separate_gcomm: ReservedPort::reserve(address)?,
            ist: ReservedPort::reserve(address)?,
            sst: ReservedPort::reserve(address)?,
        })
    }
}

async fn make_node(
    directory: &LabDirectory,
    number: usize,
    place: &HostPlacement,
    ports: NodePorts,
    proxies: NodeProxies,
    common: &Arc<ClusterSettings>,
) -> Result<GaleraNode> {
    let address = place.address;
    let own = directory.path().join(format!("n{number}"));
    fs::create_dir(&own)?;
    fs::create_dir(own.join("tmp"))?;
    let data = own.join("data");
    if number == 1 {
        common.template.copy_to(&data).await?;
    } else {
        // It gets everything from its donor, as a new container does.
        fs::create_dir(&data)?;
    }
    for path in [&own, &own.join("tmp"), &data] {
        common.template.chown_to_server(path)?;
    }
    let NodePorts {
        gcomm,
        separate_gcomm,
        ist,
        sst,
    } = ports;
    let transfer = match proxies.ist_bytes_per_second {
        Some(speed) => {
            let proxy = ChaosProxy::start(address, (address, ist.number()).into())?;
            proxy.throttle(speed);
            Some(proxy)
        }
        None => None,
    };
    let sql_proxy = if proxies.sql {
        let target = (address, common.mysql.number()).into();
        Some(ChaosProxy::start(address, target)?)
    } else {
        None
    };
    let port = sql_proxy
        .as_ref()
        .map(|sql_proxy| sql_proxy.address().port());
    Ok(GaleraNode {
        number,
        id: NodeId::new(&address.to_string(), port)?,
        address,
        directory: own,
        gcomm,
        namespace: place.namespace.clone(),
        weight: AtomicU64::new(1),
        separate_gcomm,
        ist,
        sst,
        ist_proxy: transfer,
        sql_proxy,
        notify: format!(
            "galera-lab-n{number}-{:016x}/{:032x}",
            rand::rng().random::<u64>(),
            rand::rng().random::<u128>()
        ),
        common: Arc::clone(common),
        process: Mutex::default(),
    })
}
