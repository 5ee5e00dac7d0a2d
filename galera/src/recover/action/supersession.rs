//! Why an approved action is superseded.

use crate::id::NodeId;
use crate::recover::plan::{CheckStatus, Plan, PlanCheck};

/// Differences that an outcome names.
const NAMED_MAX: usize = 3;

/// The outcome of an action whose plan, computed now, is not the approved one. The cluster may have changed, or the console
/// was updated and checks more than the one that made the plan.
pub(super) fn outcome(approved: &Plan, computed: &Plan) -> String {
    let differences = differences(approved, computed);
    let mut named = differences[..differences.len().min(NAMED_MAX)].join(", ");
    if differences.len() > NAMED_MAX {
        named += &format!(" and {} more", differences.len() - NAMED_MAX);
    }
    format!(
        "the plan is no longer the approved one ({named}); nothing was done, and it can be requested again"
    )
}

/// At least one.
fn differences(approved: &Plan, computed: &Plan) -> Vec<String> {
    let mut changed = Vec::new();
    let mut added = Vec::new();
    for check in &computed.checks {
        let code = check.code.as_str();
        match approved.check(&check.code) {
            None => added.push(format!("{code} is a new check")),
            Some(before) if before.status != check.status => {
                let [before, now] = [before, check].map(|check| status_word(check.status));
                changed.push(format!("{code} was {before} and is {now}"));
            }
            Some(before) if facts(before).ne(facts(check)) => {
                changed.push(format!("{code} has other evidence"));
            }
            Some(_) => {}
        }
    }
    let removed = approved
        .checks
        .iter()
        .filter(|check| computed.check(&check.code).is_none());
    let removed = removed.map(|check| format!("{} is no longer a check", check.code.as_str()));
    changed.extend(added.into_iter().chain(removed));
    if changed.is_empty() {
        let what = if approved.steps == computed.steps {
            "its details differ"
        } else {
            "its steps differ"
        };
        changed.push(what.to_owned());
    }
    changed
}

/// What the digest covers of a check's evidence.
fn facts(check: &PlanCheck) -> impl Iterator<Item = (Option<&NodeId>, &str)> {
    let evidence = check.evidence.iter();
    evidence.map(|fact| (fact.node.as_ref(), fact.value.as_str()))
}

/// As in JSON.
const fn status_word(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Pass => "pass",
        CheckStatus::Attested => "attested",
        CheckStatus::Unknown => "unknown",
        CheckStatus::Fail => "fail",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(change: impl FnOnce(&mut Value)) -> Plan {
        let fact =
            json!({"node": "n1", "source": "sql", "observed_at": null, "value": "non-Primary"});
        let mut plan = json!({
            "kind": "bootstrap", "cluster": "lab", "digest": "d1", "executable": true, "computed_at": "2026-11-29T10:00:00Z",
            "checks": [
                {"code": "nobody_primary", "status": "pass", "message": "", "evidence": [fact]},
                {"code": "settled", "status": "pass", "message": "", "evidence": []},
            ],
            "target": null, "steps": [], "loss": {"transactions": 0, "explanation": ""},
        });
        change(&mut plan);
        serde_json::from_value(plan).unwrap()
    }

    #[test]
    fn the_outcome_names_what_differs_from_the_approved_plan() {
        let approved = plan(|_| {});
        type Case = (&'static str, fn(&mut Value));
        let cases: [Case; 6] = [
            ("nobody_primary was pass and is fail", |plan| {
                plan["checks"][0]["status"] = "fail".into();
            }),
            ("nobody_primary has other evidence", |plan| {
                plan["checks"][0]["evidence"][0]["value"] = "Primary".into();
            }),
            ("one_branch is a new check", |plan| {
                let new =
                    json!({"code": "one_branch", "status": "pass", "message": "", "evidence": []});
                plan["checks"].as_array_mut().unwrap().push(new);
            }),
            ("settled is no longer a check", |plan| {
                plan["checks"].as_array_mut().unwrap().pop();
            }),
            ("its steps differ", |plan| {
                plan["steps"] = json!([{"node": "n1", "statement": "SET GLOBAL x=1"}]);
            }),
            ("its details differ", |plan| plan["digest"] = "d2".into()),
        ];
        for (expected, change) in cases {
            let outcome = outcome(&approved, &plan(change));
            assert!(outcome.contains(&format!("({expected})")), "{outcome}");
            assert!(outcome.contains("nothing was done"), "{outcome}");
        }
        let many = plan(|plan| {
            for number in 0..5 {
                let new = json!({"code": format!("c{number}"), "status": "pass", "message": "", "evidence": []});
                plan["checks"].as_array_mut().unwrap().push(new);
            }
        });
        assert!(outcome(&approved, &many).contains("c2 is a new check and 2 more)"));
    }
}
