//! The servers of the documents: an etcd on this host, one with TLS on etcd1 to etcd3, and the cluster `lab` with an agent
//! beside each node.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::agent::write_secret;
use acceptance::lab::directory::LabDirectory;
use acceptance::lab::galera::GaleraCluster;
use acceptance::lab::process::{LabProcess, Program};
use acceptance::lab::program;
use acceptance::lab::template::LabAccounts;
use anyhow::{Context, Result};
use registry::{EtcdSettings, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::documented_host::{DocumentedHost, ETCD_HOSTS, NODES};

const ETCD_TIMEOUT: Duration = Duration::from_secs(60);
/// The etcd of the documents' commands that name none.
pub(crate) const LOCAL_ETCD: &str = "http://127.0.0.1:2379";
/// Of MariaDB.
const SQL_PORT: u16 = 3306;

pub(crate) struct DocumentedServers {
    // Dropped in this order.
    _agents: Vec<LabProcess>,
    pub(crate) galera: GaleraCluster,
    _etcd: [LabProcess; 2],
}

impl DocumentedServers {
    /// Starts all of them and waits until the nodes are Synced.
    ///
    /// # Errors
    /// If a program is missing or does not start.
    pub(crate) async fn start(directory: &LabDirectory, host: &DocumentedHost) -> Result<Self> {
        let path = directory.path();
        let etcd = [local_etcd(path)?, secured_etcd(path, host)?];
        let galera = GaleraCluster::prepare_in_own_namespace(directory, "lab", &NODES).await?;
        galera.start().await?;
        forward_sql(NODES[0]).await?;
        wait_for_etcd(EtcdSettings::new([LOCAL_ETCD])).await?;
        let mut secured = EtcdSettings::new(["https://etcd1:2379"]);
        secured.ca = Some(host.authority.clone());
        wait_for_etcd(secured).await?;
        let mut agents = Vec::new();
        for node in NODES {
            agents.push(agent(path, node, &accounts_of(&galera)?.agent)?);
        }
        Ok(Self {
            _agents: agents,
            galera,
            _etcd: etcd,
        })
    }

    /// The databases' accounts.
    ///
    /// # Errors
    /// Never: the cluster has nodes.
    pub(crate) fn accounts(&self) -> Result<&LabAccounts> {
        accounts_of(&self.galera)
    }
}

fn accounts_of(galera: &GaleraCluster) -> Result<&LabAccounts> {
    galera.accounts().context("the cluster has no nodes")
}

fn etcd(directory: &Path, name: &str, peer: Ipv4Addr) -> Program {
    let data = directory.join(format!("{name}.data")).display().to_string();
    let peer = format!("http://{peer}:2380");
    Program::new(name, "etcd", &directory.join(format!("{name}.log")))
        .args(["--name", name, "--data-dir", &data])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("{name}={peer}")])
        .env("ETCD_UNSUPPORTED_ARCH", "arm64")
}

fn local_etcd(directory: &Path) -> Result<LabProcess> {
    etcd(directory, "etcd-local", Ipv4Addr::LOCALHOST)
        .args([
            "--listen-client-urls",
            LOCAL_ETCD,
            "--advertise-client-urls",
            LOCAL_ETCD,
        ])
        .start()
        .context("is etcd installed? scripts/setup lab")
}

fn secured_etcd(directory: &Path, host: &DocumentedHost) -> Result<LabProcess> {
    let listen = ETCD_HOSTS
        .map(|address| format!("https://{address}:2379"))
        .join(",");
    let certificate = &host.etcd_certificate;
    etcd(directory, "etcd-secured", ETCD_HOSTS[0])
        .args(["--listen-client-urls", &listen])
        .args(["--advertise-client-urls", "https://etcd1:2379"])
        .args([
            "--cert-file",
            &certificate.certificate.display().to_string(),
        ])
        .args(["--key-file", &certificate.key.display().to_string()])
        .start()
}

async fn wait_for_etcd(mut settings: EtcdSettings) -> Result<()> {
    settings.deadline = Duration::from_secs(1);
    eventually("etcd to serve", ETCD_TIMEOUT, async || {
        Ok(Registry::connect(settings.clone())?.ready().await?)
    })
    .await
}

fn agent(directory: &Path, node: Ipv4Addr, password: &str) -> Result<LabProcess> {
    let file = directory.join(format!("agent-{node}.password"));
    write_secret(&file, password)?;
    let log = directory.join(format!("agent-{node}.log"));
    Program::new(
        &format!("galera-agent of {node}"),
        program("galera-agent")?,
        &log,
    )
    .arg("report")
    .env("CLUSTER_NAME", "lab")
    .env("DISCOVERY_SERVICE", LOCAL_ETCD)
    .env("NODE_ADDRESS", node.to_string())
    .env("MYSQL_HOST", node.to_string())
    .env("MYSQL_USER", "agent")
    .env("MYSQL_PASSWORD_FILE", file.display().to_string())
    .env("HEALTH_LISTEN", "off")
    .env("LIVENESS_SOCKET", "off")
    .start()
}

/// A server listens on all addresses of its host; those of the lab have one address each.
async fn forward_sql(node: Ipv4Addr) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, SQL_PORT)).await?;
    let clients = TaskTracker::new();
    TaskTracker::new().spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            clients.spawn(async move {
                // Either side may end the connection.
                if let Ok(mut server) = TcpStream::connect((node, SQL_PORT)).await {
                    tokio::io::copy_bidirectional(&mut client, &mut server)
                        .await
                        .ok();
                }
            });
        }
    });
    Ok(())
}
