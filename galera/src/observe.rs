//! Parsers and types for what is read of a node: status variables ([`wsrep`]), state files ([`saved_state`]) and registry
//! keys ([`registration`]), and the evidence that they add up to ([`observation`]).

pub mod address_use;
pub mod confirmed_nodes;
pub mod fork;
pub mod history_alarm;
pub mod node_map;
pub mod observation;
pub mod registration;
pub mod saved_state;
pub mod server_details;
pub mod started_bootstrap;
pub mod workload;
pub mod wsrep;
