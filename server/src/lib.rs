//! The gateway: reads etcd and the databases, decides nothing by itself, and serves pages, JSON and live views.
//!
//! Everything that another program can reach passes through [`http`]; everything that this one reaches passes through
//! the registry crate (etcd) and the probes (databases).

pub mod actions;
pub mod assets;
pub mod cli;
pub mod composition;
pub mod config;
pub mod http;
pub mod live;
pub mod metrics;
pub mod serve;
pub mod status_pages;
pub mod telemetry;
