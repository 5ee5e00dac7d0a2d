//! SQL access to the databases: the only module that names the driver.

mod connection;
pub(crate) mod failure;
mod settings;
mod statement;

pub(crate) use connection::StatusConnection;
pub use settings::MysqlSettings;
pub use statement::{StatementConnection, StatementOutcome};
