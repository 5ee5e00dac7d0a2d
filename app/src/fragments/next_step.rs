//! The part of a cluster's page that is rendered in the server: its quorum, and what helps when it accepts no writes.

use galera::access::Operation;
use galera::publish::api::{ActionView, ProblemDetails, SessionView};
use galera::recover::action::ActionState;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{CheckCode, OpenConfirmation, Plan};
use galera::view::{
    ArbitratorView, ClusterView, NodeState, NodeView, QuorumSummary, ReasonCode, VerdictState,
};
use galera::{NodeId, Timestamp};

use super::incidents::new_incident_href;
use super::widgets;
use crate::data::{encode_segment, local_problem};
use crate::format::{absolute, code, countdown, elapsed, link, quiet, sub, ticking_age};
use crate::marks::{
    action_kind_label, action_mark, arbitrator_mark, state_badge, verdict_description, verdict_mark,
};
use crate::markup::{Content, El, el};
use crate::sides::{side_label, side_tone, sides};

/// Failing checks shown on the cluster's page; the recovery page has all of them.
const CHECKS_SHOWN: usize = 3;

/// A cluster's page without its live parts.
pub(super) struct NextStepPage<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) session: &'a SessionView,
    /// Computed only if [`needs_recovery`].
    pub(super) recovery: Option<&'a RecoveryPlans>,
    pub(super) now: Timestamp,
}

/// What is known about the recovery of a cluster without a Primary component.
pub(super) struct RecoveryPlans {
    /// The open action of the cluster.
    pub(super) open: Option<ActionView>,
    /// The bootstrap as things stand.
    pub(super) plan: Result<Plan, ProblemDetails>,
    /// The same with every member of [`Plan::to_confirm`] attested as stopped.
    pub(super) confirmed: Option<Result<Plan, ProblemDetails>>,
    /// How many people must approve a bootstrap.
    pub(super) approvals: u32,
}

impl RecoveryPlans {
    /// While etcd is unreachable nothing can be requested.
    pub(super) fn without_etcd() -> Self {
        Self {
            open: None,
            plan: Err(local_problem(
                "registry_unavailable",
                "etcd is unreachable",
                "No action can be requested, locked or recorded until it is available again. Repair etcd first.",
            )),
            confirmed: None,
            approvals: 1,
        }
    }
}

/// Whether a bootstrap may be what helps: no member in sight is Primary.
pub(super) fn needs_recovery(view: &ClusterView) -> bool {
    match view.verdict.state {
        VerdictState::NoPrimary | VerdictState::Down => true,
        VerdictState::Unknown => has_reason(view, ReasonCode::NoPrimaryInSight),
        _ => false,
    }
}

/// The attestations that a plan lacks, all as stopped.
pub(super) fn stopped_attestations(plan: &Plan) -> Vec<Attestation> {
    let nodes = plan.to_confirm.iter().flat_map(|open| &open.nodes);
    nodes
        .map(|node| Attestation {
            node: node.clone(),
            statement: AttestedState::Stopped,
            saved_state: None,
        })
        .collect()
}

fn has_reason(view: &ClusterView, code: ReasonCode) -> bool {
    view.verdict
        .reasons
        .iter()
        .any(|reason| reason.code == code)
}

impl NextStepPage<'_> {
    pub(super) fn markup(&self) -> El {
        el("div")
            .class("page")
            .child(self.labels())
            .child(self.view.quorum.as_ref().map(quorum_line))
            .child(self.arbitrators())
            // After what is always there, which therefore never moves.
            .child(self.meaning())
            .child(self.card())
            .child(super::runway::away_section(self.view))
            .child(self.removal_links())
    }

    /// Each label, as a link to the clusters that have it.
    fn labels(&self) -> Option<El> {
        let links = self.view.labels.iter().map(|(key, value)| {
            let label = format!("{key}={value}");
            let href = format!("/?label={}", encode_segment(&label));
            el("li").child(link(href, label))
        });
        let links: Vec<El> = links.collect();
        (!links.is_empty()).then(|| {
            el("nav").class("tabs").attr("aria-label", "Labels").child(
                el("ul")
                    .child(el("li").class("quiet").child("Labels"))
                    .child(links),
            )
        })
    }

    /// What the verdict means, unless all is well.
    fn meaning(&self) -> Option<El> {
        let state = self.view.verdict.state;
        (state != VerdictState::Healthy).then(|| {
            el("p")
                .class("quiet")
                .child(verdict_description(state))
                .child(self.incident_link())
        })
    }

    /// Leads to the form of a new incident about this cluster, for those who may open one.
    fn incident_link(&self) -> Option<El> {
        widgets::role_refusal(self.session, Operation::ManageIncidents)
            .is_none()
            .then(|| {
                let href = new_incident_href(&self.view.name, self.view.verdict.state);
                el("span").child(" ").child(link(href, "Open an incident"))
            })
    }

    /// The members that vote and have no data.
    fn arbitrators(&self) -> Option<El> {
        let items: Vec<El> = self
            .view
            .arbitrators
            .iter()
            .map(|arbitrator| arbitrator_item(arbitrator, self.now))
            .collect();
        (!items.is_empty()).then(|| {
            el("section")
                .attr("id", "arbitrators")
                .child(el("h2").child("Arbitrators"))
                .child(el("ul").class("reasons").child(items))
        })
    }

    fn card(&self) -> Option<El> {
        if let Some(recovery) = self.recovery {
            return Some(self.recovery_card(recovery));
        }
        let remedy = match self.view.verdict.state {
            VerdictState::SplitBrain => {
                "Disconnect the clients from one side now, and keep the data directories of both. Which writes to keep is \
                 for people to decide; the console does not merge histories. A restored network does not end a split: the \
                 sides do not connect to each other again. Restart no server before the decision: it connects to both, \
                 and Galera then ends one side."
            }
            VerdictState::Diverged => {
                "Find out which history has the data to keep before stopping anything. The other nodes join it empty, by a \
                 full state transfer; keep their data directories aside."
            }
            _ => return None,
        };
        Some(
            card("Next step")
                .child(el("p").child(remedy))
                .child(self.sides()),
        )
    }

    /// What is known of each side of a split brain, and the command that keeps clients away from it.
    fn sides(&self) -> Option<El> {
        let sides = sides(self.view);
        let items: Vec<El> = sides
            .iter()
            .enumerate()
            .map(|(index, side)| {
                let members = side.members.iter().filter_map(|id| self.node(id));
                let position = members
                    .filter_map(|node| node.position.as_ref())
                    .max_by_key(|position| position.seqno);
                let position = position.map_or_else(
                    || el("span").child("at an unknown position"),
                    |position| el("span").child("at ").child(code(position.to_string())),
                );
                el("li")
                    .child(
                        el("strong")
                            .class(format!("t-{}", side_tone(index)))
                            .child(side_label(index)),
                    )
                    .child(format!(": {}, ", self.names(&side.members)))
                    .child(position)
            })
            .collect();
        let command = el("p")
            .child("To disconnect the clients of a side, run on each of its members: ")
            .child(code("SET GLOBAL wsrep_reject_queries=ALL_KILL;"))
            .child(" The data stay as they are; ")
            .child(code("NONE"))
            .child(" ends it.");
        (!items.is_empty()).then(|| {
            el("div")
                .child(el("ul").class("reasons").child(items))
                .child(command)
        })
    }

    fn recovery_card(&self, recovery: &RecoveryPlans) -> El {
        if let Some(open) = &recovery.open {
            return self.open_action(open);
        }
        match (&recovery.plan, &recovery.confirmed) {
            (Err(problem), _) | (_, Some(Err(problem))) => card("Next step")
                .child(el("p").child(format!("{}. {}", problem.title, problem.detail)))
                .child(self.recovery_link("Recovery, with the commands to run manually")),
            (Ok(open), Some(Ok(confirmed))) if is_within_reach(confirmed) => {
                self.request_card(confirmed, open.to_confirm.as_ref(), recovery.approvals)
            }
            (Ok(plan), None) if is_within_reach(plan) => {
                self.request_card(plan, None, recovery.approvals)
            }
            (Ok(_), Some(Ok(plan))) | (Ok(plan), None) => self.blocked_card(plan),
        }
    }

    fn open_action(&self, open: &ActionView) -> El {
        let action = &open.action;
        let kind = action_kind_label(action.kind);
        let state = action_mark(action.state).label.to_lowercase();
        let href = format!("/actions/{}", action.id);
        let line = el("p")
            .child(format!("{kind} requested by {} ", action.requested_by))
            .child(ticking_age(action.requested_at, self.now))
            .child(format!(": {state}. "));
        let line = match (action.expires_at, action.state) {
            (Some(at), ActionState::Pending | ActionState::Approved) => line
                .child("It expires in ")
                .child(countdown(at, self.now))
                .child(". "),
            _ => line,
        };
        let label = match action.state {
            ActionState::Pending => "Review and decide",
            _ => "Follow it",
        };
        card("Next step").child(line.child(link(href, label)))
    }

    /// The request itself: what a person confirms, and the two fields that every request has.
    fn request_card(&self, plan: &Plan, open: Option<&OpenConfirmation>, approvals: u32) -> El {
        let refusal = widgets::role_refusal(self.session, Operation::RequestAction);
        let waiting = (!plan.executable).then(|| self.waiting_line(plan));
        let disabled = refusal.or_else(|| {
            waiting
                .is_some()
                .then(|| "Possible once the last check has passed.".to_owned())
        });
        let button = widgets::primary_button("Request bootstrap".to_owned(), disabled.as_deref());
        let who = match approvals {
            0 => "No approval is required; an operator starts the execution.".to_owned(),
            1 => "Nothing is executed before a second person approves it.".to_owned(),
            count => format!("Nothing is executed before {count} other people approve it."),
        };
        let label = el("span")
            .child("Type ")
            .child(code(plan.cluster.display_name().into_owned()))
            .child(" to confirm");
        let form = widgets::post_form(format!("/clusters/{}/actions", plan.cluster))
            .attr("id", "next-step-form")
            .child(widgets::hidden_field("kind", plan.kind.as_str().to_owned()))
            .child(widgets::hidden_field(
                "plan_digest",
                plan.digest.to_string(),
            ))
            .child(open.map(|open| self.confirmation(plan, open)))
            .child(widgets::text_input(
                "next-step-confirm".to_owned(),
                "confirm",
                label,
            ))
            .child(widgets::prefilled_input(
                "next-step-reason".to_owned(),
                "reason",
                "Reason (shown to approvers and kept on record)",
                self.proposed_reason(open),
            ))
            .child(el("p").class("quiet").child(who))
            .child(waiting)
            .child(button);
        card(self.request_title(plan))
            .child(self.consequences(plan))
            .child(form)
            .child(self.recovery_link("All checks, the exact command and other ways"))
    }

    fn request_title(&self, plan: &Plan) -> String {
        let members = plan.target.as_ref().map(|target| &target.revives);
        match members.map(Vec::as_slice) {
            Some([]) | None => "Next step: bootstrap".to_owned(),
            Some(members) => format!("Next step: make {} Primary again", self.names(members)),
        }
    }

    fn consequences(&self, plan: &Plan) -> El {
        let mut pairs: Vec<(&'static str, Content)> = Vec::new();
        if let Some(target) = &plan.target {
            if let Some(position) = &target.position {
                pairs.push(("Starts from", code(position.seqno.to_string()).into()));
            }
            if !target.leaves_out.is_empty() {
                pairs.push((
                    "Excluded until they rejoin",
                    self.names(&target.leaves_out).into(),
                ));
            }
        }
        pairs.push(("Possible data loss", widgets::loss_estimate(&plan.loss)));
        widgets::fact_list(pairs)
    }

    /// One box for all members that only a person can account for. Its value are the attestations, so that nothing is
    /// attested unless it is ticked; its id names the members, so that it is empty again when they change.
    fn confirmation(&self, plan: &Plan, open: &OpenConfirmation) -> El {
        let ids: Vec<String> = open
            .nodes
            .iter()
            .map(|node| encode_segment(&node.to_string()))
            .collect();
        let id = format!("confirm-{}", ids.join("-"));
        let value = serde_json::to_string(&plan.attestations).unwrap_or_default();
        let are = if open.nodes.len() == 1 {
            "is stopped and stays down"
        } else {
            "are stopped and stay down"
        };
        let text = format!(
            "{} {are}. I have checked this, not only that the console cannot reach {}.",
            self.names(&open.nodes),
            if open.nodes.len() == 1 { "it" } else { "them" }
        );
        let facts: Vec<El> = open
            .nodes
            .iter()
            .filter_map(|id| self.node(id))
            .map(|node| self.last_seen(node))
            .collect();
        let input = el("input")
            .attr("type", "checkbox")
            .attr("id", id)
            .attr("name", "attestations")
            .attr("value", value)
            .attr("required", "");
        let box_line = el("label")
            .class("tick")
            .child(input)
            .child(" ")
            .child(text);
        let other = el("p")
            .class("quiet")
            .child("Isolated or removed instead of stopped? ")
            .child(link(
                format!("/clusters/{}/recovery#attest", self.view.name),
                "Confirm each of them",
            ))
            .child(".");
        el("div")
            .class("field")
            .child(box_line)
            .child(el("ul").class("reasons").child(facts))
            .child(open.implies.clone().map(|text| el("p").child(text)))
            .child(other)
    }

    /// Why a member does not answer, and since when.
    fn last_seen(&self, node: &NodeView) -> El {
        let source = node.sources.iter().find(|source| source.error.is_some());
        let error = source.and_then(|source| source.error.clone());
        let since = source.and_then(|source| source.failing_since);
        el("li")
            .child(format!("{}: ", label_of(node)))
            .child(error.unwrap_or_else(|| "no answer".to_owned()))
            .child(since.map(|at| quiet(", first failure ").child(ticking_age(at, self.now))))
    }

    /// What a plan waits for, with the time left.
    fn waiting_line(&self, plan: &Plan) -> El {
        let checks: Vec<String> = plan.failing().map(|check| check.message.clone()).collect();
        let line = el("p").child(checks.join(" "));
        match plan.expected_at() {
            Some(at) => line
                .child(" Expected in ")
                .child(countdown(at, self.now))
                .child("."),
            None => line,
        }
    }

    fn proposed_reason(&self, open: Option<&OpenConfirmation>) -> String {
        let verdict = &self.view.verdict;
        let state = verdict_mark(verdict.state).label;
        let since = absolute(verdict.since);
        match open {
            Some(open) => format!("{state} since {since}; {} stopped", self.names(&open.nodes)),
            None => format!("{state} since {since}"),
        }
    }

    fn blocked_card(&self, plan: &Plan) -> El {
        let checks: Vec<El> = plan
            .failing()
            .take(CHECKS_SHOWN)
            .map(|check| {
                let item = el("li")
                    .child(el("strong").child(widgets::check_title(&check.code)))
                    .child(": ")
                    .child(check.message.clone());
                match check.expected_at {
                    Some(at) => item
                        .child(" Expected in ")
                        .child(countdown(at, self.now))
                        .child("."),
                    None => item,
                }
            })
            .collect();
        let more = plan.failing().count().saturating_sub(CHECKS_SHOWN);
        let more = (more > 0).then(|| el("p").class("quiet").child(format!("And {more} more.")));
        let text = match checks.len() {
            0 => plan.summary.clone(),
            _ => "A bootstrap is not possible yet:".to_owned(),
        };
        card("Next step")
            .child(el("p").child(text))
            .child(el("ul").class("reasons").child(checks))
            .child(more)
            .child(self.recovery_link("Open recovery"))
    }

    /// Members of a serving cluster that do not answer, each with a link to the plan that removes it.
    fn removal_links(&self) -> Option<El> {
        if self.view.verdict.state != VerdictState::Degraded {
            return None;
        }
        let gone = |node: &&NodeView| {
            node.expected && matches!(node.state, NodeState::Unreachable | NodeState::Absent)
        };
        let items: Vec<El> = self
            .view
            .members()
            .filter(gone)
            .map(|node| {
                let href = format!(
                    "/clusters/{}/recovery?attest.{}=decommissioned#cleanup",
                    self.view.name,
                    encode_segment(&node.id.to_string())
                );
                el("li").child(link(
                    href,
                    format!("Plan the removal of {}", label_of(node)),
                ))
            })
            .collect();
        (!items.is_empty()).then(|| {
            el("details")
                .attr("id", "removal")
                .child(el("summary").child("A member will not return?"))
                .child(el("p").class("quiet").child(
                    "A member that starts again rejoins on its own. Remove only one that will not return.",
                ))
                .child(el("ul").class("reasons").child(items))
        })
    }

    fn recovery_link(&self, text: &'static str) -> El {
        el("p").child(link(format!("/clusters/{}/recovery", self.view.name), text))
    }

    fn node(&self, id: &NodeId) -> Option<&NodeView> {
        self.view.nodes.iter().find(|node| node.id == *id)
    }

    /// `n1, n2 and n3`, by name where one is known.
    fn names(&self, ids: &[NodeId]) -> String {
        let names: Vec<String> = ids
            .iter()
            .map(|id| self.node(id).map_or_else(|| id.to_string(), label_of))
            .collect();
        match names.split_last() {
            None => "no member".to_owned(),
            Some((only, [])) => only.clone(),
            Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        }
    }
}

fn label_of(node: &NodeView) -> String {
    node.name.clone().unwrap_or_else(|| node.id.to_string())
}

/// Checks that often fail for seconds only. Meanwhile the form stays, with what was typed into it.
const PASSING_CHECKS: [CheckCode; 3] = [
    CheckCode::SETTLED,
    CheckCode::EXECUTOR_READY,
    CheckCode::REGISTRY_READABLE,
];

/// Whether a plan can be requested now, or within seconds.
fn is_within_reach(plan: &Plan) -> bool {
    plan.target.is_some()
        && (plan.executable || plan.failing().next().is_some())
        && plan
            .failing()
            .all(|check| PASSING_CHECKS.contains(&check.code))
}

fn card(title: impl Into<Content>) -> El {
    el("section")
        .attr("id", "next-step")
        .class("plan override")
        .child(el("h2").child(title))
}

fn arbitrator_item(arbitrator: &ArbitratorView, now: Timestamp) -> El {
    let name = arbitrator.name.as_deref().unwrap_or("Not reported");
    let since = arbitrator
        .since
        .map(|at| quiet(" for ").child(elapsed(at, Some(now))));
    let address = arbitrator
        .address
        .as_ref()
        .map(|address| quiet(format!(" {address}")));
    el("li")
        .child(el("b").child(name.to_owned()))
        .child(address)
        .child(" ")
        .child(state_badge(arbitrator_mark(arbitrator.state)))
        .child(since)
        .child(sub(arbitrator.message.clone()))
}

/// The quorum in one line.
fn quorum_line(quorum: &QuorumSummary) -> El {
    let scarce = quorum.spare.is_none_or(|spare| spare == 0) && quorum.total > 1;
    let text = el(if scarce { "strong" } else { "span" }).child(quorum.summary.clone());
    el("p")
        .attr("id", "quorum")
        .child(quiet("Quorum: "))
        .child(text)
}

#[cfg(test)]
mod tests;
