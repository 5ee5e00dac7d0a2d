//! The databases, as the gateway speaks to them: the only module that names the driver.

mod connection;
pub(crate) mod failure;
mod settings;
mod statement;

pub(crate) use connection::StatusConnection;
pub use settings::MysqlSettings;
pub use statement::{StatementConnection, StatementOutcome};
