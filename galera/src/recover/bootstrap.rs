//! Plans the bootstrap of a cluster without a Primary component, and verifies its outcome.
//!
//! [`plan`] takes a [`RecoveryCase`]; `Situation` assigns a `MemberCondition` to every member; `common_checks`,
//! `loss` and either `running` (one statement to one member) or `stopped` (an order to one agent, or commands for an
//! operator) add their checks to a draft. [`verify()`] compares the plan's target with what the nodes report afterwards.
//!
//! Planning is a pure function of the evidence: equal evidence gives an equal plan on every replica (I10), in whatever
//! order it arrived.

use std::time::Duration;

use crate::id::ActionId;
use crate::judge::cluster;
use crate::judge::known_positions::KnownPositions;
use crate::observe::fork::ForkRecords;
use crate::observe::observation::Evidence;
use crate::observe::registration::BootstrapOrder;
use crate::recover::action::RecoveryPause;
use crate::recover::attestation::Attestation;
use crate::recover::plan::digest::PlanDraft;
use crate::recover::plan::{ActionKind, CheckCode, CheckStatus, Plan, PlanStep};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

mod arbitrators;
pub(crate) mod common_checks;
mod executor;
mod flavour;
mod forks;
mod known_members;
mod loss;
mod loss_estimate;
mod no_effect;
mod quorum_rules;
mod recovery_reach;
mod running;
mod settled;
pub(crate) mod situation;
pub(crate) mod state_transfer;
mod statement;
pub(crate) mod stopped;
pub(crate) mod v2_nodes;
mod verify;

pub use executor::PlannedServer;
pub use forks::{NoEpochLeft, fork_of_proven_statement, fork_of_statement};
pub use no_effect::NoEffectProof;
pub use recovery_reach::RecoveryReach;
pub use statement::{STATEMENT_DEADLINE, STATEMENT_TIME_ZONE, StatementDialect};
pub use verify::{BootstrapOutcome, ReturningAhead, returning_ahead, verify};

use situation::{MemberCondition, Situation};

/// How observations are folded, and how long views must have been stable before a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySettings {
    pub fold: cluster::FoldSettings,
    /// How long every view must have been unchanged if the cluster cannot become Primary automatically.
    pub settle_time: Duration,
    /// The same while it still may (I12); longer than Galera's own timeouts.
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

/// The console's own state, as far as a plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryContext {
    pub recovery_pause: Option<RecoveryPause>,
    /// Id of another open action of this cluster, not of the one that is being planned again.
    pub open_action: Option<ActionId>,
    /// Value of an order in the registry that does not belong to the action that is being planned again.
    pub standing_order: Option<String>,
    /// The nodes that the recovery account (`--recovery-user`) may connect to.
    pub recovery_reach: RecoveryReach,
    /// The name of the public key of this console's order key (`--order-key-file`).
    pub order_key: Option<String>,
    /// The registry's prefix, such as `/galera`.
    pub registry_prefix: String,
    /// Whether the registry was read and has no founder key of this cluster.
    pub founder_missing: bool,
    /// The recorded forks of the cluster's history.
    pub forks: ForkRecords,
    /// The record of position corrections; `None` if it could not be read.
    pub corrections: Option<CorrectionsRecord>,
}

/// Where corrections of remembered positions are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrectionsRecord {
    pub key: String,
    /// 0 if it does not exist.
    pub mod_revision: i64,
}

impl Default for RecoveryContext {
    fn default() -> Self {
        Self {
            recovery_pause: None,
            open_action: None,
            standing_order: None,
            recovery_reach: RecoveryReach::Everywhere,
            order_key: None,
            registry_prefix: "/galera".to_owned(),
            founder_missing: false,
            forks: ForkRecords::default(),
            corrections: None,
        }
    }
}

/// The input of a plan.
#[derive(Clone, Copy)]
pub struct RecoveryCase<'a> {
    pub evidence: &'a Evidence,
    /// Positions and Primary views kept across restarts.
    pub history: &'a KnownPositions,
    pub attestations: &'a [Attestation],
    pub context: &'a RecoveryContext,
    pub settings: &'a RecoverySettings,
    pub now: Timestamp,
}

/// The order to an agent that `plan` contains, with the id of the action that carries it out.
#[must_use]
pub fn order(plan: &Plan, action_id: &ActionId) -> Option<BootstrapOrder> {
    plan.steps.iter().find_map(|step| match step {
        PlanStep::Key {
            value: Some(value), ..
        } => {
            let order: BootstrapOrder = serde_json::from_str(value).ok()?;
            Some(BootstrapOrder {
                action_id: Some(action_id.to_string()),
                ..order
            })
        }
        _ => None,
    })
}

/// Plans the bootstrap of a cluster in its current state. There is a plan even when there is nothing to recover.
#[must_use]
pub fn plan(case: &RecoveryCase<'_>) -> Plan {
    let situation = Situation::new(case);
    let mut draft = PlanDraft::new();
    draft.agents = situation.agent_reasons();
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
        .filter(|component| component.view.status == ClusterStatus::Primary)
        .count();
    let names = situation.join_names(situation.primaries());
    if separate > 1 {
        return format!(
            "{names} report Primary in {separate} separate components. A bootstrap cannot repair that: stop the \
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
        "Nothing to recover: {names} {verb} Primary. Start {outside}, or restore its connection; it will rejoin."
    )
}
