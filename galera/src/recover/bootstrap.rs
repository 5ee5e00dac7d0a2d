//! The plan that makes a cluster without a Primary component Primary again.
//!
//! A running component gets one statement, a stopped cluster an order to one agent, or a person the exact commands. A
//! pure function of the evidence: equal evidence gives an equal plan on every replica (I10), whatever order it came in.

use std::time::Duration;

use crate::judge::cluster;
use crate::judge::known_positions::KnownPositions;
use crate::observe::observation::Evidence;
use crate::observe::registration::BootstrapOrder;
use crate::recover::action::RecoveryPause;
use crate::recover::attestation::Attestation;
use crate::recover::plan::digest::PlanDraft;
use crate::recover::plan::{ActionKind, CheckCode, CheckStatus, Plan, PlanStep};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

pub(crate) mod common_checks;
mod loss;
mod running;
pub(crate) mod situation;
mod statement;
mod stopped;
mod verify;

pub use statement::StatementDialect;
pub use verify::{BootstrapOutcome, ReturningAhead, returning_ahead, verify};

use situation::{MemberCondition, Situation};

/// How long evidence must last before it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySettings {
    /// How observations are judged.
    pub fold: cluster::FoldSettings,
    /// How long every view must have been unchanged.
    pub settle_time: Duration,
    /// The same while the cluster may still heal by itself (I12): longer than Galera's own timeouts.
    pub grace_period: Duration,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            fold: cluster::FoldSettings::default(),
            settle_time: Duration::from_secs(5),
            grace_period: Duration::from_secs(30),
        }
    }
}

/// What matters beside the evidence about the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryContext {
    /// Recovery is switched off.
    pub recovery_pause: Option<RecoveryPause>,
    /// Another open action of this cluster (not the one that is being planned again).
    pub open_action: Option<String>,
    /// The value of a standing order in the registry that does not belong to the action being planned again.
    pub standing_order: Option<String>,
    /// Whether the console has an account that may send the statement.
    pub sql_account: bool,
    /// The registry's prefix (`/galera`).
    pub registry_prefix: String,
}

impl Default for RecoveryContext {
    fn default() -> Self {
        Self {
            recovery_pause: None,
            open_action: None,
            standing_order: None,
            sql_account: true,
            registry_prefix: "/galera".to_owned(),
        }
    }
}

/// Everything a plan rests on.
#[derive(Clone, Copy)]
pub struct RecoveryCase<'a> {
    /// What the sources say.
    pub evidence: &'a Evidence,
    /// What is remembered.
    pub history: &'a KnownPositions,
    /// What people vouch for.
    pub attestations: &'a [Attestation],
    /// What else matters.
    pub context: &'a RecoveryContext,
    /// How long evidence must last.
    pub settings: &'a RecoverySettings,
    /// The time.
    pub now: Timestamp,
}

/// The order that `plan` gives, for the action `action_id`; `None` when it gives none.
#[must_use]
pub fn order(plan: &Plan, action_id: &str) -> Option<BootstrapOrder> {
    plan.steps.iter().find_map(|step| match step {
        PlanStep::Key {
            value: Some(value), ..
        } => {
            let order: BootstrapOrder = serde_json::from_str(value).ok()?;
            Some(BootstrapOrder {
                action_id: Some(action_id.to_owned()),
                ..order
            })
        }
        _ => None,
    })
}

/// Plans the bootstrap of a cluster as it is now; also when there is nothing to recover.
#[must_use]
pub fn plan(case: &RecoveryCase<'_>) -> Plan {
    let situation = Situation::new(case);
    let mut draft = PlanDraft::new();
    common_checks::check_all(case, &situation, &mut draft);
    let summary = if situation.primaries().next().is_some() {
        nothing_to_recover_summary(&situation)
    } else if situation.nodes().is_empty() {
        draft.add_check(
            CheckCode::CANDIDATE,
            CheckStatus::Unknown,
            "No member is configured, registered or known from an earlier view.".to_owned(),
            Vec::new(),
        );
        "Nothing is known about this cluster.".to_owned()
    } else if situation.has_running_component() {
        running::plan(case, &situation, &mut draft)
    } else {
        stopped::plan(case, &situation, &mut draft)
    };
    draft.finish(
        ActionKind::Bootstrap,
        &case.evidence.name,
        case.attestations,
        summary,
        case.now,
    )
}

fn nothing_to_recover_summary(situation: &Situation<'_>) -> String {
    let separate = situation
        .components
        .observed
        .iter()
        .filter(|seen| seen.view.status == ClusterStatus::Primary)
        .count();
    let names = situation.join_names(situation.primaries());
    if separate > 1 {
        return format!(
            "{names} say Primary in {separate} separate components. A bootstrap cannot repair that: stop the \
             applications, decide whose data counts, and stop the other nodes."
        );
    }
    let outside: Vec<usize> = situation
        .accountable_members()
        .filter(|&node| !matches!(situation.conditions[node], MemberCondition::Primary))
        .collect();
    let verb = if situation.primaries().count() == 1 {
        "is"
    } else {
        "are"
    };
    if outside.is_empty() {
        return format!("Nothing to recover: {names} {verb} Primary.");
    }
    let outside = situation.join_names(outside.into_iter());
    format!(
        "Nothing to recover: {names} {verb} Primary. Repair the connection of {outside}, or start it; it joins by itself."
    )
}
