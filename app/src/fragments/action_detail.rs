//! One action: request, approvals, plan and progress.

use galera::Timestamp;
use galera::access::{ExplainedOperation, Operation};
use galera::publish::api::{ActionView, ProblemDetails, SessionView};
use galera::recover::action::{Action, ActionState, StepRecord};
use galera::recover::plan::{Plan, PlanStep};
use galera::view::ClusterView;

use super::account::proof_field;
use super::plan::{join_nodes, position_label};
use super::plan_changes::{change_list, plan_changes};
use super::widgets;
use crate::format::{code, countdown, link, pluralize, quiet, sub, ticking_age, unknown};
use crate::marks::{action_kind_label, action_mark, state_badge, step_mark, verdict_mark};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

/// Window title; the state comes first.
pub(super) fn title_text(view: &ActionView) -> String {
    let action = &view.action;
    format!(
        "{} · {} of {}",
        action_mark(action.state).label,
        action_kind_label(action.kind),
        action.cluster.display_name()
    )
}

/// The cluster as it is now, beside an action of the past.
#[derive(Default)]
pub(super) struct PresentState {
    /// `None` if the cluster is not monitored any longer.
    pub(super) cluster: Option<ClusterView>,
    /// The plan of the same kind with the same attestations, where the action could still be decided or requested again.
    pub(super) plan: Option<Result<Plan, ProblemDetails>>,
}

/// Everything that a decision rests on stands before its buttons.
pub(super) fn page(
    view: &ActionView,
    present: &PresentState,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let action = &view.action;
    el("div")
        .class("page")
        .child(action_header(action))
        .child(ahead_warnings(view))
        .child(wait_notice(view, now))
        .child(action_facts(action, present, now))
        .child(break_glass_notice(action))
        .child(changes_section(action, present))
        .child(target_facts(action))
        .child(steps_section(action, now))
        .child(check_details(action, now))
        .child(decision_form(view, session))
        .child(undo_section(view, now))
        .child(journal(action, now))
        .child(comments_section(action, session, now))
}

fn action_header(action: &Action) -> El {
    let title = el("h1")
        .child(format!("{} of ", action_kind_label(action.kind)))
        .child(link(
            format!("/clusters/{}", action.cluster),
            action.cluster.display_name().into_owned(),
        ));
    let open = action.state == ActionState::Pending;
    let decision_link =
        open.then(|| el("p").child(link("#decision".to_owned(), "Go to the decision")));
    el("div")
        .class("name-and-verdict")
        .child(title)
        .child(el("p").child(state_badge(action_mark(action.state))))
        .child(decision_link)
        .child(el("p").class("quiet").child(code(action.id.to_string())))
}

/// Nodes that came back with transactions beyond the position the cluster was restarted from.
pub(super) fn ahead_warnings(view: &ActionView) -> Option<El> {
    let items: Vec<El> = view
        .warnings
        .iter()
        .map(|warning| {
            el("li")
                .child(el("strong").child(warning.node.to_string()))
                .child(": ")
                .child(warning.message.clone())
        })
        .collect();
    (!items.is_empty()).then(|| {
        el("div")
            .class("error")
            .attr("role", "alert")
            .child(el("ul").child(items))
    })
}

/// Why an approved action does not start.
fn wait_notice(view: &ActionView, now: Timestamp) -> Option<El> {
    let wait = view
        .waiting
        .as_ref()
        .filter(|_| !view.action.state.is_final())?;
    Some(
        el("p")
            .class("notice")
            .child(el("strong").child("Waiting: "))
            .child(wait.message.clone())
            .child(sub(ticking_age(wait.since, now))),
    )
}

/// What has changed since the request: before the decision, and as the reason why an action was superseded.
fn changes_section(action: &Action, present: &PresentState) -> Option<El> {
    let decided = match action.state {
        ActionState::Pending | ActionState::Approved => false,
        ActionState::Superseded | ActionState::Expired => true,
        _ => return None,
    };
    let changes = match present.plan.as_ref()? {
        Ok(plan) => plan_changes(&action.plan, plan),
        Err(problem) => {
            let text = format!("The present plan is not known. {}", problem.detail);
            return Some(el("p").class("notice").child(text));
        }
    };
    let again = link(
        format!("/clusters/{}/recovery#{}", action.cluster, action.kind),
        "Request again",
    );
    if changes.is_empty() {
        let text = el("p").class("notice");
        return Some(if decided {
            text.child("The present plan is the same as the requested one. ")
                .child(again)
        } else {
            text.child("Nothing that the plan rests on has changed since the request.")
        });
    }
    let consequence =
        (!decided).then_some("An approval of the requested plan would end it as superseded.");
    Some(
        el("section")
            .attr("id", "changes")
            .class("error")
            .child(el("h2").child("Changed since the request"))
            .child(change_list(changes))
            .child(el("p").child(consequence).child(" ").child(again)),
    )
}

fn action_facts(action: &Action, present: &PresentState, now: Timestamp) -> El {
    let by = |who: &str, at: Timestamp| -> Content {
        Content::Many(vec![
            who.to_owned().into(),
            sub(ticking_age(at, now)).into(),
        ])
    };
    let mut pairs: Vec<(&'static str, Content)> = vec![
        (
            "Requested by",
            by(&action.requested_by, action.requested_at),
        ),
        ("Reason", action.reason.clone().into()),
        ("Approvals", approvals(action)),
    ];
    if let Some(cluster) = &present.cluster {
        let verdict = &cluster.verdict;
        let reason = verdict.reasons.first();
        let mark: Content = state_badge(verdict_mark(verdict.state)).into();
        let why = reason.map(|reason| sub(reason.message.clone()));
        pairs.push(("Cluster now", Content::Many(vec![mark, why.into()])));
    }
    for approval in &action.approvals {
        pairs.push(("Approved by", by(&approval.by, approval.at)));
    }
    if let (Some(at), ActionState::Pending | ActionState::Approved) =
        (action.expires_at, action.state)
    {
        pairs.push(("Expires in", countdown(at, now).into()));
    }
    if let Some(execution) = &action.execution {
        pairs.push((
            "Executed by",
            by(execution.replica.as_str(), execution.began_at),
        ));
    }
    if let Some(at) = action.ended_at {
        pairs.push(("Ended", ticking_age(at, now).into()));
    }
    let outcome = action
        .outcome
        .clone()
        .map(|outcome| el("p").class("outcome").child(outcome));
    el("div")
        .class("page")
        .child(outcome)
        .child(widgets::fact_list(pairs))
}

pub(super) fn break_glass_notice(action: &Action) -> Option<El> {
    let break_glass = action.break_glass.as_ref()?;
    let codes: Vec<String> = break_glass
        .overrides
        .iter()
        .map(widgets::check_title)
        .collect();
    Some(
        el("div")
            .class("error")
            .child(el("p").child(el("strong").child(format!(
                "Emergency override by {}: failed checks overridden",
                break_glass.by
            ))))
            .child(el("p").child(codes.join(", ")))
            .child(el("p").child(break_glass.reason.clone())),
    )
}

/// How many approvals are given, and which group's is missing.
fn approvals(action: &Action) -> Content {
    let count = format!("{} of {}", action.approvals.len(), action.approvals_needed);
    match action.missing_group() {
        Some(group) if action.state == ActionState::Pending => Content::Many(vec![
            count.into(),
            sub(format!("A member of group {group} must approve.")).into(),
        ]),
        _ => count.into(),
    }
}

/// The possible decisions, each disabled with a reason if this user may not take it.
fn decision_form(view: &ActionView, session: &SessionView) -> Option<El> {
    let action = &view.action;
    let button = |verb, label, refusal| decision_button(action, verb, label, refusal);
    let refusal = |operation| widgets::role_refusal(session, operation);
    let own = action.requested_by == session.username;
    let own_refusal = || own.then(|| "You requested this; another person must decide.".to_owned());
    let withdraw = || {
        let not_requester = (!own && !session.roles.contains(&galera::access::Role::Admin))
            .then(|| "Only the requester or an admin can withdraw it.".to_owned());
        let refusal = refusal(Operation::CancelAction).or(not_requester);
        button("cancel", "Withdraw", refusal)
    };
    let buttons = match action.state {
        ActionState::Pending => {
            let already_approved = || {
                let mut approvals = action.approvals.iter();
                approvals
                    .any(|approval| approval.by == session.username)
                    .then(|| "You have already approved this.".to_owned())
            };
            let approve = refusal(Operation::ApproveAction)
                .or_else(own_refusal)
                .or_else(already_approved);
            let reject = refusal(Operation::RejectAction).or_else(own_refusal);
            let label = match approvals_left(action) {
                0 => "Approve and execute",
                _ => "Approve",
            };
            vec![
                button("approve", label, approve),
                button("reject", "Reject", reject),
                withdraw(),
            ]
        }
        ActionState::Approved => vec![
            button("execute", "Execute now", refusal(Operation::ExecuteAction)),
            withdraw(),
        ],
        _ if view.undoable => {
            let refusal = refusal(Operation::RequestAction);
            vec![button("undo", "Restore removed keys", refusal)]
        }
        _ => return None,
    };
    let explained = match action.state {
        ActionState::Pending => ExplainedOperation::Approve,
        ActionState::Approved => ExplainedOperation::Execute,
        _ => ExplainedOperation::Request,
    };
    let form = widgets::post_form(format!("/actions/{}/comment", action.id))
        .attr("id", "decide")
        .child(widgets::textarea(
            "decide-comment".to_owned(),
            "comment",
            "Comment (kept on record)",
        ))
        .child(widgets::permission_note(session, explained))
        .child(el("div").class("acts").child(buttons));
    Some(
        el("section")
            .attr("id", "decision")
            .child(el("h2").child("Decision"))
            .child(form),
    )
}

/// How many approvals are missing after the next one.
fn approvals_left(action: &Action) -> usize {
    let needed = usize::try_from(action.approvals_needed).unwrap_or(usize::MAX);
    needed.saturating_sub(action.approvals.len() + 1)
}

/// What pressing the button of `verb` does.
fn consequence(action: &Action, verb: &str) -> String {
    let when = match (verb, approvals_left(action)) {
        ("execute", _) => "now".to_owned(),
        (_, 0) if action.approver_groups.is_empty() => "as soon as you approve it".to_owned(),
        (_, 0) => "as soon as each required group has approved it".to_owned(),
        (_, left) => format!("after {}", pluralize(left, "more approval")),
    };
    let loss = widgets::loss_count(&action.plan.loss);
    format!(
        "The requested plan for {} is executed {when}. Possible data loss: {loss}.",
        action.cluster.display_name()
    )
}

/// A button for the decision of `verb`. What executes an action takes two steps, and the second one is beside what it does.
fn decision_button(action: &Action, verb: &str, label: &str, refusal: Option<String>) -> El {
    let button = el("button")
        .attr("type", "submit")
        .attr("formaction", format!("/actions/{}/{verb}", action.id))
        .child(label.to_owned());
    let button = match (verb, &refusal) {
        ("approve" | "execute", None) => {
            return two_steps(action, verb, button.class("main"));
        }
        ("approve" | "execute", Some(_)) => button.class("main"),
        _ => button,
    };
    let button = if refusal.is_some() {
        button.attr("disabled", "")
    } else {
        button
    };
    let reason = refusal.map(|reason| el("span").class("why-not").child(reason));
    el("p").class("act").child(button).child(reason)
}

/// The button inside of details, which work without script. Their summary is the first step.
fn two_steps(action: &Action, verb: &str, button: El) -> El {
    let first = match verb {
        "approve" => "Approve…",
        _ => "Execute…",
    };
    // Enter in this field presses the first button of the form, so it is in sight only beside that.
    let proof = (verb == "approve").then(|| proof_field("decide", "to approve"));
    el("details")
        .class("confirm")
        .attr("id", format!("decide-{verb}"))
        .child(el("summary").class("button main").child(first))
        .child(
            el("div")
                .class("answer")
                .child(el("p").child(consequence(action, verb)))
                .child(proof)
                .child(el("p").class("act").child(button)),
        )
}

const STEP_COLUMNS: [&str; 3] = ["Step", "State", "Result"];

fn steps_section(action: &Action, now: Timestamp) -> Option<El> {
    let table = step_table(action, |at| ticking_age(at, now))?;
    Some(el("section").child(el("h2").child("Steps")).child(table))
}

/// What became of each step; `time` shows when it was taken.
pub(super) fn step_table(action: &Action, time: impl Fn(Timestamp) -> El) -> Option<El> {
    let step_row = |(step, record): (&PlanStep, &StepRecord)| {
        let mark = el("span")
            .child(state_badge(step_mark(record.state)))
            .child(record.intended_at.map(|at| sub(time(at))));
        let result: Content = record
            .answer
            .clone()
            .map_or_else(|| unknown().into(), Content::from);
        row(widgets::plan_step(step))
            .child(cell(STEP_COLUMNS[1], mark))
            .child(cell(STEP_COLUMNS[2], result))
    };
    let steps = action.plan.steps.iter().zip(&action.steps);
    let rows: Vec<El> = steps.map(step_row).collect();
    (!rows.is_empty()).then(|| data_table("ledger", "Steps of the plan", &STEP_COLUMNS, rows))
}

pub(super) fn target_facts(action: &Action) -> Option<El> {
    let target = action.plan.target.as_ref()?;
    let mut pairs: Vec<(&'static str, Content)> = Vec::new();
    if let Some(node) = &target.node {
        pairs.push(("Runs on", node.to_string().into()));
    }
    if let Some(position) = &target.position {
        pairs.push((
            position_label(action.kind),
            code(position.to_string()).into(),
        ));
    }
    for (name, nodes) in [
        ("Becomes Primary again", &target.revives),
        ("Excluded", &target.leaves_out),
        ("Removes", &target.removes),
    ] {
        if !nodes.is_empty() {
            pairs.push((name, join_nodes(nodes).into()));
        }
    }
    for attestation in &action.attestations {
        let text = format!("{} is {}", attestation.node, attestation.statement);
        pairs.push(("Confirmed by the requester", text.into()));
    }
    pairs.push((
        "Possible data loss",
        widgets::loss_estimate(&action.plan.loss),
    ));
    Some(widgets::fact_list(pairs))
}

fn undo_section(view: &ActionView, now: Timestamp) -> Option<El> {
    let undone = view.undone.as_ref()?;
    let list = |title: &'static str, keys: &[String]| {
        let items: Vec<El> = keys
            .iter()
            .map(|key| el("li").child(code(key.clone())))
            .collect();
        (!items.is_empty()).then(|| {
            el("div")
                .child(el("p").child(title))
                .child(el("ul").class("reasons").child(items))
        })
    };
    Some(
        el("section")
            .child(el("h2").child("Undone"))
            .child(
                el("p")
                    .child(format!("By {} ", undone.by))
                    .child(ticking_age(undone.at, now)),
            )
            .child(list("Restored:", &undone.restored))
            .child(list("Left unchanged:", &undone.kept)),
    )
}

fn check_details(action: &Action, now: Timestamp) -> El {
    let title = format!("Requested plan: {}", widgets::checks_passed(&action.plan));
    let details = el("details")
        .attr("id", "checks")
        .child(el("summary").child(title))
        .child(
            el("p")
                .class("quiet")
                .child("Digest ")
                .child(code(action.plan.digest.to_string())),
        )
        .child(widgets::check_table(&action.plan.checks, now));
    // Approvers must have seen them.
    if action.state == ActionState::Pending {
        details.attr("open", "")
    } else {
        details
    }
}

fn journal(action: &Action, now: Timestamp) -> El {
    let lines: Vec<El> = action
        .journal
        .iter()
        .map(|line| {
            el("li")
                .child(ticking_age(line.at, now))
                .child(quiet(format!(" {} ", line.by)))
                .child(line.text.clone())
        })
        .collect();
    el("section")
        .child(el("h2").child("History"))
        .child(el("ol").class("journal").child(lines))
}

fn comments_section(action: &Action, session: &SessionView, now: Timestamp) -> Option<El> {
    let items: Vec<El> = action
        .comments
        .iter()
        .map(|comment| {
            el("li")
                .child(el("strong").child(comment.by.clone()))
                .child(" ")
                .child(ticking_age(comment.at, now))
                .child(el("p").child(comment.text.clone()))
        })
        .collect();
    if items.is_empty() && action.state.is_final() {
        return None;
    }
    let refusal = widgets::role_refusal(session, Operation::CommentAction);
    let form = widgets::post_form(format!("/actions/{}/comment", action.id))
        .attr("id", "comment")
        .child(widgets::textarea(
            "comment-text".to_owned(),
            "comment",
            "Comment",
        ))
        .child(widgets::button(
            "Add comment".to_owned(),
            refusal.as_deref(),
        ));
    Some(
        el("section")
            .child(el("h2").child("Comments"))
            .child(el("ul").class("comments").child(items))
            .child((!action.state.is_final()).then_some(form)),
    )
}

#[cfg(test)]
pub(super) mod tests;
