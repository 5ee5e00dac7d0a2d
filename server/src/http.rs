//! The HTTP interface: one table of routes, one stack of layers, errors as problem documents (RFC 9457).
//!
//! Invariant: every response passes `request_log`, `headers` and [`problem`], so it has a request id, security headers and,
//! if it is an error, a problem document, or a page for a browser (`problem_page`). Only status pages (`public_pages`) do not: they set their own headers.

mod access;
mod account_admin_forms;
mod account_events;
mod account_forms;
mod accounts;
mod actions;
mod alarms;
mod ambiguous_headers;
mod approval_links;
mod audit;
mod bearer;
mod body_limit;
mod clusters;
mod cookie;
mod events;
mod extract;
mod findings;
mod forms;
mod fragments;
mod headers;
mod health;
mod history_alarms;
mod host;
mod identity;
mod metrics;
mod nodes;
mod notification_forms;
mod notifications;
mod openapi;
mod origin;
mod own_account;
mod pages;
mod plain_page;
mod plans;
pub mod problem;
mod problem_page;
mod public_pages;
mod read_deadline;
mod recorded_views;
mod recovery;
mod refused_field;
mod request_log;
mod request_slots;
mod rolling_restart;
mod runway;
mod series;
mod session;
mod settings;
mod sign_in;
mod sign_on;
mod static_files;
mod status_pages;
mod stop_check;
mod tokens;
mod websocket;

pub use access::{
    AccessRequirement, CredentialRule, RouteAccess, RouteReach, access_table, operation_of_verb,
};
pub use openapi::document as openapi_document;
pub use pages::page_paths;

use std::ops::Deref;
use std::sync::Arc;

use ::accounts::store::AccountStore;
use ::accounts::{Authenticator, TokenStore};
use axum::Router;
use axum::extract::State;
use axum::extract::{FromRef, FromRequestParts};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::any;
use console_core::address_policy::AddressPolicy;
use console_core::approval_link::ApprovalLinkSeals;
use console_core::current_labels::CurrentLabels;
use console_core::leader::Leadership;
use console_core::net::PublicUrl;
use console_core::resolver::Resolver;
use galera::access::ClusterLabels;
use history::EventHistory;
use ipnet::IpNet;
use monitor::Monitor;
use notify::NotificationService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actions::ActionService;
use crate::allowed_hosts::AllowedHosts;
use crate::assets::Site;
use crate::audit_anchors::AnchorDelivery;
use crate::etcd_access::EtcdAccess;
use crate::etcd_storage::EtcdStorage;
use crate::finding_records::FindingService;
use crate::history_alarms::AlarmAcknowledgements;
use crate::limits::ClientLimits;
use crate::live::SharedTopics;
use crate::membership::NodeAdmission;
use crate::metrics::WebMetrics;
use crate::metrics_server::MetricsServer;
use crate::running_settings::RunningSettings;
use crate::sign_on::SignOn;
use crate::status_pages::StatusPageService;
use crate::telemetry::{ExportMetrics, MetricsSource};
use crate::tls::CertificateStore;

/// Maximum size of a request body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The services that handlers use.
pub struct AppContext {
    /// The connection to etcd.
    pub registry: registry::Registry,
    /// Counts of the export by OTLP.
    pub export: ExportMetrics,
    /// Address that browsers use, if known.
    pub public_url: Option<PublicUrl>,
    /// The hosts that requests may name.
    pub allowed_hosts: AllowedHosts,
    /// The certificate of the main address; `None` without TLS.
    pub certificate: Option<Arc<CertificateStore>>,
    /// Whether etcd requires accounts.
    pub etcd_access: EtcdAccess,
    /// The alarms and the space of etcd.
    pub etcd_storage: EtcdStorage,
    /// Whether anchors reach the webhook; `None` without one.
    pub anchor_delivery: Option<Arc<AnchorDelivery>>,
    /// etcd prefix of the console's own state.
    pub state_prefix: String,
    /// The token that /metrics requires.
    pub metrics_token: Option<registry::Secret>,
    /// The nodes that have series of their own in /metrics.
    pub metrics_nodes: monitor::MetricsNodes,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether /metrics is served on the main address.
    pub serves_metrics: bool,
    pub authenticator: Authenticator,
    /// Sign-on with an identity provider; `None` without one.
    pub sign_on: Option<Arc<SignOn>>,
    /// Accounts, as administrators manage them.
    pub accounts: AccountStore,
    /// API tokens.
    pub tokens: TokenStore,
    pub monitor: Monitor,
    /// Plans, actions and the audit trail.
    pub actions: ActionService,
    pub admission: NodeAdmission,
    pub history_alarms: AlarmAcknowledgements,
    /// Findings with what is recorded of them.
    pub findings: FindingService,
    pub history: EventHistory,
    /// Recorded figures; `None` if they are not recorded.
    pub series: Option<::series::SeriesStore>,
    /// The server that figures of long ranges are queried from; `None` without one.
    pub metrics_server: Option<Arc<MetricsServer>>,
    /// Recorded views; `None` if they are not recorded.
    pub recorded_views: Option<::recorded_views::ViewStore>,
    /// Whether this replica is the leader.
    pub leadership: Leadership,
    pub status_pages: StatusPageService,
    pub notifications: NotificationService,
    /// Verifies approval links; `None` if they are off.
    pub approval_links: Option<ApprovalLinkSeals>,
    pub metrics: Arc<WebMetrics>,
    /// The topics of protocol 2 of the WebSocket.
    pub live_topics: SharedTopics,
    pub limits: ClientLimits,
    /// Where probes of nodes that are not pinned may connect to.
    pub probe_policy: AddressPolicy,
    /// Where receivers of notifications may be.
    pub receiver_policy: AddressPolicy,
    /// Labels of the clusters.
    pub labels: CurrentLabels,
    /// Looks up host names of databases and receivers.
    pub resolver: Resolver,
    pub site: Site,
    /// The settings in force.
    pub settings: Arc<RunningSettings>,
    /// Ends long-lived responses.
    pub shutdown: CancellationToken,
    /// What stopping waits for.
    pub tracker: TaskTracker,
}

impl AppContext {
    /// From now on clusters have `labels`.
    pub fn replace_labels(&self, labels: &ClusterLabels) {
        // What limits comes first: no role counts under the labels of a policy that does not count yet.
        self.labels.replace(labels.clone());
        let accounts = self.authenticator.cache();
        accounts.replace_labels(labels.clone());
    }

    /// Whether browsers reach the console over https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.certificate.is_some() || self.public_url.as_ref().is_some_and(|url| url.https)
    }
}

/// The state of the router; as an extractor it gives a handler the [`AppContext`].
#[derive(Clone, FromRequestParts)]
#[from_request(via(State))]
pub struct AppState(pub Arc<AppContext>);

impl Deref for AppState {
    type Target = AppContext;

    fn deref(&self) -> &AppContext {
        &self.0
    }
}

impl FromRef<AppState> for leptos::config::LeptosOptions {
    fn from_ref(_: &AppState) -> Self {
        Self::builder().output_name("console").build()
    }
}

/// The console on its main address.
pub fn router(state: AppState) -> Router {
    let identified = |routes: Router<AppState>| {
        routes.layer(from_fn_with_state(state.clone(), identity::identify))
    };
    // Pages fetch their data through the same routes as other clients.
    let in_process = |routes: &Router<AppState>| {
        let routes = routes.clone().layer(from_fn(problem::render));
        pages::in_process(routes.with_state(state.clone()))
    };
    let reads = from_fn_with_state(state.clone(), read_deadline::limit_reads);
    let decided = from_fn_with_state(state.clone(), access::enforce);
    let api = identified(Router::from(api_routes()).layer(decided).layer(reads));
    let forwarder = forms::FormForwarder::new(&state, in_process(&api));
    let forms = sign_in::routes()
        .merge(approval_links::forms())
        .merge(status_pages::forms(forwarder.clone()))
        .merge(notification_forms::routes(forwarder.clone()))
        .merge(account_forms::routes(forwarder.clone()))
        .merge(account_admin_forms::routes(forwarder.clone()))
        .merge(rolling_restart::forms())
        .merge(forms::routes(forwarder));
    let fragments = fragments::routes(in_process(&api));
    let api = api.merge(identified(fragments));
    let pages = pages::routes(&state, in_process(&api));
    let mut router = Router::new()
        .merge(api)
        .merge(identified(forms))
        .merge(approval_links::pages(&state))
        .merge(Router::from(health::routes()));
    if state.serves_metrics {
        router = router.merge(Router::from(health::metrics_routes()));
    }
    let router = router
        .merge(pages)
        .nest_service("/pkg", static_files::hashed_assets(&state.site.files))
        .route("/api", any(problem::unknown_path))
        .route("/api/", any(problem::unknown_path))
        .route("/api/{*path}", any(problem::unknown_path));
    // Status pages have their own layers.
    with_layers(router, &state)
        .merge(public_pages::routes(&state))
        .with_state(state)
}

/// Metrics and health checks on their own address.
pub fn metrics_router(state: AppState) -> Router {
    let router = Router::new()
        .merge(Router::from(health::routes()))
        .merge(Router::from(health::metrics_routes()))
        .fallback(problem::unknown_path);
    with_layers(router, &state).with_state(state)
}

/// Health checks, and metrics if they are on the main address, for connections beyond a limit.
pub fn health_router(state: AppState) -> Router {
    let mut router = Router::new().merge(Router::from(health::routes()));
    if state.serves_metrics {
        router = router.merge(Router::from(health::metrics_routes()));
    }
    with_layers(router.fallback(problem::too_many_connections), &state).with_state(state)
}

/// The answer to requests without TLS on an address that has it.
pub fn tls_required_router(state: AppState) -> Router {
    let router = Router::new().fallback(problem::tls_required);
    with_layers(router, &state).with_state(state)
}

/// The routes of the API, each with its description; [`openapi`] makes a document of them.
fn api_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(session::show, session::sign_in, session::sign_out))
        .routes(routes!(sign_on::begin, sign_on::begin_by_form))
        .routes(routes!(sign_on::callback))
        .routes(routes!(sign_on::back_channel_logout))
        .merge(account_routes())
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::show, tokens::revoke))
        .routes(routes!(clusters::overview))
        .routes(routes!(clusters::view))
        .routes(routes!(clusters::registry))
        .routes(routes!(events::page))
        .routes(routes!(findings::show))
        .routes(routes!(findings::acknowledge))
        .routes(routes!(findings::reopen))
        .routes(routes!(series::show))
        .routes(routes!(series::show_node))
        .routes(routes!(rolling_restart::show))
        .routes(routes!(runway::show))
        .routes(routes!(nodes::admit))
        .routes(routes!(history_alarms::acknowledge))
        .routes(routes!(stop_check::of_node))
        .routes(routes!(stop_check::of_selection))
        .routes(routes!(plans::current, plans::preview))
        .routes(routes!(actions::request))
        .routes(routes!(actions::list))
        .routes(routes!(actions::show))
        .routes(routes!(actions::present_plan))
        .routes(routes!(actions::apply_verb))
        .routes(routes!(recovery::show, recovery::switch))
        .routes(routes!(recovery::show_cluster, recovery::switch_cluster))
        .routes(routes!(audit::page))
        .routes(routes!(alarms::show))
        .routes(routes!(alarms::acknowledge_all))
        .merge(notification_routes())
        .routes(routes!(websocket::connect))
        .merge(status_pages::routes())
        .routes(routes!(openapi::show))
}

fn account_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(session::step_up))
        .routes(routes!(own_account::show))
        .routes(routes!(own_account::change_password))
        .routes(routes!(own_account::end_sessions))
        .routes(routes!(own_account::end_session))
        .routes(routes!(
            own_account::start_enrolment,
            own_account::remove_factor
        ))
        .routes(routes!(own_account::confirm_enrolment))
        .routes(routes!(own_account::qr))
        .routes(routes!(own_account::renew_recovery_codes))
        .routes(routes!(accounts::list, accounts::add))
        .routes(routes!(accounts::show, accounts::update, accounts::remove))
        .routes(routes!(accounts::reset_factor))
        .routes(routes!(accounts::end_sessions))
        .routes(routes!(settings::list))
}

fn notification_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(notifications::targets, notifications::create))
        .routes(routes!(
            notifications::target,
            notifications::update,
            notifications::remove
        ))
        .routes(routes!(notifications::test))
        .routes(routes!(notifications::deliveries))
        .routes(routes!(notifications::redeliver))
}

/// What `/metrics` shows; nothing once the console has ended.
#[must_use]
pub fn metrics_source(state: &AppState) -> MetricsSource {
    let state = Arc::downgrade(&state.0);
    Box::new(move || {
        let state = state.upgrade().map(AppState);
        Box::new(state.into_iter().flat_map(|state| metrics::pieces(&state)))
    })
}

/// Adds the stack of layers; the last one added sees a request first.
fn with_layers(router: Router<AppState>, state: &AppState) -> Router<AppState> {
    router
        .layer(from_fn(body_limit::limit_body))
        .layer(from_fn_with_state(
            state.clone(),
            origin::require_same_origin,
        ))
        .layer(from_fn_with_state(
            state.clone(),
            host::require_allowed_host,
        ))
        // Inside compression and the security headers, so that problem documents get both.
        .layer(from_fn(problem::render))
        .layer(from_fn_with_state(
            state.clone(),
            problem_page::show_as_page,
        ))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(
            state.clone(),
            headers::add_security_headers,
        ))
        .layer(from_fn_with_state(state.clone(), request_log::log_request))
}
