//! The account that reads the databases, and how it connects.

use console_core::address_policy::AddressPolicy;
use console_core::resolver::Resolver;
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
