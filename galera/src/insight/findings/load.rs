//! What slows the cluster down, and who.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::server::{MembersByProcess, ObservedServer};
use super::{Finding, FindingCode, FindingSeverity, manual, name_list};
use crate::position::parse_uuid;
use crate::view::{ClusterView, NodeState, NodeView};

/// Transactions lost to conflicts, per second, from which they are named.
const CONFLICTS_NAMED: f64 = 0.2;
/// The share of the write-sets that conflicts must reach as well.
const CONFLICT_SHARE_NAMED: f64 = 0.01;
/// Fraction of the time for which flow control pauses replication, from which its source is named.
const PAUSED_NAMED: f64 = 0.05;
/// Requests to pause, per second, from which a node counts as their source.
const REQUESTS_NAMED: f64 = 0.1;
/// Readings without a commit after which open transactions count as stalled.
const STALLED_READINGS: usize = 10;
/// Open transactions of one node from which it counts.
const STALLED_TRANSACTIONS: u64 = 2;
/// `Threads_running` of a node from which it counts: as many as wait, besides the one that reads the status. An open
/// transaction of a session that waits for its client is no stalled commit.
const STALLED_THREADS: u64 = STALLED_TRANSACTIONS + 1;
/// Entries of InnoDB's history list from which a long transaction is suspected.
const HISTORY_NAMED: u64 = 1_000_000;
/// Averages of `wsrep_evs_repl_latency` that are named, in microseconds.
const LATENCY_NAMED_MICROS: u64 = 250_000;

pub(super) fn check(
    view: &ClusterView,
    servers: &[ObservedServer<'_>],
    processes: &MembersByProcess<'_>,
    found: &mut Vec<Finding>,
) {
    found.extend(write_conflicts(servers));
    for server in servers {
        found.extend(flow_control_source(server));
        found.extend(long_transactions(server));
        found.extend(delayed_peers(server, processes));
    }
    found.extend(evicted_peers(servers, processes));
    found.extend(commits_stalled(view, servers));
}

fn write_conflicts(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    let mut conflicts = 0.0;
    let mut replicated = 0.0;
    let mut concerned = Vec::new();
    let mut evidence = Vec::new();
    for server in servers {
        let workload = &server.rates.workload;
        let writes = workload.replicated().unwrap_or_default();
        replicated += writes;
        let lost = workload.conflicts().unwrap_or_default();
        conflicts += lost;
        if writes > 0.0 || lost > 0.0 {
            concerned.push(server);
            evidence.push(server.evidence("write-sets sent per second", format!("{writes:.1}")));
            evidence.push(server.evidence("conflicts per second", format!("{lost:.1}")));
        }
    }
    if conflicts < CONFLICTS_NAMED || conflicts < replicated * CONFLICT_SHARE_NAMED {
        return None;
    }
    Some(Finding {
        code: FindingCode::WriteConflicts,
        severity: FindingSeverity::Warning,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "{conflicts:.1} transactions per second are rolled back because another member changed the same rows; clients \
             write to {}.",
            name_list(concerned.iter().map(|server| server.node))
        ),
        evidence,
        remedy: "Let all writes to the same rows go to one member, or repeat a transaction that ends with a deadlock error \
                 (1213); wsrep_log_conflicts=ON writes the tables to the error log."
            .to_owned(),
        manual: manual::STATUS,
        subject: None,
    })
}

fn flow_control_source(server: &ObservedServer<'_>) -> Option<Finding> {
    let flow_control = &server.rates.flow_control;
    if flow_control.paused < PAUSED_NAMED || flow_control.sent < REQUESTS_NAMED {
        return None;
    }
    let queue = server.status.recv_queue;
    let threads = server.number("wsrep_slave_threads");
    let doing = match server.node.state {
        NodeState::Donor => "while it is a donor",
        NodeState::Joined => "while it catches up",
        _ => "because it applies write-sets more slowly than they arrive",
    };
    let mut evidence = vec![server.evidence(
        "requests to pause per second",
        format!("{:.1}", flow_control.sent),
    )];
    evidence
        .extend(queue.map(|queue| server.evidence("wsrep_local_recv_queue", queue.to_string())));
    evidence
        .extend(threads.map(|threads| server.evidence("wsrep_slave_threads", threads.to_string())));
    Some(Finding {
        code: FindingCode::FlowControlSource,
        severity: FindingSeverity::Warning,
        nodes: vec![server.id()],
        message: format!(
            "{} asks the others to pause {doing}; replication is paused {:.0} % of the time.",
            server.node.label(),
            flow_control.paused * 100.0
        ),
        evidence,
        remedy: match threads {
            Some(1) => "Raise wsrep_slave_threads above 1 there; then look at its disk and at long statements on it.",
            _ => "Look at its disk, at locks (FLUSH TABLES WITH READ LOCK, LOCK TABLES) and at long statements on it.",
        }
        .to_owned(),
        manual: manual::FLOW_CONTROL,
        subject: None,
    })
}

fn long_transactions(server: &ObservedServer<'_>) -> Option<Finding> {
    const NAME: &str = "innodb_history_list_length";
    let length = server
        .number(NAME)
        .filter(|length| *length >= HISTORY_NAMED)?;
    Some(Finding {
        code: FindingCode::LongTransactions,
        severity: FindingSeverity::Warning,
        nodes: vec![server.id()],
        message: format!(
            "{} keeps {length} old row versions: a transaction there has been open for long, or purging is slow.",
            server.node.label()
        ),
        evidence: vec![server.variable(NAME)],
        remedy: "Find the oldest transaction in information_schema.INNODB_TRX, and end it."
            .to_owned(),
        manual: manual::STATUS,
        subject: None,
    })
}

/// `members`, and how many `others` there are whose node is not known.
fn name_processes(members: &[&NodeView], others: usize) -> String {
    let names = name_list(members.iter().copied());
    let others = match others {
        0 => return names,
        1 => "a process that is no known node".to_owned(),
        count => format!("{count} processes that are no known nodes"),
    };
    if members.is_empty() {
        others
    } else {
        format!("{names}, and {others}")
    }
}

/// The process of an entry of `wsrep_evs_delayed`, `UUID:ADDRESS:COUNT`.
fn delayed_process(entry: &str) -> Option<Uuid> {
    parse_uuid(entry.split(':').next()?)
}

fn delayed_peers(server: &ObservedServer<'_>, processes: &MembersByProcess<'_>) -> Option<Finding> {
    let counters = &server.status.counters;
    let latency = counters
        .group_latency_micros
        .filter(|micros| *micros >= LATENCY_NAMED_MICROS);
    if counters.delayed_peers.is_empty() && latency.is_none() {
        return None;
    }
    let mut evidence: Vec<_> = counters
        .delayed_peers
        .iter()
        .map(|peer| server.evidence("wsrep_evs_delayed", peer.clone()))
        .collect();
    evidence.extend(latency.map(|micros| {
        server.evidence(
            "wsrep_evs_repl_latency (average)",
            format!("{} ms", micros / 1_000),
        )
    }));
    let late: Vec<&NodeView> = counters
        .delayed_peers
        .iter()
        .filter_map(|entry| processes.get(&delayed_process(entry)?).copied())
        .collect();
    let senders = if counters.delayed_peers.is_empty() {
        "the group".to_owned()
    } else {
        name_processes(&late, counters.delayed_peers.len() - late.len())
    };
    let mut nodes = vec![server.id()];
    nodes.extend(late.iter().map(|node| node.id.clone()));
    Some(Finding {
        code: FindingCode::DelayedPeers,
        severity: FindingSeverity::Warning,
        nodes,
        message: format!(
            "{} receives late answers from {senders}: commits wait for the slowest member.",
            server.node.label()
        ),
        evidence,
        remedy: "Look at the network and the load of the named peers; evs.suspect_timeout must stay above the longest delay."
            .to_owned(),
        manual: manual::AUTO_EVICTION,
        subject: None,
    })
}

fn evicted_peers(
    servers: &[ObservedServer<'_>],
    processes: &MembersByProcess<'_>,
) -> Option<Finding> {
    let concerned: Vec<_> = servers
        .iter()
        .filter(|server| !server.status.evicted.is_empty())
        .collect();
    if concerned.is_empty() {
        return None;
    }
    let evidence = concerned.iter().flat_map(|server| {
        let evicted = server.status.evicted.iter();
        evicted.map(|process| server.evidence("wsrep_evs_evict_list", process.to_string()))
    });
    let all: BTreeSet<Uuid> = concerned
        .iter()
        .flat_map(|server| server.status.evicted.iter().copied())
        .collect();
    let known: Vec<&NodeView> = all
        .iter()
        .filter_map(|process| processes.get(process).copied())
        .collect();
    let effect = if all.len() == 1 {
        "it cannot join again before it is restarted"
    } else {
        "they cannot join again before they are restarted"
    };
    let mut nodes: Vec<_> = concerned.iter().map(|server| server.id()).collect();
    nodes.extend(known.iter().map(|node| node.id.clone()));
    Some(Finding {
        code: FindingCode::EvictedPeers,
        severity: FindingSeverity::Warning,
        nodes,
        message: format!(
            "{} evicted {} from the group: {effect}.",
            name_list(concerned.iter().map(|server| server.node)),
            name_processes(&known, all.len() - known.len())
        ),
        evidence: evidence.collect(),
        remedy: "Restart the evicted server once its network or load is in order.".to_owned(),
        manual: manual::AUTO_EVICTION,
        subject: None,
    })
}

/// No commit anywhere although transactions are open: a schema change, a lock or a full disk blocks all of them. An idle
/// cluster has no open transactions.
fn commits_stalled(view: &ClusterView, servers: &[ObservedServer<'_>]) -> Option<Finding> {
    let members: Vec<_> = servers
        .iter()
        .filter(|server| server.is_primary())
        .collect();
    let idle = |server: &&ObservedServer<'_>| {
        let rates = &server.rates.recent_commit_rates;
        let last = rates.len().checked_sub(STALLED_READINGS);
        last.is_some_and(|first| rates[first..].iter().all(|rate| *rate == 0.0))
    };
    if members.is_empty() || !members.iter().all(idle) {
        return None;
    }
    let open = |server: &ObservedServer<'_>| server.status.counters.open_transactions;
    let concerned: Vec<_> = members
        .iter()
        .filter(|server| open(server).is_some_and(|open| open >= STALLED_TRANSACTIONS))
        .filter(|server| {
            let running = server.number("threads_running");
            running.is_none_or(|running| running >= STALLED_THREADS)
        })
        .collect();
    let sources: Vec<_> = members
        .iter()
        .filter(|server| server.rates.flow_control.paused >= PAUSED_NAMED)
        .collect();
    if concerned.is_empty() {
        return None;
    }
    let paused = match sources.is_empty() {
        true => "flow control does not pause them, so a schema change or a lock may",
        false => "flow control pauses them",
    };
    let mut evidence = Vec::new();
    for server in &concerned {
        let open = open(server).unwrap_or_default();
        evidence.push(server.evidence("wsrep_open_transactions", open.to_string()));
        if server.details.is_some() {
            evidence.push(server.variable("threads_running"));
        }
    }
    Some(Finding {
        code: FindingCode::CommitsStalled,
        severity: FindingSeverity::Warning,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "No transaction of {} has committed in the last {STALLED_READINGS} readings, although some are open on {}: \
             {paused}.",
            view.name,
            name_list(concerned.iter().map(|server| server.node))
        ),
        evidence,
        remedy: "SHOW PROCESSLIST on each member: a schema change (wsrep in pre-commit stage, Waiting for table metadata \
                 lock) has to end or be killed where it began."
            .to_owned(),
        manual: manual::STATUS,
        subject: None,
    })
}
