//! Recovery actions: their plans, the checks behind them and the state machine of a request.

pub mod action;
pub mod attestation;
#[cfg(feature = "decide")]
pub mod bootstrap;
#[cfg(feature = "decide")]
pub mod cleanup;
pub mod plan;
