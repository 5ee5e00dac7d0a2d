//! The settings of `galera-agent run`, beside those that it shares with `report`.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CLUSTER_JOIN` | members to join without etcd | none |
//! | `MYSQL_ROOT_PASSWORD` | of `root@localhost` | required |
//! | `MYSQL_ROOT_HOST` | from where a second `root` may connect | none |
//! | `XTRABACKUP_USER`, `XTRABACKUP_PASSWORD` | the state transfer's account | `xtrabackup`, required for mariabackup |
//! | `CONSOLE_USER`, `CONSOLE_PASSWORD` | an account that may only look | `console`, none is made |
//! | `RECOVERY_USER`, `RECOVERY_PASSWORD` | the account that may bootstrap | `recovery`, none is made |
//! | `GALERA_PORT` | the group communication port of every member | 4567 |
//! | `NODE_NAME` | `wsrep_node_name` | the node's identity |
//! | `AUTO_BOOTSTRAP` | `all-reported` or `never` | `never` |
//! | `EXPECTED_MEMBERS` | how many members there are, or their names | the durable registrations |

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use galera::observe::registration::Keys;
use galera::startup::{self, AutoBootstrap, Expected};
use galera::{ClusterName, NodeId};
use registry::Secret;

use super::{DEFAULT_PORT, Source, Wrong, etcd, health_address, keys, node, policy, ttl};
use crate::health;

/// The port of group communication unless it is set.
const GALERA_PORT: u16 = 4567;

/// Variables that the server and what it starts need not know.
pub const SECRETS: [&str; 5] = [
    "MYSQL_ROOT_PASSWORD",
    "XTRABACKUP_PASSWORD",
    "CONSOLE_PASSWORD",
    "RECOVERY_PASSWORD",
    "ETCD_PASSWORD",
];

/// An account of the database.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Everything that `run` needs to know, checked.
#[derive(Clone, Debug)]
pub struct Run {
    /// The cluster that the node belongs to.
    pub cluster: ClusterName,
    /// The node, with the port only when it was given.
    pub address: NodeId,
    /// `wsrep_node_name`.
    pub name: Option<String>,
    /// Where the registry's keys lie.
    pub keys: Keys,
    /// How long a report outlives its agent.
    pub ttl: Duration,
    /// How to find the others.
    pub discovery: Discovery,
    /// Where the health endpoint listens; `None` for nowhere.
    pub health: Option<SocketAddr>,
    /// What it calls healthy.
    pub policy: health::Policy,
    /// The group communication port of every member.
    pub galera_port: u16,
    /// When a stopped cluster may come back by itself.
    pub startup: startup::Settings,
    /// `root@localhost`.
    pub root: Account,
    /// From where a second `root` may connect.
    pub root_host: Option<String>,
    /// The state transfer's account.
    pub transfer: Option<Account>,
    /// The account that may only look.
    pub console: Option<Account>,
    /// The account that may bootstrap.
    pub recovery: Option<Account>,
}

/// How a node finds the others.
#[derive(Clone, Debug)]
pub enum Discovery {
    /// Through etcd.
    Registry(registry::Settings),
    /// By a fixed list; nobody founds then.
    Fixed(Vec<NodeId>),
}

impl Run {
    /// Reads and checks every variable of `source`; `first_address` is asked when `NODE_ADDRESS` is not set.
    ///
    /// # Errors
    /// [`Wrong`] names the variable and the remedy.
    pub fn read(
        source: &Source<'_>,
        first_address: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Self, Wrong> {
        let cluster = source.required(
            "CLUSTER_NAME",
            "the cluster's name as in wsrep_cluster_name",
        )?;
        let cluster = source.parsed("CLUSTER_NAME", &cluster)?;
        let ttl = ttl(source)?;
        let discovery = discovery(source, ttl)?;
        let root = source.required("MYSQL_ROOT_PASSWORD", "the password of root@localhost")?;
        Ok(Self {
            cluster,
            address: node(source, DEFAULT_PORT, first_address)?,
            name: node_name(source)?,
            keys: keys(source)?,
            ttl,
            discovery,
            health: health_address(source)?,
            policy: policy(source)?,
            galera_port: galera_port(source)?,
            startup: startup::Settings {
                auto: auto_bootstrap(source)?,
                expected: expected(source)?,
            },
            root: Account {
                user: "root".to_owned(),
                password: password(source, "MYSQL_ROOT_PASSWORD", root)?,
            },
            root_host: word(source, "MYSQL_ROOT_HOST")?,
            transfer: account(source, "XTRABACKUP", "xtrabackup")?,
            console: account(source, "CONSOLE", "console")?,
            recovery: account(source, "RECOVERY", "recovery")?,
        })
    }

    /// The node's identity when its server listens on `port`.
    #[must_use]
    pub fn node(&self, port: u16) -> NodeId {
        let port = self.address.port().unwrap_or(port);
        NodeId::new(self.address.host(), Some(port))
            .unwrap_or_else(|_| self.address.clone())
            .normalized(DEFAULT_PORT)
    }
}

fn discovery(source: &Source<'_>, ttl: Duration) -> Result<Discovery, Wrong> {
    let Some(join) = source.optional("CLUSTER_JOIN")? else {
        return etcd(source, ttl).map(Discovery::Registry);
    };
    if source.optional("DISCOVERY_SERVICE")?.is_some() {
        let why = "is set together with DISCOVERY_SERVICE; it is for nodes without etcd, drop one of them";
        return Err(source.wrong("CLUSTER_JOIN", why.to_owned()));
    }
    let members = join
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let members: Vec<NodeId> = members
        .map(|text| source.parsed("CLUSTER_JOIN", text))
        .collect::<Result<_, _>>()?;
    if members.is_empty() {
        return Err(source.wrong("CLUSTER_JOIN", "names no member".to_owned()));
    }
    Ok(Discovery::Fixed(members))
}

/// The server notifies nobody when a name has any other character.
fn node_name(source: &Source<'_>) -> Result<Option<String>, Wrong> {
    let name = word(source, "NODE_NAME")?;
    match name.filter(|name| name.contains(['%', ':'])) {
        Some(name) => {
            let why = format!("{name:?} may have letters, digits and . _ - only");
            Err(source.wrong("NODE_NAME", why))
        }
        None => word(source, "NODE_NAME"),
    }
}

fn galera_port(source: &Source<'_>) -> Result<u16, Wrong> {
    match source.optional("GALERA_PORT")? {
        None => Ok(GALERA_PORT),
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(source.wrong(
                "GALERA_PORT",
                format!("{text:?} is not a port from 1 to 65535"),
            )),
        },
    }
}

fn auto_bootstrap(source: &Source<'_>) -> Result<AutoBootstrap, Wrong> {
    match source.optional("AUTO_BOOTSTRAP")?.as_deref() {
        None | Some("never") => Ok(AutoBootstrap::Never),
        Some("all-reported") => Ok(AutoBootstrap::AllReported),
        Some(text) => Err(source.wrong(
            "AUTO_BOOTSTRAP",
            format!("{text:?} is neither all-reported nor never"),
        )),
    }
}

fn expected(source: &Source<'_>) -> Result<Expected, Wrong> {
    let Some(text) = source.optional("EXPECTED_MEMBERS")? else {
        return Ok(Expected::Registered);
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(count @ 1..=256) => Ok(Expected::Count(count)),
            _ => Err(source.wrong(
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
            .parsed::<NodeId>("EXPECTED_MEMBERS", text)
            .map(|node| node.normalized(DEFAULT_PORT))
    });
    nodes.collect::<Result<_, _>>().map(Expected::Members)
}

fn account(source: &Source<'_>, prefix: &str, default: &str) -> Result<Option<Account>, Wrong> {
    let user = word(source, &format!("{prefix}_USER"))?;
    let name = format!("{prefix}_PASSWORD");
    let Some(text) = source.optional(&name)? else {
        return match user {
            Some(user) => Err(source.wrong(
                &name,
                format!("is not set while {prefix}_USER is {user}; give both"),
            )),
            None => Ok(None),
        };
    };
    Ok(Some(Account {
        user: user.unwrap_or_else(|| default.to_owned()),
        password: password(source, &name, text)?,
    }))
}

/// Text that becomes part of a statement between quotes.
fn word(source: &Source<'_>, name: &str) -> Result<Option<String>, Wrong> {
    let Some(text) = source.optional(name)? else {
        return Ok(None);
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-%:".contains(c);
    if text.len() > 80 || !text.chars().all(plain) {
        let why = format!("{text:?} may have letters, digits and . _ - % : only, at most 80");
        return Err(source.wrong(name, why));
    }
    Ok(Some(text))
}

fn password(source: &Source<'_>, name: &str, text: String) -> Result<Secret, Wrong> {
    if text.chars().any(char::is_control) || text.len() > 512 {
        let why = "has control characters or more than 512 bytes; choose another password";
        return Err(source.wrong(name, why.to_owned()));
    }
    Ok(Secret::new(text))
}
