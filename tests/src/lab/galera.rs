//! A real MariaDB Galera cluster: n1 on 127.0.0.1, n2 on 127.0.0.2, …, all on one port.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use ::galera::id::NodeId;
use anyhow::{Context, Result, ensure};
use rand::Rng;

use super::directory::Directory;
use super::lend_agent;
use super::node::{Common, Node, SYNC, Start};
use super::ports::Port;
use super::template::{Accounts, Template};
use crate::chaos::Proxy;
use crate::eventually;

/// The nodes.
pub struct Galera {
    nodes: Vec<Node>,
    common: Option<Arc<Common>>,
}

impl Galera {
    /// Reserves ports and makes data directories for `count` nodes; nothing runs yet.
    ///
    /// # Errors
    /// When MariaDB is not installed.
    pub async fn prepare(
        directory: &Directory,
        cluster: &str,
        count: usize,
        transfer_speed: Option<u64>,
        doors: bool,
    ) -> Result<Self> {
        if count == 0 {
            let (nodes, common) = (Vec::new(), None);
            return Ok(Self { nodes, common });
        }
        let addresses = (1..=count).map(address).collect::<Result<Vec<_>>>()?;
        let gcomm = addresses
            .iter()
            .map(|a| Port::reserve(*a))
            .collect::<Result<Vec<_>>>()?;
        let peers: Vec<_> = addresses
            .iter()
            .zip(&gcomm)
            .map(|(a, p)| format!("{a}:{}", p.number()))
            .collect();
        let common = Arc::new(Common {
            cluster: cluster.to_owned(),
            template: Template::ready().await?,
            mysql: Port::reserve_on(&addresses)?,
            peers: format!("gcomm://{}", peers.join(",")),
            agent: lend_agent(directory.path())?,
        });
        let mut nodes = Vec::new();
        for (index, (address, gcomm)) in addresses.into_iter().zip(gcomm).enumerate() {
            nodes.push(
                make(
                    directory,
                    index + 1,
                    address,
                    gcomm,
                    (transfer_speed, doors),
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
    /// When a node does not come up; quotes its error log.
    pub async fn start(&self) -> Result<()> {
        for node in &self.nodes {
            node.start(if node.number == 1 {
                Start::Found
            } else {
                Start::Join
            })
            .await?;
        }
        self.whole().await
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
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
    pub fn accounts(&self) -> Option<&Accounts> {
        self.common.as_ref().map(|common| &common.template.accounts)
    }

    /// Waits until every node is Synced in one Primary component of all of them.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn whole(&self) -> Result<()> {
        let size = self.nodes.len().to_string();
        for node in &self.nodes {
            node.synced().await?;
            eventually(
                &format!("{} to see {size} members", node.name()),
                SYNC,
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

async fn make(
    directory: &Directory,
    number: usize,
    address: Ipv4Addr,
    gcomm: Port,
    (transfer_speed, doors): (Option<u64>, bool),
    common: &Arc<Common>,
) -> Result<Node> {
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
        common.template.give(path)?;
    }
    let ist = Port::reserve(address)?;
    let transfer = match transfer_speed {
        Some(speed) => {
            let proxy = Proxy::start(address, (address, ist.number()).into())?;
            proxy.throttle(speed);
            Some(proxy)
        }
        None => None,
    };
    let door = if doors {
        let target = (address, common.mysql.number()).into();
        Some(Proxy::start(address, target)?)
    } else {
        None
    };
    let port = door.as_ref().map(|door| door.address().port());
    Ok(Node {
        number,
        id: NodeId::new(&address.to_string(), port)?,
        address,
        directory: own,
        gcomm,
        apart: Port::reserve(address)?,
        ist,
        sst: Port::reserve(address)?,
        transfer,
        door,
        notify: format!(
            "galera-lab-n{number}-{:016x}/{:032x}",
            rand::rng().random::<u64>(),
            rand::rng().random::<u128>()
        ),
        common: Arc::clone(common),
        process: Mutex::default(),
    })
}
