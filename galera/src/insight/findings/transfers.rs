//! State transfers: where a restarted member looks for the others, from whom it receives what it missed, and how.

use std::collections::BTreeSet;

use super::server::ObservedServer;
use super::{Finding, FindingCode, FindingSeverity, manual, name_list};
use crate::view::{ClusterView, NodeState, SourceKind};

/// Time that a write-set cache should cover, in seconds: a restart with a recovery.
const CACHE_SECS: f64 = 1_800.0;
/// Written bytes per second below which a cache is not judged: it covers the time that matters.
const WRITTEN_MIN: f64 = 1.0;

pub(super) fn check(view: &ClusterView, servers: &[ObservedServer<'_>], found: &mut Vec<Finding>) {
    for server in servers.iter().filter(|server| server.is_primary()) {
        found.extend(cluster_address(view, servers, server));
        found.extend(unknown_donor(view, server));
        found.extend(donor_without_joiner(view, server));
    }
    found.extend(small_cache(servers));
    found.extend(blocking_transfer(servers));
}

/// The hosts of `gcomm://HOST:PORT,…?OPTIONS`.
fn address_hosts(address: &str) -> Option<Vec<String>> {
    let list = address.trim().strip_prefix("gcomm://")?;
    let list = list.split('?').next().unwrap_or_default();
    let hosts = list
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty());
    Some(hosts.map(host_of).collect())
}

/// A host without its port and without the brackets of an IPv6 address.
fn host_of(entry: &str) -> String {
    let host = match entry.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        // More than one colon is an IPv6 address without a port.
        None => match entry.rsplit_once(':') {
            Some((host, _)) if !host.contains(':') => host,
            _ => entry,
        },
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Where the node looks for its group when it is restarted. An agent, if it has one, computes that at each start.
fn cluster_address(
    view: &ClusterView,
    servers: &[ObservedServer<'_>],
    server: &ObservedServer<'_>,
) -> Option<Finding> {
    const NAME: &str = "wsrep_cluster_address";
    let mut sources = server.node.sources.iter();
    if sources.any(|source| source.kind == SourceKind::Registry && source.phase.is_some()) {
        return None;
    }
    if server.status.cluster_size? < 2 {
        return None;
    }
    let hosts = address_hosts(server.text(NAME)?)?;
    let label = server.node.label();
    if hosts.is_empty() {
        return Some(Finding {
            code: FindingCode::BootstrapAddress,
            severity: FindingSeverity::Warning,
            nodes: vec![server.id()],
            message: format!(
                "wsrep_cluster_address of {label} is gcomm:// without an address: a restart with it does not join, but \
                 bootstraps another cluster or is refused."
            ),
            evidence: vec![server.variable(NAME)],
            remedy: "SET GLOBAL does not help, because it reconnects: write the addresses of all members into the \
                     configuration, and keep them at the next restart."
                .to_owned(),
            manual: manual::VARIABLES,
            subject: None,
        });
    }
    // A name may be that of several members, or of any.
    let is_address = |host: &String| host.parse::<std::net::IpAddr>().is_ok();
    if !hosts.iter().all(is_address) {
        return None;
    }
    let others = view.members().filter(|node| node.id != server.node.id);
    let ids = others.flat_map(|node| std::iter::once(&node.id).chain(&node.names));
    let known: BTreeSet<String> = ids.map(|id| host_of(id.host())).collect();
    let named = |host: &String| known.contains(host);
    let comparable = servers
        .iter()
        .all(|server| server.node.id.host().parse::<std::net::IpAddr>().is_ok());
    (comparable && !hosts.iter().any(named)).then(|| Finding {
        code: FindingCode::OutdatedAddress,
        severity: FindingSeverity::Warning,
        nodes: vec![server.id()],
        message: format!(
            "wsrep_cluster_address of {label} names no other member: after a restart it does not find its group."
        ),
        evidence: vec![server.variable(NAME)],
        remedy: "Write the addresses of all members into its configuration.".to_owned(),
        manual: manual::VARIABLES,
        subject: None,
    })
}

fn small_cache(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    let mut evidence = Vec::new();
    let mut concerned = Vec::new();
    let mut shortest = f64::INFINITY;
    for server in servers {
        let size = server
            .details
            .and_then(|details| details.bytes("gcache.size"));
        let written = server.rates.workload.written_bytes();
        let (Some(size), Some(written)) = (size, written.filter(|rate| *rate >= WRITTEN_MIN))
        else {
            continue;
        };
        let seconds = size as f64 / written;
        if seconds < CACHE_SECS {
            shortest = shortest.min(seconds);
            concerned.push(server);
            evidence.push(server.variable("gcache.size"));
            evidence.push(server.evidence("bytes written per second", format!("{written:.0}")));
        }
    }
    if concerned.is_empty() {
        return None;
    }
    Some(Finding {
        code: FindingCode::SmallCache,
        severity: FindingSeverity::Warning,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "At the present rate of writes the write-set cache of {} covers {}: a member that stays away longer needs a \
             full state transfer (SST).",
            name_list(concerned.iter().map(|server| server.node)),
            duration(shortest)
        ),
        evidence,
        remedy: "Raise gcache.size in wsrep_provider_options (it takes effect at a restart) to the bytes of the longest \
                 maintenance."
            .to_owned(),
        manual: manual::PARAMETERS,
        subject: None,
    })
}

/// About how long, for a sentence.
fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

fn blocking_transfer(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    const NAME: &str = "wsrep_sst_method";
    let blocks = |server: &&ObservedServer<'_>| {
        let method = server.text(NAME);
        method.is_some_and(|method| {
            ["rsync", "rsync_wan", "mysqldump"]
                .iter()
                .any(|blocking| method.eq_ignore_ascii_case(blocking))
        })
    };
    let concerned: Vec<_> = servers.iter().filter(blocks).collect();
    if concerned.is_empty() {
        return None;
    }
    Some(Finding {
        code: FindingCode::BlockingTransfer,
        severity: FindingSeverity::Notice,
        nodes: concerned.iter().map(|server| server.id()).collect(),
        message: format!(
            "wsrep_sst_method of {} locks the donor for writes while it sends a full state transfer.",
            name_list(concerned.iter().map(|server| server.node))
        ),
        evidence: concerned.iter().map(|server| server.variable(NAME)).collect(),
        remedy: "Use mariabackup (MariaDB), xtrabackup-v2 (Percona) or clone (MySQL) where a donor must continue to serve."
            .to_owned(),
        manual: manual::TRANSFERS,
        subject: None,
    })
}

/// `wsrep_sst_donor` lists names of nodes; a comma at its end permits any other one.
fn unknown_donor(view: &ClusterView, server: &ObservedServer<'_>) -> Option<Finding> {
    const NAME: &str = "wsrep_sst_donor";
    let list = server.text(NAME).filter(|list| !list.is_empty())?;
    if list.ends_with(',') {
        return None;
    }
    // A member without a known name may be the one.
    if view.members().any(|node| node.name.is_none()) {
        return None;
    }
    let is_member = |name: &str| {
        view.members()
            .any(|node| node.name.as_deref() == Some(name))
    };
    let mut names = list.split(',').map(str::trim);
    if names.any(is_member) {
        return None;
    }
    Some(Finding {
        code: FindingCode::UnknownDonor,
        severity: FindingSeverity::Warning,
        nodes: vec![server.id()],
        message: format!(
            "wsrep_sst_donor of {} names no member: a state transfer to it fails.",
            server.node.label()
        ),
        evidence: vec![server.variable(NAME)],
        remedy:
            "SET GLOBAL wsrep_sst_donor='', or end the list with a comma, which permits any donor."
                .to_owned(),
        manual: manual::TRANSFERS,
        subject: None,
    })
}

fn donor_without_joiner(view: &ClusterView, server: &ObservedServer<'_>) -> Option<Finding> {
    if server.node.state != NodeState::Donor {
        return None;
    }
    let receives = |state| matches!(state, NodeState::Joining | NodeState::Joined);
    // A member that is not seen may be the one that receives.
    let settled = view.members().all(|node| {
        !receives(node.state) && !matches!(node.state, NodeState::Unreachable | NodeState::Unknown)
    });
    settled.then(|| Finding {
        code: FindingCode::DonorWithoutJoiner,
        severity: FindingSeverity::Notice,
        nodes: vec![server.id()],
        message: format!(
            "{} is a donor or desynced, and no member receives a state transfer: as for a backup, it may fall behind.",
            server.node.label()
        ),
        evidence: vec![server.evidence(
            "wsrep_local_state_comment",
            server.status.local_state_comment.clone().unwrap_or_else(|| "unknown".to_owned()),
        )],
        remedy: "Nothing while a backup runs; otherwise SET GLOBAL wsrep_desync=OFF.".to_owned(),
        manual: manual::TRANSFERS,
        subject: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_an_address() {
        let cases: [(&str, Option<&[&str]>); 7] = [
            ("gcomm://", Some(&[])),
            ("gcomm://?pc.wait_prim=no", Some(&[])),
            (
                "gcomm://10.0.0.1,10.0.0.2:4567",
                Some(&["10.0.0.1", "10.0.0.2"]),
            ),
            (
                "gcomm://[2001:db8::1]:4567, DB2.example.",
                Some(&["2001:db8::1", "db2.example"]),
            ),
            ("gcomm://2001:db8::1", Some(&["2001:db8::1"])),
            ("gcomm://n1,n2?gmcast.segment=1", Some(&["n1", "n2"])),
            ("dummy://", None),
        ];
        for (address, expected) in cases {
            let hosts = address_hosts(address);
            let hosts: Option<Vec<&str>> = hosts
                .as_ref()
                .map(|hosts| hosts.iter().map(String::as_str).collect());
            assert_eq!(hosts.as_deref(), expected, "{address}");
        }
    }
}
