use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::fixtures;

/// An account, and the time until which its proof is valid, before or after the fixed time.
fn account(second_factor: &serde_json::Value, proof_is_recent: bool) -> OwnAccountView {
    let now = fixtures::fixed_now();
    let (before, after) = (
        now.minus(Duration::from_secs(600)),
        now.plus(Duration::from_secs(600)),
    );
    let session = |id: &str, current: bool| {
        json!({"id": id, "current": current, "created_at": before, "expires_at": after,
            "address": "192.0.2.7", "user_agent": "Mozilla <5.0>"})
    };
    serde_json::from_value(json!({
        "username": "adam", "roles": ["approver"], "email": "adam@example.org",
        "sessions": [session("1", true), session("2", false)],
        "second_factor": second_factor,
        "recent_events": [
            {"sequence": 9, "at": before, "actor": "root", "event": "account_roles_changed", "detail": {"roles": "approver", "before": "viewer"}},
            {"sequence": 8, "at": before, "actor": "adam", "event": "signed_in", "detail": {"address": "192.0.2.7", "device": "new"}},
        ],
        "step_up": {"proven_at": before, "valid_until": if proof_is_recent { after } else { before }},
    }))
    .unwrap()
}

fn html(account: &OwnAccountView) -> String {
    fixtures::by_lines(
        &page(
            account,
            None,
            DisplayChoice::default(),
            fixtures::fixed_now(),
        )
        .html(),
    )
}

#[test]
fn account_with_a_second_factor() {
    let enrolled = json!({"required": true, "enrolled_at": fixtures::fixed_now(), "recovery_codes_left": 9, "enrolment": null});
    assert_snapshot!(html(&account(&enrolled, false)));
}

#[test]
fn enrolment_that_a_role_requires() {
    let enrolment = json!({"secret": "ABCDEFGH", "uri": "otpauth://totp/x", "expires_at": fixtures::fixed_now()});
    let pending = json!({"required": true, "enrolled_at": null, "recovery_codes_left": 0, "enrolment": enrolment});
    assert_snapshot!(html(&account(&pending, true)));
}

#[test]
fn forms_with_secrets_never_use_get() {
    let none = json!({"required": false, "enrolled_at": null, "recovery_codes_left": 0, "enrolment": null});
    let html = html(&account(&none, false));
    for form in html.split("<form").skip(1) {
        let form = form.split("</form>").next().unwrap();
        assert!(
            !form.contains("type=\"password\"") || form.contains("method=\"post\""),
            "{form}"
        );
    }
}

#[test]
fn tokens_of_an_administrator() {
    let none = json!({"required": false, "enrolled_at": null, "recovery_codes_left": 0, "enrolment": null});
    let account = account(&none, true);
    let now = fixtures::fixed_now();
    let token = |id: &str, state: &str, used: bool| {
        json!({"id": id, "name": "deploy", "account": "adam", "state": state, "roles": ["approver"],
            "clusters": ["lab", "prod-*"], "created_at": now.minus(Duration::from_secs(60)), "created_by": "adam",
            "expires_at": now.plus(Duration::from_secs(86_400)),
            "last_used_at": used.then_some(now), "last_used_from": used.then_some("192.0.2.7")})
    };
    let list = json!({"tokens": [token("0123456789abcdef", "active", true), token("1123456789abcdef", "revoked", false)]});
    let service = json!({"name": "ci", "kind": "service", "roles": ["operator"], "email": null, "disabled": false,
        "second_factor": false, "created_at": now, "changed_at": now});
    let sections = TokenSections {
        own: serde_json::from_value(list.clone()).unwrap(),
        all: Some(serde_json::from_value(list).unwrap()),
        accounts: Some(serde_json::from_value(json!({"accounts": [service]})).unwrap()),
    };
    let sections = sections.render(&account.roles, None, now);
    let html: String = sections.iter().map(El::html).collect();
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn account_of_an_identity_provider() {
    let none = json!({"required": false, "enrolled_at": null, "recovery_codes_left": 0, "enrolment": null});
    let mut account = account(&none, false);
    account.external = Some(galera::publish::accounts::ExternalAccountView {
        issuer: "https://idp.example.org".to_owned(),
        subject: "u-<1>".to_owned(),
        provider: "Example".to_owned(),
        grants: vec!["operator on prod-*, from group dba".to_owned()],
    });
    let html = html(&account);
    for expected in [
        "operator on prod-*, from group dba",
        "u-&lt;1&gt; at https://idp.example.org",
        "href=\"/oidc/sign-in?proof=on&amp;next=/account\"",
    ] {
        assert!(html.contains(expected), "{expected}: {html}");
    }
    assert!(!html.contains("type=\"password\""), "{html}");
}
