//! Settings of `galera-agent may-stop`: those of `report` or of `run`, whichever the node has.

use std::net::IpAddr;

use galera::observe::registration::RegistryKeys;
use galera::{ClusterName, NodeId};
use registry::Secret;

use super::{DatabaseSettings, SettingError, SettingsSource};

/// The validated settings.
#[derive(Clone, Debug)]
pub struct StopCheckSettings {
    pub cluster: ClusterName,
    pub node: NodeId,
    pub keys: RegistryKeys,
    pub registry: registry::EtcdSettings,
    /// This node's server, and the account for all members.
    pub database: DatabaseSettings,
}

impl StopCheckSettings {
    /// Reads and validates the variables of `source`; `first_address` is called if `NODE_ADDRESS` is not set. The account
    /// is the console's where `CONSOLE_PASSWORD` is set, because `MYSQL_USER` then is that of an application.
    ///
    /// # Errors
    /// [`SettingError`] names the variable and the remedy.
    pub fn read(
        source: &SettingsSource<'_>,
        first_address: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Self, SettingError> {
        let cluster = source.required("CLUSTER_NAME", "the cluster's wsrep_cluster_name")?;
        let cluster = super::cluster_name(source, &cluster)?;
        let mut database = super::database(source)?;
        if let Some(password) = source.optional("CONSOLE_PASSWORD")? {
            let user = source.optional("CONSOLE_USER")?;
            database.user = user.unwrap_or_else(|| "console".to_owned());
            database.password = Some(Secret::new(password));
        }
        Ok(Self {
            node: super::node(source, database.port, first_address)?,
            keys: super::keys(source)?,
            registry: super::etcd(source, super::ttl(source)?)?,
            cluster,
            database,
        })
    }
}
