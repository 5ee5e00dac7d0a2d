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
    fixtures::by_lines(&page(account, fixtures::fixed_now()).html())
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
