//! The account that reads the databases, and how it connects.

use std::path::PathBuf;

use console_core::resolver::Resolver;
use registry::Secret;

/// How to connect to the databases.
#[derive(Clone, Debug)]
pub struct MysqlSettings {
    /// The account; it needs no privilege beyond USAGE.
    pub user: String,
    pub password: Secret,
    /// Port of nodes whose id has none.
    pub port: u16,
    /// PEM file of the authority that signed the servers' certificates; `None` connects without TLS.
    pub tls_ca: Option<PathBuf>,
    /// Looks up the names of nodes.
    pub resolver: Resolver,
}
