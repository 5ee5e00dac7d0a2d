//! Durable records: the audit trail, the history of state changes and the uptime computed from it.

pub mod audit;
pub mod history;
pub mod uptime;
