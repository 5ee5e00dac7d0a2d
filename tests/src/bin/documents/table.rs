//! Every block of shell commands of the documents, by page, in the order of execution.

mod deployment;
mod interfaces;
mod operation;

use crate::block_table::PageEntry;

/// Pages that change the cluster `lab` come last.
pub(crate) const PAGES: &[PageEntry] = &[
    deployment::README,
    deployment::KUBERNETES,
    deployment::RELEASING,
    deployment::SERIES,
    deployment::TELEMETRY,
    interfaces::ACCESS,
    interfaces::HTTP_API,
    interfaces::MCP,
    interfaces::NOTIFICATIONS,
    interfaces::SIGN_ON,
    interfaces::STATUS_PAGES,
    operation::AUDIT,
    operation::ETCD,
    operation::HARDENING,
    // With the etcd that has accounts since.
    deployment::DEPLOYMENTS,
    operation::AGENT,
    operation::CTL,
    operation::RECOVERY,
];
