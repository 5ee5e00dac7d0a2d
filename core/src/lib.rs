//! What the console's crates share: sessions, audit trail, leader election, published views.

pub mod acknowledgement;
pub mod address_policy;
pub mod approval_link;
pub mod audit;
pub mod authority;
pub mod clock;
pub mod current_labels;
pub mod delivery_seal;
pub mod keyspace;
pub mod leader;
pub mod limit;
pub mod log_budget;
pub mod net;
pub mod published;
pub mod record_kind;
pub mod repository;
pub mod resolver;
pub mod seen_records;
pub mod session;
pub mod state_format;
pub mod state_secret;
pub mod tasks;
pub mod threads;
pub mod trace_context;
