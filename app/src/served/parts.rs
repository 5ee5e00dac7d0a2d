//! What several of these pages show: forms, steps, checks.

use galera::Timestamp;
use galera::access::{Operation, permit};
use galera::publish::api::SessionView;
use galera::recover::plan::{Check, CheckEvidence, Command, EvidenceSource, Loss, Step};

use crate::format::{code, counted, link, quiet, sub, ticking, unknown};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};
use crate::words::{check_mark, state};

/// A form that is sent as a whole; without script the browser does it.
pub(super) fn form(action: String) -> El {
    el("form")
        .class("sheet")
        .at("method", "post")
        .at("action", action)
}

/// A form that is nothing but its button.
pub(super) fn press(action: String, label: &str, refusal: Option<&str>) -> El {
    el("form")
        .at("method", "post")
        .at("action", action)
        .with(button(label.to_owned(), refusal))
}

/// A value that goes along.
pub(super) fn hidden_field(name: &'static str, value: String) -> El {
    el("input")
        .at("type", "hidden")
        .at("name", name)
        .at("value", value)
}

/// A labelled line of text.
pub(super) fn line(id: String, name: &'static str, label: impl Into<Child>) -> El {
    let input = el("input")
        .at("id", id.clone())
        .at("name", name)
        .at("autocomplete", "off")
        .at("spellcheck", "false")
        .at("maxlength", "2000");
    el("div")
        .class("field")
        .with(el("label").at("for", id).with(label))
        .with(input)
}

/// A labelled text of some lines. Unlike in a line, the Enter key sends nothing here: what decides takes a click.
pub(super) fn text(id: String, name: &'static str, label: &'static str) -> El {
    let area = el("textarea")
        .class("prose")
        .at("id", id.clone())
        .at("name", name)
        .at("rows", "2")
        .at("maxlength", "2000");
    el("div")
        .class("field")
        .with(el("label").at("for", id).with(label))
        .with(area)
}

/// The button that a form is there for, and why it cannot be used.
pub(super) fn main_button(label: String, refusal: Option<&str>) -> El {
    act(el("button").class("main"), label, refusal)
}

/// A button that sends its form, and why it cannot be used.
pub(super) fn button(label: String, refusal: Option<&str>) -> El {
    act(el("button"), label, refusal)
}

fn act(button: El, label: String, refusal: Option<&str>) -> El {
    let button = button.at("type", "submit").with(label);
    let button = match refusal {
        Some(_) => button.at("disabled", ""),
        None => button,
    };
    let why = refusal.map(|why| el("span").class("why-not").with(why.to_owned()));
    el("p").class("act").with(button).with(why)
}

/// Why this person may not do `operation`.
pub(super) fn role_refusal(session: &SessionView, operation: Operation) -> Option<String> {
    permit(&session.roles, operation)
        .err()
        .map(|denied| format!("This needs the role {}.", denied.missing))
}

/// A list of facts under their names.
pub(super) fn facts(pairs: Vec<(&'static str, Child)>) -> El {
    let pairs: Vec<El> = pairs
        .into_iter()
        .map(|(name, value)| {
            el("div")
                .with(el("dt").with(name))
                .with(el("dd").with(value))
        })
        .collect();
    el("dl").class("figures").with(pairs)
}

/// What may be lost, in a word and a sentence.
pub(super) fn loss(loss: &Loss) -> Child {
    let count = match loss.transactions {
        Some(0) => "no known transaction".to_owned(),
        Some(count) => counted(usize::try_from(count).unwrap_or(usize::MAX), "transaction"),
        None => "cannot be known".to_owned(),
    };
    Child::Many(vec![count.into(), sub(loss.explanation.clone()).into()])
}

/// One exact step.
pub(super) fn step(step: &Step) -> El {
    let cell = el("div").class("step");
    match step {
        Step::Statement { node, statement } => cell
            .with(code(statement.clone()))
            .with(sub(format!("SQL on {node}"))),
        Step::Key {
            key,
            mod_revision,
            value,
        } => {
            let what = match (value, mod_revision) {
                (Some(_), 0) => "create the key, if it does not exist",
                (Some(_), _) => "write the key, if unchanged",
                (None, _) => "delete the key, if unchanged",
            };
            let at = (*mod_revision > 0).then(|| format!(" since revision {mod_revision}"));
            cell.with(code(key.clone()))
                .with(value.clone().map(|value| el("div").with(code(value))))
                .with(sub(format!("etcd: {what}{}", at.unwrap_or_default())))
        }
    }
}

/// What a person can type instead.
pub(super) fn commands(commands: &[Command]) -> Option<El> {
    let items: Vec<El> = commands
        .iter()
        .map(|command| {
            let place = match &command.node {
                Some(node) => format!("on {node}: {}", command.why),
                None => command.why.clone(),
            };
            el("li")
                .with(code(command.command.clone()))
                .with(sub(place))
        })
        .collect();
    let list = el("ol").class("steps").with(items);
    (!commands.is_empty()).then(|| {
        el("details")
            .at("id", "by-hand")
            .with(el("summary").with("The same by hand"))
            .with(list)
    })
}

const COLUMNS: [&str; 4] = ["Check", "Result", "Finding", "Evidence"];

/// Every check with what it rests on.
pub(super) fn checks(checks: &[Check], now: Timestamp) -> El {
    let rows = checks
        .iter()
        .enumerate()
        .map(|(index, check)| {
            row(format!("{index}"), check_title(check.code.word()))
                .with(cell(COLUMNS[1], state(check_mark(check.status))))
                .with(cell(COLUMNS[2], check.message.clone()).class("finding"))
                .with(cell(COLUMNS[3], evidence(&check.evidence, now)))
        })
        .collect();
    ledger(
        "ledger checks",
        "Checks with their evidence",
        &COLUMNS,
        rows,
    )
}

/// A stable word as people read it.
pub(super) fn check_title(word: &str) -> String {
    let text = word.replace('_', " ").replace("sql", "SQL");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn evidence(evidence: &[CheckEvidence], now: Timestamp) -> Child {
    if evidence.is_empty() {
        return unknown().into();
    }
    let items: Vec<El> = evidence.iter().map(|fact| one_fact(fact, now)).collect();
    let list = el("ul").class("evidence").with(items);
    if evidence.len() <= 4 {
        return list.into();
    }
    el("details")
        .with(el("summary").with(counted(evidence.len(), "fact")))
        .with(list)
        .into()
}

fn one_fact(fact: &CheckEvidence, now: Timestamp) -> El {
    let source = match fact.source {
        EvidenceSource::Sql => "SQL",
        EvidenceSource::Registry => "registry",
        EvidenceSource::Attestation => "attested",
        EvidenceSource::Memory => "remembered",
        EvidenceSource::Console => "console",
    };
    let node = fact
        .node
        .as_ref()
        .map(|node| el("span").class("who").with(node.to_string()));
    let age = fact
        .observed_at
        .map(|at| el("span").with(", ").with(ticking(at, now)));
    el("li")
        .with(node.map(|node| el("span").with(node).with(" ")))
        .with(fact.value.clone())
        .with(quiet(format!(" {source}")).with(age))
}

/// A link to an action's page.
pub(super) fn action_link(id: &str, text: String) -> El {
    link(format!("/actions/{id}"), text)
}

#[cfg(test)]
pub(super) mod tests {
    /// The tag of the button with this label.
    pub(in crate::served) fn button<'a>(html: &'a str, label: &str) -> &'a str {
        let end = html
            .find(&format!(">{label}</button>"))
            .unwrap_or_else(|| panic!("{label} in {html}"));
        let start = html[..end].rfind("<button").unwrap();
        &html[start..end]
    }
}
