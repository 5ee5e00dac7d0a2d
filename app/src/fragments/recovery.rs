//! The recovery tab of a cluster: plans, attestations, actions.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{
    ActionList, ClusterRecovery, ProblemDetails, RecoveryState, SessionView,
};
use galera::recover::action::RecoveryPause;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{ActionKind, Plan};
use galera::view::{ClusterView, NodeState, NodeView, SourceKind};

use super::action_detail::ahead_warnings;
use super::action_list::action_table;
use super::api_client::PageQuery;
use super::plan::{PlanContext, plan_section};
use super::widgets;
use crate::data::encode_segment;
use crate::format::{absolute, code, link, sub, ticking_age, unknown};
use crate::marks::{action_kind_label, state_badge};
use crate::markup::{El, el};
use crate::pages::{cell, data_table, row};
use crate::sides::mark_of;

pub(super) struct RecoveryPage<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) switch: &'a ClusterRecovery,
    pub(super) global: &'a RecoveryState,
    pub(super) open: &'a ActionList,
    pub(super) recent: &'a ActionList,
    pub(super) plans: &'a [Result<Plan, ProblemDetails>],
    pub(super) attestations: &'a [Attestation],
    pub(super) session: &'a SessionView,
    pub(super) now: Timestamp,
}

/// Nodes whose state a user can attest: unreachable over SQL, stopped, or not confirmed as members.
fn members_to_attest(view: &ClusterView) -> impl Iterator<Item = &NodeView> {
    view.nodes.iter().filter(|node| {
        let sql = node
            .sources
            .iter()
            .find(|source| source.kind == SourceKind::Sql);
        let reachable =
            sql.is_some_and(|sql| sql.error.is_none() && sql.observed_at.is_some() && !sql.stale);
        node.unconfirmed || !reachable || node.state == NodeState::Stopped
    })
}

/// Attestations in the page's query string.
pub(super) fn attestations_from_query(view: &ClusterView, query: &PageQuery) -> Vec<Attestation> {
    let one = |node: &NodeView| {
        let statement = match query.get(&format!("attest.{}", node.id))? {
            "stopped" => AttestedState::Stopped,
            "fenced" => AttestedState::Fenced,
            "decommissioned" => AttestedState::Decommissioned,
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

/// The page while etcd is unreachable: nothing waits for it, and what is known of the nodes leads to the right one.
pub(super) fn without_etcd(view: &ClusterView) -> El {
    let text = "Without etcd no action can be requested, locked or recorded: repair etcd first. The steps of a manual recovery are \
        in the documentation (docs/recovery.md). They start from the member with the highest position, and only after every other \
        member is known to be stopped or isolated.";
    let columns = ["Node", "State", "Last known position"];
    let rows: Vec<El> = view
        .members()
        .map(|node| {
            let position = node.position.as_ref();
            let position = position.map_or_else(unknown, |position| code(position.to_string()));
            row(node.label())
                .child(cell(columns[1], state_badge(mark_of(view, node))))
                .child(cell(columns[2], position))
        })
        .collect();
    el("div")
        .class("page")
        .child(el("p").class("notice").child(text))
        .child(data_table(
            "ledger",
            "Positions of the members",
            &columns,
            rows,
        ))
}

impl RecoveryPage<'_> {
    pub(super) fn markup(&self) -> El {
        let ahead: Vec<El> = self
            .recent
            .actions
            .iter()
            .filter_map(ahead_warnings)
            .collect();
        let mut page = el("div")
            .class("page")
            .child(ahead)
            .child(self.notices())
            .child(self.alarms_section());
        if !self.open.actions.is_empty() {
            let heading = el("h2").child("In progress");
            page = page.child(
                el("section")
                    .child(heading)
                    .child(action_table(&self.open.actions, self.now)),
            );
        }
        let mut plans = self.plans.iter();
        let bootstrap = plans.next();
        let (rejoin, plans): (Vec<_>, Vec<_>) = plans
            .filter(|plan| !is_idle(plan))
            .partition(|plan| is_rejoin(plan));
        page = page
            .child(bootstrap.map(|plan| self.plan_or_problem(plan)))
            .child(
                rejoin
                    .into_iter()
                    .map(|plan| self.plan_or_problem(plan))
                    .collect::<Vec<_>>(),
            )
            // The form comes right after the plan of the bootstrap, which most often depends on it.
            .child(self.unconfirmed_section())
            .child(self.attestation_section());
        for plan in plans {
            page = page.child(self.plan_or_problem(plan));
        }
        if !self.recent.actions.is_empty() {
            let heading = el("h2").child("Recent actions");
            page = page.child(
                el("section")
                    .child(heading)
                    .child(action_table(&self.recent.actions, self.now)),
            );
        }
        page.child(self.insight_links()).child(self.pause_section())
    }

    fn insight_links(&self) -> El {
        let cluster = encode_segment(self.view.name.as_str());
        let page =
            |page: &str, text: &'static str| link(format!("/clusters/{cluster}/{page}"), text);
        el("p")
            .child(page("stop-check", "Can these nodes be stopped?"))
            .child(" · ")
            .child(page("rolling-restart", "Rolling restart"))
            .child(" · ")
            .child(page("findings", "Findings about configuration and load"))
    }

    fn plan_or_problem(&self, plan: &Result<Plan, ProblemDetails>) -> El {
        match plan {
            Ok(computed) => {
                let of_cluster = self.switch.approvals.get(&computed.kind);
                let approvals = of_cluster.or_else(|| self.global.approvals.get(&computed.kind));
                let context = PlanContext {
                    session: self.session,
                    obstacle: self.obstacle(),
                    approvals: approvals.copied().unwrap_or(1),
                    approver_groups: &self.switch.approver_groups,
                    now: self.now,
                };
                plan_section(computed, &context)
            }
            Err(problem) => el("p")
                .class("notice")
                .child(format!("{}. {}", problem.title, problem.detail)),
        }
    }

    fn obstacle(&self) -> Option<String> {
        if !self.switch.enabled {
            return Some("Recovery is paused.".to_owned());
        }
        let open = self.open.actions.first()?;
        let kind = action_kind_label(open.action.kind).to_lowercase();
        Some(format!("A {kind} of this cluster is already in progress."))
    }

    fn notices(&self) -> Vec<El> {
        let mut notices = Vec::new();
        if let Some(off) = self.switch.off.as_ref().filter(|_| !self.switch.enabled) {
            let scope = match self.switch.scope.as_deref() {
                Some("global") => "Recovery paused for all clusters",
                _ => "Recovery paused for this cluster",
            };
            notices.push(paused_notice(scope, off, self.now));
        }
        if self.global.approvals.values().any(|needed| *needed == 0) {
            notices.push(
                el("p").class("notice").child(
                    "This console executes some actions without a second person's approval.",
                ),
            );
        }
        if !self.global.sql_account {
            notices.push(el("p").class("notice").child("This console has no SQL account for recovery that it may use (--recovery-user; without verified TLS also --recovery-transport any), so running clusters can only be bootstrapped manually."));
        }
        notices
    }

    /// What no later status of a node shows, and the form that acknowledges it on every replica.
    fn alarms_section(&self) -> Option<El> {
        let alarms = &self.switch.history_alarms;
        let newest = alarms.iter().map(|alarm| alarm.number).max()?;
        let items: Vec<El> = alarms
            .iter()
            .map(|alarm| {
                el("li")
                    .child(absolute(alarm.at))
                    .child(format!(" {}", alarm.finding.message()))
            })
            .collect();
        let refusal = widgets::role_refusal(self.session, Operation::AcknowledgeHistory);
        let action = format!("/clusters/{}/alarms/acknowledge", self.view.name);
        let form = widgets::post_form(action)
            .child(widgets::hidden_field("through", newest.to_string()))
            .child(widgets::text_input(
                "alarms-reason".to_owned(),
                "reason",
                "What was found, and what was done (audited)",
            ))
            .child(widgets::button(
                "Acknowledge".to_owned(),
                refusal.as_deref(),
            ));
        Some(
            el("section")
                .attr("id", "alarms")
                .child(el("h2").child("Alarms about the data"))
                .child(el("ul").child(items))
                .child(form),
        )
    }

    fn unconfirmed_section(&self) -> Option<El> {
        let refusal = widgets::role_refusal(self.session, Operation::AdmitNode);
        let rows: Vec<El> = self
            .view
            .unconfirmed_nodes()
            .map(|node| self.unconfirmed_row(node, refusal.as_deref()))
            .collect();
        if rows.is_empty() {
            return None;
        }
        let text = "These nodes are registered in etcd, but no member of the Primary component lists them. Anyone who can write \
            to etcd can register an address, so they do not count: not in the verdict, not as expected members, and as no evidence in plans. \
            Admit a node only if you know that it belongs to this cluster.";
        let columns = ["Node", "State", "Reported position", "Admit"];
        Some(
            el("section")
                .attr("id", "unconfirmed")
                .child(el("h2").child("Unconfirmed nodes"))
                .child(el("p").child(text))
                .child(data_table("ledger", "Unconfirmed nodes", &columns, rows)),
        )
    }

    fn unconfirmed_row(&self, node: &NodeView, refusal: Option<&str>) -> El {
        let action = format!("/clusters/{}/nodes/{}/admit", self.view.name, node.id);
        let form = widgets::button_form(action, "Admit as a member", refusal);
        let position = node
            .position
            .as_ref()
            .map_or_else(unknown, |position| code(position.to_string()));
        row(node_name(node))
            .child(cell("State", state_badge(mark_of(self.view, node))))
            .child(cell("Reported position", position))
            .child(cell("Admit", form))
    }

    fn attestation_section(&self) -> Option<El> {
        let rows: Vec<El> = members_to_attest(self.view)
            .map(|node| self.attestation_row(node))
            .collect();
        if rows.is_empty() {
            return None;
        }
        let columns = ["Node", "State", "Confirmed as", "Last position"];
        let form = el("form")
            .class("sheet wide")
            .attr("method", "get")
            .attr("action", format!("/clusters/{}/recovery", self.view.name))
            .child(data_table(
                "ledger",
                "Unreachable or unconfirmed nodes",
                &columns,
                rows,
            ))
            .child(
                el("p")
                    .class("act")
                    .child(el("button").attr("type", "submit").child("Update plan")),
            );
        let text = "An unreachable member may still be running and serving clients. Confirm only what you have verified \
            yourself; approvers see who confirmed it.";
        Some(
            el("section")
                .attr("id", "attest")
                .child(el("h2").child("Confirm the state of unreachable nodes"))
                .child(el("p").child(text))
                .child(self.removal_of_all())
                .child(form),
        )
    }

    /// One choice for many: addresses that never come back, or a retired cluster, would need as many choices as nodes.
    fn removal_of_all(&self) -> Option<El> {
        let choices: Vec<String> = members_to_attest(self.view)
            .map(|node| {
                let id = crate::data::encode_segment(&node.id.to_string());
                format!("attest.{id}=decommissioned")
            })
            .collect();
        let href = format!(
            "/clusters/{}/recovery?{}#attest",
            self.view.name,
            choices.join("&")
        );
        let label = format!("Choose “permanently removed” for all {}", choices.len());
        (choices.len() > 1).then(|| el("p").child(crate::format::link(href, label)))
    }

    fn attestation_row(&self, node: &NodeView) -> El {
        let attestation = self
            .attestations
            .iter()
            .find(|attestation| attestation.node == node.id);
        let option = |value: &'static str, label: &'static str| {
            let chosen =
                attestation.map_or("", |attestation| attestation.statement.as_str()) == value;
            let option = el("option").attr("value", value).child(label);
            if chosen {
                option.attr("selected", "")
            } else {
                option
            }
        };
        let (name, id) = (format!("attest.{}", node.id), format!("attest-{}", node.id));
        let select = el("select")
            .attr("name", name)
            .attr("id", id)
            .attr("aria-label", format!("Confirm the state of {}", node.id))
            .child([
                option("", "not confirmed"),
                option("stopped", "stopped and will stay down"),
                option("fenced", "isolated from clients and members"),
                option("decommissioned", "permanently removed"),
            ]);
        let saved = attestation
            .and_then(|attestation| attestation.saved_state.clone())
            .unwrap_or_default();
        let text = el("textarea")
            .attr("name", format!("state.{}", node.id))
            .attr("rows", "2")
            .attr("spellcheck", "false")
            .attr(
                "aria-label",
                format!("grastate.dat or recovered position of {}", node.id),
            )
            .attr(
                "placeholder",
                "contents of grastate.dat, or the “Recovered position” line",
            )
            .child(saved);
        row(node_name(node))
            .child(cell("State", state_badge(mark_of(self.view, node))))
            .child(cell("Confirmed as", select))
            .child(cell("Last position", text))
    }

    fn pause_section(&self) -> El {
        let action = format!("/clusters/{}/recovery", self.view.name);
        let form = pause_form(action, self.switch.enabled, self.session);
        let global = self.switch.scope.as_deref() == Some("global");
        let form = if global {
            el("p")
                .child("Recovery is paused for all clusters; see ")
                .child(crate::format::link("/actions".to_owned(), "Actions"))
                .child(".")
        } else {
            form
        };
        el("section")
            .attr("id", "switch")
            .child(el("h2").child("Recovery of this cluster"))
            .child(form)
    }
}

/// A correction of positions or a rejoin is shown only if there is something to do: otherwise it is rarely what the user
/// came for.
fn is_idle(plan: &Result<Plan, ProblemDetails>) -> bool {
    let on_demand = |plan: &Plan| matches!(plan.kind, ActionKind::Positions | ActionKind::Rejoin);
    plan.as_ref()
        .is_ok_and(|plan| on_demand(plan) && plan.target.is_none())
}

fn is_rejoin(plan: &Result<Plan, ProblemDetails>) -> bool {
    plan.as_ref()
        .is_ok_and(|plan| plan.kind == ActionKind::Rejoin)
}

fn node_name(node: &NodeView) -> El {
    el("span")
        .child(node.name.clone().unwrap_or_else(|| node.id.to_string()))
        .child(sub(node.id.to_string()))
}

pub(super) fn paused_notice(scope: &'static str, off: &RecoveryPause, now: Timestamp) -> El {
    el("p")
        .class("notice")
        .child(el("strong").child(scope))
        .child(format!(" by {} ", off.by))
        .child(ticking_age(off.at, now))
        .child(format!(": {}", off.reason))
}

/// A form that pauses or resumes recovery.
pub(super) fn pause_form(action: String, enabled: bool, session: &SessionView) -> El {
    let id = if action == "/recovery" {
        "switch-all"
    } else {
        "switch-one"
    };
    let (value, label, operation) = if enabled {
        ("false", "Pause recovery", Operation::PauseRecovery)
    } else {
        ("true", "Resume recovery", Operation::ResumeRecovery)
    };
    let refusal = widgets::role_refusal(session, operation);
    widgets::post_form(action)
        .attr("id", format!("{id}-form"))
        .child(widgets::hidden_field("enabled", value.to_owned()))
        .child(widgets::text_input(
            format!("{id}-reason"),
            "reason",
            "Reason (shown to all users)",
        ))
        .child(widgets::button(label.to_owned(), refusal.as_deref()))
}

#[cfg(test)]
mod tests;
