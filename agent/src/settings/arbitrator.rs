//! The settings of `galera-agent arbitrator`.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `ARBITRATOR_NAME` | its name in the cluster and in the registry | the host's name |
//! | `ARBITRATOR_LISTEN` | where it listens for members, `address:port` | `0.0.0.0:GALERA_PORT` |
//! | `ARBITRATOR_DIRECTORY` | its working directory, for `gvwstate.dat` | `/var/lib/galera-arbitrator` |
//! | `ARBITRATOR_OPTIONS` | further options of the provider, such as those of TLS | none |
//! | `GALERA_PORT` | the group communication port of every member | 4567 |

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use galera::ClusterName;
use galera::observe::registration::{ArbitratorName, RegistryKeys};

use super::run::{check_length, galera_port};
use super::{SettingError, SettingsSource, cluster_name, etcd, keys, ttl};

const DEFAULT_DIRECTORY: &str = "/var/lib/galera-arbitrator";

/// The validated settings of `galera-agent arbitrator`.
#[derive(Clone, Debug)]
pub struct ArbitratorSettings {
    pub cluster: ClusterName,
    pub name: ArbitratorName,
    pub keys: RegistryKeys,
    /// Lease TTL of the report.
    pub ttl: Duration,
    pub registry: registry::EtcdSettings,
    pub listen: SocketAddr,
    /// Where members reach it: host and port, for display.
    pub address: String,
    pub directory: PathBuf,
    /// Group communication port of every member.
    pub galera_port: u16,
    /// Further options of the provider.
    pub options: Option<String>,
}

impl ArbitratorSettings {
    /// Reads and validates all variables of `source`; `first_address` is called if no address is set.
    ///
    /// # Errors
    /// [`SettingError`] names the variable and the remedy.
    pub fn read(
        source: &SettingsSource<'_>,
        first_address: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Self, SettingError> {
        let cluster = source.required("CLUSTER_NAME", "the cluster's wsrep_cluster_name")?;
        check_length(source, &cluster)?;
        let ttl = ttl(source)?;
        let galera_port = galera_port(source)?;
        let listen = listen(source, galera_port)?;
        Ok(Self {
            cluster: cluster_name(source, &cluster)?,
            name: name(source)?,
            keys: keys(source)?,
            registry: etcd(source, ttl)?,
            ttl,
            address: address(listen, first_address),
            listen,
            directory: directory(source)?,
            galera_port,
            options: options(source)?,
        })
    }
}

fn name(source: &SettingsSource<'_>) -> Result<ArbitratorName, SettingError> {
    const NAME: &str = "ARBITRATOR_NAME";
    let name = match source.optional(NAME)? {
        Some(name) => name,
        None => {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            name.trim().to_owned()
        }
    };
    name.parse::<ArbitratorName>()
        .map_err(|error| source.invalid(NAME, format!("{name:?} is not a name: {error}")))
}

fn listen(source: &SettingsSource<'_>, galera_port: u16) -> Result<SocketAddr, SettingError> {
    const NAME: &str = "ARBITRATOR_LISTEN";
    match source.optional(NAME)? {
        None => Ok((Ipv4Addr::UNSPECIFIED, galera_port).into()),
        Some(text) => text.parse().map_err(|_| {
            let why = format!("{text:?} is not an address and a port, as in 10.0.0.9:4567");
            source.invalid(NAME, why)
        }),
    }
}

/// Where members reach a process that listens on `listen`.
fn address(listen: SocketAddr, first_address: impl FnOnce() -> Option<IpAddr>) -> String {
    let address = match listen.ip() {
        ip if ip.is_unspecified() => first_address().unwrap_or(ip),
        ip => ip,
    };
    SocketAddr::new(address, listen.port()).to_string()
}

fn directory(source: &SettingsSource<'_>) -> Result<PathBuf, SettingError> {
    const NAME: &str = "ARBITRATOR_DIRECTORY";
    let text = source.optional(NAME)?;
    let text = text.unwrap_or_else(|| DEFAULT_DIRECTORY.to_owned());
    if Path::new(&text).is_dir() {
        return Ok(text.into());
    }
    let why = format!("{text:?} is not a directory; create it for the user that runs the agent");
    Err(source.invalid(NAME, why))
}

fn options(source: &SettingsSource<'_>) -> Result<Option<String>, SettingError> {
    const NAME: &str = "ARBITRATOR_OPTIONS";
    let Some(text) = source.optional(NAME)? else {
        return Ok(None);
    };
    // They decide whether it can be Primary without quorum, and where it listens.
    let reserved = [
        "pc.bootstrap",
        "pc.ignore_quorum",
        "pc.ignore_sb",
        "gmcast.listen_addr",
    ];
    match reserved.into_iter().find(|name| text.contains(name)) {
        Some(name) => Err(source.invalid(NAME, format!("may not set {name}"))),
        None => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ArbitratorSettings, SettingError> {
        let directory = std::env::temp_dir().display().to_string();
        let defaults = [
            ("CLUSTER_NAME", "lab"),
            ("DISCOVERY_SERVICE", "10.0.0.1"),
            ("ARBITRATOR_NAME", "garb1"),
            ("ARBITRATOR_DIRECTORY", &directory),
        ];
        let lookup = |name: &str| -> Option<OsString> {
            let mut all = variables.iter().rev().chain(&defaults);
            let found = all.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).into())
        };
        ArbitratorSettings::read(&SettingsSource::new(lookup), || "10.0.0.9".parse().ok())
    }

    #[test]
    fn it_listens_on_the_port_of_the_members() {
        let settings = read(&[("GALERA_PORT", "14567")]).unwrap();
        assert_eq!(settings.listen, "0.0.0.0:14567".parse().unwrap());
        assert_eq!(settings.address, "10.0.0.9:14567");
        let settings = read(&[("ARBITRATOR_LISTEN", "[fd00::9]:4567")]).unwrap();
        assert_eq!(settings.address, "[fd00::9]:4567");
    }

    #[test]
    fn invalid_settings_are_named() {
        for (variable, value, why) in [
            ("ARBITRATOR_NAME", "a/b", "is not a name"),
            ("ARBITRATOR_NAME", "registered", "field of nodes"),
            ("ARBITRATOR_LISTEN", "10.0.0.9", "10.0.0.9:4567"),
            ("ARBITRATOR_DIRECTORY", "/nowhere", "create it"),
            (
                "ARBITRATOR_OPTIONS",
                "pc.ignore_sb=yes",
                "may not set pc.ignore_sb",
            ),
            ("CLUSTER_NAME", &"x".repeat(33), "choose a shorter one"),
        ] {
            let error = read(&[(variable, value)]).unwrap_err();
            assert_eq!(error.variable, variable);
            assert!(error.reason.contains(why), "{error}");
        }
    }
}
