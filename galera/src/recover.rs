//! Recovery actions: their plans, the checks behind them and the state machine of a request.

pub mod action;
#[cfg(feature = "decide")]
pub mod allow_list;
pub mod attestation;
#[cfg(feature = "decide")]
pub mod bootstrap;
#[cfg(feature = "decide")]
pub mod cleanup;
pub mod plan;
#[cfg(feature = "decide")]
pub mod positions;
#[cfg(feature = "decide")]
pub mod rejoin;
