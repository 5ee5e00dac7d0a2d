//! The server: composes the console's crates, and serves pages, JSON and live views over HTTP.
//!
//! Every request from outside passes through [`http`]. Outgoing connections are made by the crates `registry` (etcd),
//! `monitor` (databases) and `notify` (notification targets, the identity provider, and the metrics server).

pub use actions;
pub mod allowed_hosts;
mod approval_links;
pub mod assets;
pub mod audit_anchors;
mod audit_retention;
pub mod authority;
pub mod cli;
pub mod composition;
pub mod config;
pub mod etcd_access;
pub mod etcd_storage;
pub mod finding_records;
mod form_encoding;
pub mod history_alarms;
pub mod http;
pub mod incident_report;
pub mod limits;
pub mod live;
pub mod membership;
pub mod metrics;
pub mod metrics_server;
pub mod reload;
pub mod running_settings;
mod series_sources;
mod series_view;
pub mod serve;
pub mod sign_on;
mod started_bootstraps;
pub mod status_pages;
pub mod telemetry;
pub mod tls;
