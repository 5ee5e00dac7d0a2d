use galera::access::Role;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::super::widgets::tests::button;
use super::*;
use crate::fixtures;

fn check(code: &str, status: &str, message: &str) -> Value {
    json!({"code": code, "status": status, "message": message, "evidence": []})
}

/// A plan to bootstrap n1 with these checks; `extra` replaces top-level members.
fn plan(executable: bool, checks: &[Value], extra: &Value) -> Plan {
    let mut plan = json!({
        "kind": "bootstrap", "cluster": "lab", "digest": "d1ce", "executable": executable,
        "computed_at": fixtures::fixed_now().to_string(), "summary": "n1 is the one.",
        "checks": checks,
        "target": {"mechanism": "statement", "node": "127.0.0.1", "members": ["127.0.0.1"],
            "position": {"uuid": "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b", "seqno": 2881},
            "revives": ["127.0.0.1"], "leaves_out": ["127.0.0.2", "127.0.0.3"], "removes": []},
        "steps": [{"node": "127.0.0.1", "statement": "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'"}],
        "loss": {"transactions": null, "explanation": "127.0.0.3 was last seen at 2881."},
    });
    for (key, value) in extra.as_object().unwrap() {
        plan[key] = value.clone();
    }
    serde_json::from_value(plan).unwrap()
}

fn unattested() -> Plan {
    let missing = check("members_accounted", "unknown", "n2 and n3 may be Primary.");
    let to_confirm = json!({"nodes": ["127.0.0.2", "127.0.0.3"],
        "implies": "This confirms that n2, n3 and an arbitrator are all stopped or isolated."});
    plan(false, &[missing], &json!({"to_confirm": to_confirm}))
}

fn attested(checks: &[Value]) -> Plan {
    let executable = checks.iter().all(|check| check["status"] == "pass");
    let attestations = json!([{"node": "127.0.0.2", "statement": "stopped"}, {"node": "127.0.0.3", "statement": "stopped"}]);
    plan(executable, checks, &json!({"attestations": attestations}))
}

fn plans(open: Plan, confirmed: Option<Plan>) -> RecoveryPlans {
    RecoveryPlans {
        open: None,
        plan: Ok(open),
        confirmed: confirmed.map(Ok),
        approvals: 1,
    }
}

fn page(view: &ClusterView, recovery: Option<&RecoveryPlans>, roles: &[Role]) -> String {
    let page = NextStepPage {
        view,
        session: &fixtures::session("dora", roles),
        recovery,
        now: fixtures::fixed_now(),
    };
    page.markup().html()
}

fn lost() -> ClusterView {
    fixtures::no_primary("lab", 2_881)
}

#[test]
fn members_to_confirm_and_the_request_are_one_form() {
    let plans = plans(
        unattested(),
        Some(attested(&[check("members_accounted", "pass", "")])),
    );
    let html = page(&lost(), Some(&plans), &[Role::Operator]);
    assert!(!button(&html, "Request bootstrap").contains("disabled"));
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn nothing_is_attested_unless_the_box_is_ticked() {
    let plans = plans(unattested(), Some(attested(&[])));
    let html = page(&lost(), Some(&plans), &[Role::Operator]);
    assert_eq!(html.matches("name=\"attestations\"").count(), 1, "{html}");
    let start = html.find("name=\"attestations\"").unwrap();
    let tag = &html[html[..start].rfind('<').unwrap()..];
    let tag = &tag[..tag.find('>').unwrap()];
    assert!(
        tag.contains("type=\"checkbox\"") && tag.contains("required"),
        "{tag}"
    );
    assert!(!tag.contains("checked"), "{tag}");
    // Another member: another box, which is empty again.
    assert!(tag.contains("id=\"confirm-127.0.0.2-127.0.0.3\""), "{tag}");
}

#[test]
fn a_plan_that_needs_time_keeps_the_form_and_counts_down() {
    let mut settling = check(
        "settled",
        "unknown",
        "The view of n1 changed less than 5 s ago.",
    );
    settling["expected_at"] = json!(fixtures::fixed_now().plus(std::time::Duration::from_secs(4)));
    let plans = plans(unattested(), Some(attested(&[settling])));
    let html = page(&lost(), Some(&plans), &[Role::Operator]);
    assert!(button(&html, "Request bootstrap").contains("disabled"));
    assert!(
        html.contains("Expected in <time") && html.contains("data-age=\"in\""),
        "{html}"
    );
    assert!(html.contains("id=\"next-step-reason\""), "{html}");
}

#[test]
fn a_viewer_sees_the_request_and_why_it_is_disabled() {
    let plans = plans(unattested(), Some(attested(&[])));
    let html = page(&lost(), Some(&plans), &[Role::Viewer]);
    assert!(button(&html, "Request bootstrap").contains("disabled"));
    assert!(html.contains("Requires the operator role."), "{html}");
}

#[test]
fn a_blocked_plan_names_what_is_missing() {
    let transfer = check(
        "no_state_transfer",
        "fail",
        "n2 takes part in a <state> transfer. Wait until it completes or fails.",
    );
    let plans = plans(plan(false, &[transfer], &json!({"steps": []})), None);
    let html = page(&lost(), Some(&plans), &[Role::Operator]);
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn an_open_action_takes_the_place_of_the_request() {
    let mut plans = plans(unattested(), Some(attested(&[])));
    plans.open = Some(super::super::action_detail::tests::view("pending"));
    let html = page(&lost(), Some(&plans), &[Role::Approver]);
    assert!(html.contains("Review and decide"), "{html}");
    assert!(!html.contains("<form"), "{html}");
}

#[test]
fn a_problem_is_shown_in_the_card() {
    let plans = RecoveryPlans {
        plan: Err(crate::data::local_problem("busy", "Busy", "Try again.")),
        ..plans(unattested(), None)
    };
    let html = page(&lost(), Some(&plans), &[Role::Operator]);
    assert!(
        html.contains("Busy. Try again.") && html.contains("/recovery"),
        "{html}"
    );
}

#[test]
fn without_etcd_the_card_names_the_cause() {
    let html = page(
        &lost(),
        Some(&RecoveryPlans::without_etcd()),
        &[Role::Operator],
    );
    assert!(html.contains("etcd is unreachable. No action"), "{html}");
    assert!(!html.contains("<form"), "{html}");
}

#[test]
fn a_serving_cluster_shows_its_quorum_and_how_to_remove_a_member() {
    let mut view = lost();
    view.verdict.state = VerdictState::Degraded;
    view.quorum = Some(QuorumSummary {
        votes: 2,
        total: 3,
        arbitrators: 0,
        spare: Some(0),
        summary: "2 of 3 votes; losing one more stops writes".to_owned(),
    });
    assert_snapshot!(fixtures::by_lines(&page(&view, None, &[Role::Operator])));
    view.verdict.state = VerdictState::Healthy;
    let html = page(&view, None, &[Role::Operator]);
    assert!(
        !html.contains("next-step") && !html.contains("removal"),
        "{html}"
    );
}

#[test]
fn two_histories_get_a_remedy_and_no_request() {
    let mut view = lost();
    for (state, text) in [
        (
            VerdictState::SplitBrain,
            "Disconnect the clients from one side now",
        ),
        (VerdictState::Diverged, "which history has the data to keep"),
    ] {
        view.verdict.state = state;
        assert!(!needs_recovery(&view));
        let html = page(&view, None, &[Role::Operator]);
        assert!(html.contains(text) && !html.contains("<form"), "{html}");
    }
}

#[test]
fn a_split_brain_names_both_sides_with_their_positions() {
    let view = crate::fixtures::split_brain("lab", 90_000);
    let page = NextStepPage {
        view: &view,
        session: &crate::fixtures::session("olga", &[galera::access::Role::Operator]),
        recovery: None,
        now: crate::fixtures::fixed_now(),
    };
    let html = page.markup().html();
    for expected in [
        "t-bad\">side A</strong>: n1 and n2, ",
        "t-rival\">side B</strong>: n3, ",
        ":90000</code>",
        "wsrep_reject_queries=ALL_KILL",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
}

#[test]
fn a_degraded_cluster_is_not_described_as_out_of_sync_if_it_is_not() {
    let mut view = fixtures::healthy("lab", 90_000);
    view.verdict.state = VerdictState::Degraded;
    let message = "The cluster was at 90000 and continued at 80000 or below.";
    view.verdict.reasons = vec![fixtures::reason(ReasonCode::HistoryAlarm, None, message)];
    let html = page(&view, None, &[Role::Viewer]);
    assert!(
        html.contains("There is a Primary component, but something is missing or at risk"),
        "{html}"
    );
    assert!(!html.contains("Synced"), "{html}");
}
