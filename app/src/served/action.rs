//! One action: who wants what and why, what it rests on, who decided, what happened step by step.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{ActionView, SessionView};
use galera::recover::action::{Action, State, StepRecord};
use galera::recover::plan::Step;

use super::parts;
use super::plan::names;
use crate::format::{code, link, quiet, remaining, sub, ticking, unknown};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};
use crate::words::{action_mark, kind_word, state, step_mark};

/// The window's title: where it stands comes first.
pub(super) fn heading(view: &ActionView) -> String {
    let action = &view.action;
    format!(
        "{} · {} of {}",
        action_mark(action.state).word,
        kind_word(action.kind),
        action.cluster
    )
}

/// The page.
pub(super) fn action(view: &ActionView, session: &SessionView, now: Timestamp) -> El {
    let action = &view.action;
    el("div")
        .class("page")
        .with(head(action))
        .with(warnings(view))
        .with(facts(action, now))
        .with(override_notice(action))
        .with(decide(view, session))
        .with(steps(action, now))
        .with(target(action))
        .with(undone(view, now))
        .with(checks(action, now))
        .with(journal(action, now))
        .with(comments(action, session, now))
}

fn head(action: &Action) -> El {
    let title = el("h1")
        .with(format!("{} of ", kind_word(action.kind)))
        .with(link(
            format!("/clusters/{}", action.cluster),
            action.cluster.to_string(),
        ));
    el("div")
        .class("name-and-verdict")
        .with(title)
        .with(el("p").with(state(action_mark(action.state))))
        .with(el("p").class("quiet").with(code(action.id.clone())))
}

/// Nodes that came back with more than the cluster went on from.
pub(super) fn warnings(view: &ActionView) -> Option<El> {
    let items: Vec<El> = view
        .warnings
        .iter()
        .map(|warning| {
            el("li")
                .with(el("strong").with(warning.node.to_string()))
                .with(": ")
                .with(warning.message.clone())
        })
        .collect();
    (!items.is_empty()).then(|| {
        el("div")
            .class("error")
            .at("role", "alert")
            .with(el("ul").with(items))
    })
}

fn facts(action: &Action, now: Timestamp) -> El {
    let by = |who: &str, at: Timestamp| -> Child {
        Child::Many(vec![who.to_owned().into(), sub(ticking(at, now)).into()])
    };
    let mut pairs: Vec<(&'static str, Child)> = vec![
        (
            "Requested by",
            by(&action.requested_by, action.requested_at),
        ),
        ("Reason", action.reason.clone().into()),
        (
            "Approvals",
            format!("{} of {}", action.approvals.len(), action.approvals_needed).into(),
        ),
    ];
    for approval in &action.approvals {
        pairs.push(("Approved by", by(&approval.by, approval.at)));
    }
    if let (Some(at), State::Pending | State::Approved) = (action.expires_at, action.state) {
        pairs.push(("Expires in", remaining(at, now).into()));
    }
    if let Some(execution) = &action.execution {
        pairs.push(("Carried out by", by(&execution.replica, execution.began_at)));
    }
    if let Some(at) = action.ended_at {
        pairs.push(("Ended", ticking(at, now).into()));
    }
    let outcome = action
        .outcome
        .clone()
        .map(|outcome| el("p").class("outcome").with(outcome));
    el("div")
        .class("page")
        .with(outcome)
        .with(parts::facts(pairs))
}

fn override_notice(action: &Action) -> Option<El> {
    let glass = action.break_glass.as_ref()?;
    let codes: Vec<String> = glass
        .overrides
        .iter()
        .map(|code| parts::check_title(code.word()))
        .collect();
    Some(
        el("div")
            .class("error")
            .with(el("p").with(el("strong").with(format!(
                "Break-glass by {}: overrides failed checks",
                glass.by
            ))))
            .with(el("p").with(codes.join(", ")))
            .with(el("p").with(glass.reason.clone())),
    )
}

/// What can be done with it now, by whom, and why not by you.
fn decide(view: &ActionView, session: &SessionView) -> Option<El> {
    let action = &view.action;
    let own = action.requested_by == session.username;
    let own_refusal = || own.then(|| "You requested it; somebody else must decide.".to_owned());
    let act = |verb: &str, label: &str, refusal: Option<String>| {
        let button = el("button")
            .at("type", "submit")
            .at("formaction", format!("/actions/{}/{verb}", action.id))
            .with(label.to_owned());
        let button = if matches!(verb, "approve" | "execute") {
            button.class("main")
        } else {
            button
        };
        let button = if refusal.is_some() {
            button.at("disabled", "")
        } else {
            button
        };
        let why = refusal.map(|why| el("span").class("why-not").with(why));
        el("p").class("act").with(button).with(why)
    };
    let refusal = |operation| parts::role_refusal(session, operation);
    let cancel = || {
        let foreign = (!own && !session.roles.contains(&galera::access::Role::Admin))
            .then(|| "Only the requester or an admin can withdraw it.".to_owned());
        act(
            "cancel",
            "Withdraw",
            refusal(Operation::CancelAction).or(foreign),
        )
    };
    let buttons = match action.state {
        State::Pending => {
            let approved = action
                .approvals
                .iter()
                .any(|approval| approval.by == session.username);
            let twice = || approved.then(|| "You approved it already.".to_owned());
            vec![
                act(
                    "approve",
                    "Approve and carry out",
                    refusal(Operation::ApproveAction)
                        .or_else(own_refusal)
                        .or_else(twice),
                ),
                act(
                    "reject",
                    "Reject",
                    refusal(Operation::RejectAction).or_else(own_refusal),
                ),
                cancel(),
            ]
        }
        State::Approved => vec![
            act(
                "execute",
                "Carry out now",
                refusal(Operation::ExecuteAction),
            ),
            cancel(),
        ],
        _ if view.undoable => vec![act(
            "undo",
            "Restore what was removed",
            refusal(Operation::RequestAction),
        )],
        _ => return None,
    };
    let form = parts::form(format!("/actions/{}/comment", action.id))
        .at("id", "decide")
        .with(parts::text(
            "decide-comment".to_owned(),
            "comment",
            "Comment, for the record",
        ))
        .with(el("div").class("acts").with(buttons));
    Some(el("section").with(el("h2").with("Decide")).with(form))
}

const STEPS: [&str; 3] = ["Step", "State", "Answer"];

fn steps(action: &Action, now: Timestamp) -> Option<El> {
    let rows: Vec<El> = action
        .plan
        .steps
        .iter()
        .zip(&action.steps)
        .enumerate()
        .map(|(index, (step, record))| one_step(index, step, record, now))
        .collect();
    (!rows.is_empty()).then(|| {
        el("section").with(el("h2").with("Steps")).with(ledger(
            "ledger",
            "Steps of the plan",
            &STEPS,
            rows,
        ))
    })
}

fn one_step(index: usize, step: &Step, record: &StepRecord, now: Timestamp) -> El {
    let when = record.intended_at.map(|at| sub(ticking(at, now)));
    let mark = el("span").with(state(step_mark(record.state))).with(when);
    let answer: Child = record
        .answer
        .clone()
        .map_or_else(|| unknown().into(), Child::from);
    row(index.to_string(), parts::step(step))
        .with(cell(STEPS[1], mark))
        .with(cell(STEPS[2], answer))
}

fn target(action: &Action) -> Option<El> {
    let target = action.plan.target.as_ref()?;
    let mut pairs: Vec<(&'static str, Child)> = Vec::new();
    if let Some(node) = &target.node {
        pairs.push(("Executor", node.to_string().into()));
    }
    if let Some(position) = &target.position {
        pairs.push(("Goes on from", code(position.to_string()).into()));
    }
    for (name, nodes) in [
        ("Becomes Primary again", &target.revives),
        ("Left out", &target.leaves_out),
        ("Removes", &target.removes),
    ] {
        if !nodes.is_empty() {
            pairs.push((name, names(nodes).into()));
        }
    }
    for attestation in &action.attestations {
        let text = format!("{} is {}", attestation.node, attestation.statement);
        pairs.push(("Declared by the requester", text.into()));
    }
    pairs.push(("May be lost", parts::loss(&action.plan.loss)));
    Some(parts::facts(pairs))
}

fn undone(view: &ActionView, now: Timestamp) -> Option<El> {
    let undone = view.undone.as_ref()?;
    let list = |title: &'static str, keys: &[String]| {
        let items: Vec<El> = keys
            .iter()
            .map(|key| el("li").with(code(key.clone())))
            .collect();
        (!items.is_empty()).then(|| {
            el("div")
                .with(el("p").with(title))
                .with(el("ul").class("reasons").with(items))
        })
    };
    Some(
        el("section")
            .with(el("h2").with("Taken back"))
            .with(
                el("p")
                    .with(format!("By {} ", undone.by))
                    .with(ticking(undone.at, now)),
            )
            .with(list("Restored:", &undone.restored))
            .with(list("Left as they are:", &undone.kept)),
    )
}

fn checks(action: &Action, now: Timestamp) -> El {
    let failing = action.plan.failing().count();
    let title = format!(
        "{} checks of the plan that was requested, {failing} not passing",
        action.plan.checks.len()
    );
    let details = el("details")
        .at("id", "checks")
        .with(el("summary").with(title))
        .with(
            el("p")
                .class("quiet")
                .with("Digest ")
                .with(code(action.plan.digest.clone())),
        )
        .with(parts::checks(&action.plan.checks, now));
    // Whoever approves must have seen them.
    if action.state == State::Pending {
        details.at("open", "")
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
                .with(ticking(line.at, now))
                .with(quiet(format!(" {} ", line.by)))
                .with(line.text.clone())
        })
        .collect();
    el("section")
        .with(el("h2").with("What happened"))
        .with(el("ol").class("journal").with(lines))
}

fn comments(action: &Action, session: &SessionView, now: Timestamp) -> Option<El> {
    let items: Vec<El> = action
        .comments
        .iter()
        .map(|comment| {
            el("li")
                .with(el("strong").with(comment.by.clone()))
                .with(" ")
                .with(ticking(comment.at, now))
                .with(el("p").with(comment.text.clone()))
        })
        .collect();
    if items.is_empty() && action.state.is_final() {
        return None;
    }
    let refusal = parts::role_refusal(session, Operation::CommentAction);
    let form = parts::form(format!("/actions/{}/comment", action.id))
        .at("id", "say")
        .with(parts::text("say-comment".to_owned(), "comment", "Comment"))
        .with(parts::button("Add comment".to_owned(), refusal.as_deref()));
    Some(
        el("section")
            .with(el("h2").with("Comments"))
            .with(el("ul").class("comments").with(items))
            .with((!action.state.is_final()).then_some(form)),
    )
}

#[cfg(test)]
mod tests {
    use galera::access::Role;
    use serde_json::json;

    use super::super::parts::tests::button;
    use super::*;
    use crate::fixtures;

    fn view(state: &str) -> ActionView {
        let at = fixtures::at().to_string();
        serde_json::from_value(json!({
            "id": "019a-1", "kind": "bootstrap", "cluster": "lab", "state": state,
            "plan": {"kind": "bootstrap", "cluster": "lab", "digest": "d1ce", "executable": true, "computed_at": at,
                "summary": "", "checks": [], "target": null,
                "steps": [{"node": "127.0.0.1", "statement": "SET GLOBAL x=1"}],
                "loss": {"transactions": 0, "explanation": "Nothing."}},
            "requested_by": "olga", "requested_at": at, "reason": "<script>quorum lost</script>",
            "attestations": [], "approvals_needed": 1, "approvals": [], "break_glass": null, "expires_at": at,
            "execution": null, "steps": [{"state": "waiting", "intended_at": null, "replica": null, "answer": null}],
            "journal": [{"at": at, "by": "olga", "text": "Requested."}], "comments": [], "outcome": null, "ended_at": null,
            "revision": 3, "warnings": [{"node": "127.0.0.3", "transactions": 5, "message": "keep its data directory"}],
        }))
        .unwrap()
    }

    fn html(state: &str, name: &str, roles: &[Role]) -> String {
        let session = SessionView {
            username: name.to_owned(),
            roles: roles.to_vec(),
            expires_at: fixtures::at(),
        };
        action(&view(state), &session, fixtures::at()).html()
    }

    #[test]
    fn the_time_left_is_counted_down_by_the_browser() {
        let at = fixtures::at();
        let mut left = view("pending");
        left.action.expires_at = Some(Timestamp::from_unix_millis(at.unix_millis() + 754_000));
        let session = SessionView {
            username: "vera".to_owned(),
            roles: vec![Role::Viewer],
            expires_at: at,
        };
        let html = action(&left, &session, at).html();
        assert!(html.contains("data-age=\"\">12 min 34 s</time>"), "{html}");
    }

    #[test]
    fn an_approver_decides() {
        let html = html("pending", "paul", &[Role::Approver]);
        for label in ["Approve and carry out", "Reject"] {
            assert!(!button(&html, label).contains("disabled"), "{html}");
        }
        assert!(button(&html, "Withdraw").contains("disabled"), "{html}");
    }

    #[test]
    fn nobody_approves_their_own_request() {
        let html = html("pending", "olga", &[Role::Operator, Role::Approver]);
        assert!(
            button(&html, "Approve and carry out").contains("disabled"),
            "{html}"
        );
        assert!(html.contains("somebody else must decide"), "{html}");
        assert!(!button(&html, "Withdraw").contains("disabled"), "{html}");
    }

    #[test]
    fn nothing_is_left_to_decide_about_what_ended() {
        let html = html("superseded", "paul", &[Role::Approver, Role::Admin]);
        assert!(
            !html.contains("formaction") && html.contains("Superseded"),
            "{html}"
        );
    }

    #[test]
    fn what_people_wrote_is_text() {
        let html = html("pending", "paul", &[Role::Viewer]);
        assert!(
            html.contains("&lt;script&gt;quorum lost") && !html.contains("<script"),
            "{html}"
        );
    }

    #[test]
    fn i22_a_node_that_is_ahead_is_named() {
        let html = html("succeeded", "paul", &[Role::Viewer]);
        assert!(
            html.contains("127.0.0.3") && html.contains("keep its data directory"),
            "{html}"
        );
    }
}
