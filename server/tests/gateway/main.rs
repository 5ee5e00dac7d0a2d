//! The gateway's router on a real etcd, without a port of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail like tests"
)]

#[path = "../support/database.rs"]
mod database;
#[path = "../support/etcd.rs"]
mod etcd;

mod accounts;
mod actions;
mod audit;
mod authorization;
mod bad_input;
mod chronicle;
mod cleanup;
mod client;
mod crashes;
mod cut;
mod forms;
mod half_done;
mod interrupted;
mod leader;
mod maintenance;
mod metrics;
mod notifications;
mod notified;
mod outage;
mod pages;
mod passing;
mod probing;
mod receiver;
mod recovery;
mod returning;
mod sessions;
mod sign_in;
mod status;
mod world;
