//! The program itself: exit codes, messages, the embedded etcd, shutdown.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../support/etcd.rs"]
#[expect(dead_code, reason = "the fixture serves several test binaries")]
mod etcd;

#[path = "../support/database.rs"]
#[expect(dead_code, reason = "the fixture serves several test binaries")]
mod database;

mod accounts;
mod audit;
mod ctl;
mod earlier_state;
mod embedded_etcd;
mod etcd_roles;
mod flood;
mod hostile_servers;
mod incidents;
mod manifests;
mod order_key;
mod program;
mod reload;
mod secret_rotation;
mod serve;
mod service_manager;
mod shell;
mod state_exports;
mod state_secret;
mod tokens;
mod usage;
