//! The settings of `galera-agent run`, in addition to those shared with `report`.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CLUSTER_JOIN` | members to join without etcd | none |
//! | `MYSQL_ROOT_PASSWORD` | password of `root@localhost` | required |
//! | `MYSQL_ROOT_HOST` | host from which a second `root` may connect | none |
//! | `XTRABACKUP_USER`, `XTRABACKUP_PASSWORD` | account for state transfers | `xtrabackup`, required for mariabackup |
//! | `CONSOLE_USER`, `CONSOLE_PASSWORD` | read-only account | `console`, not created without a password |
//! | `RECOVERY_USER`, `RECOVERY_PASSWORD` | account that may bootstrap | `recovery`, not created without a password |
//! | `MYSQL_DATABASE`, `MYSQL_USER`, `MYSQL_PASSWORD` | database and account that the founder makes for an application | none |
//! | `GALERA_PORT` | the group communication port of every member | 4567 |
//! | `NODE_NAME` | `wsrep_node_name` | the node's identity |
//! | `AUTO_BOOTSTRAP` | `all-reported` or `never` | `never` |
//! | `ORDER_PUBLIC_KEY_FILE` | public keys (PEM) of the consoles whose bootstrap orders are accepted | none: no order is accepted |
//! | `EXPECTED_MEMBERS` | number of members, or their names, also for founding | the durable registrations |

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use galera::id::GALERA_NAME_MAX;
use galera::observe::registration::RegistryKeys;
use galera::startup::{self, AutoBootstrap, ExpectedMembers};
use galera::{ClusterName, NodeId};
use order_signature::TrustedKeys;
use sql_client::Tls;

use super::accounts::{AccountSettings, sql_safe_text};
use super::{
    DEFAULT_MYSQL_PORT, SettingError, SettingsSource, etcd, health_address, keys, liveness_socket,
    node, policy, tls, ttl,
};
use crate::health;

const DEFAULT_GALERA_PORT: u16 = 4567;

/// Variables that are removed from the server's environment.
pub const SECRET_VARIABLES: [&str; 6] = [
    "MYSQL_ROOT_PASSWORD",
    "MYSQL_PASSWORD",
    "XTRABACKUP_PASSWORD",
    "CONSOLE_PASSWORD",
    "RECOVERY_PASSWORD",
    "ETCD_PASSWORD",
];

/// The validated settings of `galera-agent run`.
#[derive(Clone, Debug)]
pub struct RunSettings {
    pub cluster: ClusterName,
    /// The node's address, with a port only if one was given.
    pub address: NodeId,
    /// `wsrep_node_name`.
    pub name: Option<String>,
    pub keys: RegistryKeys,
    /// Lease TTL of the report.
    pub ttl: Duration,
    pub discovery: PeerDiscovery,
    /// Address of the health endpoint; `None` to disable it.
    pub health: Option<SocketAddr>,
    /// Path of the socket for local checks; `None` to disable it.
    pub liveness_socket: Option<PathBuf>,
    pub policy: health::HealthPolicy,
    /// Group communication port of every member.
    pub galera_port: u16,
    /// When a stopped cluster is bootstrapped automatically.
    pub startup: startup::StartupSettings,
    /// The consoles whose bootstrap orders are accepted; `None` for no console's.
    pub order_keys: Option<TrustedKeys>,
    /// The database accounts that the agent makes.
    pub accounts: AccountSettings,
    /// TLS of connections to members.
    pub tls: Tls,
}

/// How a node finds its peers.
#[derive(Clone, Debug)]
pub enum PeerDiscovery {
    /// Through etcd.
    Registry(registry::EtcdSettings),
    /// From a fixed list; the node only joins and never founds.
    Static(Vec<NodeId>),
}

impl RunSettings {
    /// Reads and validates all variables of `source`; `first_address` is called if `NODE_ADDRESS` is not set.
    ///
    /// # Errors
    /// [`SettingError`] names the variable and the remedy.
    pub fn read(
        source: &SettingsSource<'_>,
        first_address: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Self, SettingError> {
        let cluster = source.required("CLUSTER_NAME", "the cluster's wsrep_cluster_name")?;
        check_length(source, &cluster)?;
        let cluster = super::cluster_name(source, &cluster)?;
        let ttl = ttl(source)?;
        let discovery = discovery(source, ttl)?;
        let health = health_address(source)?;
        let accounts = AccountSettings::read(source)?;
        Ok(Self {
            cluster,
            address: node(source, DEFAULT_MYSQL_PORT, first_address)?,
            name: node_name(source)?,
            keys: keys(source)?,
            ttl,
            discovery,
            health,
            liveness_socket: liveness_socket(source, health)?,
            policy: policy(source)?,
            galera_port: galera_port(source)?,
            startup: startup::StartupSettings {
                auto_bootstrap: auto_bootstrap(source)?,
                expected_members: expected(source)?,
            },
            order_keys: order_keys(source)?,
            accounts,
            tls: tls(source)?,
        })
    }

    /// The node's identity if its server listens on `port`.
    #[must_use]
    pub fn node(&self, port: u16) -> NodeId {
        let port = self.address.port().unwrap_or(port);
        NodeId::new(self.address.host(), Some(port))
            .unwrap_or_else(|_| self.address.clone())
            .normalized(DEFAULT_MYSQL_PORT)
    }
}

fn discovery(source: &SettingsSource<'_>, ttl: Duration) -> Result<PeerDiscovery, SettingError> {
    let Some(join) = source.optional("CLUSTER_JOIN")? else {
        return etcd(source, ttl).map(PeerDiscovery::Registry);
    };
    if source.optional("DISCOVERY_SERVICE")?.is_some() {
        let why = "cannot be combined with DISCOVERY_SERVICE; it is for nodes without etcd, remove one of them";
        return Err(source.invalid("CLUSTER_JOIN", why.to_owned()));
    }
    let members = join
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let members: Vec<NodeId> = members
        .map(|text| source.parse("CLUSTER_JOIN", text))
        .collect::<Result<_, _>>()?;
    if members.is_empty() {
        return Err(source.invalid("CLUSTER_JOIN", "lists no member".to_owned()));
    }
    Ok(PeerDiscovery::Static(members))
}

/// With any other character in the name the server skips its notifications.
fn node_name(source: &SettingsSource<'_>) -> Result<Option<String>, SettingError> {
    let name = sql_safe_text(source, "NODE_NAME")?;
    match name.filter(|name| name.contains(['%', ':'])) {
        Some(name) => {
            let why = format!("{name:?} has invalid characters; use letters, digits and . _ -");
            Err(source.invalid("NODE_NAME", why))
        }
        None => sql_safe_text(source, "NODE_NAME"),
    }
}

pub(super) fn galera_port(source: &SettingsSource<'_>) -> Result<u16, SettingError> {
    match source.optional("GALERA_PORT")? {
        None => Ok(DEFAULT_GALERA_PORT),
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(source.invalid(
                "GALERA_PORT",
                format!("{text:?} is not a port from 1 to 65535"),
            )),
        },
    }
}

fn auto_bootstrap(source: &SettingsSource<'_>) -> Result<AutoBootstrap, SettingError> {
    match source.optional("AUTO_BOOTSTRAP")?.as_deref() {
        None | Some("never") => Ok(AutoBootstrap::Never),
        Some("all-reported") => Ok(AutoBootstrap::AllReported),
        Some(text) => Err(source.invalid(
            "AUTO_BOOTSTRAP",
            format!("{text:?} is not all-reported or never"),
        )),
    }
}

fn order_keys(source: &SettingsSource<'_>) -> Result<Option<TrustedKeys>, SettingError> {
    let Some(text) = source.optional("ORDER_PUBLIC_KEY")? else {
        return Ok(None);
    };
    let invalid = |error: order_signature::KeyError| {
        let file = source.optional("ORDER_PUBLIC_KEY_FILE");
        match file.ok().flatten() {
            Some(file) => source.invalid("ORDER_PUBLIC_KEY_FILE", format!("{file} {error}")),
            None => source.invalid("ORDER_PUBLIC_KEY", error.to_string()),
        }
    };
    TrustedKeys::from_pem(text.as_bytes())
        .map(Some)
        .map_err(invalid)
}

fn expected(source: &SettingsSource<'_>) -> Result<ExpectedMembers, SettingError> {
    let Some(text) = source.optional("EXPECTED_MEMBERS")? else {
        return Ok(ExpectedMembers::Registered);
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(count @ 1..=256) => Ok(ExpectedMembers::Count(count)),
            _ => Err(source.invalid(
                "EXPECTED_MEMBERS",
                format!("{text} is not a number of members from 1 to 256"),
            )),
        };
    }
    let nodes = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let nodes = nodes.map(|text| {
        source
            .parse::<NodeId>("EXPECTED_MEMBERS", text)
            .map(|node| node.normalized(DEFAULT_MYSQL_PORT))
    });
    nodes
        .collect::<Result<_, _>>()
        .map(ExpectedMembers::Members)
}

/// With a name longer than [`GALERA_NAME_MAX`] the first node founds a cluster, and no other node can join it.
pub(super) fn check_length(source: &SettingsSource<'_>, name: &str) -> Result<(), SettingError> {
    let bytes = name.len();
    if bytes <= GALERA_NAME_MAX {
        return Ok(());
    }
    Err(source.invalid(
        "CLUSTER_NAME",
        format!(
            "has {bytes} bytes; Galera allows {GALERA_NAME_MAX}, and with a longer name the first node founds a cluster that no other node can join: choose a shorter one"
        ),
    ))
}
