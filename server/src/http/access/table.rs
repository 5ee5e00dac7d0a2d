//! The entries of the access table.

use galera::access::Operation;
use http::Method;

use super::AccessRequirement::{ActionVerb, Operations, Own, Public};
use super::CredentialRule::{Any, Session};
use super::RouteReach::{Action, Cluster, Console, Filtered};
use super::{AccessRequirement, CredentialRule, RouteAccess, RouteReach};

/// Every entry of the access table.
#[must_use]
pub fn access_table() -> &'static [RouteAccess] {
    TABLE
}

/// What the route `path` needs for `method`; `None` if there is no such route.
pub(super) fn route_access(method: &Method, path: &str) -> Option<&'static RouteAccess> {
    TABLE
        .iter()
        .find(|access| access.path == path && access.method == method.as_str())
}

const fn route(
    method: &'static str,
    path: &'static str,
    requirement: AccessRequirement,
    credentials: CredentialRule,
    reach: RouteReach,
) -> RouteAccess {
    RouteAccess {
        method,
        path,
        requirement,
        credentials,
        reach,
    }
}

const VIEW: AccessRequirement = Operations(&[Operation::View]);
const AUDIT: AccessRequirement = Operations(&[Operation::ReadAudit]);
const REQUEST: AccessRequirement = Operations(&[Operation::RequestAction, Operation::BreakGlass]);
const SWITCH: AccessRequirement =
    Operations(&[Operation::PauseRecovery, Operation::ResumeRecovery]);
const FINDING: AccessRequirement = Operations(&[Operation::AcknowledgeFinding]);
const ACCOUNTS: AccessRequirement = Operations(&[Operation::ManageAccounts]);
const SEE_TARGETS: AccessRequirement = Operations(&[Operation::ViewNotifications]);
const TARGETS: AccessRequirement = Operations(&[Operation::ManageNotifications]);
const PAGES: AccessRequirement = Operations(&[Operation::ManageStatusPages]);
const INCIDENTS: AccessRequirement = Operations(&[Operation::ManageIncidents]);
const MAINTENANCE: AccessRequirement = Operations(&[Operation::ManageMaintenance]);
const ANNOUNCEMENTS: AccessRequirement = Operations(&[Operation::ManageAnnouncements]);

/// Every route of the API.
#[rustfmt::skip]
static TABLE: &[RouteAccess] = &[
    route("POST", "/api/v1/session", Public, Session, Console),
    route("GET", "/api/v1/session", Own, Any, Filtered),
    route("DELETE", "/api/v1/session", Own, Session, Console),
    route("POST", "/api/v1/session/step-up", Own, Session, Console),
    route("GET", "/oidc/sign-in", Public, Any, Console),
    route("POST", "/oidc/sign-in", Public, Any, Console),
    route("GET", "/oidc/callback", Public, Any, Console),
    route("POST", "/oidc/back-channel-logout", Public, Any, Console),
    route("GET", "/api/v1/me", Own, Session, Console),
    route("POST", "/api/v1/me/password", Own, Session, Console),
    route("DELETE", "/api/v1/me/sessions", Own, Session, Console),
    route("DELETE", "/api/v1/me/sessions/{id}", Own, Session, Console),
    route("POST", "/api/v1/me/factor", Own, Session, Console),
    route("DELETE", "/api/v1/me/factor", Own, Session, Console),
    route("POST", "/api/v1/me/factor/confirm", Own, Session, Console),
    route("GET", "/api/v1/me/factor/qr.svg", Own, Session, Console),
    route("POST", "/api/v1/me/recovery-codes", Own, Session, Console),
    route("GET", "/api/v1/accounts", ACCOUNTS, Any, Console),
    route("POST", "/api/v1/accounts", ACCOUNTS, Session, Console),
    route("GET", "/api/v1/accounts/{name}", ACCOUNTS, Any, Console),
    route("PATCH", "/api/v1/accounts/{name}", ACCOUNTS, Session, Console),
    route("DELETE", "/api/v1/accounts/{name}", ACCOUNTS, Session, Console),
    route("DELETE", "/api/v1/accounts/{name}/factor", ACCOUNTS, Session, Console),
    route("DELETE", "/api/v1/accounts/{name}/sessions", ACCOUNTS, Session, Console),
    route("GET", "/api/v1/settings", ACCOUNTS, Any, Console),
    route("GET", "/api/v1/tokens", VIEW, Session, Console),
    route("POST", "/api/v1/tokens", VIEW, Session, Console),
    route("GET", "/api/v1/tokens/{id}", VIEW, Session, Console),
    route("DELETE", "/api/v1/tokens/{id}", VIEW, Session, Console),
    route("GET", "/api/v1/clusters", VIEW, Any, Filtered),
    route("GET", "/api/v1/clusters/{cluster}", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/registry", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/events", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/findings", VIEW, Any, Cluster),
    route("POST", "/api/v1/clusters/{cluster}/findings/acknowledge", FINDING, Any, Cluster),
    route("POST", "/api/v1/clusters/{cluster}/findings/reopen", FINDING, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/series", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/nodes/{node}/series", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/rolling-restart", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/runway", VIEW, Any, Cluster),
    route("POST", "/api/v1/clusters/{cluster}/nodes/{node}/admit", Operations(&[Operation::AdmitNode]), Any, Cluster),
    route("POST", "/api/v1/clusters/{cluster}/alarms/acknowledge", Operations(&[Operation::AcknowledgeHistory]), Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/nodes/{node}/stop-check", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/stop-check", VIEW, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/plans/{kind}", VIEW, Any, Cluster),
    route("POST", "/api/v1/clusters/{cluster}/plans/{kind}", REQUEST, Any, Cluster),
    route("POST", "/api/v1/clusters/{cluster}/actions", REQUEST, Any, Cluster),
    route("GET", "/api/v1/clusters/{cluster}/recovery", VIEW, Any, Cluster),
    route("PUT", "/api/v1/clusters/{cluster}/recovery", SWITCH, Any, Cluster),
    route("GET", "/api/v1/actions", VIEW, Any, Filtered),
    route("GET", "/api/v1/actions/{id}", VIEW, Any, Action),
    route("GET", "/api/v1/actions/{id}/plan", VIEW, Any, Action),
    route("POST", "/api/v1/actions/{id}/{verb}", ActionVerb, Any, Action),
    route("GET", "/api/v1/recovery", VIEW, Any, Filtered),
    route("PUT", "/api/v1/recovery", SWITCH, Any, Console),
    route("GET", "/api/v1/audit", AUDIT, Any, Filtered),
    route("GET", "/api/v1/alarms", AUDIT, Any, Console),
    route("POST", "/api/v1/alarms/acknowledge", Operations(&[Operation::AcknowledgeAlarms]), Session, Console),
    route("GET", "/api/v1/notifications/targets", SEE_TARGETS, Any, Console),
    route("POST", "/api/v1/notifications/targets", TARGETS, Any, Console),
    route("GET", "/api/v1/notifications/targets/{id}", SEE_TARGETS, Any, Console),
    route("PATCH", "/api/v1/notifications/targets/{id}", TARGETS, Any, Console),
    route("DELETE", "/api/v1/notifications/targets/{id}", TARGETS, Any, Console),
    route("POST", "/api/v1/notifications/targets/{id}/test", TARGETS, Any, Console),
    route("GET", "/api/v1/notifications/deliveries", SEE_TARGETS, Any, Console),
    route("POST", "/api/v1/notifications/deliveries/{target}/{notice}/redeliver", SEE_TARGETS, Any, Console),
    route("GET", "/api/v1/openapi.json", Public, Any, Console),
    route("GET", "/api/v1/live", VIEW, Any, Filtered),
    route("GET", "/api/v1/status/pages", VIEW, Any, Filtered),
    route("POST", "/api/v1/status/pages", PAGES, Any, Console),
    route("GET", "/api/v1/status/pages/{slug}", VIEW, Any, Filtered),
    route("PUT", "/api/v1/status/pages/{slug}", PAGES, Any, Console),
    route("DELETE", "/api/v1/status/pages/{slug}", PAGES, Any, Console),
    route("POST", "/api/v1/status/pages/{slug}/links", PAGES, Any, Console),
    route("DELETE", "/api/v1/status/pages/{slug}/links/{id}", PAGES, Any, Console),
    route("GET", "/api/v1/status/qr.svg", VIEW, Any, Console),
    route("GET", "/api/v1/status/incidents", VIEW, Any, Filtered),
    route("POST", "/api/v1/status/incidents", INCIDENTS, Any, Filtered),
    route("GET", "/api/v1/status/incidents/{id}", VIEW, Any, Filtered),
    route("GET", "/api/v1/status/incidents/{id}/report", AUDIT, Any, Filtered),
    route("POST", "/api/v1/status/incidents/{id}/updates", INCIDENTS, Any, Filtered),
    route("GET", "/api/v1/status/maintenance", VIEW, Any, Filtered),
    route("POST", "/api/v1/status/maintenance", MAINTENANCE, Any, Filtered),
    route("POST", "/api/v1/status/maintenance/{id}/end", MAINTENANCE, Any, Filtered),
    route("GET", "/api/v1/status/announcements", VIEW, Any, Console),
    route("POST", "/api/v1/status/announcements", ANNOUNCEMENTS, Any, Console),
    route("POST", "/api/v1/status/announcements/{id}/withdraw", ANNOUNCEMENTS, Any, Console),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::api_routes;

    const METHODS: [&str; 5] = ["get", "delete", "patch", "post", "put"];

    /// The routes that the router serves, from its debug output: axum has no other list of them.
    fn served_routes() -> BTreeSet<(String, String)> {
        let router = format!("{:?}", axum::Router::from(api_routes()));
        let (routes, rest) = router.split_once("node: Node { paths: {").unwrap();
        let paths = rest.split_once("} }").unwrap().0;
        let mut found = BTreeSet::new();
        for entry in paths.split("RouteId(").skip(1) {
            let (id, path) = entry.split_once("): ").unwrap();
            let path = path.trim_end_matches([',', ' ']).trim_matches('"');
            let handlers = format!("RouteId({id}): MethodRouter(MethodRouter {{ ");
            let handlers = routes.split_once(&handlers).unwrap().1;
            let handlers = handlers.split_once("fallback:").unwrap().0;
            for method in METHODS {
                let handler = handlers.split_once(&format!("{method}: ")).unwrap().1;
                if !handler.starts_with("None") {
                    found.insert((method.to_uppercase(), path.to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_has_one_entry() {
        let entries = TABLE
            .iter()
            .map(|access| (access.method.to_owned(), access.path.to_owned()));
        let decided: BTreeSet<(String, String)> = entries.collect();
        assert_eq!(decided.len(), TABLE.len(), "a route has two entries");
        let served = served_routes();
        assert!(
            served.len() > 50,
            "the debug output of axum changed: {served:?}"
        );
        let without: Vec<_> = served.difference(&decided).collect();
        let unknown: Vec<_> = decided.difference(&served).collect();
        assert!(
            without.is_empty() && unknown.is_empty(),
            "routes without an entry: {without:?}; entries without a route: {unknown:?}"
        );
    }

    #[test]
    fn the_reach_of_an_entry_matches_its_path() {
        for access in TABLE {
            let names_cluster = access.path.contains("{cluster}");
            let names_action = access.path.starts_with("/api/v1/actions/{id}");
            assert_eq!(names_cluster, access.reach == Cluster, "{access:?}");
            assert_eq!(names_action, access.reach == Action, "{access:?}");
            let decides_about_credentials = ["/me", "/tokens", "/session"]
                .iter()
                .any(|start| access.path.starts_with(&format!("/api/v1{start}")));
            let is_own_view = access.path == "/api/v1/session" && access.method == "GET";
            if decides_about_credentials && !is_own_view {
                assert_eq!(access.credentials, Session, "{access:?}");
            }
        }
    }
}
