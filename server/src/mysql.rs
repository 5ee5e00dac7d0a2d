//! The databases, as the gateway speaks to them: the only module that names the driver.

mod connection;
pub(crate) mod failure;
mod statement;

pub(crate) use connection::Connection;
pub(crate) use statement::{Answer, StatementConnection};
