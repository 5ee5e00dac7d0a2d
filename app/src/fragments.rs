//! Server-rendered page fragments: plans, actions, the audit trail, events.
//!
//! [`render_fragment`] fetches what a page needs through `ApiClient` with the reader's cookies, and the page's module
//! renders it into a [`Fragment`], which `app/browser/served-part.js` inserts in the page.

mod account;
mod accounts;
mod action_detail;
mod action_list;
mod api_client;
pub mod approval_link;
mod audit;
mod events;
mod findings;
mod form_fields;
mod help;
pub mod incident_report;
mod incidents;
mod next_step;
mod notifications;
mod overview;
mod overview_filter;
mod overview_groups;
mod plan;
mod plan_changes;
mod recovery;
mod registry;
mod rolling_restart;
mod runway;
mod search;
mod series;
mod settings;
mod status_pages;
mod stop_check;
mod time_range;
mod timeline;
mod tokens;
mod widgets;

use futures::future::{FutureExt, join_all};
use futures::{join, try_join};
use galera::Timestamp;
use galera::access::{Operation, check_permission};
use galera::publish::api::{
    ActionList, ActionView, AlarmsView, ClusterRecovery, HistoryPage, Overview, ProblemDetails,
    SessionView,
};
use galera::publish::status_pages::{AnnouncementList, StatusPageList, StatusPageView};
use galera::recover::action::{Action, ActionState};
use galera::recover::attestation::Attestation;
use galera::recover::plan::{ActionKind, Plan};
use galera::view::ClusterView;
use http::{HeaderMap, Uri};

use crate::data::{InProcessApi, encode_segment, local_problem};
use crate::markup::{El, el};
use crate::overview_window::OverviewSelection;
use crate::page_url::PageUrl;
use api_client::{ApiClient, PageQuery};
use tokens::TokenSections;

/// Part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The window title.
    pub title: String,
    pub html: String,
}

impl Fragment {
    fn new(title: &str, content: &El) -> Self {
        Self {
            title: title.replace('\n', " "),
            html: content.html(),
        }
    }
}

impl std::fmt::Display for Fragment {
    /// The title in one line, then the HTML, as `app/browser/served-part.js` expects.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.title, self.html)
    }
}

/// Renders the fragment of the page at `uri` with the permissions of the cookies in `headers`.
///
/// # Errors
/// A problem of the API, or 404 for a page without a fragment.
pub async fn render_fragment(
    api: &InProcessApi,
    headers: &HeaderMap,
    uri: &Uri,
    now: Timestamp,
) -> Result<Fragment, ProblemDetails> {
    let client = ApiClient::new(api, headers);
    let segments: Vec<&str> = uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let query = PageQuery::from_uri(uri);
    let own = match segments.as_slice() {
        // An invalid name is unknown to what follows.
        ["clusters", name, ..] if name.parse::<galera::ClusterName>().is_ok() => {
            format!("/api/v1/session?cluster={name}")
        }
        _ => "/api/v1/session".to_owned(),
    };
    let session: SessionView = client.get(&own).await?;
    let request = FragmentRequest {
        client: &client,
        uri,
        query: &query,
        session: &session,
        now,
    };
    match segments.as_slice() {
        ["clusters", name] => request.cluster(&normalize_segment(name)).await,
        ["clusters", name, "recovery"] => request.recovery(&normalize_segment(name)).await,
        ["clusters", name, "stop-check"] => request.stop_check(&normalize_segment(name)).await,
        ["clusters", name, "findings"] => request.findings(&normalize_segment(name)).await,
        ["clusters", name, "rolling-restart"] => {
            request.rolling_restart(&normalize_segment(name)).await
        }
        ["clusters", name, "series"] => request.series(&normalize_segment(name)).await,
        ["clusters", name, "timeline"] => request.timeline(&normalize_segment(name)).await,
        ["clusters", name, "events"] => request.events(&normalize_segment(name)).await,
        ["actions"] => request.actions().await,
        ["actions", id] => request.action(&normalize_segment(id)).await,
        ["account"] => request.account().await,
        ["accounts"] => request.accounts().await,
        ["settings"] => request.settings().await,
        ["audit"] => request.audit().await,
        ["status-pages"] => request.status_pages().await,
        ["status-pages", slug] => request.status_page(&normalize_segment(slug)).await,
        ["help"] => Ok(Fragment::new("Help", &help::page(request.session))),
        ["incidents"] => request.incidents().await,
        ["notifications"] => request.notifications().await,
        ["search"] => request.search().await,
        ["clusters", name, "registry"] => request.registry(&normalize_segment(name)).await,
        ["clusters", name, "nodes", node] => {
            let node = leptos_router::location::Url::unescape(node);
            request.node(&normalize_segment(name), &node).await
        }
        [] => request.overview().await,
        _ => Err(ProblemDetails {
            status: 404,
            ..local_problem(
                "unknown_path",
                "Page not found",
                "There is no page at this address.",
            )
        }),
    }
}

const FINAL_STATES: &str = "succeeded,failed,unverified,rejected,cancelled,expired,superseded";

/// A request for a fragment. Its methods fetch the data of one page each and render it.
struct FragmentRequest<'a> {
    client: &'a ApiClient<'a>,
    uri: &'a Uri,
    query: &'a PageQuery,
    session: &'a SessionView,
    now: Timestamp,
}

impl FragmentRequest<'_> {
    async fn overview(&self) -> Result<Fragment, ProblemDetails> {
        let (overview, recovery) = join!(
            self.client.get("/api/v1/clusters"),
            self.client.get("/api/v1/recovery"),
        );
        let selection = OverviewSelection::of(&PageUrl {
            path: "/".to_owned(),
            query: self.uri.query().unwrap_or_default().to_owned(),
        });
        let part = overview::OverviewPart {
            overview: &overview?,
            recovery: &recovery,
            session: self.session,
            selection: &selection,
            is_wall: crate::shell::is_wall(self.uri.query().unwrap_or_default()),
            now: self.now,
        };
        Ok(Fragment::new("Clusters", &part.markup()))
    }

    async fn search(&self) -> Result<Fragment, ProblemDetails> {
        let overview = self.client.get("/api/v1/clusters").await?;
        let query = self.query.get("q").unwrap_or_default();
        let page = search::page(&overview, self.session, query);
        Ok(Fragment::new("Search", &page))
    }

    async fn cluster(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let view: ClusterView = self.client.get(&format!("/api/v1/clusters/{name}")).await?;
        let recovery = match next_step::needs_recovery(&view) {
            // A plan would wait for etcd, and the page with it.
            true if !view.registry.reachable => Some(next_step::RecoveryPlans::without_etcd()),
            true => Some(self.recovery_plans(name).await),
            false => None,
        };
        let page = next_step::NextStepPage {
            view: &view,
            session: self.session,
            recovery: recovery.as_ref(),
            now: self.now,
        };
        Ok(Fragment::new(&view.name.display_name(), &page.markup()))
    }

    /// Nothing that fails here hides the page: the card shows why there is no plan.
    async fn recovery_plans(&self, name: &str) -> next_step::RecoveryPlans {
        let open = format!("/api/v1/actions?cluster={name}&state=open&limit=1");
        let recovery = format!("/api/v1/clusters/{name}/recovery");
        let (open, plan, state) = join!(
            self.client.get::<ActionList>(&open),
            self.plan(name, ActionKind::Bootstrap, &[]),
            self.client.get::<ClusterRecovery>(&recovery),
        );
        let attestations = plan
            .as_ref()
            .map(next_step::stopped_attestations)
            .unwrap_or_default();
        // Who may not attest sees the plan as it is.
        let may_attest = [Operation::RequestAction, Operation::BreakGlass]
            .into_iter()
            .any(|operation| widgets::role_refusal(self.session, operation).is_none());
        let confirmed = match attestations.as_slice() {
            some if some.is_empty() || !may_attest => None,
            some => Some(self.plan(name, ActionKind::Bootstrap, some).await),
        };
        let approvals = state
            .ok()
            .and_then(|state| state.approvals.get(&ActionKind::Bootstrap).copied());
        next_step::RecoveryPlans {
            open: open.ok().and_then(|list| list.actions.into_iter().next()),
            plan,
            confirmed,
            approvals: approvals.unwrap_or(1),
        }
    }

    async fn recovery(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        // On its own, so that an unknown cluster is always reported as such.
        let view: ClusterView = self.client.get(&format!("/api/v1/clusters/{name}")).await?;
        let title = format!("Recovery · {}", view.name.display_name());
        if !view.registry.reachable {
            let page = recovery::without_etcd(&view);
            return Ok(Fragment::new(&title, &page));
        }
        let paths = [
            format!("/api/v1/clusters/{name}/recovery"),
            format!("/api/v1/actions?cluster={name}&state=open"),
            format!("/api/v1/actions?cluster={name}&state={FINAL_STATES}&limit=5"),
        ];
        let attestations = recovery::attestations_from_query(&view, self.query);
        let kinds = ActionKind::ALL.into_iter();
        let plans = join_all(kinds.map(|kind| self.plan(name, kind, &attestations)));
        let (switch, open, recent, global, plans) = try_join!(
            self.client.get(&paths[0]),
            self.client.get(&paths[1]),
            self.client.get(&paths[2]),
            self.client.get("/api/v1/recovery"),
            // The page shows why there is no plan.
            plans.map(Ok),
        )?;
        let page = recovery::RecoveryPage {
            view: &view,
            switch: &switch,
            global: &global,
            open: &open,
            recent: &recent,
            plans: &plans,
            attestations: &attestations,
            session: self.session,
            now: self.now,
        };
        Ok(Fragment::new(&title, &page.markup()))
    }

    async fn plan(
        &self,
        cluster: &str,
        kind: ActionKind,
        attestations: &[Attestation],
    ) -> Result<Plan, ProblemDetails> {
        let path = format!("/api/v1/clusters/{cluster}/plans/{kind}");
        if attestations.is_empty() {
            self.client.get(&path).await
        } else {
            let body = serde_json::json!({ "attestations": attestations });
            self.client.post(&path, &body).await
        }
    }

    async fn events(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let filter = events::EventsFilter::from_query(self.query);
        let paths = [format!("/api/v1/clusters/{name}"), filter.api_path(name)];
        let (view, page) = join!(self.client.get(&paths[0]), self.client.get(&paths[1]));
        // The cluster's problem first, so that an unknown cluster is always reported as such.
        let view: ClusterView = view?;
        let page: HistoryPage = page?;
        let newer: HistoryPage = self.client.get(&filter.newer_api_path(name, &page)).await?;
        let page = events::EventsPage {
            view: &view,
            page: &page,
            newer: &newer.events,
            filter: &filter,
            now: self.now,
        };
        let title = format!("Events · {}", view.name.display_name());
        Ok(Fragment::new(&title, &page.markup()))
    }

    async fn stop_check(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let view: ClusterView = self.client.get(&format!("/api/v1/clusters/{name}")).await?;
        let page = stop_check::page(&view, self.query, self.now);
        Ok(Fragment::new(
            &format!("Stop check · {}", view.name.display_name()),
            &page,
        ))
    }

    async fn findings(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let path = format!("/api/v1/clusters/{name}");
        let view: ClusterView = self.client.get(&path).await?;
        let report = self.client.get(&format!("{path}/findings")).await?;
        let page = findings::page(&view, &report, self.session, self.now);
        Ok(Fragment::new(
            &format!("Findings · {}", view.name.display_name()),
            &page,
        ))
    }

    async fn rolling_restart(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let path = format!("/api/v1/clusters/{name}");
        let view: ClusterView = self.client.get(&path).await?;
        let restart = match self.query.get("since") {
            Some(since) => {
                let since = encode_segment(since);
                let path = format!("{path}/rolling-restart?since={since}");
                Some(self.client.get(&path).await?)
            }
            None => None,
        };
        let page = rolling_restart::page(&view, restart.as_ref(), self.now);
        let title = format!("Rolling restart · {}", view.name.display_name());
        Ok(Fragment::new(&title, &page))
    }

    async fn series(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let view: ClusterView = self.client.get(&format!("/api/v1/clusters/{name}")).await?;
        let read = self.recorded(name, None).await;
        let page = series::page(&view, &read, self.now);
        Ok(Fragment::new(
            &format!("Charts · {}", view.name.display_name()),
            &page,
        ))
    }

    async fn registry(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let (view, read) = self.registry_keys(name).await?;
        let query = self.query.get("q").unwrap_or_default();
        let title = format!("Registry · {}", view.name.display_name());
        Ok(Fragment::new(
            &title,
            &registry::page(&read, query, self.now),
        ))
    }

    async fn node(&self, name: &str, node: &str) -> Result<Fragment, ProblemDetails> {
        let segment = encode_segment(node);
        let (keys, recorded) = join!(
            self.registry_keys(name),
            self.recorded(name, Some(&segment)),
        );
        let (view, read) = keys?;
        let part = el("div")
            .class("page")
            .child(runway::node_section(&view, node))
            .child(series::node_section(&recorded, self.now))
            .child(registry::node_section(&read, node, self.now));
        Ok(Fragment::new(node, &part))
    }

    /// The cluster, and its registry keys unless etcd is known to be unreachable.
    async fn registry_keys(
        &self,
        name: &str,
    ) -> Result<(ClusterView, registry::RegistryRead), ProblemDetails> {
        let path = format!("/api/v1/clusters/{name}");
        let view: ClusterView = self.client.get(&path).await?;
        let read = if view.registry.reachable {
            self.client.get(&format!("{path}/registry")).await
        } else {
            Err(registry::unreachable(&view))
        };
        Ok((view, read))
    }

    async fn actions(&self) -> Result<Fragment, ProblemDetails> {
        let mut finished = format!("/api/v1/actions?state={FINAL_STATES}&limit=50");
        if let Some(before) = self.query.get("before") {
            finished.push_str("&before=");
            finished.push_str(&encode_segment(before));
        }
        let (open, finished, switch) = try_join!(
            self.client.get("/api/v1/actions?state=open&limit=200"),
            self.client.get(&finished),
            self.client.get("/api/v1/recovery"),
        )?;
        let page = action_list::page(&open, &finished, &switch, self.session, self.now);
        Ok(Fragment::new("Actions", &page))
    }

    async fn action(&self, id: &str) -> Result<Fragment, ProblemDetails> {
        let view: ActionView = self.client.get(&format!("/api/v1/actions/{id}")).await?;
        let present = self.present_state(&view.action).await;
        // The roles that count on its cluster.
        let cluster = &view.action.cluster;
        let path = format!("/api/v1/session?cluster={cluster}");
        let session: SessionView = self.client.get(&path).await?;
        let page = action_detail::page(&view, &present, &session, self.now);
        Ok(Fragment::new(&action_detail::title_text(&view), &page))
    }

    /// The cluster of an action, and the plan that a request would have now if that matters to the reader.
    async fn present_state(&self, action: &Action) -> action_detail::PresentState {
        let name = encode_segment(action.cluster.as_str());
        let path = format!("/api/v1/clusters/{name}");
        let compares = matches!(
            action.state,
            ActionState::Pending
                | ActionState::Approved
                | ActionState::Superseded
                | ActionState::Expired
        );
        let plan = async {
            match compares {
                true => Some(
                    self.client
                        .get(&format!("/api/v1/actions/{}/plan", action.id))
                        .await,
                ),
                false => None,
            }
        };
        let (cluster, plan) = join!(self.client.get(&path), plan);
        action_detail::PresentState {
            cluster: cluster.ok(),
            plan,
        }
    }

    async fn audit(&self) -> Result<Fragment, ProblemDetails> {
        let filter = audit::AuditFilter::from_query(self.query);
        let path = filter.api_path();
        let none = || AlarmsView { alarms: Vec::new() };
        let alarms = self.of_console("/api/v1/alarms", none);
        let (entries, alarms, overview) = try_join!(
            self.client.get(&path),
            alarms,
            self.client.get::<Overview>("/api/v1/clusters"),
        )?;
        let clusters = overview.clusters.iter();
        let clusters: Vec<&str> = clusters.map(|cluster| cluster.name.as_str()).collect();
        let page = audit::page(
            &entries,
            &alarms,
            &filter,
            &clusters,
            self.session,
            self.now,
        );
        Ok(Fragment::new("Audit", &page))
    }

    /// What belongs to the whole console; `otherwise` for a user whose roles count on some clusters only.
    async fn of_console<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        otherwise: impl FnOnce() -> T,
    ) -> Result<T, ProblemDetails> {
        match self.client.get(path).await {
            Err(problem) if problem.code == "limited_to_clusters" => Ok(otherwise()),
            result => result,
        }
    }

    async fn account(&self) -> Result<Fragment, ProblemDetails> {
        let account = self.client.get("/api/v1/me").await?;
        let is_admin = check_permission(&self.session.roles, Operation::ManageAccounts).is_ok();
        let of_all = async {
            if !is_admin {
                return (None, None);
            }
            let tokens = self.client.get("/api/v1/tokens?account=*");
            let (all, accounts) = join!(tokens, self.client.get("/api/v1/accounts"));
            (all.ok(), accounts.ok())
        };
        let (own, (all, accounts)) = join!(self.client.get("/api/v1/tokens"), of_all);
        // None before a second factor is enrolled.
        let tokens = own.ok().map(|own| TokenSections { own, all, accounts });
        let page = account::page(&account, tokens.as_ref(), self.client.display(), self.now);
        Ok(Fragment::new("Account", &page))
    }

    async fn accounts(&self) -> Result<Fragment, ProblemDetails> {
        let (list, own) = try_join!(
            self.client.get("/api/v1/accounts"),
            self.client.get("/api/v1/me"),
        )?;
        let page = accounts::page(&list, &own, self.query, self.now);
        Ok(Fragment::new("Accounts", &page))
    }

    async fn status_pages(&self) -> Result<Fragment, ProblemDetails> {
        let (pages, overview) = try_join!(
            self.client.get("/api/v1/status/pages"),
            self.client.get("/api/v1/clusters"),
        )?;
        let page = status_pages::list_page(&pages, &overview, self.session, self.now);
        Ok(Fragment::new("Status pages", &page))
    }

    async fn status_page(&self, slug: &str) -> Result<Fragment, ProblemDetails> {
        let path = format!("/api/v1/status/pages/{slug}");
        let view: StatusPageView = self.client.get(&path).await?;
        let new_secret = self
            .query
            .get("link")
            .filter(|link| link.bytes().all(|b| b.is_ascii_alphanumeric()));
        let page = status_pages::detail_page(&view, new_secret, self.session, self.now);
        Ok(Fragment::new(&view.settings.title, &page))
    }

    async fn settings(&self) -> Result<Fragment, ProblemDetails> {
        let list = self.client.get("/api/v1/settings").await?;
        Ok(Fragment::new("Settings", &settings::page(&list)))
    }

    async fn incidents(&self) -> Result<Fragment, ProblemDetails> {
        let (incidents, maintenance, announcements, pages, overview) = try_join!(
            self.client.get("/api/v1/status/incidents"),
            self.client.get("/api/v1/status/maintenance"),
            self.of_console("/api/v1/status/announcements", || AnnouncementList {
                announcements: Vec::new(),
            }),
            self.of_console("/api/v1/status/pages", || StatusPageList {
                pages: Vec::new()
            }),
            self.client.get("/api/v1/clusters"),
        )?;
        let page = incidents::IncidentsPage {
            incidents: &incidents,
            maintenance: &maintenance,
            announcements: &announcements,
            pages: &pages,
            overview: &overview,
            draft: &incidents::IncidentDraft::from_query(self.query, &incidents.incidents),
            session: self.session,
            now: self.now,
        };
        Ok(Fragment::new("Incidents", &page.markup()))
    }

    async fn notifications(&self) -> Result<Fragment, ProblemDetails> {
        let filter = notifications::NotificationsFilter::from_query(self.query);
        let path = filter.deliveries_api_path();
        let (targets, deliveries) = try_join!(
            self.client.get("/api/v1/notifications/targets"),
            self.client.get(&path),
        )?;
        let page = notifications::page(&targets, &deliveries, &filter, self.session, self.now);
        Ok(Fragment::new("Notifications", &page))
    }
}

/// Decodes a path segment, which may be escaped in any way, and encodes it for the API.
fn normalize_segment(segment: &str) -> String {
    encode_segment(&leptos_router::location::Url::unescape(segment))
}

#[cfg(test)]
mod tests;
