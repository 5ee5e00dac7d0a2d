//! Building blocks shared by the fragments: forms, buttons, steps, checks.

use galera::Timestamp;
use galera::access::{ExplainedOperation, Operation, check_permission};
use galera::publish::api::SessionView;
use galera::recover::plan::{
    CheckCode, CheckEvidence, EvidenceSource, LossEstimate, ManualCommand, Plan, PlanCheck,
    PlanStep,
};

use crate::format::{code, countdown, link, pluralize, quiet, sub, ticking_age, unknown};
use crate::marks::{check_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

/// A POST form.
pub(super) fn post_form(action: String) -> El {
    el("form")
        .class("sheet")
        .attr("method", "post")
        .attr("action", action)
}

/// A form that consists of a single button.
pub(super) fn button_form(action: String, label: &str, refusal: Option<&str>) -> El {
    el("form")
        .attr("method", "post")
        .attr("action", action)
        .child(button(label.to_owned(), refusal))
}

pub(super) fn hidden_field(name: &'static str, value: String) -> El {
    el("input")
        .attr("type", "hidden")
        .attr("name", name)
        .attr("value", value)
}

pub(super) fn text_input(id: String, name: &'static str, label: impl Into<Content>) -> El {
    labelled_input(el("input"), id, name, label)
}

/// A text field with a proposed value, which the user may change.
pub(super) fn prefilled_input(
    id: String,
    name: &'static str,
    label: impl Into<Content>,
    value: String,
) -> El {
    labelled_input(el("input").attr("value", value), id, name, label)
}

fn labelled_input(input: El, id: String, name: &'static str, label: impl Into<Content>) -> El {
    let input = input
        .attr("id", id.clone())
        .attr("name", name)
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .attr("maxlength", "2000");
    el("div")
        .class("field")
        .child(el("label").attr("for", id).child(label))
        .child(input)
}

/// A labelled multi-line field. Unlike in a single-line field, Enter does not submit the form: decisions take a click.
pub(super) fn textarea(id: String, name: &'static str, label: &'static str) -> El {
    let area = el("textarea")
        .class("prose")
        .attr("id", id.clone())
        .attr("name", name)
        .attr("rows", "2")
        .attr("maxlength", "2000");
    el("div")
        .class("field")
        .child(el("label").attr("for", id).child(label))
        .child(area)
}

/// The form's primary button, disabled if there is a refusal.
pub(super) fn primary_button(label: String, refusal: Option<&str>) -> El {
    button_with_refusal(el("button").class("main"), label, refusal)
}

/// A submit button, disabled if there is a refusal.
pub(super) fn button(label: String, refusal: Option<&str>) -> El {
    button_with_refusal(el("button"), label, refusal)
}

fn button_with_refusal(button: El, label: String, refusal: Option<&str>) -> El {
    let button = button.attr("type", "submit").child(label);
    let button = match refusal {
        Some(_) => button.attr("disabled", ""),
        None => button,
    };
    let why = refusal.map(|why| el("span").class("why-not").child(why.to_owned()));
    el("p").class("act").child(button).child(why)
}

/// Why the user may not perform `operation`.
pub(super) fn role_refusal(session: &SessionView, operation: Operation) -> Option<String> {
    check_permission(&session.roles, operation)
        .err()
        .map(|denied| format!("Requires the {} role.", denied.missing_role))
}

/// Whether the account may do this here, and why, as the access table decides; nothing where that was not asked for.
pub(super) fn permission_note(session: &SessionView, operation: ExplainedOperation) -> Option<El> {
    let mut known = session.permissions.iter();
    let view = known.find(|view| view.operation == operation)?;
    Some(el("p").class("quiet").child(view.explanation.clone()))
}

/// A description list.
pub(super) fn fact_list(pairs: Vec<(&'static str, Content)>) -> El {
    let pairs: Vec<El> = pairs
        .into_iter()
        .map(|(name, value)| {
            el("div")
                .child(el("dt").child(name))
                .child(el("dd").child(value))
        })
        .collect();
    el("dl").class("figures").child(pairs)
}

/// Potential data loss: a count and an explanation.
pub(super) fn loss_estimate(loss: &LossEstimate) -> Content {
    let explanation = sub(loss.explanation.clone());
    Content::Many(vec![loss_count(loss).into(), explanation.into()])
}

/// How many transactions may be lost, if that is known.
pub(super) fn loss_count(loss: &LossEstimate) -> String {
    match loss.transactions {
        Some(0) => "no known data loss".to_owned(),
        Some(count) => {
            let count = pluralize(usize::try_from(count).unwrap_or(usize::MAX), "transaction");
            match loss.at_least {
                true => format!("at least {count}"),
                false => count,
            }
        }
        None => "unknown".to_owned(),
    }
}

/// A step of a plan, exactly as it will be executed.
pub(super) fn plan_step(step: &PlanStep) -> El {
    let cell = el("div").class("step");
    match step {
        PlanStep::Statement { node, statement } => cell
            .child(code(statement.clone()))
            .child(sub(format!("SQL on {node}"))),
        PlanStep::Key {
            key,
            mod_revision,
            value,
        } => {
            let what = match (value, mod_revision) {
                (Some(_), 0) => "create the key if it does not exist",
                (Some(_), _) => "write the key if unchanged",
                (None, _) => "delete the key if unchanged",
            };
            let at = (*mod_revision > 0).then(|| format!(" since revision {mod_revision}"));
            cell.child(code(key.clone()))
                .child(value.clone().map(|value| el("div").child(code(value))))
                .child(sub(format!("etcd: {what}{}", at.unwrap_or_default())))
        }
    }
}

/// Equivalent commands for an operator.
pub(super) fn manual_commands(commands: &[ManualCommand]) -> Option<El> {
    let items: Vec<El> = commands
        .iter()
        .map(|command| {
            let place = match &command.node {
                Some(node) => format!("on {node}: {}", command.why),
                None => command.why.clone(),
            };
            el("li")
                .child(code(command.command.clone()))
                .child(sub(place))
        })
        .collect();
    let list = el("ol").class("steps").child(items);
    (!commands.is_empty()).then(|| {
        el("details")
            .attr("id", "by-hand")
            .child(el("summary").child("Run it manually"))
            .child(list)
    })
}

const COLUMNS: [&str; 4] = ["Check", "Result", "Finding", "Evidence"];

/// Checks with their evidence.
pub(super) fn check_table(checks: &[PlanCheck], now: Timestamp) -> El {
    let rows = checks
        .iter()
        .map(|check| {
            row(check_title(&check.code))
                .child(cell(COLUMNS[1], state_badge(check_mark(check.status))))
                .child(cell(COLUMNS[2], finding(check, now)).class("finding"))
                .child(cell(COLUMNS[3], evidence_list(&check.evidence, now)))
        })
        .collect();
    data_table(
        "ledger checks",
        "Checks with their evidence",
        &COLUMNS,
        rows,
    )
}

/// The result of a check, and when it will pass if only time is missing.
fn finding(check: &PlanCheck, now: Timestamp) -> Content {
    match check.expected_at {
        Some(at) => Content::Many(vec![
            format!("{} Expected in ", check.message).into(),
            countdown(at, now).into(),
            ".".into(),
        ]),
        None => check.message.clone().into(),
    }
}

/// How many checks of a plan passed: `12 of 14 checks passed`.
pub(super) fn checks_passed(plan: &Plan) -> String {
    let total = plan.checks.len();
    let passed = total - plan.failing().count();
    format!("{passed} of {} passed", pluralize(total, "check"))
}

/// The title of a check: what holds if it passes. Codes of other versions are humanized.
pub(super) fn check_title(code: &CheckCode) -> String {
    let title = match code.as_str() {
        "registry_readable" => "etcd is readable",
        "recovery_enabled" => "Recovery is not paused",
        "no_other_recovery" => "No other recovery in progress",
        "nobody_primary" => "No Primary exists",
        "members_accounted" => "All members accounted for",
        "quorum_rules" => "Members that ignore quorum are accounted for",
        "no_fork" => "All data belong to one branch of the history",
        "members_known" => "No known member is missing",
        "unconfirmed_nodes" => "No unconfirmed node is left open",
        "attestations_hold" => "Confirmations still valid",
        "no_state_transfer" => "No state transfer in progress",
        "one_history" => "All positions share one history",
        "candidate" => "Bootstrap candidate exists",
        "most_advanced" => "No excluded member is ahead",
        "no_regression" => "Position is not behind the highest seen",
        "last_primary" => "Last Primary component is represented",
        "settled" => "Cluster views are stable",
        "executor_ready" => "A member can run the statement",
        "sql_account" => "SQL account is configured",
        "positions_known" => "All positions are known",
        "agent_waits" => "An agent is waiting for the order",
        "order_accepted" => "The agent accepts orders from this console",
        "v2_registry" => "No node depends on etcd v2",
        "member_held" => "The member is held back",
        "donor_available" => "A Synced donor is available",
        "keeps_data" => "The agent can set the old data aside",
        "cluster_primary" => "Exactly one Primary component",
        "nobody_starting" => "No node is starting",
        "read_long_enough" => "Registry observed long enough",
        "keeps_verified" => "A verified registration remains",
        "something_to_do" => "There is something to do",
        "all_attested" => "All members confirmed as removed",
        "nobody_answers" => "No member is reachable",
        code => return humanize(code),
    };
    title.to_owned()
}

/// A snake_case code as a sentence.
pub(super) fn humanize(code: &str) -> String {
    sentence_case(&code.replace('_', " ").replace("sql", "SQL"))
}

/// The text with a capital first letter.
pub(super) fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn evidence_list(evidence: &[CheckEvidence], now: Timestamp) -> Content {
    if evidence.is_empty() {
        return unknown().into();
    }
    let items: Vec<El> = evidence
        .iter()
        .map(|fact| evidence_item(fact, now))
        .collect();
    let list = el("ul").class("evidence").child(items);
    if evidence.len() <= 4 {
        return list.into();
    }
    el("details")
        .child(el("summary").child(pluralize(evidence.len(), "fact")))
        .child(list)
        .into()
}

fn evidence_item(fact: &CheckEvidence, now: Timestamp) -> El {
    let source = match fact.source {
        EvidenceSource::Sql => "SQL",
        EvidenceSource::Registry => "registry",
        EvidenceSource::Attestation => "confirmed",
        EvidenceSource::Memory => "last known",
        EvidenceSource::Console => "console",
    };
    let node = fact
        .node
        .as_ref()
        .map(|node| el("span").class("who").child(node.to_string()));
    let age = fact
        .observed_at
        .map(|at| el("span").child(", ").child(ticking_age(at, now)));
    el("li")
        .child(node.map(|node| el("span").child(node).child(" ")))
        .child(fact.value.clone())
        .child(quiet(format!(" {source}")).child(age))
}

pub(super) fn action_link(id: &str, text: String) -> El {
    link(format!("/actions/{id}"), text)
}

#[cfg(test)]
pub(super) mod tests {
    /// The opening tag of the button with this label.
    pub(in crate::fragments) fn button<'a>(html: &'a str, label: &str) -> &'a str {
        let end = html
            .find(&format!(">{label}</button>"))
            .unwrap_or_else(|| panic!("{label} in {html}"));
        let start = html[..end].rfind("<button").unwrap();
        &html[start..end]
    }
}
