//! A real MariaDB Galera cluster: n1 on 127.0.0.1, n2 on 127.0.0.2, …, all on one port.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use ::galera::id::NodeId;
use anyhow::{Context, Result, ensure};
use rand::Rng;

use super::copy_agent;
use super::directory::LabDirectory;
use super::node::{ClusterSettings, GaleraNode, NodeStart, SYNC_TIMEOUT};
use super::ports::ReservedPort;
use super::template::{DataTemplate, LabAccounts};
use crate::eventually;
use crate::proxy::ChaosProxy;

pub struct GaleraCluster {
    nodes: Vec<GaleraNode>,
    common: Option<Arc<ClusterSettings>>,
}

impl GaleraCluster {
    /// Reserves ports and makes data directories for `count` nodes; nothing is started yet.
    ///
    /// # Errors
    /// If MariaDB is not installed.
    pub async fn prepare(
        directory: &LabDirectory,
        cluster: &str,
        count: usize,
        transfer_speed: Option<u64>,
        sql_proxies: bool,
    ) -> Result<Self> {
        if count == 0 {
            let (nodes, common) = (Vec::new(), None);
            return Ok(Self { nodes, common });
        }
        let addresses = (1..=count).map(address).collect::<Result<Vec<_>>>()?;
        let gcomm = addresses
            .iter()
            .map(|a| ReservedPort::reserve(*a))
            .collect::<Result<Vec<_>>>()?;
        let peers: Vec<_> = addresses
            .iter()
            .zip(&gcomm)
            .map(|(a, p)| format!("{a}:{}", p.number()))
            .collect();
        let common = Arc::new(ClusterSettings {
            cluster: cluster.to_owned(),
            template: DataTemplate::load_or_create().await?,
            mysql: ReservedPort::reserve_on(&addresses)?,
            peers: format!("gcomm://{}", peers.join(",")),
            agent: copy_agent(directory.path())?,
        });
        let mut nodes = Vec::new();
        for (index, (address, gcomm)) in addresses.into_iter().zip(gcomm).enumerate() {
            nodes.push(
                make_node(
                    directory,
                    index + 1,
                    address,
                    gcomm,
                    (transfer_speed, sql_proxies),
                    &common,
                )
                .await?,
            );
        }
        Ok(Self {
            nodes,
            common: Some(common),
        })
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

async fn make_node(
    directory: &LabDirectory,
    number: usize,
    address: Ipv4Addr,
    gcomm: ReservedPort,
    (transfer_speed, sql_proxies): (Option<u64>, bool),
    common: &Arc<ClusterSettings>,
) -> Result<GaleraNode> {
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
    let ist = ReservedPort::reserve(address)?;
    let transfer = match transfer_speed {
        Some(speed) => {
            let proxy = ChaosProxy::start(address, (address, ist.number()).into())?;
            proxy.throttle(speed);
            Some(proxy)
        }
        None => None,
    };
    let sql_proxy = if sql_proxies {
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
        separate_gcomm: ReservedPort::reserve(address)?,
        ist,
        sst: ReservedPort::reserve(address)?,
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
