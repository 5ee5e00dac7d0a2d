//! Every member with its standing: what is known of it now, and from whom.

use super::Case;
use crate::judge::cluster::components::{Components, components};
use crate::judge::cluster::facts::{Answer, Facts, Sql};
use crate::judge::cluster::gather::{Gathered, gather};
use crate::judge::cluster::reasons::label;
use crate::observe::observation::ProbeFailure;
use crate::observe::registration::{self, NO_POSITION, Phase};
use crate::position::Position;
use crate::recover::attestation::{Attestation, Statement};
use crate::recover::plan::digest::fact;
use crate::recover::plan::{CheckEvidence, EvidenceSource};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// What is known of a member's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It says Primary.
    Primary,
    /// It says non-Primary, in this component.
    NonPrimary(usize),
    /// It runs, but is connected to no group (I15).
    Disconnected,
    /// It answers, but not where it stands.
    Unclear,
    /// It does not answer, but this component's own list has it as a member: it is where that component is.
    Listed(usize),
    /// It refuses connections, and its agent says that it is stopped.
    SaysStopped,
    /// A person vouches for it.
    Attested(Statement),
    /// Nobody knows. That is not dead (I2).
    Silent,
}

/// A position and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) position: Position,
    pub(crate) source: EvidenceSource,
    pub(crate) at: Option<Timestamp>,
    /// grastate.dat's flag, where a person pasted the file.
    pub(crate) flag: Option<bool>,
}

/// All members with their standings.
pub(crate) struct Situation<'a> {
    gathered: Gathered<'a>,
    pub(crate) components: Components<'a>,
    pub(crate) standings: Vec<Standing>,
    attested: Vec<Option<&'a Attestation>>,
}

impl<'a> Situation<'a> {
    pub(crate) fn new(case: &Case<'a>) -> Self {
        let fold = &case.settings.fold;
        let gathered = gather(case.evidence, case.now, fold);
        let components = components(&gathered, fold.settle);
        let attested: Vec<Option<&Attestation>> = gathered
            .nodes
            .iter()
            .map(|facts| {
                let port = fold.default_port;
                let own = case.attestations.iter();
                own.filter(|attestation| attestation.node.clone().normalized(port) == facts.id)
                    .min()
            })
            .collect();
        let standings = gathered
            .nodes
            .iter()
            .enumerate()
            .map(|(node, facts)| standing(node, facts, &components, attested[node]))
            .collect();
        Self {
            gathered,
            components,
            standings,
            attested,
        }
    }

    pub(crate) fn nodes(&self) -> &[Facts<'a>] {
        &self.gathered.nodes
    }

    /// Nodes that say Primary.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = usize> {
        self.of(|standing| standing == Standing::Primary)
    }

    /// Nodes of a standing.
    pub(crate) fn of(&self, is: impl Fn(Standing) -> bool) -> impl Iterator<Item = usize> {
        let standings = self.standings.iter().enumerate();
        standings
            .filter(move |(_, standing)| is(**standing))
            .map(|(node, _)| node)
    }

    /// Whether any component runs.
    pub(crate) fn runs(&self) -> bool {
        self.of(|standing| matches!(standing, Standing::NonPrimary(_)))
            .next()
            .is_some()
    }

    /// The denominator: expected members, and whoever gives a sign of life (I4).
    pub(crate) fn counted(&self) -> impl Iterator<Item = usize> {
        self.nodes()
            .iter()
            .enumerate()
            .filter(|(node, facts)| {
                facts.expected
                    || !matches!(self.standings[*node], Standing::Silent)
                    || matches!(facts.sql, Sql::Pending)
                    || facts.outlives_probe().is_some()
            })
            .map(|(node, _)| node)
    }

    pub(crate) fn attested(&self, node: usize) -> Option<&'a Attestation> {
        self.attested[node]
    }

    /// The nodes' names for a sentence.
    pub(crate) fn names(&self, nodes: impl Iterator<Item = usize>) -> String {
        let names: Vec<String> = nodes.map(|node| label(&self.nodes()[node])).collect();
        match names.split_last() {
            None => "nobody".to_owned(),
            Some((only, [])) => only.clone(),
            Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        }
    }

    /// Whether a live registration that is younger than the probe's failure says Primary (I1, I3).
    pub(crate) fn registered_primary(&self, node: usize) -> bool {
        self.nodes()[node]
            .outlives_probe()
            .is_some_and(|registered| {
                registered.status.cluster_status == Some(ClusterStatus::Primary)
            })
    }

    /// The present phase that a live registration tells.
    pub(crate) fn phase(&self, node: usize) -> Option<Phase> {
        let registered = self.nodes()[node].fresh_registration()?;
        Phase::of(&registered.seen.fields)
    }

    /// A stopped node's position: recovered by its agent, or pasted by a person.
    pub(crate) fn stopped_position(&self, node: usize) -> Option<Known> {
        let recovered = self.nodes()[node].registered.as_ref().and_then(|seen| {
            let position = registration::recovered_position(&seen.seen.fields)?;
            Some(Known {
                position,
                source: EvidenceSource::Registry,
                at: seen.seen.last_put_at,
                flag: None,
            })
        });
        recovered.or_else(|| {
            let pasted = self.attested[node]?.saved()?.ok()?;
            Some(Known {
                position: pasted.position?,
                source: EvidenceSource::Attestation,
                at: None,
                flag: pasted.safe_to_bootstrap,
            })
        })
    }

    /// Whether a stopped node's agent says, under a live lease, that its data offer no position: nothing is lost with
    /// it, and it is never a candidate (I6).
    pub(crate) fn holds_nothing(&self, node: usize) -> bool {
        self.standings[node] == Standing::SaysStopped
            && self.nodes()[node].fresh_registration().is_some_and(|seen| {
                let value = seen.seen.fields.get("recovered_position");
                value.is_some_and(|value| value.trim() == NO_POSITION)
            })
    }

    /// The best that is known of where a node's data stands, from any source and any time.
    pub(crate) fn last_known(&self, node: usize) -> Option<Known> {
        let facts = &self.nodes()[node];
        let told = facts.probe.and_then(|probe| probe.status.as_ref());
        let told = told.and_then(|(at, status)| {
            Some(Known {
                position: status.position()?,
                source: EvidenceSource::Sql,
                at: Some(*at),
                flag: None,
            })
        });
        if facts.answer().is_some() {
            return told;
        }
        self.stopped_position(node).or(told)
    }

    /// What is known of a node, as evidence.
    pub(crate) fn evidence(&self, node: usize) -> CheckEvidence {
        let facts = &self.nodes()[node];
        let (source, at, value) = match self.standings[node] {
            Standing::Attested(statement) => (
                EvidenceSource::Attestation,
                None,
                statement.word().to_owned(),
            ),
            Standing::SaysStopped => (
                EvidenceSource::Registry,
                facts
                    .registered
                    .as_ref()
                    .and_then(|registered| registered.seen.last_put_at),
                "stopped, by its agent's word".to_owned(),
            ),
            Standing::Listed(component) => (
                EvidenceSource::Sql,
                None,
                format!(
                    "listed by the component of {}",
                    self.component_name(component)
                ),
            ),
            Standing::Silent => (EvidenceSource::Sql, last_attempt(facts), silence(facts)),
            _ => match facts.answer() {
                Some(answer) => (EvidenceSource::Sql, Some(answer.at), said(&answer)),
                None => (EvidenceSource::Sql, None, "no answer".to_owned()),
            },
        };
        fact(Some(&facts.id), source, at, value)
    }

    /// A component, by the nodes that answer from within it.
    pub(crate) fn component_name(&self, component: usize) -> String {
        self.names(self.of(|standing| standing == Standing::NonPrimary(component)))
    }
}

fn standing(
    node: usize,
    facts: &Facts<'_>,
    components: &Components<'_>,
    attested: Option<&Attestation>,
) -> Standing {
    let home = components.seen.iter().position(|seen| {
        seen.members.contains(&node) && seen.view.status == ClusterStatus::NonPrimary
    });
    if let Some(answer) = facts.answer() {
        return match (answer.status.cluster_status, home) {
            (Some(ClusterStatus::Primary), _) => Standing::Primary,
            (Some(ClusterStatus::NonPrimary), Some(home)) => Standing::NonPrimary(home),
            (Some(ClusterStatus::Disconnected), _) => Standing::Disconnected,
            _ => Standing::Unclear,
        };
    }
    if let Some(home) = home {
        return Standing::Listed(home);
    }
    if says_stopped(facts) {
        return Standing::SaysStopped;
    }
    match attested {
        Some(attestation) => Standing::Attested(attestation.statement),
        None => Standing::Silent,
    }
}

/// A refused connection alone is no proof: a firewall may refuse too. The agent's own word makes it one (I2).
fn says_stopped(facts: &Facts<'_>) -> bool {
    let says = facts
        .fresh_registration()
        .is_some_and(|registered| registration::says_stopped(&registered.seen.fields));
    let refused = match facts.sql {
        Sql::Failing { error, .. } => error.kind == ProbeFailure::Refused,
        Sql::Unprobed => true,
        _ => false,
    };
    says && refused
}

fn last_attempt(facts: &Facts<'_>) -> Option<Timestamp> {
    let probe = facts.probe?;
    let failed = probe.error.as_ref().map(|(at, _)| *at);
    failed.or_else(|| probe.status.as_ref().map(|(at, _)| *at))
}

/// Coarse on purpose: how exactly a dead node does not answer decides nothing.
fn silence(facts: &Facts<'_>) -> String {
    match facts.sql {
        Sql::Failing { error, .. } if error.kind.server_answers() => {
            format!("answers, but refuses the console ({})", error.kind.word())
        }
        Sql::Failing { error, .. } if error.kind.positively_down() => {
            "refuses connections".to_owned()
        }
        Sql::Unprobed => "not asked".to_owned(),
        Sql::Pending => "not asked yet".to_owned(),
        _ => "no answer".to_owned(),
    }
}

/// What a node says of itself, as far as it decides anything.
fn said(answer: &Answer<'_>) -> String {
    let status = answer.status;
    let word = match status.cluster_status {
        Some(ClusterStatus::Primary) => "Primary",
        Some(ClusterStatus::NonPrimary) => "non-Primary",
        Some(ClusterStatus::Disconnected) => "Disconnected",
        None => "no cluster status",
    };
    let state = status.local_state_comment.as_deref().unwrap_or("no state");
    // A Primary's position moves with every commit and decides nothing here.
    match status.position() {
        Some(position) if status.cluster_status != Some(ClusterStatus::Primary) => {
            format!("{word}, {state}, {position}")
        }
        None if status.cluster_status != Some(ClusterStatus::Primary) => {
            format!("{word}, {state}, position undefined")
        }
        _ => format!("{word}, {state}"),
    }
}
