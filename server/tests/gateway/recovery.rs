//! Consoles with people and nodes for the tests of actions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use galera::access::Role;
use galera::publish::api::{ActionView, Problem};
use galera::recover::action::{Limits, State};
use galera::recover::plan::{Kind, Plan};
use galera_console::actions::World;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Console, Options};
use crate::etcd::{Etcd, eventually};
use crate::world::{Nodes3, VERIFY, Watched};

/// A console with three nodes and everybody signed in.
pub(crate) struct Desk {
    pub(crate) console: Console,
    pub(crate) operator: Client,
    pub(crate) approver: Client,
    pub(crate) second: Client,
    pub(crate) both: Client,
    pub(crate) viewer: Client,
    pub(crate) admin: Client,
}

/// Who there is.
const PEOPLE: [(&str, &[Role]); 6] = [
    ("olga", &[Role::Operator]),
    ("adam", &[Role::Approver]),
    ("ada", &[Role::Approver]),
    ("bea", &[Role::Operator, Role::Approver]),
    ("vera", &[Role::Viewer]),
    ("root", &[Role::Admin]),
];

impl Desk {
    /// The first console on `etcd`; it makes the accounts.
    pub(crate) async fn open(etcd: &Etcd, nodes: &Arc<Nodes3>) -> Self {
        Self::with(etcd, nodes, |_| {}).await
    }

    pub(crate) async fn with(
        etcd: &Etcd,
        nodes: &Arc<Nodes3>,
        alter: impl FnOnce(&mut Options),
    ) -> Self {
        let mut options = options(nodes, "r1");
        alter(&mut options);
        let console = Console::with(etcd, options).await;
        for (name, roles) in PEOPLE {
            console.add_user(name, roles).await;
        }
        Self::of(console).await
    }

    /// Another replica on the same etcd and nodes.
    pub(crate) async fn replica(etcd: &Etcd, nodes: &Arc<Nodes3>) -> Self {
        Self::of(Console::with(etcd, options(nodes, "r2")).await).await
    }

    /// Another replica that begins to watch the nodes now.
    pub(crate) async fn fresh(etcd: &Etcd, nodes: &Arc<Nodes3>) -> Self {
        let options = Options {
            world: Some(watching(nodes, console_core::clock::now())),
            ..options(nodes, "r2")
        };
        Self::of(Console::with(etcd, options).await).await
    }

    async fn of(console: Console) -> Self {
        Self {
            operator: console.sign_in("olga").await,
            approver: console.sign_in("adam").await,
            second: console.sign_in("ada").await,
            both: console.sign_in("bea").await,
            viewer: console.sign_in("vera").await,
            admin: console.sign_in("root").await,
            console,
        }
    }

    /// The bootstrap plan with the lost members attested.
    pub(crate) async fn plan(&self) -> Plan {
        let body = json!({ "attestations": lost() });
        let path = "/api/v1/clusters/lab/plans/bootstrap";
        let answer = post(&self.operator, path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// A bootstrap that `who` requests.
    pub(crate) async fn request(&self, who: &Client) -> ActionView {
        let plan = self.plan().await;
        let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
        assert!(plan.executable, "{failing:?}");
        let answer = ask(who, &wanted(&plan)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn get(&self, id: &str) -> ActionView {
        let answer = self.viewer.get(&format!("/api/v1/actions/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The action once it is in `state`.
    pub(crate) async fn becomes(&self, id: &str, state: State) -> ActionView {
        eventually(&format!("{id} to be {}", state.word()), async || {
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

fn watching(nodes: &Arc<Nodes3>, since: Timestamp) -> Arc<dyn World> {
    Arc::new(Watched(Arc::clone(nodes), since))
}

fn options(nodes: &Arc<Nodes3>, replica: &str) -> Options {
    Options {
        world: Some(watching(nodes, Timestamp::default())),
        replica: replica.to_owned(),
        approvals: BTreeMap::from([(Kind::Decommission, 2)]),
        limits: Limits {
            verify: VERIFY,
            ..Limits::default()
        },
        lock_ttl: Duration::from_secs(1),
        ..Options::default()
    }
}

fn lost() -> Value {
    json!([{"node": "n2", "statement": "stopped"}, {"node": "n3", "statement": "stopped"}])
}

/// The body of a request for what `plan` says.
pub(crate) fn wanted(plan: &Plan) -> Value {
    let attested = plan.kind == Kind::Bootstrap;
    json!({
        "kind": plan.kind,
        "plan_digest": plan.digest,
        "confirm": "lab",
        "reason": "two hosts lost power",
        "attestations": if attested { lost() } else { json!([]) },
    })
}

/// `POST /api/v1/clusters/lab/actions`.
pub(crate) async fn ask(who: &Client, body: &Value) -> Answer {
    post(who, "/api/v1/clusters/lab/actions", body).await
}

/// `POST /api/v1/actions/{id}/{verb}`.
pub(crate) async fn act(who: &Client, id: &str, verb: &str) -> Answer {
    post(who, &format!("/api/v1/actions/{id}/{verb}"), &json!({})).await
}

pub(crate) async fn post(who: &Client, path: &str, body: &Value) -> Answer {
    who.post(path, "application/json", body.to_string()).await
}

/// The answer is a refusal with this status and code.
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) -> Problem {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    let problem = answer.problem();
    assert_eq!(problem.code, code, "{}", problem.detail);
    problem
}
