//! A plan: what would be done, what for and against it, and how to request it.

use galera::NodeId;
use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::SessionView;
use galera::recover::attestation::{Attestation, Statement};
use galera::recover::plan::{CheckCode, Kind, Mechanism, Plan, Target};

use super::parts;
use crate::format::{code, counted, link, ticking};
use crate::markup::{Child, El, el};
use crate::words::{kind_word, plan_mark, state};

/// What surrounds a plan.
pub(super) struct Around<'a> {
    pub(super) session: &'a SessionView,
    /// Why nothing can be requested now, whoever asks.
    pub(super) obstacle: Option<String>,
    pub(super) approvals: u32,
    pub(super) now: Timestamp,
}

/// The section of one plan.
pub(super) fn plan(plan: &Plan, around: &Around<'_>) -> El {
    let heading = el("h2")
        .with(kind_word(plan.kind))
        .with(" ")
        .with(state(plan_mark(plan)));
    if folded(plan) {
        return fold(plan, around.now);
    }
    let age = el("p")
        .class("quiet")
        .with("Planned ")
        .with(ticking(plan.computed_at, around.now));
    el("section")
        .at("id", plan.kind.word())
        .class("plan")
        .with(heading)
        .with(el("p").with(plan.summary.clone()))
        .with(to_declare(plan))
        .with(plan.target.as_ref().map(|target| what(target, plan)))
        .with(steps(plan))
        .with(parts::commands(&plan.commands))
        .with(all_checks(plan, around.now))
        .with(age)
        .with(request(plan, around))
        .with(break_glass(plan, around))
}

/// The way to the form that a bootstrap waits for: it stands below all that the plan says.
fn to_declare(plan: &Plan) -> Option<El> {
    let waits = plan.kind == Kind::Bootstrap
        && plan
            .failing()
            .any(|check| check.code == CheckCode::MEMBERS_ACCOUNTED);
    waits.then(|| {
        el("p").with(link(
            "#attest".to_owned(),
            "Declare what you know of members that do not answer",
        ))
    })
}

/// Whether nobody is looking for this plan: a decommission that nobody began to declare.
fn folded(plan: &Plan) -> bool {
    let declared = plan
        .attestations
        .iter()
        .any(|given| given.statement == Statement::Decommissioned);
    plan.kind == Kind::Decommission && !plan.executable && !declared
}

fn fold(plan: &Plan, now: Timestamp) -> El {
    let heading = el("h2")
        .with(kind_word(plan.kind))
        .with(" ")
        .with(state(plan_mark(plan)));
    let what = "Removes every registration of a cluster that is no more. Declare every member gone for good to plan it.";
    el("section")
        .at("id", plan.kind.word())
        .class("plan")
        .with(heading)
        .with(el("p").with(plan.summary.clone()))
        .with(el("p").class("quiet").with(what))
        .with(all_checks(plan, now))
}

/// Open where they decide something, folded where there is nothing to do anyway.
fn all_checks(plan: &Plan, now: Timestamp) -> El {
    let table = parts::checks(&plan.checks, now);
    let failing = plan.failing().count();
    let title = match failing {
        0 => format!("{}, all pass", counted(plan.checks.len(), "check")),
        _ => format!(
            "{}, {failing} not passing",
            counted(plan.checks.len(), "check")
        ),
    };
    let details = el("details").with(el("summary").with(title)).with(table);
    if plan.target.is_some() && !folded(plan) {
        details.at("open", "")
    } else {
        details
    }
}

fn what(target: &Target, plan: &Plan) -> El {
    let how = match target.mechanism {
        Mechanism::Statement => "one SQL statement to one member",
        Mechanism::Order => "an order to the agent of one node",
        Mechanism::ByHand => "by hand, at the node",
        Mechanism::Registry => "compared deletions in etcd",
    };
    let mut pairs: Vec<(&'static str, Child)> = vec![("How", how.into())];
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
            pairs.push((name, names(nodes).into()));
        }
    }
    pairs.push(("May be lost", parts::loss(&plan.loss)));
    parts::facts(pairs)
}

/// Nodes in one line.
pub(super) fn names(nodes: &[NodeId]) -> String {
    nodes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn steps(plan: &Plan) -> Option<El> {
    let items: Vec<El> = plan
        .steps
        .iter()
        .map(|step| el("li").with(parts::step(step)))
        .collect();
    (!items.is_empty()).then(|| {
        el("div")
            .with(el("h3").with("Exactly this would be done"))
            .with(el("ol").class("steps").with(items))
    })
}

fn request(plan: &Plan, around: &Around<'_>) -> Option<El> {
    plan.target.as_ref()?;
    let word = kind_word(plan.kind).to_lowercase();
    let refusal = around
        .obstacle
        .clone()
        .or_else(|| (!plan.executable).then(|| "Some checks do not pass.".to_owned()))
        .or_else(|| parts::role_refusal(around.session, Operation::RequestAction));
    let who = match around.approvals {
        0 => "It needs no approval, and waits for somebody to execute it.".to_owned(),
        1 => "Somebody else must approve it before anything happens.".to_owned(),
        count => format!("{count} others must approve it before anything happens."),
    };
    let form = fields(plan, "request")
        .with(el("p").class("quiet").with(who))
        .with(parts::main_button(
            format!("Request {word}"),
            refusal.as_deref(),
        ));
    Some(form)
}

/// What every request of this plan consists of.
fn fields(plan: &Plan, purpose: &'static str) -> El {
    let id = |field: &str| format!("{purpose}-{}-{field}", plan.kind);
    let label = el("span")
        .with("Type ")
        .with(code(plan.cluster.to_string()))
        .with(" to confirm");
    parts::form(format!("/clusters/{}/actions", plan.cluster))
        .at("id", id("form"))
        .with(parts::hidden_field("kind", plan.kind.word().to_owned()))
        .with(parts::hidden_field("plan_digest", plan.digest.clone()))
        .with(attested(&plan.attestations))
        .with(parts::line(id("confirm"), "confirm", label))
        .with(parts::line(
            id("reason"),
            "reason",
            "Reason, for whoever approves and for the record",
        ))
}

fn attested(attestations: &[Attestation]) -> Option<El> {
    let json = serde_json::to_string(attestations).ok()?;
    (!attestations.is_empty()).then(|| parts::hidden_field("attestations", json))
}

/// The override: shown to those who may, spelled out check by check.
fn break_glass(plan: &Plan, around: &Around<'_>) -> Option<El> {
    let may = parts::role_refusal(around.session, Operation::BreakGlass).is_none();
    let failing: Vec<&str> = plan.failing().map(|check| check.code.word()).collect();
    if !may
        || plan.executable
        || plan.steps.is_empty()
        || failing.is_empty()
        || plan.kind == Kind::Cleanup
    {
        return None;
    }
    let items: Vec<El> = plan
        .failing()
        .map(|check| {
            el("li")
                .with(el("strong").with(parts::check_title(check.code.word())))
                .with(": ")
                .with(check.message.clone())
        })
        .collect();
    let form = fields(plan, "override")
        .with(parts::hidden_field("overrides", failing.join(",")))
        .with(parts::button(
            "Request against these checks".to_owned(),
            around.obstacle.as_deref(),
        ));
    let loss = el("p").with("May be lost: ").with(parts::loss(&plan.loss));
    Some(
        el("details")
            .class("override")
            .at("id", format!("override-{}", plan.kind))
            .with(el("summary").with("Break glass: override failed checks"))
            .with(el("p").with("Each of these was made to prevent the loss of data. The request names every one of them, is good for one use, and still needs somebody else's approval."))
            .with(el("ul").class("reasons").with(items))
            .with(loss)
            .with(form),
    )
}
