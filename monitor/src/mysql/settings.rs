//! The account that reads the databases, and how it connects.

use console_core::address_policy::AddressPolicy;
use console_core::resolver::Resolver;
use galera::recover::bootstrap::RecoveryReach;
use registry::Secret;
use sql_client::Tls;

/// How to connect to the databases.
#[derive(Clone, Debug)]
pub struct MysqlSettings {
    /// The account; it needs no privilege beyond USAGE.
    pub user: String,
    pub password: Secret,
    /// Port of nodes whose id has none.
    pub port: u16,
    /// Whether connections use TLS. Without it only plugins that answer a challenge sign in.
    pub tls: Tls,
    /// Looks up the names of nodes.
    pub resolver: Resolver,
    /// Where probes of nodes that are not pinned may connect to.
    pub probe_policy: AddressPolicy,
}

/// An account for which the server reserves a connection (SUPER or CONNECTION ADMIN): it reads a server on which every
/// connection is in use.
#[derive(Clone, Debug)]
pub struct ReserveAccount {
    pub mysql: MysqlSettings,
    /// Where it may connect.
    pub reach: RecoveryReach,
}

impl ReserveAccount {
    /// Whether it may sign in at `host`. A peer that any client of etcd could have registered must first prove its
    /// identity by TLS: it would otherwise obtain the account's answer to a challenge by refusing the console's account.
    pub(crate) fn may_read(&self, host: &str, is_pinned: bool) -> bool {
        self.reach.includes(host) && (is_pinned || matches!(self.mysql.tls, Tls::Required(_)))
    }
}
