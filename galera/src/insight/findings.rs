//! What is wrong or risky with a cluster besides its verdict: its configuration, its quorum, its transfers, its load.
//!
//! Findings never act. They rest on what the servers report about themselves to an account with USAGE only; what could
//! not be seen is said.

mod connections;
mod load;
mod quorum;
mod server;
mod settings;
mod transfers;
mod versions;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::observe::observation::Evidence;
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeView};

use server::FullServer;
pub(crate) use server::{ObservedServer, observed_servers};

/// How urgent a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingSeverity {
    /// Worth knowing; may be on purpose.
    Notice,
    /// Slows the cluster, or makes the next fault worse.
    Warning,
    /// Can lose data or split the cluster.
    Critical,
}

named_variants!(FindingSeverity {
    Notice => "notice",
    Warning => "warning",
    Critical => "critical",
});

/// What a finding is about: stable codes for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// A node would bootstrap a cluster of its own when it is restarted.
    BootstrapAddress,
    /// `wsrep_cluster_address` names no other member.
    OutdatedAddress,
    /// `pc.ignore_sb` or `pc.ignore_quorum` is set.
    QuorumIgnored,
    /// Half of the votes may be lost at once.
    EvenVotes,
    /// The cluster has one member.
    SingleMember,
    /// A member or segment has so many votes that the others cannot go on without it.
    DecisiveVotes,
    /// A node has no vote.
    NoVote,
    /// Variables that should be the same on all members differ.
    ConfigurationDrift,
    /// `innodb_autoinc_lock_mode` is not 2.
    AutoincLockMode,
    /// `binlog_format` is not ROW.
    BinlogFormat,
    /// `auto_increment_offset` is the same on several members.
    AutoIncrementOverlap,
    /// `innodb_flush_log_at_trx_commit` is not 1.
    RelaxedDurability,
    /// `wsrep_sync_wait` is 0.
    StaleReads,
    /// Replication traffic is not encrypted.
    TrafficNotEncrypted,
    /// `pc.recovery` is off.
    PrimaryNotRecovered,
    /// The write-set cache covers a short time.
    SmallCache,
    /// A state transfer locks its donor.
    BlockingTransfer,
    /// `wsrep_sst_donor` names no member.
    UnknownDonor,
    /// Versions of server or provider differ.
    VersionSkew,
    /// The group speaks an older protocol than its members could.
    OldProtocol,
    /// Transactions are lost to conflicts between nodes.
    WriteConflicts,
    /// A node asks the others to pause.
    FlowControlSource,
    /// Transactions are open, and none commits.
    CommitsStalled,
    /// Old row versions are not purged.
    LongTransactions,
    /// Few connections are left.
    ConnectionsUsed,
    /// Peers answer late.
    DelayedPeers,
    /// A node was evicted from the group.
    EvictedPeers,
    /// A donor without a joiner, as for a backup.
    DonorWithoutJoiner,
    /// A server limits its own use (`wsrep_desync`, `read_only`, …).
    ServiceLimited,
}

named_variants!(FindingCode {
    BootstrapAddress => "bootstrap_address",
    OutdatedAddress => "outdated_address",
    QuorumIgnored => "quorum_ignored",
    EvenVotes => "even_votes",
    SingleMember => "single_member",
    DecisiveVotes => "decisive_votes",
    NoVote => "no_vote",
    ConfigurationDrift => "configuration_drift",
    AutoincLockMode => "autoinc_lock_mode",
    BinlogFormat => "binlog_format",
    AutoIncrementOverlap => "auto_increment_overlap",
    RelaxedDurability => "relaxed_durability",
    StaleReads => "stale_reads",
    TrafficNotEncrypted => "traffic_not_encrypted",
    PrimaryNotRecovered => "primary_not_recovered",
    SmallCache => "small_cache",
    BlockingTransfer => "blocking_transfer",
    UnknownDonor => "unknown_donor",
    VersionSkew => "version_skew",
    OldProtocol => "old_protocol",
    WriteConflicts => "write_conflicts",
    FlowControlSource => "flow_control_source",
    CommitsStalled => "commits_stalled",
    LongTransactions => "long_transactions",
    ConnectionsUsed => "connections_used",
    DelayedPeers => "delayed_peers",
    EvictedPeers => "evicted_peers",
    DonorWithoutJoiner => "donor_without_joiner",
    ServiceLimited => "service_limited",
});

/// A value that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingEvidence {
    pub node: NodeId,
    /// The variable or status variable, or what was computed of several.
    pub name: String,
    /// As the server reports it.
    pub value: String,
}

/// Something wrong or risky.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    pub code: FindingCode,
    pub severity: FindingSeverity,
    /// The nodes concerned, sorted; empty if it concerns the cluster.
    pub nodes: Vec<NodeId>,
    /// A sentence for operators.
    pub message: String,
    /// What it rests on.
    pub evidence: Vec<FindingEvidence>,
    /// What to do about it.
    pub remedy: String,
    /// The page of the manual.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub manual: Cow<'static, str>,
    /// What it is about, if a cluster may have several of one code: a variable, or the code of a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// All findings about one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingsReport {
    pub cluster: ClusterName,
    /// When the view that it rests on was computed.
    pub observed_at: Timestamp,
    /// Most urgent first.
    pub findings: Vec<Finding>,
    /// The members whose answers they rest on.
    #[serde(default)]
    pub seen: BTreeSet<NodeId>,
    /// What could not be seen, one sentence each.
    pub unseen: Vec<String>,
}

/// Computes the findings about a cluster from its view and the evidence behind it. Takes well below a millisecond for
/// nine nodes.
#[must_use]
pub fn findings(view: &ClusterView, evidence: &Evidence, default_port: u16) -> FindingsReport {
    let servers = observed_servers(view, evidence, default_port);
    let full = server::full_servers(view, evidence, default_port);
    let processes = server::members_by_process(view, evidence, default_port);
    let mut found = Vec::new();
    settings::check(&servers, &mut found);
    quorum::check(view, &servers, &mut found);
    transfers::check(view, &servers, &mut found);
    versions::check(&servers, &mut found);
    load::check(view, &servers, &processes, &mut found);
    connections::check(&servers, &full, &mut found);
    limits(view, &mut found);
    for finding in &mut found {
        finding.nodes.sort();
        finding.nodes.dedup();
    }
    found.sort_by(|a, b| {
        let order = b.severity.cmp(&a.severity);
        order.then(a.code.cmp(&b.code)).then(a.nodes.cmp(&b.nodes))
    });
    FindingsReport {
        cluster: view.name.clone(),
        observed_at: view.observed_at,
        findings: found,
        seen: servers
            .iter()
            .map(|server| server.node.id.clone())
            .collect(),
        unseen: unseen(view, &servers, &full),
    }
}

/// Limits that servers set themselves, which are findings of their nodes as well.
fn limits(view: &ClusterView, found: &mut Vec<Finding>) {
    for node in view.members() {
        for limit in &node.findings {
            found.push(Finding {
                code: FindingCode::ServiceLimited,
                severity: FindingSeverity::Warning,
                nodes: vec![node.id.clone()],
                message: format!("{}: {}.", node.label(), limit.message),
                evidence: Vec::new(),
                remedy: "End it as named if it is not on purpose.".to_owned(),
                manual: manual::VARIABLES,
                subject: Some(limit.code.clone()),
            });
        }
    }
}

fn unseen(
    view: &ClusterView,
    servers: &[ObservedServer<'_>],
    full: &[FullServer<'_>],
) -> Vec<String> {
    let mut unseen = Vec::new();
    for node in view.members() {
        let server = servers.iter().find(|server| server.node.id == node.id);
        match server {
            None if full.iter().any(|full| full.node.id == node.id) => unseen.push(format!(
                "{} has no fresh answer: its variables and status are not in the findings.",
                node.label()
            )),
            None => unseen.push(format!(
                "{} has not answered recently and was not checked.",
                node.label()
            )),
            Some(server) if server.details.is_none() => unseen.push(format!(
                "The variables of {} have not been read yet.",
                node.label()
            )),
            Some(_) => {}
        }
    }
    unseen.push(
        "Tables without a primary key, tables of other engines than InnoDB and single long transactions: an account \
         with USAGE only cannot see them."
            .to_owned(),
    );
    unseen
}

/// Names of nodes in a sentence: `db1 (10.0.0.1), db2 (10.0.0.2) and db3 (10.0.0.3)`.
fn name_list<'a>(nodes: impl IntoIterator<Item = &'a NodeView>) -> String {
    let names: Vec<String> = nodes.into_iter().map(NodeView::label).collect();
    match &names[..] {
        [] => String::new(),
        [only] => only.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// Pages of the manuals.
mod manual {
    use std::borrow::Cow;

    pub(super) const PARAMETERS: Cow<'static, str> =
        Cow::Borrowed("https://galeracluster.com/library/documentation/galera-parameters.html");
    pub(super) const VARIABLES: Cow<'static, str> =
        Cow::Borrowed("https://mariadb.com/kb/en/galera-cluster-system-variables/");
    pub(super) const STATUS: Cow<'static, str> =
        Cow::Borrowed("https://mariadb.com/kb/en/galera-cluster-status-variables/");
    pub(super) const QUORUM: Cow<'static, str> =
        Cow::Borrowed("https://galeracluster.com/library/documentation/weighted-quorum.html");
    pub(super) const CONFIGURATION: Cow<'static, str> =
        Cow::Borrowed("https://mariadb.com/kb/en/configuring-mariadb-galera-cluster/");
    pub(super) const FLOW_CONTROL: Cow<'static, str> =
        Cow::Borrowed("https://galeracluster.com/library/documentation/node-states.html");
    pub(super) const TRANSFERS: Cow<'static, str> =
        Cow::Borrowed("https://galeracluster.com/library/documentation/state-transfer.html");
    pub(super) const UPGRADES: Cow<'static, str> =
        Cow::Borrowed("https://galeracluster.com/library/documentation/upgrading.html");
    pub(super) const AUTO_EVICTION: Cow<'static, str> =
        Cow::Borrowed("https://galeracluster.com/library/documentation/auto-eviction.html");
}
