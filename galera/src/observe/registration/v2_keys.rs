//! Keys of etcd's v2 API, as the scripts of the original images write them: fewer than agents write to v3, without state
//! UUID, and `seqno` with two meanings.

use super::{NodeField, ParsedKey, parse_key, unknown_key};
use crate::view::SeqnoMeaning;

/// One key as stored in etcd v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2KeyValue {
    /// The complete key.
    pub key: String,
    /// The value.
    pub value: String,
    /// etcd's `modifiedIndex`.
    pub index: u64,
    /// Seconds until it expires; `None` without a time to live.
    pub ttl: Option<u64>,
}

impl SeqnoMeaning {
    /// Determines it from the node's other keys: scripts that write `wsrep_last_committed` write `seqno` at the start only,
    /// and the others write it after each state. With neither key, `before` is what it meant when it was last read with the
    /// same index, and `watched` whether it was written while the keys were watched: then by a start script.
    #[must_use]
    pub const fn of(
        has_last_committed: bool,
        has_state: bool,
        before: Option<Self>,
        watched: bool,
    ) -> Self {
        match (has_last_committed, has_state, before) {
            (true, ..) => Self::RecoveredPosition,
            // A start script writes when no state has been reported for a time to live.
            (false, _, Some(known @ (Self::RecoveredPosition | Self::LastCommitted))) => known,
            (false, true, _) => Self::LastCommitted,
            (false, false, Some(Self::Undetermined)) => Self::Undetermined,
            (false, false, None) if watched => Self::RecoveredPosition,
            (false, false, None) => Self::Undetermined,
        }
    }
}

/// What a node has registered in etcd v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Registration {
    /// Whether a key with a time to live exists: scripts run on the node, or did until recently.
    pub reported: bool,
    /// What its `seqno` means, if it has one.
    pub seqno: Option<SeqnoMeaning>,
    /// Whether the node is registered in v3 too.
    pub also_in_v3: bool,
}

/// The console's access to the registry in etcd v2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum V2Access {
    /// Not read, or empty.
    #[default]
    Absent,
    /// It holds keys, and was read.
    Read,
    /// It held keys, or has to be read (`--registry-dialect v2`), and cannot be read, for this reason.
    Unreadable(String),
}

/// Parses a key of etcd v2. Only what the images write is recognized: a key that only agents write, such as an order or a
/// position, would be a forgery there.
#[must_use]
pub fn parse_v2_key(prefix: &str, key: &str) -> ParsedKey {
    match parse_key(prefix, key.as_bytes()) {
        ParsedKey::Node {
            cluster,
            node,
            field,
        } => {
            let written = match &field {
                NodeField::Wsrep(name) => {
                    ["wsrep_local_state_comment", "wsrep_last_committed"].contains(&name.as_str())
                }
                NodeField::Seqno
                | NodeField::IpAddress
                | NodeField::IpAddr
                | NodeField::Hostname => true,
                _ => false,
            };
            match written {
                true => ParsedKey::Node {
                    cluster,
                    node,
                    field,
                },
                false => unknown_key(Some(cluster), "no image writes this key to etcd v2"),
            }
        }
        ParsedKey::Cluster { cluster, .. } | ParsedKey::Arbitrator { cluster, .. } => {
            unknown_key(Some(cluster), "no image writes this key to etcd v2")
        }
        unknown @ ParsedKey::Unknown { .. } => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_images_are_recognized() {
        let known = |key: &str| matches!(parse_v2_key("/galera", key), ParsedKey::Node { .. });
        for field in [
            "ipaddress",
            "seqno",
            "wsrep_local_state_comment",
            "wsrep_last_committed",
        ] {
            assert!(known(&format!("/galera/lab/10.0.0.1/{field}")), "{field}");
        }
        for key in [
            "/galera/lab/bootstrap",
            "/galera/lab/founder",
            "/galera/lab/forks/1",
            "/galera/lab/arbitrators/a",
            "/galera/lab/10.0.0.1",
            "/galera/lab/10.0.0.1/seqno/x",
            "/galera/lab/10.0.0.1/phase",
            "/galera/lab/10.0.0.1/registered",
            "/galera/lab/10.0.0.1/recovered_position",
            "/galera/lab/10.0.0.1/highest_position",
            "/galera/lab/10.0.0.1/order_keys",
            "/galera/lab/10.0.0.1/data_id",
            "/galera/lab/10.0.0.1/wsrep_cluster_status",
            "/galera/lab/10.0.0.1/wsrep_cluster_state_uuid",
        ] {
            assert!(!known(key), "{key}");
        }
        let pxc = parse_v2_key("/pxc-cluster", "/pxc-cluster/lab/10.0.0.1/ipaddr");
        assert!(matches!(pxc, ParsedKey::Node { .. }), "{pxc:?}");
        let queue = parse_v2_key("/pxc-cluster", "/pxc-cluster/queue/lab/7");
        assert!(matches!(queue, ParsedKey::Unknown { .. }), "{queue:?}");
    }

    #[test]
    fn seqno_is_told_apart_by_the_keys_beside_it() {
        use SeqnoMeaning::{LastCommitted, RecoveredPosition, Undetermined};
        for (last_committed, state, before, watched, expected) in [
            // pxc56: its reporting script has another key.
            (true, true, None, false, RecoveredPosition),
            (true, true, Some(Undetermined), true, RecoveredPosition),
            // galera-docker-mariadb.
            (false, true, None, true, LastCommitted),
            (false, true, Some(Undetermined), false, LastCommitted),
            // The state expired a moment before.
            (false, false, Some(LastCommitted), true, LastCommitted),
            // The keys of the reporting script expired while a start script waits.
            (
                false,
                false,
                Some(RecoveredPosition),
                true,
                RecoveredPosition,
            ),
            (
                false,
                true,
                Some(RecoveredPosition),
                true,
                RecoveredPosition,
            ),
            (false, false, None, true, RecoveredPosition),
            (false, false, None, false, Undetermined),
            (false, false, Some(Undetermined), true, Undetermined),
        ] {
            let meaning = SeqnoMeaning::of(last_committed, state, before, watched);
            assert_eq!(
                meaning, expected,
                "{last_committed} {state} {before:?} {watched}"
            );
        }
    }
}
