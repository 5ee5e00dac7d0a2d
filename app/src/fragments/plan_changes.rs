//! What a plan that was requested differs in from the plan as it is now.

use galera::recover::plan::{CheckEvidence, Plan, PlanCheck, PlanTarget};

use super::plan::join_nodes;
use super::widgets::{check_title, loss_count};
use crate::marks::check_mark;
use crate::markup::{El, el};

/// One sentence for each difference that the digest covers; empty if the plans are the same.
pub(super) fn plan_changes(requested: &Plan, present: &Plan) -> Vec<String> {
    if requested.digest == present.digest {
        return Vec::new();
    }
    let mut changes = target_changes(requested.target.as_ref(), present.target.as_ref());
    let loss = [requested, present].map(|plan| loss_count(&plan.loss));
    changes.extend(change("Possible data loss", loss));
    for check in &present.checks {
        changes.extend(check_changes(requested.check(&check.code), check));
    }
    if changes.is_empty() {
        changes.push(if requested.steps == present.steps {
            "The evidence differs in details that the table of checks shows.".to_owned()
        } else {
            "The commands to be run differ.".to_owned()
        });
    }
    changes
}

/// The changes as a list.
pub(super) fn change_list(changes: Vec<String>) -> El {
    let items: Vec<El> = changes
        .into_iter()
        .map(|text| el("li").child(text))
        .collect();
    el("ul").class("reasons").child(items)
}

fn change(what: &str, [before, now]: [String; 2]) -> Option<String> {
    let shown = |text: String| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    };
    (before != now).then(|| format!("{what}: was {}, now {}.", shown(before), shown(now)))
}

fn target_changes(requested: Option<&PlanTarget>, present: Option<&PlanTarget>) -> Vec<String> {
    let text = |read: fn(&PlanTarget) -> String| {
        [requested, present].map(|target| target.map(read).unwrap_or_default())
    };
    let node = text(|target| {
        target
            .node
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    });
    let position = text(|target| {
        let position = target.position.as_ref();
        position.map(ToString::to_string).unwrap_or_default()
    });
    let parts = [
        ("Runs on", node),
        ("Position", position),
        (
            "Becomes Primary again",
            text(|target| join_nodes(&target.revives)),
        ),
        ("Excluded", text(|target| join_nodes(&target.leaves_out))),
        ("Removes", text(|target| join_nodes(&target.removes))),
    ];
    parts
        .into_iter()
        .filter_map(|(what, texts)| change(what, texts))
        .collect()
}

fn check_changes(requested: Option<&PlanCheck>, present: &PlanCheck) -> Vec<String> {
    let title = check_title(&present.code);
    let Some(requested) = requested else {
        return vec![format!("{title}: new check. {}", present.message)];
    };
    if requested.status != present.status {
        let [before, now] =
            [requested, present].map(|check| check_mark(check.status).label.to_lowercase());
        return vec![format!(
            "{title}: was {before}, now {now}. {}",
            present.message
        )];
    }
    let gone = requested
        .evidence
        .iter()
        .filter(|fact| !contains(present, fact));
    let new = present
        .evidence
        .iter()
        .filter(|fact| !contains(requested, fact));
    let gone = gone.map(|fact| format!("{title}: no longer {}.", fact_text(fact)));
    gone.chain(new.map(|fact| format!("{title}: now {}.", fact_text(fact))))
        .collect()
}

/// Whether a check has this fact, whenever it was observed.
fn contains(check: &PlanCheck, fact: &CheckEvidence) -> bool {
    let mut evidence = check.evidence.iter();
    evidence
        .any(|own| (&own.node, own.source, &own.value) == (&fact.node, fact.source, &fact.value))
}

fn fact_text(fact: &CheckEvidence) -> String {
    match &fact.node {
        Some(node) => format!("{node}: {}", fact.value),
        None => fact.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(digest: &str, change: impl FnOnce(&mut Value)) -> Plan {
        let at = crate::fixtures::fixed_now().to_string();
        let evidence = json!([{"node": "127.0.0.1", "source": "sql", "observed_at": at, "value": "non-Primary"}]);
        let mut plan = json!({
            "kind": "bootstrap", "cluster": "lab", "digest": digest, "executable": true, "computed_at": at, "summary": "",
            "checks": [{"code": "nobody_primary", "status": "pass", "message": "No node reports Primary.", "evidence": evidence}],
            "target": null, "steps": [], "loss": {"transactions": 0, "explanation": ""},
        });
        change(&mut plan);
        serde_json::from_value(plan).unwrap()
    }

    #[test]
    fn the_same_digest_has_no_changes() {
        let later = plan("d1ce", |plan| {
            plan["checks"][0]["message"] = "Other words.".into()
        });
        assert!(plan_changes(&plan("d1ce", |_| {}), &later).is_empty());
    }

    #[test]
    fn a_check_that_fails_now_and_a_loss_are_named() {
        let now = plan("d2ce", |plan| {
            plan["checks"][0]["status"] = "fail".into();
            plan["checks"][0]["message"] = "127.0.0.2 reports Primary.".into();
            plan["loss"]["transactions"] = 7.into();
        });
        let changes = plan_changes(&plan("d1ce", |_| {}), &now);
        assert_eq!(
            changes,
            [
                "Possible data loss: was no known data loss, now 7 transactions.",
                "No Primary exists: was pass, now fail. 127.0.0.2 reports Primary.",
            ]
        );
    }

    #[test]
    fn i37_a_loss_that_may_be_larger_is_a_lower_bound() {
        let lossy = |at_least: bool| {
            plan("d1ce", |plan| {
                plan["loss"]["transactions"] = 7.into();
                plan["loss"]["at_least"] = at_least.into();
            })
        };
        let mut now = lossy(true);
        now.digest = galera::recover::plan::PlanDigest::new("d2ce");
        assert_eq!(
            plan_changes(&lossy(false), &now),
            ["Possible data loss: was 7 transactions, now at least 7 transactions."]
        );
    }

    #[test]
    fn changed_evidence_is_named_even_if_the_result_is_the_same() {
        let now = plan("d2ce", |plan| {
            plan["checks"][0]["evidence"][0]["value"] = "non-Primary, at 9".into();
        });
        let changes = plan_changes(&plan("d1ce", |_| {}), &now);
        assert_eq!(
            changes,
            [
                "No Primary exists: no longer 127.0.0.1: non-Primary.",
                "No Primary exists: now 127.0.0.1: non-Primary, at 9.",
            ]
        );
    }
}
