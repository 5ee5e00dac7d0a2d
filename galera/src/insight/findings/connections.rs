//! Connections of clients.

use super::server::{ObservedServer, critical_if};
use super::{Finding, FindingCode, FindingSeverity, manual};

/// Share of `max_connections`, in per cent, from which it is named.
const USED_NAMED: u64 = 80;
/// Share from which one burst of clients is refused.
const USED_UP: u64 = 95;

pub(super) fn check(servers: &[ObservedServer<'_>], found: &mut Vec<Finding>) {
    for server in servers {
        found.extend(connections_used(server));
    }
}

fn connections_used(server: &ObservedServer<'_>) -> Option<Finding> {
    let used = server.number("threads_connected")?;
    let limit = server
        .number("max_connections")
        .filter(|limit| *limit > 0)?;
    let share = used.saturating_mul(100) / limit;
    (share >= USED_NAMED).then(|| Finding {
        code: FindingCode::ConnectionsUsed,
        severity: critical_if(share >= USED_UP, FindingSeverity::Warning),
        nodes: vec![server.id()],
        message: format!(
            "{} uses {used} of {limit} connections ({share} %): further clients are refused with error 1040.",
            server.node.label()
        ),
        evidence: vec![
            server.variable("threads_connected"),
            server.variable("max_connections"),
        ],
        remedy: "Find clients that do not close connections (SHOW PROCESSLIST), limit pools, or SET GLOBAL max_connections."
            .to_owned(),
        manual: manual::VARIABLES,
        subject: None,
    })
}
