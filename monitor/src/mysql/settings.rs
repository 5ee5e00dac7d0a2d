//! The account that asks the databases, and how it connects.

use std::path::PathBuf;

use registry::Secret;

/// How the databases are asked.
#[derive(Clone, Debug)]
pub struct MysqlSettings {
    /// The account; it needs no privilege beyond USAGE.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// The port of nodes whose identity names none.
    pub port: u16,
    /// PEM file of the authority that signed the servers' certificates; `None` connects without TLS.
    pub tls_ca: Option<PathBuf>,
}
