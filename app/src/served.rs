//! Parts of pages that the server makes from the API's answers: plans, actions, the audit trail, events.
//!
//! The browser shows them as they come (`pages::served`). They are functions of what the API says to whoever asks, of
//! their roles and of the time.

mod action;
mod actions;
mod answers;
mod audit;
mod events;
mod fields;
mod incidents;
mod notifications;
mod parts;
mod plan;
mod recovery;
mod status_pages;

use galera::Timestamp;
use galera::publish::api::{ActionList, EventPage, Problem, RecoveryState, SessionView};
use galera::publish::status_pages::PageView;
use galera::view::ClusterView;
use http::{HeaderMap, Uri};

use crate::data::{InProcessApi, problem, segment};
use crate::markup::El;
use answers::Client;

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The window's title.
    pub title: String,
    /// The content.
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
    /// One line with the title, then the content: what `pages::served` reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.title, self.html)
    }
}

/// The served part of the page at `uri`, for whoever the cookies in `headers` belong to.
///
/// # Errors
/// The API's problem, or one for a page that has no served part.
pub async fn fragment(
    api: &InProcessApi,
    headers: &HeaderMap,
    uri: &Uri,
    now: Timestamp,
) -> Result<Fragment, Problem> {
    let client = Client::new(api, headers);
    let segments: Vec<&str> = uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let query = answers::Query::of(uri);
    let session: SessionView = client.get("/api/v1/session").await?;
    match segments.as_slice() {
        ["clusters", name, "recovery"] => {
            let name = segment(&decoded(name));
            recovery_of(&client, &name, &query, &session, now).await
        }
        ["clusters", name, "events"] => {
            events_of(&client, &segment(&decoded(name)), &query, now).await
        }
        ["actions"] => {
            let open: ActionList = client.get("/api/v1/actions?state=open&limit=200").await?;
            let before = query.get("before").map(segment).unwrap_or_default();
            let path = format!("/api/v1/actions?state={ENDED}&limit=50&before={before}");
            let path = path.trim_end_matches("&before=");
            let ended: ActionList = client.get(path).await?;
            let switch: RecoveryState = client.get("/api/v1/recovery").await?;
            Ok(Fragment::new(
                "Actions",
                &actions::actions(&open, &ended, &switch, &session, now),
            ))
        }
        ["actions", id] => {
            let path = format!("/api/v1/actions/{}", segment(&decoded(id)));
            let view = client.get(&path).await?;
            let title = action::heading(&view);
            Ok(Fragment::new(&title, &action::action(&view, &session, now)))
        }
        ["audit"] => {
            let asked = audit::Asked::of(&query);
            let entries = client.get(&asked.path()).await?;
            Ok(Fragment::new("Audit", &audit::audit(&entries, &asked, now)))
        }
        ["status-pages"] => {
            let pages = client.get("/api/v1/status/pages").await?;
            let overview = client.get("/api/v1/clusters").await?;
            let page = status_pages::list(&pages, &overview, &session, now);
            Ok(Fragment::new("Status pages", &page))
        }
        ["status-pages", slug] => {
            let path = format!("/api/v1/status/pages/{}", segment(&decoded(slug)));
            let view: PageView = client.get(&path).await?;
            let fresh = query.get("link");
            let fresh = fresh.filter(|link| link.bytes().all(|b| b.is_ascii_alphanumeric()));
            let page = status_pages::page(&view, fresh, &session, now);
            Ok(Fragment::new(&view.settings.title, &page))
        }
        ["incidents"] => incidents_page(&client, &session, now).await,
        ["notifications"] => {
            let asked = notifications::Asked::of(&query);
            let targets = client.get("/api/v1/notifications/targets").await?;
            let deliveries = client.get(&asked.deliveries()).await?;
            let page = notifications::notifications(&targets, &deliveries, &asked, &session, now);
            Ok(Fragment::new("Notifications", &page))
        }
        _ => Err(Problem {
            status: 404,
            ..problem(
                "unknown_path",
                "There is no such page",
                "The address leads nowhere.",
            )
        }),
    }
}

async fn incidents_page(
    client: &Client<'_>,
    session: &SessionView,
    now: Timestamp,
) -> Result<Fragment, Problem> {
    let page = incidents::Page {
        incidents: &client.get("/api/v1/status/incidents").await?,
        maintenance: &client.get("/api/v1/status/maintenance").await?,
        announcements: &client.get("/api/v1/status/announcements").await?,
        overview: &client.get("/api/v1/clusters").await?,
        session,
        now,
    };
    Ok(Fragment::new("Incidents", &page.markup()))
}

const ENDED: &str = "succeeded,failed,unverified,rejected,cancelled,expired,superseded";

async fn recovery_of(
    client: &Client<'_>,
    name: &str,
    query: &answers::Query,
    session: &SessionView,
    now: Timestamp,
) -> Result<Fragment, Problem> {
    let view = client.get(&format!("/api/v1/clusters/{name}")).await?;
    let switch = client
        .get(&format!("/api/v1/clusters/{name}/recovery"))
        .await?;
    let open = client
        .get(&format!("/api/v1/actions?cluster={name}&state=open"))
        .await?;
    let last = client
        .get(&format!(
            "/api/v1/actions?cluster={name}&state={ENDED}&limit=5"
        ))
        .await?;
    let global = client.get("/api/v1/recovery").await?;
    let attestations = recovery::attestations(&view, query);
    let mut plans = Vec::new();
    for kind in galera::recover::plan::Kind::ALL {
        let path = format!("/api/v1/clusters/{name}/plans/{kind}");
        plans.push(if attestations.is_empty() {
            client.get(&path).await
        } else {
            let body = serde_json::json!({ "attestations": attestations });
            client.post(&path, &body).await
        });
    }
    let page = recovery::Page {
        view: &view,
        switch: &switch,
        global: &global,
        open: &open,
        last: &last,
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

async fn events_of(
    client: &Client<'_>,
    name: &str,
    query: &answers::Query,
    now: Timestamp,
) -> Result<Fragment, Problem> {
    let view: ClusterView = client.get(&format!("/api/v1/clusters/{name}")).await?;
    let asked = events::Asked::of(query);
    let page: EventPage = client.get(&asked.path(name)).await?;
    let newer: EventPage = client.get(&asked.path_after(name, &page)).await?;
    let page = events::Page {
        view: &view,
        page: &page,
        newer: &newer.events,
        asked: &asked,
        now,
    };
    Ok(Fragment::new(
        &format!("Events · {}", view.name),
        &page.markup(),
    ))
}

/// A segment of a path as it was before it was escaped.
fn decoded(segment: &str) -> String {
    leptos_router::location::Url::unescape(segment)
}
