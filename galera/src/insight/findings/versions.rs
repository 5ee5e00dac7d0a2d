//! Versions of servers, of the provider, and of the protocol that they agreed on.

use std::collections::BTreeSet;

use super::server::ObservedServer;
use super::{Finding, FindingCode, FindingSeverity, manual};

pub(super) fn check(servers: &[ObservedServer<'_>], found: &mut Vec<Finding>) {
    found.extend(skew(servers, "version", |server| {
        server.status.version.as_deref()
    }));
    found.extend(skew(servers, "wsrep_provider_version", |server| {
        server.status.counters.provider_version.as_deref()
    }));
    found.extend(old_protocol(servers));
}

fn skew<'a>(
    servers: &[ObservedServer<'a>],
    name: &str,
    version: impl Fn(&ObservedServer<'a>) -> Option<&'a str>,
) -> Option<Finding> {
    let known: Vec<_> = servers
        .iter()
        .filter_map(|server| Some((server, version(server)?)))
        .collect();
    let versions: BTreeSet<&str> = known.iter().map(|(_, version)| *version).collect();
    (versions.len() > 1).then(|| Finding {
        code: FindingCode::VersionSkew,
        severity: FindingSeverity::Notice,
        nodes: known.iter().map(|(server, _)| server.id()).collect(),
        message: format!(
            "Members run different versions ({name}: {}), as during a rolling upgrade.",
            versions.into_iter().collect::<Vec<_>>().join(", ")
        ),
        evidence: known
            .iter()
            .map(|(server, version)| server.evidence(name, (*version).to_owned()))
            .collect(),
        remedy: "Upgrade the older ones; until then use no feature of the newer version, and let no newer member be the \
                 donor of an older one."
            .to_owned(),
        manual: manual::UPGRADES,
        subject: None,
    })
}

/// A group agrees on the newest protocol that all of its members speak, and does so only while it forms views: after an
/// upgrade of all members it may still be the old one.
fn old_protocol(servers: &[ObservedServer<'_>]) -> Option<Finding> {
    let group: Vec<_> = servers
        .iter()
        .filter(|server| server.is_primary())
        .collect();
    let versions: BTreeSet<u64> = group
        .iter()
        .filter_map(|server| server.status.counters.protocol_version)
        .collect();
    (versions.len() > 1).then(|| Finding {
        code: FindingCode::OldProtocol,
        severity: FindingSeverity::Warning,
        nodes: group.iter().map(|server| server.id()).collect(),
        message: "Members of one component report different values of wsrep_protocol_version.".to_owned(),
        evidence: group
            .iter()
            .filter_map(|server| {
                let version = server.status.counters.protocol_version?;
                Some(server.evidence("wsrep_protocol_version", version.to_string()))
            })
            .collect(),
        remedy: "Wait for the next view change. If the difference persists, restart the member with the lower version.".to_owned(),
        manual: manual::UPGRADES,
        subject: None,
    })
}
