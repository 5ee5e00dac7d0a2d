//! The part of the overview that is rendered in the server: paused recovery, filter and groups, and the first steps while there is no cluster.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{Overview, ProblemDetails, RecoveryState, SessionView};
use galera::recover::action::RecoveryPause;
use galera::view::VerdictState;

use super::{overview_filter, overview_groups, widgets};
use crate::format::{code, link, pluralize, sub, ticking_age};
use crate::marks::{StateMark, check_mark, state_badge, verdict_mark};
use crate::markup::{Content, El, el};
use crate::overview_window::OverviewSelection;

pub(super) struct OverviewPart<'a> {
    pub(super) overview: &'a Overview,
    /// Whether recovery is possible; an error while etcd is unreachable.
    pub(super) recovery: &'a Result<RecoveryState, ProblemDetails>,
    pub(super) session: &'a SessionView,
    /// Which clusters the table shows.
    pub(super) selection: &'a OverviewSelection,
    /// Whether the page is for a screen on the wall.
    pub(super) is_wall: bool,
    pub(super) now: Timestamp,
}

impl OverviewPart<'_> {
    pub(super) fn markup(&self) -> El {
        let first_steps = self.overview.clusters.is_empty();
        el("div")
            .class("page")
            .child(self.paused())
            .child(
                (self.overview.clusters.len() > 1).then(|| overview_filter::form(self.selection)),
            )
            .child(overview_filter::selected_labels(self.selection))
            .child(overview_groups::section(self.overview, self.selection))
            .child(first_steps.then(|| self.first_steps()))
            .child(self.not_shown())
    }

    /// The clusters that the table leaves out on a wall, where nothing leads to its other pages.
    fn not_shown(&self) -> Option<El> {
        if !self.is_wall {
            return None;
        }
        let rest = self.selection.after_page(self.overview);
        let worst = rest.iter().map(|cluster| cluster.verdict.state).max()?;
        let clusters = pluralize(rest.len(), "more cluster");
        let text = match (worst, rest.len()) {
            (VerdictState::Healthy, 1) => format!("Not shown: {clusters}, healthy."),
            (VerdictState::Healthy, _) => format!("Not shown: {clusters}, all healthy."),
            (_, 1) => format!("Not shown: {clusters}, "),
            (..) => format!("Not shown: {clusters}, the worst "),
        };
        let mark = (worst != VerdictState::Healthy).then(|| state_badge(verdict_mark(worst)));
        Some(el("p").attr("id", "not-shown").child(text).child(mark))
    }

    /// Where no action can be requested.
    fn paused(&self) -> Vec<El> {
        let Ok(recovery) = self.recovery else {
            return Vec::new();
        };
        let notice = |scope: El, pause: &RecoveryPause| {
            el("p")
                .class("notice")
                .child(el("strong").child("Recovery paused"))
                .child(" for ")
                .child(scope)
                .child(format!(" by {} ", pause.by))
                .child(ticking_age(pause.at, self.now))
                .child(format!(": {}", pause.reason))
        };
        let all = recovery.off.iter();
        let all = all.map(|pause| notice(link("/actions".to_owned(), "all clusters"), pause));
        let some = recovery.clusters.iter().map(|(cluster, pause)| {
            let href = format!("/clusters/{cluster}/recovery");
            notice(link(href, cluster.display_name().into_owned()), pause)
        });
        all.chain(some).collect()
    }

    /// What is done and what is left until the first cluster is seen and can be recovered.
    fn first_steps(&self) -> El {
        let registry: Content = [
            el("span").child("Run "),
            code("galera-agent report"),
            el("span").child(" next to each node, with this console's etcd in "),
            code("DISCOVERY_SERVICE"),
            el("span").child(" and the cluster's name in "),
            code("CLUSTER_NAME"),
            el("span").child(". Or start the console with "),
            code("--cluster NAME=HOST,HOST,HOST"),
            el("span").child(
                ", which also pins the expected members. The cluster appears here automatically.",
            ),
        ]
        .into();
        let etcd = match self.recovery {
            Ok(_) => (
                Some(true),
                "etcd is reachable; accounts and actions are stored there.".into(),
            ),
            Err(problem) => (
                Some(false),
                format!("{}. {}", problem.title, problem.detail).into(),
            ),
        };
        let recovery = self.recovery.as_ref().ok();
        let sql_account: Content = [
            el("span").child(
                "To bootstrap a running cluster the console needs a database account with the right to act: ",
            ),
            code("--recovery-user"),
            el("span").child(" and "),
            code("--recovery-password-file"),
            el("span").child("."),
        ]
        .into();
        let people: Content = [
            el("span").child(
                "An action is requested by one person and approved by another. Add accounts with ",
            ),
            code("galera-console user add NAME --role operator"),
            el("span").child(" and "),
            code("--role approver"),
            el("span").child("."),
        ]
        .into();
        let steps = [
            (
                "Sign in",
                Some(true),
                Content::from(format!("You are {}.", self.session.username)),
            ),
            ("Connect etcd", etcd.0, etcd.1),
            ("Add a cluster", Some(false), registry),
            (
                "Allow recovery",
                recovery.map(|state| state.sql_account),
                sql_account,
            ),
            ("Add users", None, people),
        ];
        let items = steps.into_iter().map(|(title, done, text)| {
            el("li")
                .child(el("strong").child(title))
                .child(done.map(|done| el("span").child(" ").child(state_badge(step_mark(done)))))
                .child(el("p").child(text))
        });
        let list = items.fold(el("ol").class("steps"), El::child);
        let role = widgets::role_refusal(self.session, Operation::ManageAccounts);
        el("section")
            .class("empty")
            .attr("id", "first-steps")
            .child(el("h2").child("No clusters found yet"))
            .child(list)
            .child(role.map(|_| sub("These steps require access to the console's host.")))
    }
}

fn step_mark(done: bool) -> StateMark {
    let mark = check_mark(if done {
        galera::recover::plan::CheckStatus::Pass
    } else {
        galera::recover::plan::CheckStatus::Unknown
    });
    StateMark {
        label: if done { "Done" } else { "To do" },
        ..mark
    }
}

#[cfg(test)]
mod tests {
    use galera::access::Role;
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    #[test]
    fn a_wall_names_what_its_table_leaves_out() {
        let shown = |views: &[galera::view::ClusterView], is_wall: bool| {
            let overview = Overview {
                clusters: views
                    .iter()
                    .map(galera::view::ClusterView::summary)
                    .collect(),
                notices: Vec::new(),
            };
            let html = OverviewPart {
                overview: &overview,
                recovery: &Err(crate::data::local_problem("x", "x", "x")),
                session: &fixtures::session("vera", &[Role::Viewer]),
                selection: &OverviewSelection::default(),
                is_wall,
                now: fixtures::fixed_now(),
            }
            .markup()
            .html();
            let line = html.split("<p id=\"not-shown\">").nth(1);
            line.map(|line| line.split("</p>").next().unwrap().to_owned())
        };
        let mut views: Vec<_> = (0..62)
            .map(|index| fixtures::healthy(&format!("c{index}"), 90_000))
            .collect();
        assert_eq!(shown(&views, false), None);
        assert_eq!(shown(&views[..50], true), None);
        let line = |views: &[_]| shown(views, true).unwrap();
        assert_eq!(line(&views[..51]), "Not shown: 1 more cluster, healthy.");
        assert_eq!(line(&views), "Not shown: 12 more clusters, all healthy.");
        for view in &mut views[..55] {
            view.verdict.state = VerdictState::Degraded;
        }
        let line = line(&views);
        assert!(
            line.starts_with("Not shown: 12 more clusters, the worst <")
                && line.contains("Degraded"),
            "{line}"
        );
    }

    fn html(clusters: bool, recovery: Result<serde_json::Value, ProblemDetails>) -> String {
        let overview = Overview {
            clusters: clusters
                .then(|| fixtures::healthy("lab", 90_000).summary())
                .into_iter()
                .collect(),
            notices: Vec::new(),
        };
        OverviewPart {
            overview: &overview,
            recovery: &recovery.map(|json| serde_json::from_value(json).unwrap()),
            session: &fixtures::session("vera", &[Role::Viewer]),
            selection: &OverviewSelection::default(),
            is_wall: false,
            now: fixtures::fixed_now(),
        }
        .markup()
        .html()
    }

    #[test]
    fn paused_recovery_is_shown_with_who_and_why() {
        let pause =
            json!({"by": "ada", "at": fixtures::fixed_now(), "reason": "moving <b>racks</b>"});
        let html = html(
            true,
            Ok(
                json!({"enabled": true, "off": null, "clusters": {"lab": pause}, "approvals": {}, "sql_account": true}),
            ),
        );
        for expected in [
            "Recovery paused",
            "/clusters/lab/recovery",
            "by ada",
            "moving &lt;b&gt;racks",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("first-steps"), "{html}");
    }

    #[test]
    fn the_first_steps_show_what_is_missing() {
        let state = json!({"enabled": true, "off": null, "clusters": {}, "approvals": {}, "sql_account": false});
        let shown = html(false, Ok(state));
        for expected in [
            "--cluster NAME=HOST",
            "galera-agent report",
            "To do",
            "You are vera.",
            "--recovery-user",
        ] {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        let problem =
            crate::data::local_problem("registry_unavailable", "etcd is unreachable", "Refused.");
        assert!(html(false, Err(problem)).contains("etcd is unreachable. Refused."));
    }
}
