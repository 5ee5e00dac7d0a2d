//! Parsers and types for what is read from a node: status variables, state files and registry keys.

pub mod observation;
pub mod registration;
pub mod saved_state;
pub mod wsrep;
