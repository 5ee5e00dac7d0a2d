//! Nodes that register in etcd v2: the scripts of their images read no order, and start a cluster on their own when no node
//! is Synced.

use super::RecoveryCase;
use crate::id::NodeId;
use crate::observe::registration::V2Access;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};

/// Nodes that a message names.
const NAMED_MAX: usize = 5;

/// Adds a check if a registry in etcd v2 is used: `purpose` is possible only if no node depends on it. Returns whether that
/// is proven. Statements are not concerned: they are sent to servers.
pub(crate) fn check(case: &RecoveryCase<'_>, purpose: &str, draft: &mut PlanDraft) -> bool {
    let port = case.settings.fold.default_port;
    let registered = || {
        let all = case.evidence.registrations.iter();
        all.filter_map(|(id, seen)| Some((id.clone().normalized(port), seen.v2.as_ref()?)))
    };
    let evidence = registered()
        .map(|(id, seen)| {
            let text = match (seen.reported, seen.also_in_v3) {
                (true, true) => "keys with a time to live in etcd v2, registered in v3 too",
                (true, false) => "keys with a time to live in etcd v2 only",
                (false, true) => "an address left in etcd v2, registered in v3 too",
                (false, false) => "an address in etcd v2 only",
            };
            fact(Some(&id), EvidenceSource::Registry, None, text)
        })
        .collect();
    let dependent: Vec<NodeId> = registered()
        .filter(|(_, seen)| seen.reported || !seen.also_in_v3)
        .map(|(id, _)| id)
        .collect();
    let (status, message) = match &case.evidence.v2_access {
        V2Access::Unreadable(cause) => (
            CheckStatus::Unknown,
            format!(
                "It is not known which nodes register in etcd v2, so {purpose}. {cause}. Once no container with the scripts \
                 of the original images is left, start the console with --registry-dialect v3."
            ),
        ),
        V2Access::Absent | V2Access::Read if !dependent.is_empty() => (
            CheckStatus::Fail,
            format!(
                "Registered in etcd v2: {}. The scripts there read no order, and start a cluster on their own when no node \
                 is Synced, so {purpose}. Move these nodes to galera-agent, as the registry page describes, or stop their \
                 containers for good and remove their keys from etcd v2.",
                named(&dependent)
            ),
        ),
        V2Access::Absent => return true,
        V2Access::Read => (
            CheckStatus::Pass,
            "No node depends on the registry in etcd v2.".to_owned(),
        ),
    };
    draft.add_check(CheckCode::V2_REGISTRY, status, message, evidence);
    status.permits()
}

fn named(nodes: &[NodeId]) -> String {
    let mut text: Vec<String> = nodes
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    if nodes.len() > NAMED_MAX {
        text.push(format!("{} more", nodes.len() - NAMED_MAX));
    }
    text.join(", ")
}
