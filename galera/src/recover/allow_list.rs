//! What an executor may ever do: one function through which every step passes before it is executed.

use crate::id::{ActionId, NodeId};
use crate::judge::known_positions::PositionReset;
use crate::observe::registration::{
    BootstrapOrder, ClusterField, NodeField, ParsedKey, RegistryKeys, RejoinOrder,
};
use crate::recover::bootstrap::{self, StatementDialect};
use crate::recover::plan::{ActionKind, Mechanism, Plan, PlanStep, PlanTarget};
use crate::recover::rejoin;

/// A step that may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermittedStep {
    /// Send the bootstrap statement of this dialect to this node.
    Statement {
        node: NodeId,
        dialect: StatementDialect,
    },
    /// Write this order, if the key does not exist.
    Order { key: String, order: BootstrapOrder },
    /// Write this order to rejoin, if the key does not exist.
    Rejoin { key: String, rejoin: RejoinOrder },
    /// Delete a registration, if it still has this revision.
    Delete { key: String, mod_revision: i64 },
    /// Record this correction of remembered positions at the cluster's own record, if it still has this revision.
    Correction {
        key: String,
        mod_revision: i64,
        reset: PositionReset,
    },
}

/// A step that no plan of the console contains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was done: {0}")]
pub struct StepNotPermitted(&'static str);

/// The step at `index` of `plan`, which belongs to the action `id`.
///
/// Only four things are ever done: a constant statement is sent to the node that the plan names, an order for that node,
/// to bootstrap or to rejoin, is written below the plan's cluster, a key of a node that the plan removes is deleted, or positions that the plan names
/// are forgotten. `default_port` is the port of nodes that are registered without one. The caller compares the key of a
/// correction with the record of the cluster.
///
/// # Errors
/// [`StepNotPermitted`] for anything else; the plan was not computed by this console.
pub fn permitted_step(
    plan: &Plan,
    index: usize,
    id: &ActionId,
    keys: &RegistryKeys,
    default_port: u16,
) -> Result<PermittedStep, StepNotPermitted> {
    let step = plan
        .steps
        .get(index)
        .ok_or(StepNotPermitted("the plan has no such step"))?;
    let target = plan
        .target
        .as_ref()
        .ok_or(StepNotPermitted("the plan has no target"))?;
    match (plan.kind, target.mechanism, step) {
        (ActionKind::Bootstrap, Mechanism::Statement, PlanStep::Statement { node, statement }) => {
            permitted_statement(plan, target, node, statement)
        }
        (
            ActionKind::Bootstrap,
            Mechanism::Order,
            PlanStep::Key {
                key,
                mod_revision: 0,
                value: Some(_),
            },
        ) if *key == keys.cluster_key(&plan.cluster, ClusterField::Bootstrap) => {
            let order = bootstrap::order(plan, id)
                .filter(|order| is_only_step_for(plan, target, &order.node))
                .ok_or(StepNotPermitted(
                    "the order is not for the node that the plan names",
                ))?;
            Ok(PermittedStep::Order {
                key: key.clone(),
                order,
            })
        }
        (
            ActionKind::Rejoin,
            Mechanism::Order,
            PlanStep::Key {
                key,
                mod_revision: 0,
                value: Some(_),
            },
        ) if *key == keys.cluster_key(&plan.cluster, ClusterField::Rejoin) => {
            let rejoin = rejoin::order(plan, id)
                .filter(|rejoin| is_only_step_for(plan, target, &rejoin.order.node))
                .ok_or(StepNotPermitted(
                    "the order is not for the node that the plan names",
                ))?;
            Ok(PermittedStep::Rejoin {
                key: key.clone(),
                rejoin,
            })
        }
        (
            ActionKind::Cleanup | ActionKind::Decommission,
            Mechanism::Registry,
            PlanStep::Key {
                key,
                mod_revision,
                value: None,
            },
        ) if *mod_revision > 0 => {
            if !is_removable(plan, target, &keys.parse(key.as_bytes()), default_port) {
                return Err(StepNotPermitted(
                    "the key is not a registration that the plan removes",
                ));
            }
            Ok(PermittedStep::Delete {
                key: key.clone(),
                mod_revision: *mod_revision,
            })
        }
        (
            ActionKind::Positions,
            Mechanism::Registry,
            PlanStep::Key {
                key,
                mod_revision,
                value: None,
            },
        ) if *mod_revision > 0 => {
            if !is_unreached_position(plan, target, &keys.parse(key.as_bytes()), default_port) {
                return Err(StepNotPermitted(
                    "the key is not a recorded position that the plan removes",
                ));
            }
            Ok(PermittedStep::Delete {
                key: key.clone(),
                mod_revision: *mod_revision,
            })
        }
        (
            ActionKind::Positions,
            Mechanism::Registry,
            PlanStep::Key {
                key,
                mod_revision,
                value: Some(value),
            },
        ) => {
            let reset = serde_json::from_str(value)
                .map_err(|_| StepNotPermitted("the value is not a correction of positions"))?;
            Ok(PermittedStep::Correction {
                key: key.clone(),
                mod_revision: *mod_revision,
                reset,
            })
        }
        _ => Err(StepNotPermitted("no plan of this kind has such a step")),
    }
}

/// The key and the value that undo the removal at `index` of `plan`.
///
/// Only what [`permitted_step`] may delete is written back. An order ([`ClusterField::Bootstrap`]) is not: it belongs to a
/// lease, and an agent would accept it.
///
/// # Errors
/// [`StepNotPermitted`] for anything else, and if the plan does not have the removed value.
pub fn permitted_restore<'a>(
    plan: &'a Plan,
    index: usize,
    id: &ActionId,
    keys: &RegistryKeys,
    default_port: u16,
) -> Result<(String, &'a str), StepNotPermitted> {
    let PermittedStep::Delete { key, .. } = permitted_step(plan, index, id, keys, default_port)?
    else {
        return Err(StepNotPermitted("only the removal of a key is undone"));
    };
    let orders = [ClusterField::Bootstrap, ClusterField::Rejoin];
    if orders
        .map(|order| keys.cluster_key(&plan.cluster, order))
        .contains(&key)
    {
        return Err(StepNotPermitted("an order is never written back"));
    }
    let values = plan.undo.iter().filter_map(|step| match step {
        PlanStep::Key {
            key: restored,
            mod_revision: 0,
            value: Some(value),
        } if *restored == key => Some(value.as_str()),
        _ => None,
    });
    match values.collect::<Vec<_>>()[..] {
        [value] => Ok((key, value)),
        _ => Err(StepNotPermitted("the plan does not have the removed value")),
    }
}

fn permitted_statement(
    plan: &Plan,
    target: &PlanTarget,
    node: &NodeId,
    statement: &str,
) -> Result<PermittedStep, StepNotPermitted> {
    if !is_only_step_for(plan, target, node) {
        return Err(StepNotPermitted(
            "the statement is not for the node that the plan names",
        ));
    }
    let dialect = StatementDialect::ALL
        .into_iter()
        .find(|dialect| dialect.bootstrap_statement() == statement)
        .ok_or(StepNotPermitted("it is not a bootstrap statement"))?;
    Ok(PermittedStep::Statement {
        node: node.clone(),
        dialect,
    })
}

/// A bootstrap or a rejoin has one step, for one node.
fn is_only_step_for(plan: &Plan, target: &PlanTarget, node: &NodeId) -> bool {
    plan.steps.len() == 1 && target.node.as_ref() == Some(node)
}

/// A clean-up removes keys of the nodes that it names; a decommission also those of the whole cluster.
fn is_removable(plan: &Plan, target: &PlanTarget, key: &ParsedKey, default_port: u16) -> bool {
    match key {
        ParsedKey::Node { cluster, node, .. } => {
            let node = node.clone().normalized(default_port);
            *cluster == plan.cluster && target.removes.contains(&node)
        }
        ParsedKey::Cluster { cluster, .. } => {
            *cluster == plan.cluster && plan.kind == ActionKind::Decommission
        }
        // Its lease ends with its agent.
        ParsedKey::Arbitrator { .. } | ParsedKey::Unknown { .. } => false,
    }
}

/// A correction removes the recorded highest positions of the nodes that it names, and no other key.
fn is_unreached_position(
    plan: &Plan,
    target: &PlanTarget,
    key: &ParsedKey,
    default_port: u16,
) -> bool {
    match key {
        ParsedKey::Node {
            cluster,
            node,
            field: NodeField::HighestPosition,
        } => {
            let node = node.clone().normalized(default_port);
            *cluster == plan.cluster && target.removes.contains(&node)
        }
        _ => false,
    }
}
