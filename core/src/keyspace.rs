//! Every key below the state prefix. docs/etcd.md documents writers, lifetimes and formats.

mod accounts;
mod actions;
mod history;
mod notify;
mod protection;
mod status_pages;

use galera::ClusterName;

pub use accounts::AccountKeys;
pub use actions::ActionKeys;
pub use history::{HistoryKeys, LiveKey};
pub use notify::NotifyKeys;
pub use protection::{
    RecordProtection, SEALING_SCOPE, acknowledgement, authority, log_entry_prefixes,
    protected_prefixes, protection, sealed_since_scope, secret_succession, secret_successions,
    state_format,
};
pub use status_pages::StatusPageKeys;

/// `path` below the state prefix.
pub(crate) fn below(state_prefix: &str, path: &str) -> String {
    format!("{}/{path}", state_prefix.trim_end_matches('/'))
}

/// The key of the leader election.
#[must_use]
pub fn leader(state_prefix: &str) -> String {
    below(state_prefix, "leader")
}

/// The newest entry of the audit trail.
#[must_use]
pub fn audit_head(state_prefix: &str) -> String {
    below(state_prefix, "audit/head")
}

/// Where the live audit trail begins.
#[must_use]
pub fn audit_cut(state_prefix: &str) -> String {
    below(state_prefix, "audit/cut")
}

/// The prefix of every entry of the audit trail.
#[must_use]
pub fn audit_entries(state_prefix: &str) -> String {
    below(state_prefix, "audit/entries/")
}

/// The prefix of the entries of one block.
#[must_use]
pub fn audit_block(state_prefix: &str, block: u64) -> String {
    format!("{}{block:012}/", audit_entries(state_prefix))
}

/// An entry of the audit trail, in its block.
#[must_use]
pub fn audit_entry(state_prefix: &str, block: u64, sequence: u64) -> String {
    format!("{}{sequence:012}", audit_block(state_prefix, block))
}

/// The prefix of the expected members of every cluster.
#[must_use]
pub fn expected_members(state_prefix: &str) -> String {
    below(state_prefix, "expected/")
}

/// The expected members of one cluster.
#[must_use]
pub fn expected_members_of(state_prefix: &str, cluster: &ClusterName) -> String {
    format!("{}{cluster}", expected_members(state_prefix))
}

/// The prefix of the known positions of every cluster.
#[must_use]
pub fn known_positions(state_prefix: &str) -> String {
    below(state_prefix, "positions/")
}

/// The known positions of one cluster.
#[must_use]
pub fn known_positions_of(state_prefix: &str, cluster: &ClusterName) -> String {
    format!("{}{cluster}", known_positions(state_prefix))
}

/// The prefix of the position corrections of every cluster.
#[must_use]
pub fn position_corrections(state_prefix: &str) -> String {
    below(state_prefix, "corrections/")
}

/// The position corrections of one cluster.
#[must_use]
pub fn position_corrections_of(state_prefix: &str, cluster: &ClusterName) -> String {
    format!("{}{cluster}", position_corrections(state_prefix))
}

/// The prefix of the alarms about the data of every cluster.
#[must_use]
pub fn history_alarms(state_prefix: &str) -> String {
    below(state_prefix, "alarms/")
}

/// The alarms about the data of one cluster.
#[must_use]
pub fn history_alarms_of(state_prefix: &str, cluster: &ClusterName) -> String {
    format!("{}{cluster}", history_alarms(state_prefix))
}

/// The prefix of what is recorded of the findings of every cluster.
#[must_use]
pub fn finding_records(state_prefix: &str) -> String {
    below(state_prefix, "findings/")
}

/// What is recorded of the findings of one cluster.
#[must_use]
pub fn finding_record_of(state_prefix: &str, cluster: &ClusterName) -> String {
    format!("{}{cluster}", finding_records(state_prefix))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use galera::ActionId;
    use uuid::Uuid;

    use super::*;

    const PREFIX: &str = "/s";

    /// Every key that is built here, and its place in docs/etcd.md.
    fn keys() -> Vec<(String, &'static str)> {
        let cluster: ClusterName = "lab".parse().unwrap();
        let action: ActionId = "1-2".parse().unwrap();
        let (accounts, actions) = (AccountKeys::new(PREFIX), ActionKeys::new(PREFIX));
        let (history, notify) = (HistoryKeys::new(PREFIX), NotifyKeys::new(PREFIX));
        let pages = StatusPageKeys::new(PREFIX);
        let mut keys = vec![
            (authority(PREFIX), "authority"),
            (acknowledgement(PREFIX), "acknowledgement"),
            (state_format(PREFIX), "format"),
            (secret_succession(PREFIX, "0a1b"), "successions/{kid}"),
            (leader(PREFIX), "leader"),
            (audit_head(PREFIX), "audit/head"),
            (audit_cut(PREFIX), "audit/cut"),
            (
                audit_entry(PREFIX, 0, 1),
                "audit/entries/{block}/{sequence}",
            ),
            (expected_members_of(PREFIX, &cluster), "expected/{cluster}"),
            (known_positions_of(PREFIX, &cluster), "positions/{cluster}"),
            (
                position_corrections_of(PREFIX, &cluster),
                "corrections/{cluster}",
            ),
            (history_alarms_of(PREFIX, &cluster), "alarms/{cluster}"),
            (finding_record_of(PREFIX, &cluster), "findings/{cluster}"),
            (accounts.user("ann"), "users/{name}"),
            (accounts.factor("ann"), "factors/{name}"),
            (accounts.identity("1f"), "identities/{digest}"),
            (
                accounts.provider_session(Uuid::nil()),
                "provider-sessions/{id}",
            ),
            (accounts.accepted_once("1f"), "accepted-once/{digest}"),
            (accounts.session(Uuid::nil()), "sessions/{id}"),
            (accounts.signing_key(), "keys/session"),
            (accounts.token("1f"), "tokens/{id}"),
            (accounts.token_use("1f"), "token-uses/{id}"),
            (actions.action(&action), "actions/{id}"),
            (actions.undone(&action), "actions/{id}/undone"),
            (actions.open_action(&cluster), "open/{cluster}"),
            (actions.lock(&cluster), "locks/{cluster}"),
            (
                format!("{}1f", actions.approvals_prefix()),
                "approvals/{lease}",
            ),
            (actions.global_switch(), "switches/global"),
            (
                actions.cluster_switch(&cluster),
                "switches/cluster/{cluster}",
            ),
            (history.head(&cluster), "chronicle/live/head/{cluster}"),
            (
                history.event(&cluster, 1),
                "chronicle/live/tail/{cluster}/{sequence}",
            ),
            (history.days(&cluster), "chronicle/live/days/{cluster}"),
            (history.observed_until(), "chronicle/live/observed"),
            (history.gap_request(), "chronicle/live/call"),
            (
                format!("{}1f", history.observers()),
                "chronicle/observers/{lease}",
            ),
            (
                history.block(&cluster, 1),
                "chronicle/blocks/{cluster}/{block}",
            ),
            (notify.target("1"), "notify/targets/{id}"),
            (notify.verdict_tracker(&cluster), "notify/courses/{cluster}"),
            (notify.audit_cursor(), "notify/reading"),
            (notify.queued_number("1"), "notify/queued/{target}"),
            (notify.settled_number("1"), "notify/settled/{target}"),
            (
                notify.outbox_entry("1", "2"),
                "notify/outbox/{target}/{notice}",
            ),
            (notify.log_entry("1", "2"), "notify/log/{target}/{notice}"),
        ];
        let folders = [
            ("pages", "status/pages/{slug}"),
            ("incidents", "status/incidents/{id}"),
            ("maintenance", "status/maintenance/{id}"),
            ("announcements", "status/announcements/{id}"),
        ];
        keys.extend(folders.map(|(folder, place)| (pages.item(folder, "x"), place)));
        keys
    }

    #[test]
    fn every_key_has_the_shape_that_the_documentation_gives() {
        for (key, place) in keys() {
            let parts: Vec<&str> = key.strip_prefix("/s/").unwrap().split('/').collect();
            let places: Vec<&str> = place.split('/').collect();
            assert_eq!(parts.len(), places.len(), "{key} {place}");
            for (part, place) in parts.iter().zip(places) {
                assert!(place.starts_with('{') || *part == place, "{key} {place}");
            }
        }
    }

    /// The last column of docs/etcd.md says for each key how it is protected.
    #[test]
    fn documentation_gives_the_protection_of_every_key() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/etcd.md");
        let page = std::fs::read_to_string(page).unwrap();
        for (key, place) in keys() {
            let line = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{place}`")));
            let line = line.unwrap_or_else(|| panic!("{place}"));
            let expected = match protection(PREFIX, key.as_bytes()) {
                Some(RecordProtection::Authenticated) => "| authenticated |",
                Some(RecordProtection::Encrypted) => "| encrypted |",
                Some(RecordProtection::LogEntry) => "| log entry |",
                None => "| — |",
            };
            assert!(line.ends_with(expected), "{place}: {expected} in {line}");
        }
        for key in [
            "/sx/users/ann",
            "/s/authority/x",
            "/other/users/ann",
            "/s/users",
        ] {
            assert_eq!(protection(PREFIX, key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn documentation_lists_exactly_these_keys() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/etcd.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, state) = page.split_once("## State prefix").unwrap();
        let listed: BTreeSet<&str> = state
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let built: BTreeSet<&str> = keys().into_iter().map(|(_, place)| place).collect();
        assert_eq!(listed, built);
    }
}
