//! Durable records: the audit trail, the history of state changes, the uptime computed from it, and figures over time.

pub mod audit;
pub mod history;
pub mod series;
pub mod uptime;
