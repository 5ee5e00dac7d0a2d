//! One plan: what it would do, its checks, and the form to request it.

use galera::NodeId;
use galera::Timestamp;
use galera::access::{ExplainedOperation, GroupName, Operation};
use galera::publish::api::SessionView;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{ActionKind, CheckCode, Mechanism, Plan, PlanTarget};

use super::account::proof_field;
use super::widgets;
use crate::format::{code, link, ticking_age};
use crate::marks::{NOT_PLANNED, action_kind_label, plan_mark, state_badge};
use crate::markup::{Content, El, el};

/// Context of a plan on its page.
pub(super) struct PlanContext<'a> {
    pub(super) session: &'a SessionView,
    /// Why no plan can be requested at the moment, regardless of the user.
    pub(super) obstacle: Option<String>,
    pub(super) approvals: u32,
    /// The groups that must approve.
    pub(super) approver_groups: &'a [GroupName],
    pub(super) now: Timestamp,
}

pub(super) fn plan_section(plan: &Plan, context: &PlanContext<'_>) -> El {
    let heading = el("h2")
        .child(action_kind_label(plan.kind))
        .child(" ")
        .child(state_badge(plan_mark(plan)));
    if is_collapsed(plan) {
        return collapsed_section(plan, context.now);
    }
    let age = el("p")
        .class("quiet")
        .child("Planned ")
        .child(ticking_age(plan.computed_at, context.now));
    el("section")
        .attr("id", plan.kind.as_str())
        .class("plan")
        .child(heading)
        .child(el("p").child(plan.summary.clone()))
        .child(attestation_link(plan))
        .child(
            plan.target
                .as_ref()
                .map(|target| target_facts(target, plan)),
        )
        .child(step_list(plan))
        .child(agent_reasons(plan))
        .child(widgets::manual_commands(&plan.commands))
        .child(check_details(plan, context.now))
        .child(age)
        .child(request_form(plan, context))
        .child(break_glass_form(plan, context))
}

/// What waiting agents report, as quotations: their words are no evidence.
fn agent_reasons(plan: &Plan) -> Option<El> {
    let reasons = plan.agents.iter().map(|reason| {
        el("li")
            .child(format!("{}: ", reason.node))
            .child(el("q").child(reason.waiting_for.clone()))
    });
    (!plan.agents.is_empty()).then(|| {
        el("details")
            .child(el("summary").child("What waiting agents report"))
            .child(reasons.fold(el("ul"), El::child))
    })
}

/// Links to the attestation form, which stands below the plan, if the bootstrap depends on it.
fn attestation_link(plan: &Plan) -> Option<El> {
    let needs_attestations = plan.kind == ActionKind::Bootstrap
        && plan
            .failing()
            .any(|check| check.code == CheckCode::MEMBERS_ACCOUNTED);
    needs_attestations.then(|| {
        el("p").child(link(
            "#attest".to_owned(),
            "Confirm the state of unreachable members",
        ))
    })
}

/// A decommission without any attestation is collapsed: it is rarely what the user came for.
fn is_collapsed(plan: &Plan) -> bool {
    let declared = plan
        .attestations
        .iter()
        .any(|attestation| attestation.statement == AttestedState::Decommissioned);
    plan.kind == ActionKind::Decommission && !plan.executable && !declared
}

fn collapsed_section(plan: &Plan, now: Timestamp) -> El {
    // Nothing is wrong with a cluster that is not being decommissioned.
    let heading = el("h2")
        .child(action_kind_label(plan.kind))
        .child(" ")
        .child(state_badge(NOT_PLANNED));
    let what = "Removes every registration of a retired cluster. To plan it, confirm every member as permanently removed.";
    el("section")
        .attr("id", plan.kind.as_str())
        .class("plan")
        .child(heading)
        .child(el("p").class("quiet").child(what))
        .child(check_details(plan, now))
}

/// Open if the plan has a target, else collapsed.
fn check_details(plan: &Plan, now: Timestamp) -> El {
    let table = widgets::check_table(&plan.checks, now);
    let summary = if plan.target.is_some() && !is_collapsed(plan) {
        widgets::checks_passed(plan)
    } else {
        "Checks".to_owned()
    };
    let details = el("details")
        .child(el("summary").child(summary))
        .child(table);
    if plan.target.is_some() && !is_collapsed(plan) {
        details.attr("open", "")
    } else {
        details
    }
}

fn target_facts(target: &PlanTarget, plan: &Plan) -> El {
    let method = match target.mechanism {
        Mechanism::Statement => "one SQL statement on one member",
        Mechanism::Order => "an order to one node's agent",
        Mechanism::ByHand => "manually, on the node",
        Mechanism::Registry => "compare-and-delete in etcd",
    };
    let mut pairs: Vec<(&'static str, Content)> = vec![("Method", method.into())];
    if let Some(node) = &target.node {
        pairs.push(("Runs on", node.to_string().into()));
    }
    if let Some(position) = &target.position {
        pairs.push((position_label(plan.kind), code(position.to_string()).into()));
    }
    for (name, nodes) in [
        ("Component", &target.members),
        ("Becomes Primary again", &target.revives),
        ("Excluded", &target.leaves_out),
        ("Removes", &target.removes),
    ] {
        if !nodes.is_empty() {
            pairs.push((name, join_nodes(nodes).into()));
        }
    }
    pairs.push(("Possible data loss", widgets::loss_estimate(&plan.loss)));
    widgets::fact_list(pairs)
}

/// What a plan does with the position that it names.
pub(super) const fn position_label(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Rejoin => "Keeps aside",
        _ => "Starts from",
    }
}

pub(super) fn join_nodes(nodes: &[NodeId]) -> String {
    nodes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn step_list(plan: &Plan) -> Option<El> {
    let items: Vec<El> = plan
        .steps
        .iter()
        .map(|step| el("li").child(widgets::plan_step(step)))
        .collect();
    (!items.is_empty()).then(|| {
        el("div")
            .child(el("h3").child("Commands to be run"))
            .child(el("ol").class("steps").child(items))
    })
}

fn request_form(plan: &Plan, context: &PlanContext<'_>) -> Option<El> {
    plan.target.as_ref()?;
    let kind = action_kind_label(plan.kind).to_lowercase();
    let refusal = context
        .obstacle
        .clone()
        .or_else(|| (!plan.executable).then(|| "Not all checks passed.".to_owned()))
        .or_else(|| widgets::role_refusal(context.session, Operation::RequestAction));
    let who = match context.approvals {
        0 => "No approval is required; an operator starts the execution.".to_owned(),
        1 => "A second person must approve this.".to_owned(),
        count => format!("{count} other people must approve this."),
    };
    let who = match context.approver_groups {
        [] => who,
        [group] => format!("{who} One of them must be in the group {group}."),
        groups => {
            let names: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
            format!(
                "{who} Each of these groups must approve, by another person: {}.",
                names.join(", ")
            )
        }
    };
    let form = request_fields(plan, "request")
        .child(el("p").class("quiet").child(who))
        .child(widgets::permission_note(
            context.session,
            ExplainedOperation::Request,
        ))
        .child(widgets::primary_button(
            format!("Request {kind}"),
            refusal.as_deref(),
        ));
    Some(form)
}

/// Fields shared by all requests for this plan.
fn request_fields(plan: &Plan, purpose: &'static str) -> El {
    let id = |field: &str| format!("{purpose}-{}-{field}", plan.kind);
    let label = el("span")
        .child("Type ")
        .child(code(plan.cluster.display_name().into_owned()))
        .child(" to confirm");
    widgets::post_form(format!("/clusters/{}/actions", plan.cluster))
        .attr("id", id("form"))
        .child(widgets::hidden_field("kind", plan.kind.as_str().to_owned()))
        .child(widgets::hidden_field(
            "plan_digest",
            plan.digest.to_string(),
        ))
        .child(attestations_field(&plan.attestations))
        .child(widgets::text_input(id("confirm"), "confirm", label))
        .child(widgets::text_input(
            id("reason"),
            "reason",
            "Reason (shown to approvers and kept on record)",
        ))
}

fn attestations_field(attestations: &[Attestation]) -> Option<El> {
    let json = serde_json::to_string(attestations).ok()?;
    (!attestations.is_empty()).then(|| widgets::hidden_field("attestations", json))
}

/// Emergency override, for users with the permission: lists every check that it overrides.
fn break_glass_form(plan: &Plan, context: &PlanContext<'_>) -> Option<El> {
    let permitted = widgets::role_refusal(context.session, Operation::BreakGlass).is_none();
    let failing: Vec<&str> = plan.failing().map(|check| check.code.as_str()).collect();
    if !permitted
        || plan.executable
        || plan.steps.is_empty()
        || failing.is_empty()
        || plan.kind == ActionKind::Cleanup
    {
        return None;
    }
    let items: Vec<El> = plan
        .failing()
        .map(|check| {
            el("li")
                .child(el("strong").child(widgets::check_title(&check.code)))
                .child(": ")
                .child(check.message.clone())
        })
        .collect();
    let form = request_fields(plan, "override")
        .child(widgets::hidden_field("overrides", failing.join(",")))
        .child(proof_field(
            &format!("override-{}", plan.kind),
            "to override checks",
        ))
        .child(widgets::button(
            "Request with override".to_owned(),
            context.obstacle.as_deref(),
        ));
    let loss = el("p")
        .child("Possible data loss: ")
        .child(widgets::loss_estimate(&plan.loss));
    Some(
        el("details")
            .class("override")
            .attr("id", format!("override-{}", plan.kind))
            .child(el("summary").child("Emergency override"))
            .child(el("p").child("These checks protect against data loss. The request lists each of them, can be used once, and still requires another person's approval."))
            .child(el("ul").class("reasons").child(items))
            .child(loss)
            .child(form),
    )
}
