use galera::access::Role;
use galera::recover::plan::CheckCode;
use insta::assert_snapshot;
use serde_json::json;

use super::super::widgets::tests::button;
use super::*;
use crate::fixtures;

fn plan_of(executable: bool) -> Plan {
    let (status, message, value) = if executable {
        ("pass", "No node of lab reports Primary.", "non-Primary")
    } else {
        ("fail", "n2 reports <b>Primary</b>.", "Primary")
    };
    serde_json::from_value(json!({
        "kind": "bootstrap", "cluster": "lab", "digest": "d1ce", "executable": executable,
        "computed_at": fixtures::fixed_now().to_string(), "summary": "n1's component is the one to bootstrap.",
        "checks": [{"code": "nobody_primary", "status": status, "message": message,
            "evidence": [{"node": "127.0.0.2", "source": "sql", "observed_at": fixtures::fixed_now().to_string(), "value": value}]}],
        "target": {"mechanism": "statement", "node": "127.0.0.1", "members": ["127.0.0.1"], "position": null,
            "revives": ["127.0.0.1"], "leaves_out": ["127.0.0.3"], "removes": []},
        "steps": [{"node": "127.0.0.1", "statement": "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'"}],
        "loss": {"transactions": 7, "explanation": "127.0.0.3 may hold more."},
    }))
    .unwrap()
}

fn page(plan: Plan, roles: &[Role], enabled: bool) -> String {
    page_of(&fixtures::healthy("lab", 2_881), plan, roles, enabled)
}

fn page_of(view: &ClusterView, plan: Plan, roles: &[Role], enabled: bool) -> String {
    page_with(view, &[Ok(plan)], roles, enabled)
}

fn page_with(
    view: &ClusterView,
    plans: &[Result<Plan, ProblemDetails>],
    roles: &[Role],
    enabled: bool,
) -> String {
    let off = (!enabled).then(
        || json!({"by": "ada", "at": fixtures::fixed_now().to_string(), "reason": "rack migration"}),
    );
    let switch = json!({"cluster": "lab", "enabled": enabled, "off": off, "scope": (!enabled).then_some("cluster")});
    let global = json!({"enabled": true, "off": null, "clusters": {}, "approvals": {"bootstrap": 1}, "sql_account": true});
    let none = || {
        serde_json::from_value::<ActionList>(json!({"actions": [], "next_before": null})).unwrap()
    };
    let page = RecoveryPage {
        view,
        switch: &serde_json::from_value(switch).unwrap(),
        global: &serde_json::from_value(global).unwrap(),
        open: &none(),
        recent: &none(),
        plans,
        attestations: &[],
        session: &fixtures::session("dora", roles),
        now: fixtures::fixed_now(),
    };
    page.markup().html()
}

#[test]
fn executable_plan() {
    let html = page(plan_of(true), &[Role::Operator], true);
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn blocked_plan_of_a_cluster_without_primary() {
    let mut plan = plan_of(false);
    plan.checks[0].code = CheckCode::MEMBERS_ACCOUNTED;
    plan.checks[0].message = "n3 may be Primary.".to_owned();
    plan.checks[0].evidence.clear();
    let view = fixtures::no_primary("lab", 2_881);
    let html = page_of(&view, plan, &[Role::Admin], true);
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn paused_recovery() {
    let html = page(plan_of(true), &[Role::Viewer], false);
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn i35_a_rejoin_is_offered_below_the_bootstrap_while_a_member_is_held_back() {
    let view = fixtures::healthy("lab", 2_881);
    let mut rejoin = plan_of(true);
    rejoin.kind = ActionKind::Rejoin;
    let mut cleanup = plan_of(false);
    cleanup.kind = ActionKind::Cleanup;
    let plans = [Ok(plan_of(false)), Ok(cleanup), Ok(rejoin.clone())];
    let html = page_with(&view, &plans, &[Role::Operator], true);
    assert!(
        !button(&html, "Request rejoin").contains("disabled"),
        "{html}"
    );
    let place = |kind: &str| html.find(&format!("id=\"{kind}\"")).unwrap();
    assert!(place("bootstrap") < place("rejoin") && place("rejoin") < place("cleanup"));
    rejoin.target = None;
    let html = page_with(
        &view,
        &[Ok(plan_of(false)), Ok(rejoin)],
        &[Role::Operator],
        true,
    );
    assert!(!html.contains("id=\"rejoin\""), "{html}");
}

#[test]
fn an_operator_can_request_an_executable_plan() {
    let html = page(plan_of(true), &[Role::Operator], true);
    assert!(
        !button(&html, "Request bootstrap").contains("disabled"),
        "{html}"
    );
}

#[test]
fn a_plan_that_needs_attestations_links_to_the_form() {
    const LINK: &str = "href=\"#attest\"";
    let mut plan = plan_of(false);
    assert!(!page(plan.clone(), &[Role::Operator], true).contains(LINK));
    plan.checks[0].code = CheckCode::MEMBERS_ACCOUNTED;
    assert!(page(plan, &[Role::Operator], true).contains(LINK));
}

#[test]
fn a_request_that_is_not_allowed_is_disabled_with_the_reason() {
    for (plan, roles, enabled, why) in [
        (
            plan_of(true),
            &[Role::Viewer][..],
            true,
            "Requires the operator role.",
        ),
        (
            plan_of(false),
            &[Role::Operator],
            true,
            "Not all checks passed.",
        ),
        (
            plan_of(true),
            &[Role::Operator],
            false,
            "Recovery is paused.",
        ),
    ] {
        let html = page(plan, roles, enabled);
        assert!(
            button(&html, "Request bootstrap").contains("disabled"),
            "{html}"
        );
        assert!(html.contains(why), "{why} in {html}");
    }
}

#[test]
fn i30_every_check_is_shown_with_its_evidence() {
    let html = page(plan_of(false), &[Role::Viewer], true);
    for expected in [
        "No Primary exists",
        ">Fail<",
        "n2 reports &lt;b&gt;Primary&lt;/b&gt;.",
        "127.0.0.2",
        "data-age=\"ago\"",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
    assert!(!html.contains("<b>"), "{html}");
}

#[test]
fn i19_only_an_admin_may_override_and_every_check_is_listed() {
    let html = page(plan_of(false), &[Role::Admin], true);
    assert!(
        html.contains("name=\"overrides\" value=\"nobody_primary\""),
        "{html}"
    );
    let html = page(plan_of(false), &[Role::Operator, Role::Approver], true);
    assert!(!html.contains("overrides"), "{html}");
}

#[test]
fn attestations_are_read_only_for_existing_members() {
    let view = fixtures::healthy("lab", 2_881);
    let uri = "/clusters/lab/recovery?attest.127.0.0.2=stopped&state.127.0.0.2=a%3A7&attest.127.0.0.9=stopped&attest.127.0.0.1=elsewhere";
    let attestations = attestations_from_query(&view, &PageQuery::from_uri(&uri.parse().unwrap()));
    assert_eq!(attestations.len(), 1, "{attestations:?}");
    let one = &attestations[0];
    assert_eq!(
        (
            one.node.to_string().as_str(),
            one.statement,
            one.saved_state.as_deref()
        ),
        ("127.0.0.2", AttestedState::Stopped, Some("a:7"))
    );
}

#[test]
fn alarms_about_the_data_are_acknowledged_by_those_who_may() {
    let mut switch: ClusterRecovery = serde_json::from_value(json!({
        "cluster": "lab", "enabled": true, "off": null, "scope": null,
        "history_alarms": [{"number": 4, "at": fixtures::fixed_now().to_string(), "kind": "rival_primaries",
            "components": [["n1"], ["n2", "n3"]]}]
    }))
    .unwrap();
    let view = fixtures::healthy("lab", 2_881);
    let global = json!({"enabled": true, "off": null, "clusters": {}, "approvals": {"bootstrap": 1}, "sql_account": true});
    let global = serde_json::from_value(global).unwrap();
    let none = ActionList {
        actions: Vec::new(),
        next_before: None,
    };
    let show = |switch: &ClusterRecovery, role: Role| {
        let page = RecoveryPage {
            view: &view,
            switch,
            global: &global,
            open: &none,
            recent: &none,
            plans: &[],
            attestations: &[],
            session: &fixtures::session("dora", &[role]),
            now: fixtures::fixed_now(),
        };
        page.alarms_section().map(|section| section.html())
    };
    let shown = show(&switch, Role::Operator).unwrap();
    assert!(
        shown.contains("n1 and n2, n3") && shown.contains("value=\"4\""),
        "{shown}"
    );
    assert!(!shown.contains("disabled"), "{shown}");
    assert!(show(&switch, Role::Viewer).unwrap().contains("disabled"));
    switch.history_alarms.clear();
    assert!(show(&switch, Role::Operator).is_none());
}

#[test]
fn nodes_of_a_split_brain_are_not_green() {
    let mut view = fixtures::split_brain("lab", 2_881);
    let positions = without_etcd(&view).html();
    assert!(
        positions.contains("state t-rival") && !positions.contains("t-ok"),
        "{positions}"
    );
    view.nodes[0].state = NodeState::Stopped;
    view.nodes[1].unconfirmed = true;
    view.nodes[2].sources[0].stale = true;
    let html = page_of(&view, plan_of(false), &[Role::Operator], true);
    for section in ["id=\"unconfirmed\"", "id=\"attest\""] {
        let html = html.split(section).nth(1).unwrap();
        let html = html.split("</section>").next().unwrap();
        assert!(html.contains("Synced") && !html.contains("t-ok"), "{html}");
    }
}
