//! Every route of the API × role × clusters × kind of credential, from the access table, which has exactly the routes of the
//! router (`http::access::table::tests`). What is expected is derived from the table of roles alone.

use std::time::Duration;

use accounts::{NewToken, UserName};
use axum::body::Body;
use console_core::clock::now;
use galera::access::{ClusterScope, Operation, Role, RoleAssignment, RoleGrant, check_permission};
use galera_console::http::{
    AccessRequirement, CredentialRule, RouteAccess, RouteReach, access_table, operation_of_verb,
};
use http::Method;
use http::header::CONTENT_TYPE;

use crate::api_tokens::{issue, new_token};
use crate::client::{TestClient, TestResponse};
use crate::etcd::TestEtcd;
use crate::test_console::{ConsoleOptions, TestConsole};

const VERBS: [&str; 6] = ["approve", "reject", "cancel", "comment", "execute", "undo"];
/// The other cluster is `shop`.
const CLUSTER: &str = "lab";

/// A credential, and what it permits.
struct CredentialHolder {
    what: String,
    client: TestClient,
    kind: HolderKind,
    roles: Vec<Role>,
    scope: ClusterScope,
    /// Whether the roles of the account count on some clusters only.
    is_limited_account: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HolderKind {
    Nobody,
    Session,
    PersonToken,
    ServiceToken,
    /// A token that is refused everywhere with this code.
    Over(&'static str),
}

impl CredentialHolder {
    fn is_token(&self) -> bool {
        matches!(
            self.kind,
            HolderKind::PersonToken | HolderKind::ServiceToken
        )
    }

    /// The status and code of a refusal; `None` if the request reaches its handler.
    fn refusal(&self, access: &RouteAccess, verb: &str) -> Option<(u16, &'static str)> {
        let public = access.requirement == AccessRequirement::Public;
        match self.kind {
            HolderKind::Over(code) => return Some((401, code)),
            HolderKind::Nobody if public => return None,
            HolderKind::Nobody => return Some((401, "not_signed_in")),
            _ if self.is_token() && access.credentials == CredentialRule::Session => {
                return Some((403, "session_required"));
            }
            _ => {}
        }
        if self.is_limited_account
            && !matches!(
                access.requirement,
                AccessRequirement::Public | AccessRequirement::Own
            )
        {
            // Before the roles: what is outside does not exist.
            match access.reach {
                RouteReach::Cluster if !self.scope.permits(&CLUSTER.parse().unwrap()) => {
                    return Some((404, "unknown_cluster"));
                }
                RouteReach::Console => return Some((403, "limited_to_clusters")),
                RouteReach::Action => return Some((404, "unknown_action")),
                _ => {}
            }
        }
        let verb = [operation_of_verb(verb).unwrap_or(Operation::View)];
        let operations: &[Operation] = match access.requirement {
            AccessRequirement::Public | AccessRequirement::Own => return None,
            AccessRequirement::Operations(operations) => operations,
            AccessRequirement::ActionVerb => &verb,
        };
        let permitted = |operation: &&Operation| check_permission(&self.roles, **operation).is_ok();
        let permitted: Vec<Operation> = operations.iter().filter(permitted).copied().collect();
        if permitted.is_empty() {
            return Some((403, "missing_role"));
        }
        if self.is_token() && permitted == [Operation::BreakGlass] {
            // What an operator's token may, an administrator's may not: the first missing role is named.
            return Some((403, "missing_role"));
        }
        if permitted == [Operation::ApproveAction] {
            match self.kind {
                HolderKind::PersonToken => return Some((403, "session_required")),
                HolderKind::ServiceToken => return Some((403, "service_approval_refused")),
                _ => {}
            }
        }
        let lab = CLUSTER.parse().unwrap();
        match access.reach {
            _ if self.scope.is_all() => None,
            RouteReach::Cluster if !self.scope.permits(&lab) => Some((404, "unknown_cluster")),
            RouteReach::Console => Some((403, "token_limited_to_clusters")),
            RouteReach::Action => Some((404, "unknown_action")),
            _ => None,
        }
    }
}

/// A request for the route, with parameters that name nothing but the cluster.
async fn request(client: &TestClient, access: &RouteAccess, verb: &str) -> TestResponse {
    let path = access
        .path
        .replace("{cluster}", CLUSTER)
        .replace("{node}", "n1")
        .replace("{kind}", "bootstrap")
        .replace("{verb}", verb)
        .replace("{slug}", "nowhere")
        .replace("{name}", "nobody")
        .replace("{target}", "0")
        .replace("{notice}", "lab.1")
        .replace("{id}", "0-0");
    assert!(!path.contains('{'), "{path}: a parameter without a value");
    let method: Method = access.method.parse().unwrap();
    let request = client
        .request(method, &path)
        .header(CONTENT_TYPE, "application/json");
    client.send(request.body(Body::from("{}")).unwrap()).await
}

async fn token(console: &TestConsole, account: &str, name: &str, clusters: &[&str]) -> TestClient {
    let user = console.store.get(&account.parse().unwrap()).await.unwrap();
    let patterns = clusters.iter().map(|name| name.parse().unwrap());
    let new = NewToken {
        clusters: ClusterScope::new(patterns.collect()),
        ..new_token(name, &user.roles, now().plus(Duration::from_secs(3600)))
    };
    console.with_bearer(&issue(console, account, new, now()).await)
}

/// Every kind of credential, for each role.
async fn holders(console: &TestConsole) -> Vec<CredentialHolder> {
    let mut holders = vec![CredentialHolder {
        what: "nobody".to_owned(),
        client: console.anonymous(),
        kind: HolderKind::Nobody,
        roles: Vec::new(),
        scope: ClusterScope::all(),
        is_limited_account: false,
    }];
    for role in Role::ALL {
        let (person, service) = (role.as_str().to_owned(), format!("svc-{role}"));
        console.add_user(&person, &[role]).await;
        let name: UserName = service.parse().unwrap();
        console
            .store
            .add_service(&name, &RoleAssignment::everywhere(vec![role]), now())
            .await
            .unwrap();
        let mut add_holder = |what: &str, kind, client, clusters: &[&str], limited| {
            let patterns = clusters.iter().map(|name| name.parse().unwrap());
            holders.push(CredentialHolder {
                what: format!("{what} of {role}"),
                client,
                kind,
                roles: vec![role],
                scope: ClusterScope::new(patterns.collect()),
                is_limited_account: limited,
            });
        };
        let client = console.sign_in(&person).await;
        add_holder("session", HolderKind::Session, client, &[], false);
        for (name, clusters) in [("same", "la*"), ("other", "shop")] {
            let limited = format!("{person}-{name}");
            let scope = ClusterScope::new(vec![clusters.parse().unwrap()]);
            let grant = RoleGrant::of(vec![role], scope.clone());
            console
                .add_user_with_grants(&limited, &[role], vec![grant])
                .await;
            let client = console.sign_in(&limited).await;
            let what = format!("session limited to {clusters}");
            add_holder(&what, HolderKind::Session, client, &[clusters], true);
            let limited_service = format!("svc-{limited}");
            let assignment = RoleAssignment {
                roles: vec![role],
                clusters: Some(scope),
                grants: Vec::new(),
            };
            let account = limited_service.parse().unwrap();
            let added = console.store.add_service(&account, &assignment, now());
            added.await.unwrap();
            for (kind, account) in [
                (HolderKind::PersonToken, &limited),
                (HolderKind::ServiceToken, &limited_service),
            ] {
                let client = token(console, account, "all", &[]).await;
                let what = format!("token of {account}, limited to {clusters}");
                add_holder(&what, kind, client, &[clusters], true);
            }
        }
        let mut add = |what: &str, kind, client, clusters: &[&str]| {
            add_holder(what, kind, client, clusters, false);
        };
        for (kind, account) in [
            (HolderKind::PersonToken, &person),
            (HolderKind::ServiceToken, &service),
        ] {
            for (name, clusters) in [
                ("all", &[][..]),
                ("same", &["la*"]),
                ("other", &["shop", "prod-*"]),
            ] {
                let client = token(console, account, name, clusters).await;
                add(
                    &format!("token {name} of {account}"),
                    kind,
                    client,
                    clusters,
                );
            }
        }
        let client = token(console, &service, "revoked", &[]).await;
        let service_account: UserName = service.parse().unwrap();
        let tokens = console
            .state
            .tokens
            .list(Some(&service_account), now())
            .await
            .unwrap();
        let revoked = tokens.iter().find(|token| token.name == "revoked").unwrap();
        let id = revoked.id.parse().unwrap();
        console.state.tokens.revoke(&id, now()).await.unwrap();
        console.state.authenticator.learn_revoked_token(&id).await;
        add(
            "revoked token",
            HolderKind::Over("token_revoked"),
            client,
            &[],
        );
        let hour = Duration::from_secs(3600);
        let past = new_token("past", &[role], now().minus(hour));
        let past = issue(console, &service, past, now().minus(2 * hour)).await;
        add(
            "expired token",
            HolderKind::Over("token_expired"),
            console.with_bearer(&past),
            &[],
        );
    }
    holders
}

#[tokio::test]
async fn every_route_role_cluster_and_credential() {
    let options = ConsoleOptions {
        more_clusters: vec!["shop"],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    let holders = holders(&console).await;
    let mut requests = 0;
    for holder in &holders {
        for access in access_table() {
            let verbs = match access.requirement {
                AccessRequirement::ActionVerb => &VERBS[..],
                _ => &[""],
            };
            let ends_session = access.method == "DELETE"
                && ["/api/v1/session", "/api/v1/me/sessions"].contains(&access.path);
            let has_token = holder.is_token() || matches!(holder.kind, HolderKind::Over(_));
            // Only the API accepts tokens.
            if has_token && !access.path.starts_with("/api/") {
                continue;
            }
            if ends_session && holder.kind == HolderKind::Session {
                continue;
            }
            for verb in verbs {
                let answer = request(&holder.client, access, verb).await;
                requests += 1;
                let shown = format!(
                    "{} {} {verb} for {}: {}",
                    access.method,
                    access.path,
                    holder.what,
                    answer.text()
                );
                let status = answer.status.as_u16();
                match holder.refusal(access, verb) {
                    Some((expected, code)) => {
                        assert_eq!(status, expected, "{shown}");
                        assert_eq!(answer.problem().code, code, "{shown}");
                    }
                    // The handler answers, and finds the request invalid or about nothing.
                    None => assert!(
                        status < 500 && (status != 401 || holder.kind == HolderKind::Nobody),
                        "{shown}"
                    ),
                }
                if status == 403 {
                    assert!(holder.refusal(access, verb).is_some(), "{shown}");
                }
            }
        }
    }
    assert_eq!(holders.len(), 1 + 4 * 15);
    assert!(requests > 36 * 75, "{requests}");
}

#[tokio::test]
async fn an_unsupported_method_is_not_an_internal_error() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let answer = client
        .send_json(
            Method::PATCH,
            "/api/v1/clusters/lab",
            &serde_json::json!({}),
        )
        .await;
    assert_eq!(answer.status, 405, "{}", answer.text());
}
