//! The fold: observations into components and a verdict.
//!
//! A pure function of the evidence, the time and the settings, so that every verdict can be replayed in a test and does
//! not depend on the order of arrival. `Evidence` becomes `GatheredEvidence` (one `NodeFacts` per node), whose fresh
//! answers are grouped into `ObservedComponents`; `verdict::judge` decides and collects the reasons, and `node_views`
//! renders the nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::NodeId;
use crate::observe::observation::Evidence;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, ClusterView, Component, LabelMap, Verdict, VerdictState};

mod arbitrators;
pub(crate) mod components;
pub(crate) mod gather;
pub(crate) mod node_facts;
mod node_views;
mod processes;
mod quorum_summary;
pub(crate) mod reasons;
mod rivals;
mod secondary_reasons;
mod service_reasons;
mod transfers;
pub(crate) mod unseen;
mod verdict;

/// By how much a registration must be newer than the first failed probe to prove that its node was alive after it.
const RACE_MARGIN: Duration = Duration::from_secs(1);

/// How long evidence is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldSettings {
    /// How old an SQL answer may be: three poll intervals and the probe's deadline.
    pub stale_after: Duration,
    /// How old a registration may be when the TTL of its lease is unknown.
    pub registry_ttl: Duration,
    /// The port that is left out of node ids.
    pub default_port: u16,
    /// How long two Primary components must coexist before they count as rivals.
    pub settle_time: Duration,
}

impl Default for FoldSettings {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(6),
            registry_ttl: Duration::from_secs(10),
            default_port: 3306,
            settle_time: Duration::from_secs(2),
        }
    }
}

/// The view of a cluster as of `now`. Its revision is 0 and it has no labels; the publisher sets both.
///
/// `previous` is used only for [`Verdict::since`], which is kept while the state stays the same, and for how a state
/// transfer that it shows ended.
#[must_use]
pub fn fold(
    evidence: &Evidence,
    now: Timestamp,
    settings: &FoldSettings,
    previous: Option<&ClusterView>,
) -> ClusterView {
    let gathered = gather::gather(evidence, now, settings);
    let components = components::find_components(&gathered, settings.settle_time);
    let context = verdict::VerdictContext {
        evidence,
        gathered: &gathered,
        components: &components,
        settings,
        now,
    };
    let (state, reasons) = verdict::judge(&context);
    let since = previous
        .filter(|view| view.verdict.state == state)
        .map_or(now, |view| view.verdict.since);
    let quorum = quorum_summary::summarize(&context, state);
    let mut nodes = node_views::node_views(
        &gathered.nodes,
        &gathered.unconfirmed,
        &evidence.registry_health,
    );
    let last_transfer = transfers::attach(
        &mut nodes,
        &gathered.nodes,
        previous,
        &evidence.registry_health,
        now,
    );
    let components: Vec<Component> = components
        .observed
        .into_iter()
        .map(|component| component.view)
        .collect();
    ClusterView {
        name: evidence.name.clone(),
        labels: LabelMap::default(),
        revision: 0,
        observed_at: now,
        verdict: Verdict {
            state,
            reasons,
            since,
        },
        arbitrators: arbitrators::arbitrator_views(evidence, &components, &nodes),
        quorum,
        nodes,
        components,
        expected_members: gathered.expected_members,
        registry: evidence.registry_health.clone(),
        last_transfer,
    }
}

/// The only Primary component, whose known members are to be stored as expected; `None` if there is none, or several.
#[must_use]
pub fn only_primary(view: &ClusterView) -> Option<&Component> {
    let mut primary = view
        .components
        .iter()
        .filter(|component| component.status == ClusterStatus::Primary);
    match (primary.next(), primary.next()) {
        (Some(only), None) if view.verdict.state < VerdictState::Diverged => Some(only),
        _ => None,
    }
}

/// The members of the Primary component to be recorded as expected, if `view` shows that they changed since the view
/// `before`; `recorded` are those recorded so far.
#[must_use]
pub fn changed_members(
    view: &ClusterView,
    before: Option<&ClusterView>,
    recorded: &BTreeSet<NodeId>,
) -> Option<BTreeSet<NodeId>> {
    let primary = only_primary(view).filter(|primary| !primary.members.is_empty())?;
    let members = || primary.members.iter().cloned();
    let listed = u64::try_from(primary.members.len()).unwrap_or(u64::MAX);
    // A component that lists fewer members than its size must not shorten the record.
    if primary.size.is_some_and(|size| listed < size) {
        let known = primary.members.iter().all(|id| recorded.contains(id));
        return (!known).then(|| members().chain(recorded.iter().cloned()).collect());
    }
    // Both are sorted, without duplicates.
    let same = before
        .and_then(only_primary)
        .is_some_and(|before| before.members == primary.members);
    (!same && !recorded.iter().eq(&primary.members)).then(|| members().collect())
}
