//! A plan: what would be done, what for and against it, and how to request it.

use galera::NodeId;
use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::SessionView;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{ActionKind, CheckCode, Mechanism, Plan, PlanTarget};

use super::widgets;
use crate::format::{code, link, pluralize, ticking_age};
use crate::marks::{action_kind_label, plan_mark, state_badge};
use crate::markup::{Content, El, el};

/// What surrounds a plan.
pub(super) struct PlanContext<'a> {
    pub(super) session: &'a SessionView,
    /// Why nothing can be requested now, whoever asks.
    pub(super) obstacle: Option<String>,
    pub(super) approvals: u32,
    pub(super) now: Timestamp,
}

/// The section of one plan.
pub(super) fn plan_section(plan: &Plan, around: &PlanContext<'_>) -> El {
    let heading = el("h2")
        .child(action_kind_label(plan.kind))
        .child(" ")
        .child(state_badge(plan_mark(plan)));
    if is_collapsed(plan) {
        return collapsed_section(plan, around.now);
    }
    let age = el("p")
        .class("quiet")
        .child("Planned ")
        .child(ticking_age(plan.computed_at, around.now));
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
        .child(widgets::manual_commands(&plan.commands))
        .child(check_details(plan, around.now))
        .child(age)
        .child(request_form(plan, around))
        .child(break_glass_form(plan, around))
}

/// The way to the form that a bootstrap waits for: it stands below all that the plan says.
fn attestation_link(plan: &Plan) -> Option<El> {
    let waits = plan.kind == ActionKind::Bootstrap
        && plan
            .failing()
            .any(|check| check.code == CheckCode::MEMBERS_ACCOUNTED);
    waits.then(|| {
        el("p").child(link(
            "#attest".to_owned(),
            "Declare what you know of members that do not answer",
        ))
    })
}

/// Whether nobody is looking for this plan: a decommission that nobody began to declare.
fn is_collapsed(plan: &Plan) -> bool {
    let declared = plan
        .attestations
        .iter()
        .any(|given| given.statement == AttestedState::Decommissioned);
    plan.kind == ActionKind::Decommission && !plan.executable && !declared
}

fn collapsed_section(plan: &Plan, now: Timestamp) -> El {
    let heading = el("h2")
        .child(action_kind_label(plan.kind))
        .child(" ")
        .child(state_badge(plan_mark(plan)));
    let what = "Removes every registration of a cluster that is no more. Declare every member gone for good to plan it.";
    el("section")
        .attr("id", plan.kind.as_str())
        .class("plan")
        .child(heading)
        .child(el("p").child(plan.summary.clone()))
        .child(el("p").class("quiet").child(what))
        .child(check_details(plan, now))
}

/// Open where they decide something, folded where there is nothing to do anyway.
fn check_details(plan: &Plan, now: Timestamp) -> El {
    let table = widgets::check_table(&plan.checks, now);
    let failing = plan.failing().count();
    let title = match failing {
        0 => format!("{}, all pass", pluralize(plan.checks.len(), "check")),
        _ => format!(
            "{}, {failing} not passing",
            pluralize(plan.checks.len(), "check")
        ),
    };
    let details = el("details").child(el("summary").child(title)).child(table);
    if plan.target.is_some() && !is_collapsed(plan) {
        details.attr("open", "")
    } else {
        details
    }
}

fn target_facts(target: &PlanTarget, plan: &Plan) -> El {
    let how = match target.mechanism {
        Mechanism::Statement => "one SQL statement to one member",
        Mechanism::Order => "an order to the agent of one node",
        Mechanism::ByHand => "by hand, at the node",
        Mechanism::Registry => "compared deletions in etcd",
    };
    let mut pairs: Vec<(&'static str, Content)> = vec![("How", how.into())];
    if let Some(node) = &target.node {
        pairs.push(("Executor", node.to_string().into()));
    }
    if let Some(position) = &target.position {
        pairs.push(("Goes on from", code(position.to_string()).into()));
    }
    for (name, nodes) in [
        ("Component", &target.members),
        ("Becomes Primary again", &target.revives),
        ("Left out", &target.leaves_out),
        ("Removes", &target.removes),
    ] {
        if !nodes.is_empty() {
            pairs.push((name, join_nodes(nodes).into()));
        }
    }
    pairs.push(("May be lost", widgets::loss_estimate(&plan.loss)));
    widgets::fact_list(pairs)
}

/// Nodes in one line.
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
            .child(el("h3").child("Exactly this would be done"))
            .child(el("ol").class("steps").child(items))
    })
}

fn request_form(plan: &Plan, around: &PlanContext<'_>) -> Option<El> {
    plan.target.as_ref()?;
    let word = action_kind_label(plan.kind).to_lowercase();
    let refusal = around
        .obstacle
        .clone()
        .or_else(|| (!plan.executable).then(|| "Some checks do not pass.".to_owned()))
        .or_else(|| widgets::role_refusal(around.session, Operation::RequestAction));
    let who = match around.approvals {
        0 => "It needs no approval, and waits for somebody to execute it.".to_owned(),
        1 => "Somebody else must approve it before anything happens.".to_owned(),
        count => format!("{count} others must approve it before anything happens."),
    };
    let form = request_fields(plan, "request")
        .child(el("p").class("quiet").child(who))
        .child(widgets::primary_button(
            format!("Request {word}"),
            refusal.as_deref(),
        ));
    Some(form)
}

/// What every request of this plan consists of.
fn request_fields(plan: &Plan, purpose: &'static str) -> El {
    let id = |field: &str| format!("{purpose}-{}-{field}", plan.kind);
    let label = el("span")
        .child("Type ")
        .child(code(plan.cluster.to_string()))
        .child(" to confirm");
    widgets::post_form(format!("/clusters/{}/actions", plan.cluster))
        .attr("id", id("form"))
        .child(widgets::hidden_field("kind", plan.kind.as_str().to_owned()))
        .child(widgets::hidden_field("plan_digest", plan.digest.clone()))
        .child(attestations_field(&plan.attestations))
        .child(widgets::text_input(id("confirm"), "confirm", label))
        .child(widgets::text_input(
            id("reason"),
            "reason",
            "Reason, for whoever approves and for the record",
        ))
}

fn attestations_field(attestations: &[Attestation]) -> Option<El> {
    let json = serde_json::to_string(attestations).ok()?;
    (!attestations.is_empty()).then(|| widgets::hidden_field("attestations", json))
}

/// The override: shown to those who may, spelled out check by check.
fn break_glass_form(plan: &Plan, around: &PlanContext<'_>) -> Option<El> {
    let may = widgets::role_refusal(around.session, Operation::BreakGlass).is_none();
    let failing: Vec<&str> = plan.failing().map(|check| check.code.as_str()).collect();
    if !may
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
                .child(el("strong").child(widgets::humanize(check.code.as_str())))
                .child(": ")
                .child(check.message.clone())
        })
        .collect();
    let form = request_fields(plan, "override")
        .child(widgets::hidden_field("overrides", failing.join(",")))
        .child(widgets::button(
            "Request against these checks".to_owned(),
            around.obstacle.as_deref(),
        ));
    let loss = el("p")
        .child("May be lost: ")
        .child(widgets::loss_estimate(&plan.loss));
    Some(
        el("details")
            .class("override")
            .attr("id", format!("override-{}", plan.kind))
            .child(el("summary").child("Break glass: override failed checks"))
            .child(el("p").child("Each of these was made to prevent the loss of data. The request names every one of them, is good for one use, and still needs somebody else's approval."))
            .child(el("ul").class("reasons").child(items))
            .child(loss)
            .child(form),
    )
}
