//! The server's router on a real etcd, without a listening port.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail like tests"
)]

#[expect(dead_code, reason = "the fixture serves several test binaries")]
#[path = "../support/database.rs"]
mod database;
#[path = "../support/etcd.rs"]
mod etcd;

mod access_table;
mod account_api;
mod account_events;
mod account_page;
mod accounts;
mod action_fixture;
mod actions;
mod api_tokens;
mod approval_links;
mod audit;
mod audit_anchors;
mod audit_tampering;
mod authority;
mod authorization;
mod bad_input;
mod cleanup;
mod client;
mod cluster_labels;
mod crashes;
mod ctl;
mod ctl_fixture;
mod cut_proxy;
mod etcd_access;
mod etcd_storage;
mod event_history;
mod fake_cluster;
mod finding_records;
mod findings;
mod first_edition;
mod forged_deliveries;
mod forged_history;
mod forged_records;
mod fork_records;
mod forms;
mod history_alarms;
mod hosts;
mod http_server;
mod incident_reports;
mod interrupted;
mod interrupted_executions;
mod json_contract;
mod label_reload;
mod leader;
mod limited_accounts;
mod live_messages;
mod maintenance;
mod mcp;
mod metrics;
mod metrics_query;
mod notification_delivery;
mod notification_targets;
mod openapi;
mod orders;
mod outage;
mod outdated_secret;
mod own_account;
mod pages;
mod partial_cleanup;
mod probing;
mod problem_documents;
mod recorded_views;
mod recording_fixture;
mod redaction;
mod rejoin;
mod replica_settings;
mod request_limit;
mod returning_nodes;
mod rolling_restart;
mod scoped_tokens;
mod second_factor;
mod series;
mod session_keys;
mod sessions;
mod sign_in;
mod sign_in_under_attack;
mod sign_on;
mod state_format;
mod status_pages;
mod step_up;
mod test_console;
#[cfg(feature = "otlp")]
mod traces;
mod transient_states;
mod unconfirmed_nodes;
mod v2_registry;
mod webhook_receiver;
