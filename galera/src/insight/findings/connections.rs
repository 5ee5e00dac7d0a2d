//! Connections of clients.

use super::server::{FullServer, ObservedServer, critical_if};
use super::{Finding, FindingCode, FindingEvidence, FindingSeverity, manual};

/// Share of `max_connections`, in per cent, from which it is named.
const USED_NAMED: u64 = 80;
/// Share from which one burst of clients is refused.
const USED_UP: u64 = 95;

pub(super) fn check(
    servers: &[ObservedServer<'_>],
    full: &[FullServer<'_>],
    found: &mut Vec<Finding>,
) {
    found.extend(full.iter().map(no_connection_free));
    for server in servers {
        // Its last answer may still count as fresh.
        if !full.iter().any(|full| full.node.id == server.node.id) {
            found.extend(connections_used(server));
        }
    }
}

/// A server without a free connection has no fresh answer: the error is the evidence.
fn no_connection_free(server: &FullServer<'_>) -> Finding {
    let fact = |name: &str, value: String| FindingEvidence {
        node: server.node.id.clone(),
        name: name.to_owned(),
        value,
    };
    let details = server.last.and_then(|last| last.details.as_deref());
    let limit = details.and_then(|details| details.text("max_connections"));
    let extra_port = server.last.and_then(|last| last.extra_port);
    let mut evidence = vec![fact("error", server.error.to_owned())];
    evidence.extend(limit.map(|limit| fact("max_connections", limit.to_owned())));
    evidence.extend(extra_port.map(|port| fact("extra_port", port.to_string())));
    let way = match extra_port {
        Some(port) => format!("through extra_port {port}"),
        None => "through extra_port, if it is set".to_owned(),
    };
    Finding {
        code: FindingCode::ConnectionsUsed,
        severity: FindingSeverity::Critical,
        nodes: vec![server.node.id.clone()],
        message: format!(
            "{} refuses the console's connection: all max_connections are in use (error 1040), and clients are refused as \
             well, or the console's account has reached its own limit (max_user_connections).",
            server.node.label()
        ),
        evidence,
        remedy: format!(
            "Connect over the socket as root or {way}, find the clients that hold the connections (SHOW PROCESSLIST), end \
             idle ones, limit their pools, or SET GLOBAL max_connections. A limit of the account is raised with ALTER USER."
        ),
        manual: manual::VARIABLES,
        subject: None,
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
