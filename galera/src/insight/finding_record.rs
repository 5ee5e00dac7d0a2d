//! What is kept of the findings of a cluster: since when they are open, and which of them people acknowledged.
//!
//! Findings are computed on demand and have no memory. [`FindingTracker`] compares them with the record at intervals: one
//! that lasted opens, one that is gone for longer ends, and each change of at least a warning is announced once, unless it is
//! acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::findings::{Finding, FindingSeverity, FindingsReport};
use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;

/// When findings open and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingPace {
    /// How long a finding must last before it opens.
    pub opens_after: Duration,
    /// How long it must be gone before it ends.
    pub ends_after: Duration,
}

impl Default for FindingPace {
    fn default() -> Self {
        Self {
            opens_after: Duration::from_secs(60),
            // Longer: it may depend on load, or on a member that restarts.
            ends_after: Duration::from_secs(300),
        }
    }
}

/// The longest time for which a finding is acknowledged.
pub const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Acknowledgements of one cluster that are kept.
const ACKNOWLEDGEMENTS_MAX: usize = 200;

/// What findings about different nodes have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingTopic {
    /// A text, so that a record with codes of a later version stays readable.
    pub code: String,
    /// See [`Finding::subject`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl FindingTopic {
    /// The topic of `finding`.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        Self {
            code: finding.code.as_str().to_owned(),
            subject: finding.subject.clone(),
        }
    }
}

/// A finding about one node, or about the cluster, that has lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFinding {
    #[serde(flatten)]
    pub topic: FindingTopic,
    /// `None` for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    pub severity: FindingSeverity,
    /// When it was first seen.
    pub since: Timestamp,
    /// Whether it was announced.
    #[serde(default)]
    pub announced: bool,
}

/// A person's decision to leave a finding as it is for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingAcknowledgement {
    #[serde(flatten)]
    pub topic: FindingTopic,
    /// The nodes concerned; empty for a finding about the cluster. On other nodes the finding stays open.
    #[serde(default)]
    pub nodes: BTreeSet<NodeId>,
    pub by: String,
    pub at: Timestamp,
    pub reason: String,
    /// Until when it counts.
    pub until: Timestamp,
}

impl FindingAcknowledgement {
    fn covers(&self, topic: &FindingTopic, node: Option<&NodeId>, now: Timestamp) -> bool {
        let concerned = match node {
            Some(node) => self.nodes.contains(node),
            None => self.nodes.is_empty(),
        };
        self.topic == *topic && concerned && now < self.until
    }
}

/// The record of one cluster (`findings/{cluster}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRecord {
    #[serde(default)]
    pub open: Vec<OpenFinding>,
    #[serde(default)]
    pub acknowledged: Vec<FindingAcknowledgement>,
}

impl FindingRecord {
    /// Adds an acknowledgement in place of those of the same nodes and topic, and drops those that no longer count.
    pub fn acknowledge(&mut self, new: FindingAcknowledgement) {
        let now = new.at;
        self.acknowledged.retain_mut(|known| {
            if known.topic == new.topic {
                if known.nodes.is_empty() {
                    return !new.nodes.is_empty();
                }
                known.nodes.retain(|node| !new.nodes.contains(node));
                if known.nodes.is_empty() {
                    return false;
                }
            }
            now < known.until
        });
        for open in &mut self.open {
            if new.covers(&open.topic, open.node.as_ref(), now) {
                // It is announced again if it outlasts the acknowledgement.
                open.announced = false;
            }
        }
        self.acknowledged.push(new);
        let excess = self.acknowledged.len().saturating_sub(ACKNOWLEDGEMENTS_MAX);
        self.acknowledged.drain(..excess);
    }

    /// Withdraws the acknowledgements of `topic`, and returns them.
    pub fn withdraw(&mut self, topic: &FindingTopic) -> Vec<FindingAcknowledgement> {
        let (withdrawn, kept) = std::mem::take(&mut self.acknowledged)
            .into_iter()
            .partition(|known| known.topic == *topic);
        self.acknowledged = kept;
        withdrawn
    }

    /// The acknowledgement that counts for every node of `finding`; of several the one that ends first.
    #[must_use]
    pub fn acknowledgement(
        &self,
        finding: &Finding,
        now: Timestamp,
    ) -> Option<&FindingAcknowledgement> {
        let topic = FindingTopic::of(finding);
        let of_unit = |node: Option<&NodeId>| {
            let mut known = self.acknowledged.iter();
            known.find(|known| known.covers(&topic, node, now))
        };
        if finding.nodes.is_empty() {
            return of_unit(None);
        }
        let found: Option<Vec<_>> = finding
            .nodes
            .iter()
            .map(|node| of_unit(Some(node)))
            .collect();
        found?.into_iter().min_by_key(|known| known.until)
    }

    /// Since when `finding` is open; `None` before it has lasted.
    #[must_use]
    pub fn since(&self, finding: &Finding) -> Option<Timestamp> {
        let topic = FindingTopic::of(finding);
        let open = self.open.iter().filter(|open| open.topic == topic);
        let of_nodes = open.filter(|open| match &open.node {
            Some(node) => finding.nodes.contains(node),
            None => finding.nodes.is_empty(),
        });
        of_nodes.map(|open| open.since).min()
    }

    /// `report` with what is recorded of its findings; acknowledged ones come last.
    #[must_use]
    pub fn annotate(&self, report: FindingsReport, now: Timestamp) -> FindingsView {
        let annotated = |finding: Finding| FindingView {
            since: self.since(&finding),
            acknowledged: self.acknowledgement(&finding, now).cloned(),
            finding,
        };
        let mut findings: Vec<FindingView> = report.findings.into_iter().map(annotated).collect();
        findings.sort_by_key(|finding| finding.acknowledged.is_some());
        FindingsView {
            cluster: report.cluster,
            observed_at: report.observed_at,
            findings,
            seen: report.seen,
            unseen: report.unseen,
        }
    }

    fn is_acknowledged(&self, open: &OpenFinding, now: Timestamp) -> bool {
        let mut known = self.acknowledged.iter();
        known.any(|known| known.covers(&open.topic, open.node.as_ref(), now))
    }
}

/// A finding with what is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingView {
    #[serde(flatten)]
    pub finding: Finding,
    /// When it was first seen; `None` before it has lasted [`FindingPace::opens_after`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The acknowledgement that counts for all of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<FindingAcknowledgement>,
}

/// All findings about one cluster, as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingsView {
    pub cluster: ClusterName,
    /// When the view that they rest on was computed.
    pub observed_at: Timestamp,
    /// Most urgent first, acknowledged ones last.
    pub findings: Vec<FindingView>,
    /// The members whose answers they rest on.
    #[serde(default)]
    pub seen: BTreeSet<NodeId>,
    /// What could not be seen, one sentence each.
    pub unseen: Vec<String>,
}

/// What is announced about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingChange {
    pub topic: FindingTopic,
    /// The nodes concerned; empty for the cluster.
    pub nodes: BTreeSet<NodeId>,
    /// The most urgent one.
    pub severity: FindingSeverity,
    /// What is found, with the remedy; `None` if it ended.
    pub text: Option<String>,
}

/// A finding about one node, or about the cluster.
type FindingUnit = (FindingTopic, Option<NodeId>);

#[derive(Clone, Copy, Debug)]
struct UnitSighting {
    first: Timestamp,
    last: Timestamp,
}

/// Follows the findings of one cluster. Its memory is lost with the process: then an open finding ends at the earliest
/// [`FindingPace::ends_after`] later.
#[derive(Clone, Debug)]
pub struct FindingTracker {
    pace: FindingPace,
    seen: BTreeMap<FindingUnit, UnitSighting>,
}

impl FindingTracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub const fn new(pace: FindingPace) -> Self {
        Self {
            pace,
            seen: BTreeMap::new(),
        }
    }

    /// Compares `report` with `record`, and returns what it becomes with what is to be announced. `members` are the members of
    /// the cluster: a finding about one that was not seen does not end.
    pub fn update(
        &mut self,
        record: &FindingRecord,
        report: &FindingsReport,
        members: &BTreeSet<NodeId>,
        now: Timestamp,
    ) -> (FindingRecord, Vec<FindingChange>) {
        let current = units(report);
        self.remember(&current, record, report, members, now);
        let mut next = record.clone();
        next.acknowledged.retain(|known| now < known.until);
        let mut ended = Vec::new();
        next.open.retain(|open| {
            let unit = (open.topic.clone(), open.node.clone());
            let stays = self.seen.contains_key(&unit);
            if !stays && open.announced {
                ended.push(open.clone());
            }
            stays
        });
        for (unit, finding) in &current {
            let lasted = self
                .seen
                .get(unit)
                .filter(|seen| seen.first.age(now) >= self.pace.opens_after);
            let known = next.open.iter_mut();
            let mut known = known.filter(|open| (&open.topic, &open.node) == (&unit.0, &unit.1));
            match (known.next(), lasted) {
                (Some(open), _) => {
                    // A more urgent one is announced again.
                    open.announced &= finding.severity <= open.severity;
                    open.severity = finding.severity;
                }
                (None, Some(seen)) => next.open.push(OpenFinding {
                    topic: unit.0.clone(),
                    node: unit.1.clone(),
                    severity: finding.severity,
                    since: seen.first,
                    announced: false,
                }),
                (None, None) => {}
            }
        }
        let mut changes = announce(&mut next, &current, now);
        changes.extend(ended_topics(&next, &ended));
        (next, changes)
    }

    fn remember(
        &mut self,
        current: &BTreeMap<FindingUnit, &Finding>,
        record: &FindingRecord,
        report: &FindingsReport,
        members: &BTreeSet<NodeId>,
        now: Timestamp,
    ) {
        let at_once = UnitSighting {
            first: now,
            last: now,
        };
        for open in &record.open {
            let unit = (open.topic.clone(), open.node.clone());
            self.seen.entry(unit).or_insert(at_once);
        }
        for unit in current.keys() {
            self.seen.entry(unit.clone()).or_insert(at_once).last = now;
        }
        let is_open = |(topic, node): &FindingUnit| {
            let mut open = record.open.iter();
            open.any(|open| (&open.topic, &open.node) == (topic, node))
        };
        let ends_after = self.pace.ends_after;
        self.seen.retain(|unit, sighting| {
            if current.contains_key(unit) {
                return true;
            }
            let judged = match &unit.1 {
                Some(node) => report.seen.contains(node) || !members.contains(node),
                None => !report.seen.is_empty(),
            };
            if !judged {
                sighting.last = now;
            }
            is_open(unit) && sighting.last.age(now) < ends_after
        });
    }
}

/// The findings of `report` by topic and node.
fn units(report: &FindingsReport) -> BTreeMap<FindingUnit, &Finding> {
    let mut units = BTreeMap::new();
    // Most urgent first.
    for finding in &report.findings {
        let topic = FindingTopic::of(finding);
        let nodes: Vec<Option<NodeId>> = match finding.nodes.is_empty() {
            true => vec![None],
            false => finding.nodes.iter().cloned().map(Some).collect(),
        };
        for node in nodes {
            units.entry((topic.clone(), node)).or_insert(finding);
        }
    }
    units
}

/// Marks what is announced now, and returns it by topic.
fn announce(
    next: &mut FindingRecord,
    current: &BTreeMap<FindingUnit, &Finding>,
    now: Timestamp,
) -> Vec<FindingChange> {
    let due: Vec<bool> = next
        .open
        .iter()
        .map(|open| {
            open.severity >= FindingSeverity::Warning
                && !open.announced
                && !next.is_acknowledged(open, now)
        })
        .collect();
    let mut changes: BTreeMap<FindingTopic, FindingChange> = BTreeMap::new();
    for (open, _) in next.open.iter_mut().zip(due).filter(|(_, due)| *due) {
        let Some(finding) = current.get(&(open.topic.clone(), open.node.clone())) else {
            continue;
        };
        open.announced = true;
        let text = format!("{} {}", finding.message, finding.remedy);
        let change = changes
            .entry(open.topic.clone())
            .or_insert_with(|| FindingChange {
                topic: open.topic.clone(),
                nodes: BTreeSet::new(),
                severity: open.severity,
                text: Some(String::new()),
            });
        change.nodes.extend(open.node.clone());
        change.severity = change.severity.max(open.severity);
        let said = change.text.get_or_insert_default();
        if !said.contains(&text) {
            if !said.is_empty() {
                said.push('\n');
            }
            said.push_str(&text);
        }
    }
    changes.into_values().collect()
}

/// The topics of `ended` of which nothing is open any more.
fn ended_topics(next: &FindingRecord, ended: &[OpenFinding]) -> Vec<FindingChange> {
    let mut changes: BTreeMap<&FindingTopic, FindingChange> = BTreeMap::new();
    for gone in ended {
        if next.open.iter().any(|open| open.topic == gone.topic) {
            continue;
        }
        let change = changes.entry(&gone.topic).or_insert_with(|| FindingChange {
            topic: gone.topic.clone(),
            nodes: BTreeSet::new(),
            severity: gone.severity,
            text: None,
        });
        change.nodes.extend(gone.node.clone());
        change.severity = change.severity.max(gone.severity);
    }
    changes.into_values().collect()
}

#[cfg(test)]
mod tests;
