//! Verifies members by asking them, and writes their addresses as Galera wants them.

use galera::NodeId;
use galera::observe::observation::ProbeErrorKind;
use galera::observe::wsrep::LocalState;
use galera::view::ClusterStatus;

use crate::probe::StatusProbe;
use crate::settings::run::RunSettings;
use crate::settings::{DEFAULT_MYSQL_PORT, DatabaseSettings};

/// The members that may be joined, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerifiedMembers {
    /// Who may be joined.
    pub(super) members: Vec<NodeId>,
    /// How that is known, or why nobody may.
    pub(super) explanation: String,
}

/// Asks each of `members` whether it is Synced and Primary, as far as the console's account lets us.
pub(super) async fn verify_members(
    settings: &RunSettings,
    members: Vec<NodeId>,
) -> VerifiedMembers {
    let Some(account) = &settings.console else {
        return VerifiedMembers {
            members,
            explanation: "by the registry alone: CONSOLE_PASSWORD is not set".to_owned(),
        };
    };
    let (mut confirmed, mut unasked, mut denied) = (Vec::new(), Vec::new(), Vec::new());
    for node in members {
        let database = DatabaseSettings {
            host: node.host().to_owned(),
            port: node.port().unwrap_or(DEFAULT_MYSQL_PORT),
            socket: None,
            user: account.user.clone(),
            password: Some(account.password.clone()),
        };
        match StatusProbe::new(database, settings.cluster.clone())
            .probe_once()
            .await
        {
            Ok(reading) => {
                let status = &reading.status;
                let synced = status.local_state == Some(LocalState::Synced);
                if synced && status.cluster_status == Some(ClusterStatus::Primary) {
                    confirmed.push(node);
                } else {
                    denied.push(format!("{node} says {}", reading.summary()));
                }
            }
            // The account may not exist in data that are older than this agent.
            Err(error) if error.kind == ProbeErrorKind::AccessDenied => unasked.push(node),
            Err(error) => denied.push(error.message),
        }
    }
    if !confirmed.is_empty() {
        return VerifiedMembers {
            members: confirmed,
            explanation: "confirmed by SQL".to_owned(),
        };
    }
    let how = match unasked.is_empty() {
        true => denied.join("; "),
        false => format!(
            "by the registry alone: {} refuses {}",
            unasked[0], account.user
        ),
    };
    VerifiedMembers {
        members: unasked,
        explanation: how,
    }
}

/// `wsrep_cluster_address` for joining `members`.
#[must_use]
pub(super) fn cluster_address(members: &[NodeId], galera_port: u16) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|member| gcomm_address(member, galera_port))
        .collect();
    format!("gcomm://{}", members.join(","))
}

/// A member's place in group communication.
#[must_use]
pub(super) fn gcomm_address(node: &NodeId, galera_port: u16) -> String {
    let host = match node.host().contains(':') {
        true => format!("[{}]", node.host()),
        false => node.host().to_owned(),
    };
    format!("{host}:{galera_port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_with_the_group_port() {
        let members = ["10.0.0.1", "db2:3307", "fd00::1"].map(|text| text.parse().unwrap());
        assert_eq!(
            cluster_address(&members, 4567),
            "gcomm://10.0.0.1:4567,db2:4567,[fd00::1]:4567"
        );
    }
}
