//! Server-rendered page fragments: plans, actions, the audit trail, events.
//!
//! [`render_fragment`] fetches what a page needs through [`ApiClient`] with the reader's cookies, then renders the page's
//! module into a [`Fragment`]. `pages::fragment` inserts it in the browser.

mod action_detail;
mod action_list;
mod api_client;
mod audit;
mod events;
mod form_fields;
mod incidents;
mod notifications;
mod plan;
mod recovery;
mod status_pages;
mod widgets;

use galera::Timestamp;
use galera::publish::api::{ActionList, HistoryPage, ProblemDetails, RecoveryState, SessionView};
use galera::publish::status_pages::StatusPageView;
use galera::view::ClusterView;
use http::{HeaderMap, Uri};

use crate::data::{InProcessApi, encode_segment, local_problem};
use crate::markup::El;
use api_client::ApiClient;

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
    /// The title in one line, then the HTML, as `pages::fragment` expects.
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
    let query = api_client::PageQuery::from_uri(uri);
    let session: SessionView = client.get("/api/v1/session").await?;
    match segments.as_slice() {
        ["clusters", name, "recovery"] => {
            let name = encode_segment(&decode_segment(name));
            recovery_fragment(&client, &name, &query, &session, now).await
        }
        ["clusters", name, "events"] => {
            events_fragment(&client, &encode_segment(&decode_segment(name)), &query, now).await
        }
        ["actions"] => {
            let open: ActionList = client.get("/api/v1/actions?state=open&limit=200").await?;
            let before = query.get("before").map(encode_segment).unwrap_or_default();
            let path = format!("/api/v1/actions?state={FINAL_STATES}&limit=50&before={before}");
            let path = path.trim_end_matches("&before=");
            let ended: ActionList = client.get(path).await?;
            let switch: RecoveryState = client.get("/api/v1/recovery").await?;
            Ok(Fragment::new(
                "Actions",
                &action_list::page(&open, &ended, &switch, &session, now),
            ))
        }
        ["actions", id] => {
            let path = format!("/api/v1/actions/{}", encode_segment(&decode_segment(id)));
            let view = client.get(&path).await?;
            let title = action_detail::title_text(&view);
            Ok(Fragment::new(
                &title,
                &action_detail::page(&view, &session, now),
            ))
        }
        ["audit"] => {
            let asked = audit::AuditFilter::from_query(&query);
            let entries = client.get(&asked.api_path()).await?;
            Ok(Fragment::new("Audit", &audit::page(&entries, &asked, now)))
        }
        ["status-pages"] => {
            let pages = client.get("/api/v1/status/pages").await?;
            let overview = client.get("/api/v1/clusters").await?;
            let page = status_pages::list_page(&pages, &overview, &session, now);
            Ok(Fragment::new("Status pages", &page))
        }
        ["status-pages", slug] => {
            let path = format!(
                "/api/v1/status/pages/{}",
                encode_segment(&decode_segment(slug))
            );
            let view: StatusPageView = client.get(&path).await?;
            let fresh = query.get("link");
            let fresh = fresh.filter(|link| link.bytes().all(|b| b.is_ascii_alphanumeric()));
            let page = status_pages::detail_page(&view, fresh, &session, now);
            Ok(Fragment::new(&view.settings.title, &page))
        }
        ["incidents"] => incidents_fragment(&client, &session, now).await,
        ["notifications"] => {
            let asked = notifications::NotificationsFilter::from_query(&query);
            let targets = client.get("/api/v1/notifications/targets").await?;
            let deliveries = client.get(&asked.deliveries_api_path()).await?;
            let page = notifications::page(&targets, &deliveries, &asked, &session, now);
            Ok(Fragment::new("Notifications", &page))
        }
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

async fn incidents_fragment(
    client: &ApiClient<'_>,
    session: &SessionView,
    now: Timestamp,
) -> Result<Fragment, ProblemDetails> {
    let page = incidents::IncidentsPage {
        incidents: &client.get("/api/v1/status/incidents").await?,
        maintenance: &client.get("/api/v1/status/maintenance").await?,
        announcements: &client.get("/api/v1/status/announcements").await?,
        overview: &client.get("/api/v1/clusters").await?,
        session,
        now,
    };
    Ok(Fragment::new("Incidents", &page.markup()))
}

const FINAL_STATES: &str = "succeeded,failed,unverified,rejected,cancelled,expired,superseded";

async fn recovery_fragment(
    client: &ApiClient<'_>,
    name: &str,
    query: &api_client::PageQuery,
    session: &SessionView,
    now: Timestamp,
) -> Result<Fragment, ProblemDetails> {
    let view = client.get(&format!("/api/v1/clusters/{name}")).await?;
    let switch = client
        .get(&format!("/api/v1/clusters/{name}/recovery"))
        .await?;
    let open = client
        .get(&format!("/api/v1/actions?cluster={name}&state=open"))
        .await?;
    let last = client
        .get(&format!(
            "/api/v1/actions?cluster={name}&state={FINAL_STATES}&limit=5"
        ))
        .await?;
    let global = client.get("/api/v1/recovery").await?;
    let attestations = recovery::attestations_from_query(&view, query);
    let mut plans = Vec::new();
    for kind in galera::recover::plan::ActionKind::ALL {
        let path = format!("/api/v1/clusters/{name}/plans/{kind}");
        plans.push(if attestations.is_empty() {
            client.get(&path).await
        } else {
            let body = serde_json::json!({ "attestations": attestations });
            client.post(&path, &body).await
        });
    }
    let page = recovery::RecoveryPage {
        view: &view,
        switch: &switch,
        global: &global,
        open: &open,
        recent: &last,
        plans: &plans,
        attestations: &attestations,
        session,
        now,
    };
    Ok(Fragment::new(
        &format!("Recovery · {}", view.name),
        &page.markup(),
    ))
}

async fn events_fragment(
    client: &ApiClient<'_>,
    name: &str,
    query: &api_client::PageQuery,
    now: Timestamp,
) -> Result<Fragment, ProblemDetails> {
    let view: ClusterView = client.get(&format!("/api/v1/clusters/{name}")).await?;
    let asked = events::EventsFilter::from_query(query);
    let page: HistoryPage = client.get(&asked.api_path(name)).await?;
    let newer: HistoryPage = client.get(&asked.newer_api_path(name, &page)).await?;
    let page = events::EventsPage {
        view: &view,
        page: &page,
        newer: &newer.events,
        filter: &asked,
        now,
    };
    Ok(Fragment::new(
        &format!("Events · {}", view.name),
        &page.markup(),
    ))
}

/// Decodes a percent-encoded path segment.
fn decode_segment(segment: &str) -> String {
    leptos_router::location::Url::unescape(segment)
}
