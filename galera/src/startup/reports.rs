//! What every member of a stopped cluster has reported about its data. A member is its data, not its address (I34): a
//! report counts only for the identity that is registered.

use std::collections::BTreeMap;

use super::forks;
use super::member::{RegistryMember, ReportedPosition};
use super::registry_snapshot::{FounderKeyState, RegistrySnapshot};
use super::{DataState, ExpectedMembers, StartingNode, StartupSettings, join_names};
use crate::id::NodeId;
use crate::observe::registration::{AgentPhase, MembersSeen, ReportedData};
use crate::position::Position;

/// What one member contributes to the decision.
#[derive(Clone, Copy)]
pub(super) struct MemberReport<'a> {
    pub(super) node: &'a NodeId,
    pub(super) position: Option<&'a Position>,
    /// Whether its data are the registered ones, which were a member's.
    pub(super) registered: bool,
    /// Whether it is waiting and can bootstrap, rather than stopped with its position on record.
    pub(super) ready: bool,
    pub(super) members_seen: Option<&'a MembersSeen>,
    /// The newest fork that its data continued; `None` if it is not live and no record says.
    pub(super) fork_epoch: Option<u64>,
}

impl MemberReport<'_> {
    /// The number of its last Primary view.
    pub(super) fn view(&self) -> Option<u64> {
        self.members_seen?.view
    }
}

/// The members whose registered data have no position, and why they are waited for. Data are registered once they are a
/// member's: these had transactions, whether the directory was emptied, a state transfer broke off or the position is not
/// trusted, and nothing proves that another member has all of them (I37).
pub(super) fn lost_positions(reports: &[MemberReport<'_>]) -> Option<(Vec<NodeId>, String)> {
    let lost = reports
        .iter()
        .filter(|report| report.registered && report.position.is_none());
    let nodes: Vec<NodeId> = lost.map(|report| report.node.clone()).collect();
    let names = join_names(&nodes);
    (!nodes.is_empty()).then(|| {
        let text = format!(
            "The data of {names} were a member's and have no position now, so that what only they had is unknown; waiting for \
             a member to become Primary, or for an approved bootstrap order, whose plan names the possible loss; request one on \
             the console's Recovery page"
        );
        (nodes, text)
    })
}

/// Why nodes are missing.
pub(super) type MissingReports = BTreeMap<NodeId, String>;

/// The reports of all members, or the missing members and why each is missing.
pub(super) fn collect<'a>(
    own: &'a StartingNode,
    snapshot: &'a RegistrySnapshot,
    settings: &'a StartupSettings,
) -> Result<Vec<MemberReport<'a>>, MissingReports> {
    let own_member = snapshot.members.get(&own.node);
    let own_registration = own_member.and_then(|member| member.registration.as_ref());
    let own_data = ReportedData::compare(own_registration, Some(&own.data_id));
    let mut reports = vec![MemberReport {
        node: &own.node,
        position: own.data.position(),
        registered: own_data == ReportedData::Registered,
        ready: true,
        members_seen: own.members_seen.as_ref(),
        fork_epoch: Some(own.fork_epoch),
    }];
    let mut missing = MissingReports::new();
    if let Some(why) = own_report_problem(own, own_data) {
        missing.insert(own.node.clone(), why);
    }
    for (node, member) in snapshot.members_except(&own.node) {
        let known = is_known_member(node, member, snapshot, settings);
        match member_report(node, member, snapshot, known) {
            Ok(Some((position, ready))) if known => {
                reports.push(MemberReport {
                    node,
                    position,
                    registered: member.reported_data() == ReportedData::Registered,
                    ready,
                    members_seen: member.members_seen.as_ref().filter(|_| ready),
                    fork_epoch: match ready {
                        true => Some(member.fork_epoch),
                        false => forks::epoch_of_stop(node, member, snapshot),
                    },
                });
            }
            // It may be a member whose registration was lost, so it is neither counted nor passed over.
            Ok(Some((Some(_), _))) => {
                let why = "it reports a position, but is not registered as a member";
                missing.insert(node.clone(), why.to_owned());
            }
            Ok(Some((None, _)) | None) => {}
            Err(why) => {
                missing.insert(node.clone(), why);
            }
        }
    }
    if let ExpectedMembers::Members(expected) = &settings.expected_members {
        for node in expected {
            let known = reports.iter().any(|report| report.node == node);
            if !known && !missing.contains_key(node) {
                let why = "it is expected and has not reported";
                missing.insert(node.clone(), why.to_owned());
            }
        }
    }
    if missing.is_empty() {
        Ok(reports)
    } else {
        Err(missing)
    }
}

/// Why this node's own report does not count.
fn own_report_problem(own: &StartingNode, data: ReportedData) -> Option<String> {
    if matches!(own.data, DataState::Unrecovered { .. }) {
        return Some("its position has not been recovered yet".to_owned());
    }
    match data {
        ReportedData::Registered => None,
        ReportedData::Unregistered if !own.data.has_history() => None,
        ReportedData::Unregistered => Some("its data are not registered in etcd yet".to_owned()),
        ReportedData::Other | ReportedData::Unnamed => {
            Some(other_data_text(&own.node, own.data.has_history()))
        }
    }
}

/// Why a report from an address does not stand for the data that are registered there.
fn other_data_text(node: &NodeId, holds_data: bool) -> String {
    let kind = if holds_data { "other" } else { "other, empty" };
    format!(
        "the address of {node} is used by {kind} data; the data that were registered there have not been reported stopped"
    )
}

/// Whether the node was a member before: a report counts only then, not because its keys are there.
fn is_known_member(
    node: &NodeId,
    member: &RegistryMember,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
) -> bool {
    let named = match &settings.expected_members {
        ExpectedMembers::Members(expected) => expected.contains(node),
        ExpectedMembers::Registered | ExpectedMembers::Count(_) => false,
    };
    let founder = matches!(&snapshot.founder, FounderKeyState::Known { founder, .. } if founder.node == *node);
    named || founder || member.registration.is_some() || member.highest_position.is_some()
}

/// Why a server that runs without being Primary is waited for, and the way out.
fn running_text(node: &NodeId, member: &RegistryMember) -> String {
    let at = match member.status.last_committed {
        Some(seqno) => format!(" at {seqno}"),
        None => String::new(),
    };
    format!(
        "its server is running{at} but not Primary; restart the container or service of {node} if no member can become \
         Primary, so that it waits too"
    )
}

/// The position that a member contributes and whether it is ready to bootstrap.
type ReportedValue<'a> = Option<(Option<&'a Position>, bool)>;

/// What a member contributes; `None` for keys that do not belong to a member; the error says why it is missing.
fn member_report<'a>(
    node: &NodeId,
    member: &'a RegistryMember,
    snapshot: &RegistrySnapshot,
    known: bool,
) -> Result<ReportedValue<'a>, String> {
    if member.has_status {
        return Err(running_text(node, member));
    }
    if let Some(stopped) = member.clean_stop() {
        return Ok(Some((Some(&stopped.position), false)));
    }
    if !member.live {
        return match member.registration.is_some() || member.highest_position.is_some() {
            true => Err("it is registered and has not come back".to_owned()),
            false => Ok(None),
        };
    }
    let (reported, position) = (member.reported_data(), &member.reported_position);
    let holds_data = matches!(position, ReportedPosition::At(_));
    if reported == ReportedData::Other {
        return Err(other_data_text(node, holds_data));
    }
    if member.phase != Some(AgentPhase::Waiting) || *position == ReportedPosition::NotYet {
        let reason = member
            .waiting_for
            .as_deref()
            .filter(|text| !text.is_empty());
        return Err(match reason {
            Some(reason) => format!("it has not reported its position yet, because {reason}"),
            None => "it has not reported its position yet".to_owned(),
        });
    }
    if reported == ReportedData::Unnamed {
        return Err(
            "its agent is older and does not publish which data it reports on; update it"
                .to_owned(),
        );
    }
    match position {
        ReportedPosition::At(position) => Ok(Some((Some(position), true))),
        _ => {
            let registered = reported == ReportedData::Registered;
            match registered || never_had_data(node, member, snapshot) || !known {
                true => Ok(Some((None, true))),
                false => Err(
                    "it reports no data, and no registration shows that no other data belong to it"
                        .to_owned(),
                ),
            }
        }
    }
}

/// Whether no key shows that an unregistered node ever had data.
fn never_had_data(node: &NodeId, member: &RegistryMember, snapshot: &RegistrySnapshot) -> bool {
    let FounderKeyState::Known { founder, .. } = &snapshot.founder else {
        // Part of the registry was lost, perhaps its registration too.
        return false;
    };
    let founded = founder.node == *node && founder.data_id != member.data_id;
    member.highest_position.is_none() && !founded
}
