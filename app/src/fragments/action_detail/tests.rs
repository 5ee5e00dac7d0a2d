use galera::access::Role;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::super::widgets::tests::button;
use super::*;
use crate::fixtures;

pub(in crate::fragments) fn view(state: &str) -> ActionView {
    let at = fixtures::fixed_now().to_string();
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
    let session = fixtures::session(name, roles);
    page(
        &view(state),
        &PresentState::default(),
        &session,
        fixtures::fixed_now(),
    )
    .html()
}

#[test]
fn pending_action() {
    let html = html("pending", "paul", &[Role::Approver]);
    assert_snapshot!(fixtures::by_lines(&html));
}

/// An approved action whose step is done, as JSON.
fn executed(state: &str) -> Value {
    let at = fixtures::fixed_now().to_string();
    let mut json = serde_json::to_value(view(state)).unwrap();
    json["approvals"] = json!([{"by": "paul", "at": at, "comment": "seen"}]);
    json["execution"] =
        json!({"replica": "r1", "fence": 7, "by": "r1", "began_at": at, "deadline": at});
    json["steps"] = json!([{"state": "done", "intended_at": at, "replica": "r1", "answer": "OK"}]);
    json
}

fn html_of(json: Value, name: &str, roles: &[Role]) -> String {
    let view = serde_json::from_value(json).unwrap();
    let session = fixtures::session(name, roles);
    fixtures::by_lines(
        &page(
            &view,
            &PresentState::default(),
            &session,
            fixtures::fixed_now(),
        )
        .html(),
    )
}

#[test]
fn succeeded_action() {
    let mut json = executed("succeeded");
    json["outcome"] = "127.0.0.1 is Primary".into();
    json["ended_at"] = fixtures::fixed_now().to_string().into();
    assert_snapshot!(html_of(json, "paul", &[Role::Viewer]));
}

#[test]
fn overridden_action_in_progress() {
    let at = fixtures::fixed_now().to_string();
    let mut json = executed("executing");
    json["break_glass"] =
        json!({"by": "olga", "overrides": ["settled"], "reason": "the rack is gone"});
    json["comments"] = json!([{"by": "paul", "at": at, "text": "Call me first."}]);
    assert_snapshot!(html_of(json, "olga", &[Role::Operator]));
}

#[test]
fn the_remaining_time_is_marked_for_the_countdown() {
    let at = fixtures::fixed_now();
    let mut left = view("pending");
    left.action.expires_at = Some(Timestamp::from_unix_millis(at.unix_millis() + 754_000));
    let session = fixtures::session("vera", &[Role::Viewer]);
    let html = page(&left, &PresentState::default(), &session, at).html();
    assert!(
        html.contains("data-age=\"in\">12 min 34 s</time>"),
        "{html}"
    );
}

#[test]
fn an_approver_can_approve_and_reject() {
    let html = html("pending", "paul", &[Role::Approver]);
    for label in ["Approve and execute", "Reject"] {
        assert!(!button(&html, label).contains("disabled"), "{html}");
    }
    assert!(button(&html, "Withdraw").contains("disabled"), "{html}");
}

/// What is inside of the closed details of a decision, and the rest of the page.
fn second_step<'a>(html: &'a str, verb: &str) -> (&'a str, String) {
    let begin = format!("id=\"decide-{verb}\">");
    let (before, after) = html.split_once(&begin).unwrap_or_else(|| panic!("{html}"));
    let (inside, rest) = after.split_once("</details>").unwrap();
    (inside, format!("{before}{rest}"))
}

#[test]
fn what_executes_an_action_takes_two_steps() {
    let pending = html("pending", "paul", &[Role::Approver]);
    let (inside, rest) = second_step(&pending, "approve");
    let line = "The requested plan for lab is executed as soon as you approve it. Possible data loss: no known data loss.";
    for expected in [
        ">Approve…</summary>",
        line,
        "name=\"proof\"",
        ">Approve and execute</button>",
    ] {
        assert!(inside.contains(expected), "{expected} in {inside}");
    }
    assert!(!rest.contains("/approve\"") && !rest.contains("name=\"proof\""));
    let approved = html("approved", "olga", &[Role::Operator]);
    let (inside, rest) = second_step(&approved, "execute");
    for expected in [
        ">Execute…</summary>",
        "The requested plan for lab is executed now.",
        ">Execute now</button>",
    ] {
        assert!(inside.contains(expected), "{expected} in {inside}");
    }
    assert!(!rest.contains("/execute\""));
    // What the account may not do has its reason in sight.
    for (state, verb) in [("pending", "approve"), ("approved", "execute")] {
        let html = html(state, "vera", &[Role::Viewer]);
        assert!(!html.contains(&format!("decide-{verb}")), "{html}");
    }
}

#[test]
fn an_approval_that_is_not_the_last_one_executes_nothing() {
    let mut json = serde_json::to_value(view("pending")).unwrap();
    json["approvals_needed"] = 3.into();
    let html = html_of(json, "paul", &[Role::Approver]);
    let (inside, _) = second_step(&html, "approve");
    assert!(
        inside.contains("is executed after 2 more approvals.")
            && inside.contains(">Approve</button>"),
        "{inside}"
    );
}

#[test]
fn requesters_cannot_approve_their_own_action() {
    let html = html("pending", "olga", &[Role::Operator, Role::Approver]);
    assert!(
        button(&html, "Approve and execute").contains("disabled"),
        "{html}"
    );
    assert!(html.contains("another person must decide"), "{html}");
    assert!(!button(&html, "Withdraw").contains("disabled"), "{html}");
}

#[test]
fn finished_actions_offer_no_decision() {
    let html = html("superseded", "paul", &[Role::Approver, Role::Admin]);
    assert!(
        !html.contains("formaction") && html.contains("Superseded"),
        "{html}"
    );
}

#[test]
fn user_input_is_escaped() {
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
