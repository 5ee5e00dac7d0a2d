//! The plan that makes a cluster without a Primary component Primary again.
//!
//! A running component gets one statement, a stopped cluster an order to one agent, or a person the exact commands. A
//! pure function of the evidence: equal evidence gives an equal plan on every replica (I10), whatever order it came in.

use std::time::Duration;

use crate::judge::cluster;
use crate::judge::known_positions::History;
use crate::observe::observation::Evidence;
use crate::observe::registration::Order;
use crate::recover::action::SwitchedOff;
use crate::recover::attestation::Attestation;
use crate::recover::plan::digest::Draft;
use crate::recover::plan::{CheckCode, CheckStatus, Kind, Plan, Step};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

mod loss;
mod running;
pub(crate) mod shared;
pub(crate) mod situation;
mod statement;
mod stopped;
mod verify;

pub use statement::Dialect;
pub use verify::{Outcome, ReturningAhead, returning_ahead, verify};

use situation::{Situation, Standing};

/// How long evidence must last before it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How observations are judged.
    pub fold: cluster::Settings,
    /// How long every view must have been unchanged.
    pub settle: Duration,
    /// The same while the cluster may still heal by itself (I12): longer than Galera's own timeouts.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fold: cluster::Settings::default(),
            settle: Duration::from_secs(5),
            grace: Duration::from_secs(30),
        }
    }
}

/// What matters beside the evidence about the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Recovery is switched off.
    pub off: Option<SwitchedOff>,
    /// Another open action of this cluster (not the one that is being planned again).
    pub open_action: Option<String>,
    /// The value of a standing order in the registry that does not belong to the action being planned again.
    pub standing_order: Option<String>,
    /// Whether the console has an account that may send the statement.
    pub sql_account: bool,
    /// The registry's prefix (`/galera`).
    pub registry_prefix: String,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            off: None,
            open_action: None,
            standing_order: None,
            sql_account: true,
            registry_prefix: "/galera".to_owned(),
        }
    }
}

/// Everything a plan rests on.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// What the sources say.
    pub evidence: &'a Evidence,
    /// What is remembered.
    pub history: &'a History,
    /// What people vouch for.
    pub attestations: &'a [Attestation],
    /// What else matters.
    pub circumstances: &'a Circumstances,
    /// How long evidence must last.
    pub settings: &'a Settings,
    /// The time.
    pub now: Timestamp,
}

/// The order that `plan` gives, for the action `action_id`; `None` when it gives none.
#[must_use]
pub fn order(plan: &Plan, action_id: &str) -> Option<Order> {
    plan.steps.iter().find_map(|step| match step {
        Step::Key {
            value: Some(value), ..
        } => {
            let order: Order = serde_json::from_str(value).ok()?;
            Some(Order {
                action_id: Some(action_id.to_owned()),
                ..order
            })
        }
        _ => None,
    })
}

/// Plans the bootstrap of a cluster as it is now; also when there is nothing to recover.
#[must_use]
pub fn plan(case: &Case<'_>) -> Plan {
    let situation = Situation::new(case);
    let mut draft = Draft::new();
    shared::checks(case, &situation, &mut draft);
    let summary = if situation.primaries().next().is_some() {
        nothing_to_recover(&situation)
    } else if situation.nodes().is_empty() {
        draft.check(
            CheckCode::CANDIDATE,
            CheckStatus::Unknown,
            "No member is configured, registered or known from an earlier view.".to_owned(),
            Vec::new(),
        );
        "Nothing is known about this cluster.".to_owned()
    } else if situation.runs() {
        running::plan(case, &situation, &mut draft)
    } else {
        stopped::plan(case, &situation, &mut draft)
    };
    draft.finish(
        Kind::Bootstrap,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

fn nothing_to_recover(situation: &Situation<'_>) -> String {
    let separate = situation
        .components
        .seen
        .iter()
        .filter(|seen| seen.view.status == ClusterStatus::Primary)
        .count();
    let names = situation.names(situation.primaries());
    if separate > 1 {
        return format!(
            "{names} say Primary in {separate} separate components. A bootstrap cannot repair that: stop the \
             applications, decide whose data counts, and stop the other nodes."
        );
    }
    let outside: Vec<usize> = situation
        .counted()
        .filter(|&node| !matches!(situation.standings[node], Standing::Primary))
        .collect();
    let verb = if situation.primaries().count() == 1 {
        "is"
    } else {
        "are"
    };
    if outside.is_empty() {
        return format!("Nothing to recover: {names} {verb} Primary.");
    }
    let outside = situation.names(outside.into_iter());
    format!(
        "Nothing to recover: {names} {verb} Primary. Repair the connection of {outside}, or start it; it joins by itself."
    )
}
