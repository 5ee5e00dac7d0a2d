//! Verifies over SQL that members can be joined, and builds the cluster address.

use galera::NodeId;
use galera::observe::observation::ProbeErrorKind;
use galera::observe::wsrep::LocalState;
use galera::view::ClusterStatus;

use crate::probe::StatusProbe;
use crate::settings::run::RunSettings;
use crate::settings::{DEFAULT_MYSQL_PORT, DatabaseSettings};

/// The members to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerifiedMembers {
    pub(super) members: Vec<NodeId>,
    /// How they were verified, or why there are none.
    pub(super) explanation: String,
}

/// Checks over SQL that each of `members` is Synced and Primary, as far as the console account permits.
pub(super) async fn verify_members(
    settings: &RunSettings,
    members: Vec<NodeId>,
) -> VerifiedMembers {
    let Some(account) = &settings.accounts.console else {
        return VerifiedMembers {
            members,
            explanation: "according to the registry only: CONSOLE_PASSWORD is not set".to_owned(),
        };
    };
    let (mut confirmed, mut unverified, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for node in members {
        let database = DatabaseSettings {
            host: node.host().to_owned(),
            port: node.port().unwrap_or(DEFAULT_MYSQL_PORT),
            socket: None,
            tls: settings.tls.clone(),
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
                    rejected.push(format!("{node} is {}", reading.summary()));
                }
            }
            // The account may be missing in data older than this agent.
            Err(error) if error.kind == ProbeErrorKind::AccessDenied => unverified.push(node),
            Err(error) => rejected.push(error.message),
        }
    }
    if !confirmed.is_empty() {
        return VerifiedMembers {
            members: confirmed,
            explanation: "confirmed by SQL".to_owned(),
        };
    }
    let explanation = match unverified.is_empty() {
        true => rejected.join("; "),
        false => format!(
            "according to the registry only: {} denies access to account {}",
            unverified[0], account.user
        ),
    };
    VerifiedMembers {
        members: unverified,
        explanation,
    }
}

/// `wsrep_cluster_address` for joining `members`.
#[must_use]
pub(crate) fn cluster_address(members: &[NodeId], galera_port: u16) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|member| gcomm_address(member, galera_port))
        .collect();
    format!("gcomm://{}", members.join(","))
}

/// A member's group communication address.
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
