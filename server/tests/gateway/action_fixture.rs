//! A console with users and fake nodes, for the tests of actions.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use galera::access::Role;
use galera::publish::api::{ActionView, ProblemDetails};
use galera::recover::action::{ActionLimits, ActionState};
use galera::recover::plan::{ActionKind, Plan};
use galera::{ActionId, ReplicaId, Timestamp};
use galera_console::actions::ClusterAccess;
use serde_json::{Value, json};

use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{FakeCluster, FakeClusterAccess};
use crate::test_console::{ConsoleOptions, TestConsole};

/// A console with three fake nodes and a signed-in client for each role.
pub(crate) struct ActionFixture {
    pub(crate) console: TestConsole,
    pub(crate) operator: TestClient,
    pub(crate) approver: TestClient,
    pub(crate) second_approver: TestClient,
    pub(crate) operator_approver: TestClient,
    pub(crate) viewer: TestClient,
    pub(crate) admin: TestClient,
}

/// The accounts and their roles.
const ACCOUNTS: [(&str, &[Role]); 6] = [
    ("olga", &[Role::Operator]),
    ("adam", &[Role::Approver]),
    ("ada", &[Role::Approver]),
    ("bea", &[Role::Operator, Role::Approver]),
    ("vera", &[Role::Viewer]),
    ("root", &[Role::Admin]),
];

impl ActionFixture {
    /// Starts the first console on `etcd` and creates the accounts.
    pub(crate) async fn start(etcd: &TestEtcd, nodes: &Arc<FakeCluster>) -> Self {
        Self::start_with(etcd, nodes, |_| {}).await
    }

    pub(crate) async fn start_with(
        etcd: &TestEtcd,
        nodes: &Arc<FakeCluster>,
        alter: impl FnOnce(&mut ConsoleOptions),
    ) -> Self {
        let mut options = fixture_options(nodes, "r1");
        alter(&mut options);
        let console = TestConsole::start_with(etcd, options).await;
        for (name, roles) in ACCOUNTS {
            console.add_user(name, roles).await;
        }
        Self::sign_in_all(console).await
    }

    /// Another replica on the same etcd and nodes.
    pub(crate) async fn replica(etcd: &TestEtcd, nodes: &Arc<FakeCluster>) -> Self {
        Self::replica_with(etcd, nodes, |_| {}).await
    }

    pub(crate) async fn replica_with(
        etcd: &TestEtcd,
        nodes: &Arc<FakeCluster>,
        alter: impl FnOnce(&mut ConsoleOptions),
    ) -> Self {
        let mut options = fixture_options(nodes, "r2");
        alter(&mut options);
        Self::sign_in_all(TestConsole::start_with(etcd, options).await).await
    }

    /// Another replica that starts observing the nodes now.
    pub(crate) async fn new_replica(etcd: &TestEtcd, nodes: &Arc<FakeCluster>) -> Self {
        let options = ConsoleOptions {
            cluster_access: Some(access_since(nodes, console_core::clock::now())),
            ..fixture_options(nodes, "r2")
        };
        Self::sign_in_all(TestConsole::start_with(etcd, options).await).await
    }

    pub(crate) async fn sign_in_all(console: TestConsole) -> Self {
        Self {
            operator: console.sign_in("olga").await,
            approver: console.sign_in("adam").await,
            second_approver: console.sign_in("ada").await,
            operator_approver: console.sign_in("bea").await,
            viewer: console.sign_in("vera").await,
            admin: console.sign_in("root").await,
            console,
        }
    }

    /// The bootstrap plan with the lost members attested.
    pub(crate) async fn plan(&self) -> Plan {
        let body = json!({ "attestations": lost_members() });
        let path = "/api/v1/clusters/lab/plans/bootstrap";
        let answer = post(&self.operator, path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Requests a bootstrap as `client`.
    pub(crate) async fn request(&self, client: &TestClient) -> ActionView {
        let plan = self.plan().await;
        let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
        assert!(plan.executable, "{failing:?}");
        let answer = request_action(client, &action_request(&plan)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn get(&self, id: &ActionId) -> ActionView {
        let answer = self.viewer.get(&format!("/api/v1/actions/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until the action is in `state`.
    pub(crate) async fn wait_for_state(&self, id: &ActionId, state: ActionState) -> ActionView {
        eventually(&format!("{id} to be {}", state.as_str()), async || {
            let action = self.get(id).await.action;
            assert!(
                !action.state.is_final() || action.state == state,
                "{:?}: {:?}",
                action.state,
                action.journal
            );
            action.state == state
        })
        .await;
        self.get(id).await
    }
}

fn access_since(nodes: &Arc<FakeCluster>, since: Timestamp) -> Arc<dyn ClusterAccess> {
    Arc::new(FakeClusterAccess(Arc::clone(nodes), since))
}

/// Time to the end of an action; longer than any test runs, so that a loaded machine ends none as unverified.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(300);

/// For tests of actions whose outcome is never proven.
pub(crate) fn unproven_soon(options: &mut ConsoleOptions) {
    options.limits.verify_timeout = Duration::from_secs(4);
}

pub(crate) fn fixture_options(nodes: &Arc<FakeCluster>, replica: &str) -> ConsoleOptions {
    ConsoleOptions {
        cluster_access: Some(access_since(nodes, Timestamp::default())),
        replica: ReplicaId::new(replica),
        approvals: BTreeMap::from([(ActionKind::Decommission, 2)]),
        limits: ActionLimits {
            verify_timeout: VERIFY_TIMEOUT,
            ..ActionLimits::default()
        },
        lock_ttl: Duration::from_secs(3),
        ..ConsoleOptions::default()
    }
}

pub(crate) fn lost_members() -> Value {
    json!([{"node": "n2", "statement": "stopped"}, {"node": "n3", "statement": "stopped"}])
}

/// The body of a request for `plan`.
pub(crate) fn action_request(plan: &Plan) -> Value {
    let attested = plan.kind == ActionKind::Bootstrap;
    json!({
        "kind": plan.kind,
        "plan_digest": plan.digest,
        "confirm": "lab",
        "reason": "two hosts lost power",
        "attestations": if attested { lost_members() } else { json!([]) },
    })
}

/// `POST /api/v1/clusters/lab/actions`.
pub(crate) async fn request_action(client: &TestClient, body: &Value) -> TestResponse {
    post(client, "/api/v1/clusters/lab/actions", body).await
}

/// `POST /api/v1/actions/{id}/{verb}`.
pub(crate) async fn apply_verb(
    client: &TestClient,
    id: &(impl Display + ?Sized),
    verb: &str,
) -> TestResponse {
    post(client, &format!("/api/v1/actions/{id}/{verb}"), &json!({})).await
}

pub(crate) async fn post(client: &TestClient, path: &str, body: &Value) -> TestResponse {
    client
        .post(path, "application/json", body.to_string())
        .await
}

/// Asserts that the answer is a refusal with this status and code.
pub(crate) fn assert_refused(answer: &TestResponse, status: u16, code: &str) -> ProblemDetails {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    let problem = answer.problem();
    assert_eq!(problem.code, code, "{}", problem.detail);
    problem
}
