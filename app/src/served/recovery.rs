//! The recovery tab of a cluster.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{ActionList, ClusterRecovery, Problem, RecoveryState, SessionView};
use galera::recover::action::SwitchedOff;
use galera::recover::attestation::{Attestation, Statement};
use galera::recover::plan::Plan;
use galera::view::{ClusterView, NodeState, NodeView, SourceKind};

use super::action::warnings;
use super::actions::table;
use super::answers::Query;
use super::parts;
use super::plan::{Around, plan};
use crate::format::{sub, ticking};
use crate::markup::{El, el};
use crate::pages::{cell, ledger, row};
use crate::words::{kind_word, node_mark, state};

/// Everything that the tab shows.
pub(super) struct Page<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) switch: &'a ClusterRecovery,
    pub(super) global: &'a RecoveryState,
    pub(super) open: &'a ActionList,
    pub(super) last: &'a ActionList,
    pub(super) plans: &'a [Result<Plan, Problem>],
    pub(super) attestations: &'a [Attestation],
    pub(super) session: &'a SessionView,
    pub(super) now: Timestamp,
}

/// Members that a person may have to vouch for: those who do not answer themselves.
fn silent(view: &ClusterView) -> impl Iterator<Item = &NodeView> {
    view.nodes.iter().filter(|node| {
        let sql = node
            .sources
            .iter()
            .find(|source| source.kind == SourceKind::Sql);
        let answers =
            sql.is_some_and(|sql| sql.error.is_none() && sql.observed_at.is_some() && !sql.stale);
        !answers || node.state == NodeState::Stopped
    })
}

/// What the address declares of members.
pub(super) fn attestations(view: &ClusterView, query: &Query) -> Vec<Attestation> {
    let one = |node: &NodeView| {
        let statement = match query.get(&format!("attest.{}", node.id))? {
            "stopped" => Statement::Stopped,
            "fenced" => Statement::Fenced,
            "decommissioned" => Statement::Decommissioned,
            _ => return None,
        };
        let saved_state = query.get(&format!("state.{}", node.id)).map(str::to_owned);
        Some(Attestation {
            node: node.id.clone(),
            statement,
            saved_state,
        })
    };
    view.nodes.iter().filter_map(one).collect()
}

impl Page<'_> {
    pub(super) fn markup(&self) -> El {
        let ahead: Vec<El> = self.last.actions.iter().filter_map(warnings).collect();
        let mut page = el("div").class("page").with(ahead).with(self.notices());
        if !self.open.actions.is_empty() {
            let heading = el("h2").with("Under way");
            page = page.with(
                el("section")
                    .with(heading)
                    .with(table(&self.open.actions, self.now)),
            );
        }
        let mut plans = self.plans.iter();
        // What a bootstrap lacks most often is somebody's word; it stands where it is missed.
        page = page
            .with(plans.next().map(|answer| self.plan(answer)))
            .with(self.vouching());
        for answer in plans {
            page = page.with(self.plan(answer));
        }
        if !self.last.actions.is_empty() {
            let heading = el("h2").with("Last actions");
            page = page.with(
                el("section")
                    .with(heading)
                    .with(table(&self.last.actions, self.now)),
            );
        }
        page.with(self.switches())
    }

    fn plan(&self, answer: &Result<Plan, Problem>) -> El {
        match answer {
            Ok(computed) => {
                let approvals = self.global.approvals.get(&computed.kind).copied();
                let around = Around {
                    session: self.session,
                    obstacle: self.obstacle(),
                    approvals: approvals.unwrap_or(1),
                    now: self.now,
                };
                plan(computed, &around)
            }
            Err(problem) => el("p")
                .class("notice")
                .with(format!("{}. {}", problem.title, problem.detail)),
        }
    }

    fn obstacle(&self) -> Option<String> {
        if !self.switch.enabled {
            return Some("Recovery is switched off.".to_owned());
        }
        let open = self.open.actions.first()?;
        let word = kind_word(open.action.kind).to_lowercase();
        Some(format!("A {word} of this cluster is under way already."))
    }

    fn notices(&self) -> Vec<El> {
        let mut notices = Vec::new();
        if let Some(off) = self.switch.off.as_ref().filter(|_| !self.switch.enabled) {
            let what = match self.switch.scope.as_deref() {
                Some("global") => "Recovery of every cluster is switched off",
                _ => "Recovery of this cluster is switched off",
            };
            notices.push(switched_off(what, off, self.now));
        }
        if self.global.approvals.values().any(|needed| *needed == 0) {
            notices.push(el("p").class("notice").with(
                "This console is set to carry out some actions without a second person's approval.",
            ));
        }
        if !self.global.sql_account {
            notices.push(el("p").class("notice").with("This console has no account for statements (--recovery-user), so a running cluster can be bootstrapped by hand only."));
        }
        notices
    }

    fn vouching(&self) -> Option<El> {
        let rows: Vec<El> = silent(self.view).map(|node| self.vouch(node)).collect();
        if rows.is_empty() {
            return None;
        }
        let columns = ["Member", "State", "It is", "Where it stopped"];
        let form = el("form")
            .class("sheet wide")
            .at("method", "get")
            .at("action", format!("/clusters/{}/recovery", self.view.name))
            .with(ledger(
                "ledger",
                "Members that do not answer",
                &columns,
                rows,
            ))
            .with(
                el("p").class("act").with(
                    el("button")
                        .at("type", "submit")
                        .with("Plan again with this"),
                ),
            );
        let text = "A member that does not answer may be alive and serving. Declare only what you made sure of yourself: \
            whoever approves sees who declared it.";
        Some(
            el("section")
                .at("id", "attest")
                .with(el("h2").with("Members that do not answer"))
                .with(el("p").with(text))
                .with(form),
        )
    }

    fn vouch(&self, node: &NodeView) -> El {
        let given = self.attestations.iter().find(|given| given.node == node.id);
        let option = |value: &'static str, label: &'static str| {
            let chosen = given.map_or("", |given| given.statement.word()) == value;
            let option = el("option").at("value", value).with(label);
            if chosen {
                option.at("selected", "")
            } else {
                option
            }
        };
        let (name, id) = (format!("attest.{}", node.id), format!("attest-{}", node.id));
        let select = el("select")
            .at("name", name)
            .at("id", id)
            .at("aria-label", format!("{} is", node.id))
            .with([
                option("", "nothing declared"),
                option("stopped", "stopped, and stays so"),
                option("fenced", "cut off from clients and members"),
                option("decommissioned", "gone for good"),
            ]);
        let saved = given
            .and_then(|given| given.saved_state.clone())
            .unwrap_or_default();
        let text = el("textarea")
            .at("name", format!("state.{}", node.id))
            .at("rows", "2")
            .at("spellcheck", "false")
            .at(
                "aria-label",
                format!("grastate.dat or recovered position of {}", node.id),
            )
            .at(
                "placeholder",
                "grastate.dat, or the line with Recovered position",
            )
            .with(saved);
        let head = el("span")
            .with(node.name.clone().unwrap_or_else(|| node.id.to_string()))
            .with(sub(node.id.to_string()));
        row(node.id.to_string(), head)
            .with(cell("State", state(node_mark(node.state))))
            .with(cell("It is", select))
            .with(cell("Where it stopped", text))
    }

    fn switches(&self) -> El {
        let action = format!("/clusters/{}/recovery", self.view.name);
        let form = switch_form(action, self.switch.enabled, self.session);
        let global = self.switch.scope.as_deref() == Some("global");
        let form = if global {
            el("p")
                .with("It is switched off for every cluster; see ")
                .with(crate::format::link("/actions".to_owned(), "Actions"))
                .with(".")
        } else {
            form
        };
        el("section")
            .at("id", "switch")
            .with(el("h2").with("Off-switch"))
            .with(form)
    }
}

/// That recovery is off, by whom, since when and why.
pub(super) fn switched_off(what: &'static str, off: &SwitchedOff, now: Timestamp) -> El {
    el("p")
        .class("notice")
        .with(el("strong").with(what))
        .with(format!(" by {} ", off.by))
        .with(ticking(off.at, now))
        .with(format!(": {}", off.reason))
}

/// Switches recovery off or on.
pub(super) fn switch_form(action: String, enabled: bool, session: &SessionView) -> El {
    let id = if action == "/recovery" {
        "switch-all"
    } else {
        "switch-one"
    };
    let (word, label, operation) = if enabled {
        ("false", "Switch recovery off", Operation::SwitchRecoveryOff)
    } else {
        (
            "true",
            "Switch recovery on again",
            Operation::SwitchRecoveryOn,
        )
    };
    let refusal = parts::role_refusal(session, operation);
    parts::form(action)
        .at("id", format!("{id}-form"))
        .with(parts::hidden_field("enabled", word.to_owned()))
        .with(parts::line(
            format!("{id}-reason"),
            "reason",
            "Reason, shown to everybody",
        ))
        .with(parts::button(label.to_owned(), refusal.as_deref()))
}

#[cfg(test)]
mod tests;
