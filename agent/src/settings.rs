//! The agent's settings, read from the environment once, before anything is opened.
//!
//! Every variable NAME can be given as NAME_FILE instead, the path of a file with the value, for secrets.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CLUSTER_NAME` | the cluster's `wsrep_cluster_name`, at most 32 bytes for `run` | required |
//! | `DISCOVERY_SERVICE` | etcd hosts, comma-separated: `host`, `host:port` or URL | required |
//! | `TTL` | lease TTL of the report in seconds, 3 to 3600 | 10 |
//! | `NODE_ADDRESS` | the node's identity in the registry, `host` or `host:port` | first address of the host |
//! | `REGISTRY_PREFIX` | prefix of the registry keys | `/galera` |
//! | `MYSQL_HOST`, `MYSQL_PORT` | the database, over TCP | 127.0.0.1, 3306 |
//! | `MYSQL_SOCKET` | the database's Unix socket, instead of TCP | none |
//! | `MYSQL_TLS` | `off`, `preferred` or `required`: TLS over TCP | `required` with `MYSQL_TLS_CA`, else `off` |
//! | `MYSQL_TLS_CA` | PEM file of the authority of the database's certificate | none |
//! | `MYSQL_TLS_VERIFY` | what is checked of the certificate: `ca` or `identity` | `identity` |
//! | `MYSQL_TLS_CERT`, `MYSQL_TLS_KEY` | PEM files of the agent's certificate | none |
//! | `MYSQL_USER` | an account with `GRANT USAGE` | `console` |
//! | `MYSQL_PASSWORD_FILE` | file with its password | no password |
//! | `HEALTH_LISTEN` | address of the health endpoint, or `off` | `:9200` |
//! | `LIVENESS_SOCKET` | Unix socket for `galera-agent check`, or `off` | `/run/galera-agent/PORT.sock` |
//! | `AVAILABLE_WHEN_DONOR` | whether a donor is healthy | 0 |
//! | `AVAILABLE_WHEN_READONLY` | whether a server with `read_only` is healthy | 1 |
//! | `HEALTH_DISABLE_FILE` | the node is unhealthy while this file exists | `/var/tmp/galera-agent.disabled` |
//! | `GALERA_AGENT_NOTIFY` | `NAME/SECRET`: socket for the server's `galera-agent notify` | none |
//! | `ETCD_USER`, `ETCD_PASSWORD_FILE` | etcd account | none |
//! | `ETCD_CA`, `ETCD_CERT`, `ETCD_KEY` | PEM files for TLS with etcd | none |
//! | `RUST_LOG` | log filter | `info` |

pub mod accounts;
pub mod arbitrator;
pub mod run;
mod source;
pub mod stop_check;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use galera::observe::registration::RegistryKeys;
use galera::{ClusterName, NodeId};
use registry::Secret;
use sql_client::{Tls, TlsSettings, Verify};

use crate::health;
use crate::liveness_socket;
use crate::notify::{self, NotifyEndpoint};
use crate::observation::AvailabilityPolicy;

pub use source::{SettingError, SettingsSource};

/// MariaDB's default port, which node identities omit.
pub const DEFAULT_MYSQL_PORT: u16 = 3306;

/// The validated settings of `galera-agent report`.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    pub cluster: ClusterName,
    pub node: NodeId,
    pub keys: RegistryKeys,
    /// Lease TTL of the report.
    pub ttl: Duration,
    pub registry: registry::EtcdSettings,
    pub database: DatabaseSettings,
    /// Address of the health endpoint; `None` to disable it.
    pub health: Option<SocketAddr>,
    /// Path of the socket for local checks; `None` to disable it.
    pub liveness_socket: Option<PathBuf>,
    pub policy: health::HealthPolicy,
    /// Endpoint for the server's notifications; `None` to disable them.
    pub notify: Option<NotifyEndpoint>,
}

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    pub host: String,
    pub port: u16,
    /// Used instead of host and port.
    pub socket: Option<PathBuf>,
    /// Whether a connection to host and port uses TLS.
    pub tls: Tls,
    pub user: String,
    /// `None` for an account without password.
    pub password: Option<Secret>,
}

impl DatabaseSettings {
    /// The socket or host and port, for messages.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.socket {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl ReportSettings {
    /// Reads and validates all variables of `source`; `first_address` is called if `NODE_ADDRESS` is not set.
    ///
    /// # Errors
    /// [`SettingError`] names the variable and the remedy.
    pub fn read(
        source: &SettingsSource<'_>,
        first_address: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Self, SettingError> {
        let cluster = source.required("CLUSTER_NAME", "the cluster's wsrep_cluster_name")?;
        let cluster = cluster_name(source, &cluster)?;
        let ttl = ttl(source)?;
        let database = database(source)?;
        let health = health_address(source)?;
        Ok(Self {
            node: node(source, database.port, first_address)?,
            keys: keys(source)?,
            registry: etcd(source, ttl)?,
            health,
            liveness_socket: liveness_socket(source, health)?,
            policy: policy(source)?,
            notify: notify_endpoint(source)?,
            cluster,
            ttl,
            database,
        })
    }
}

/// The cluster's name, as servers have it.
fn cluster_name(source: &SettingsSource<'_>, text: &str) -> Result<ClusterName, SettingError> {
    ClusterName::from_wsrep_name(text)
        .map_err(|error| source.invalid("CLUSTER_NAME", error.to_string()))
}

fn ttl(source: &SettingsSource<'_>) -> Result<Duration, SettingError> {
    let text = source.optional("TTL")?.unwrap_or_else(|| "10".to_owned());
    match text.parse::<u64>() {
        Ok(seconds @ 3..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(source.invalid(
            "TTL",
            format!("{text:?} is not a number of seconds from 3 to 3600"),
        )),
    }
}

fn database(source: &SettingsSource<'_>) -> Result<DatabaseSettings, SettingError> {
    let port = match source.optional("MYSQL_PORT")? {
        None => DEFAULT_MYSQL_PORT,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => {
                return Err(source.invalid(
                    "MYSQL_PORT",
                    format!("{text:?} is not a port from 1 to 65535"),
                ));
            }
        },
    };
    let host = source
        .optional("MYSQL_HOST")?
        .unwrap_or_else(|| "127.0.0.1".to_owned());
    // Validated like a node's name, so that a port or a URL is rejected instead of resolved.
    NodeId::new(&host, None).map_err(|error| source.invalid("MYSQL_HOST", error.to_string()))?;
    Ok(DatabaseSettings {
        host,
        port,
        socket: source.optional("MYSQL_SOCKET")?.map(PathBuf::from),
        tls: tls(source)?,
        user: source
            .optional("MYSQL_USER")?
            .unwrap_or_else(|| "console".to_owned()),
        password: source.optional("MYSQL_PASSWORD")?.map(Secret::new),
    })
}

/// TLS of connections to databases.
fn tls(source: &SettingsSource<'_>) -> Result<Tls, SettingError> {
    let path = |name| source.optional(name).map(|text| text.map(PathBuf::from));
    let (ca, cert, key) = (
        path("MYSQL_TLS_CA")?,
        path("MYSQL_TLS_CERT")?,
        path("MYSQL_TLS_KEY")?,
    );
    let mode = source.optional("MYSQL_TLS")?;
    let verify = match source.optional("MYSQL_TLS_VERIFY")?.as_deref() {
        None | Some("identity") => Verify::Identity,
        Some("ca") => Verify::Authority,
        Some(text) => {
            return Err(source.invalid(
                "MYSQL_TLS_VERIFY",
                format!("{text:?} is not ca or identity"),
            ));
        }
    };
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(source.invalid("MYSQL_TLS_KEY", "is not set; set it too".to_owned()));
        }
        (None, Some(_)) => {
            return Err(source.invalid("MYSQL_TLS_CERT", "is not set; set it too".to_owned()));
        }
    };
    let Some(ca) = ca else {
        return match mode.as_deref() {
            None | Some("off") if identity.is_none() => Ok(Tls::Off),
            _ => Err(source.invalid(
                "MYSQL_TLS_CA",
                "is not set; TLS needs the authority of the servers' certificates".to_owned(),
            )),
        };
    };
    let settings = TlsSettings {
        ca,
        identity,
        verify,
    };
    let tls = match mode.as_deref() {
        None | Some("required") => Tls::Required(settings.clone()),
        Some("preferred") => Tls::Preferred(settings.clone()),
        Some("off") => return Ok(Tls::Off),
        Some(text) => {
            return Err(source.invalid(
                "MYSQL_TLS",
                format!("{text:?} is not off, preferred or required"),
            ));
        }
    };
    settings.check().map_err(|error| {
        let variables = "MYSQL_TLS_CA, MYSQL_TLS_CERT, MYSQL_TLS_KEY";
        source.unusable_file(variables, &registry::Error::from(error))
    })?;
    Ok(tls)
}

fn node(
    source: &SettingsSource<'_>,
    mysql_port: u16,
    first_address: impl FnOnce() -> Option<IpAddr>,
) -> Result<NodeId, SettingError> {
    let node = match source.optional("NODE_ADDRESS")? {
        Some(text) => source.parse::<NodeId>("NODE_ADDRESS", &text)?,
        None => match first_address() {
            Some(address) => source.parse("NODE_ADDRESS", &address.to_string())?,
            None => {
                return Err(source.invalid(
                    "NODE_ADDRESS",
                    "is not set and the host has no usable address; set it to the address that the other nodes use"
                        .to_owned(),
                ));
            }
        },
    };
    let port = node.port().unwrap_or(mysql_port);
    let node = NodeId::new(node.host(), Some(port))
        .map_err(|error| source.invalid("NODE_ADDRESS", error.to_string()))?;
    Ok(node.normalized(DEFAULT_MYSQL_PORT))
}

fn keys(source: &SettingsSource<'_>) -> Result<RegistryKeys, SettingError> {
    let prefix = source
        .optional("REGISTRY_PREFIX")?
        .unwrap_or_else(|| "/galera".to_owned());
    if !prefix.starts_with('/') || prefix.trim_end_matches('/').is_empty() {
        let why = format!(
            "{prefix:?} is not a valid prefix; it must start with a slash and have a name, for example /galera"
        );
        return Err(source.invalid("REGISTRY_PREFIX", why));
    }
    Ok(RegistryKeys::new(&prefix))
}

fn etcd(
    source: &SettingsSource<'_>,
    ttl: Duration,
) -> Result<registry::EtcdSettings, SettingError> {
    let hosts = source.required("DISCOVERY_SERVICE", "the etcd hosts, comma-separated")?;
    let path = |name| source.optional(name).map(|text| text.map(PathBuf::from));
    let settings = registry::EtcdSettings {
        user: source.optional("ETCD_USER")?,
        password: source.optional("ETCD_PASSWORD")?.map(Secret::new),
        ca: path("ETCD_CA")?,
        cert: path("ETCD_CERT")?,
        key: path("ETCD_KEY")?,
        // A report must complete well within its own TTL.
        deadline: ttl.mul_f64(0.6).min(Duration::from_secs(6)),
        ..registry::EtcdSettings::new(
            hosts
                .split(',')
                .map(str::trim)
                .filter(|host| !host.is_empty()),
        )
    };
    settings
        .urls()
        .map_err(|error| source.invalid("DISCOVERY_SERVICE", error.to_string()))?;
    settings
        .check_tls_files()
        .map_err(|error| source.unusable_file("ETCD_CA, ETCD_CERT, ETCD_KEY", &error))?;
    Ok(settings)
}

/// Parses `off`, `:port` or `address:port`; without an address it listens on all addresses, IPv4 and IPv6.
///
/// # Errors
/// [`SettingError`] for anything else.
pub fn health_address(source: &SettingsSource<'_>) -> Result<Option<SocketAddr>, SettingError> {
    let text = source
        .optional("HEALTH_LISTEN")?
        .unwrap_or_else(|| ":9200".to_owned());
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let address = match text.strip_prefix(':') {
        Some(port) => port
            .parse()
            .ok()
            .map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        None => text.parse().ok(),
    };
    match address {
        Some(address) => Ok(Some(address)),
        None => Err(source.invalid(
            "HEALTH_LISTEN",
            format!(
                "{text:?} is not a valid address; use :9200, 127.0.0.1:9200, [::1]:9200 or off"
            ),
        )),
    }
}

/// Parses `off` or an absolute path. The default depends on the health endpoint `health`, so that agents on one host have
/// separate sockets; there is none without an endpoint, or if its port is chosen by the system.
///
/// # Errors
/// [`SettingError`] for anything else.
pub fn liveness_socket(
    source: &SettingsSource<'_>,
    health: Option<SocketAddr>,
) -> Result<Option<PathBuf>, SettingError> {
    const NAME: &str = "LIVENESS_SOCKET";
    let Some(text) = source.optional(NAME)? else {
        let health = health.filter(|address| address.port() != 0);
        return Ok(health.map(|address| {
            let port = address.port();
            PathBuf::from(liveness_socket::DEFAULT_DIRECTORY).join(match address.ip() {
                ip if ip.is_unspecified() => format!("{port}.sock"),
                ip => format!("{ip}-{port}.sock"),
            })
        }));
    };
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    if !text.starts_with('/') || text.ends_with('/') || text.contains(char::is_control) {
        let why = format!("{text:?} is not an absolute path of a file, or off");
        return Err(source.invalid(NAME, why));
    }
    let max = liveness_socket::PATH_MAX;
    if text.len() > max {
        let why = format!(
            "{text:?} has {} bytes; the path of a socket has at most {max}, choose a shorter one",
            text.len()
        );
        return Err(source.invalid(NAME, why));
    }
    Ok(Some(text.into()))
}

fn policy(source: &SettingsSource<'_>) -> Result<health::HealthPolicy, SettingError> {
    let disable_file = source
        .optional("HEALTH_DISABLE_FILE")?
        .unwrap_or_else(|| "/var/tmp/galera-agent.disabled".to_owned());
    Ok(health::HealthPolicy {
        availability: AvailabilityPolicy {
            donor: flag(source, "AVAILABLE_WHEN_DONOR", false)?,
            read_only: flag(source, "AVAILABLE_WHEN_READONLY", true)?,
        },
        disable_file: Some(disable_file.into()),
    })
}

fn notify_endpoint(source: &SettingsSource<'_>) -> Result<Option<NotifyEndpoint>, SettingError> {
    let text = source.optional(notify::VARIABLE)?;
    text.map(|text| source.parse(notify::VARIABLE, &text))
        .transpose()
}

fn flag(source: &SettingsSource<'_>, name: &str, default: bool) -> Result<bool, SettingError> {
    match source.optional(name)?.map(|text| text.to_ascii_lowercase()) {
        None => Ok(default),
        Some(text) => match text.as_str() {
            "1" | "yes" | "true" | "on" => Ok(true),
            "0" | "no" | "false" | "off" => Ok(false),
            _ => Err(source.invalid(name, format!("{text:?} is not 1 or 0"))),
        },
    }
}

#[cfg(test)]
mod tests;
