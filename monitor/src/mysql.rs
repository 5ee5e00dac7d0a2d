//! SQL access to the databases: the only module that uses the client.

mod connection;
pub(crate) mod failure;
mod settings;
mod statement;

pub(crate) use connection::StatusConnection;
pub use settings::{MysqlSettings, ReserveAccount};
pub use sql_client::{Tls, TlsSettings, Verify};
pub use statement::{StatementConnection, StatementOutcome};
