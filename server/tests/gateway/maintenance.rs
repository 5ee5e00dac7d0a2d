//! Planned maintenance keeps alarms quiet, is visible, and covers up no split brain.

use std::time::Duration;

use console_core::clock::now;
use galera::access::Role;
use galera::view::{ClusterView, VerdictState};
use serde_json::{Value, json};

use crate::client::{Client, Console, Options};
use crate::database::Database;
use crate::etcd::{Etcd, eventually};
use crate::notifications::{add, webhook};
use crate::probing::{VARIABLES, borrowed, primary};
use crate::receiver::{Got, Receiver};

const ONE: &str = "00000001-0001-11ef-a1b2-c3d4e5f60718";
const OTHER: &str = "00000002-0001-11ef-a1b2-c3d4e5f60718";

/// A console of two nodes that answer what they are told to, with a public page, and who is told.
struct Scene {
    _etcd: Etcd,
    nodes: [Database; 2],
    console: Console,
    admin: Client,
    receiver: Receiver,
}

impl Scene {
    /// One node is Primary, the other has no cluster.
    async fn start() -> Self {
        let etcd = Etcd::start().await;
        let one = Database::listen("127.0.0.1", &VARIABLES, &[]).await;
        let other = Database::listen("127.0.0.2", &VARIABLES, &[]).await;
        one.says(&borrowed(&primary(ONE, &one.id())));
        let options = Options {
            members: vec![one.id(), other.id()],
            ..Options::default()
        };
        let console = Console::with(&etcd, options).await;
        console
            .add_user("root", &[Role::Admin, Role::Operator])
            .await;
        let admin = console.sign_in("root").await;
        let receiver = Receiver::start([]).await;
        let scene = Self {
            _etcd: etcd,
            nodes: [one, other],
            console,
            admin,
            receiver,
        };
        scene.becomes(VerdictState::Degraded).await;
        let page = json!({"slug": "shop", "title": "Shop", "visibility": "public",
            "clusters": [{"cluster": "lab", "name": "Orders"}]});
        scene.post("/api/v1/status/pages", &page).await;
        add(&scene.admin, &webhook(&scene.receiver.url())).await;
        scene.told(&["lab is degraded"]).await;
        scene
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .admin
            .post(path, "application/json", body.to_string())
            .await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    }

    /// Waits until the verdict is this one and on record, from where notices are made.
    async fn becomes(&self, state: VerdictState) {
        eventually(state.word(), async || {
            let path = "/api/v1/clusters/lab";
            let view: ClusterView = self.admin.get(path).await.json();
            view.verdict.state == state
        })
        .await;
        eventually(&format!("{} on record", state.word()), async || {
            let path = "/api/v1/clusters/lab/events?limit=50";
            let events: Value = self.admin.get(path).await.json();
            let mut events = events["events"].as_array().unwrap().iter();
            let newest = events.find(|event| event["kind"] == "verdict");
            newest.is_some_and(|event| event["to"] == json!(state))
        })
        .await;
    }

    /// Both nodes answer, without quorum.
    fn lose_quorum(&self) {
        for (node, gcomm) in self.nodes.iter().zip([ONE, OTHER]) {
            let mut lost = primary(gcomm, &node.id());
            for (name, value) in &mut lost {
                match *name {
                    "wsrep_cluster_status" => "non-Primary".clone_into(value),
                    "wsrep_cluster_conf_id" => "18446744073709551615".clone_into(value),
                    "wsrep_local_state" => "0".clone_into(value),
                    "wsrep_local_state_comment" => "Initialized".clone_into(value),
                    _ => {}
                }
            }
            node.says(&borrowed(&lost));
        }
    }

    /// Both nodes are Primary, each alone.
    fn split(&self) {
        for (node, gcomm) in self.nodes.iter().zip([ONE, OTHER]) {
            node.says(&borrowed(&primary(gcomm, &node.id())));
        }
    }

    /// Waits until exactly this was told.
    async fn told(&self, titles: &[&str]) {
        let told = || -> Vec<String> { self.receiver.got().iter().map(Got::title).collect() };
        eventually(&format!("{titles:?} is told"), async || {
            told().len() >= titles.len()
        })
        .await;
        assert_eq!(told(), titles);
    }

    /// Waits until the public page holds `text`.
    async fn page_says(&self, text: &str) {
        let nobody = self.console.nobody();
        eventually(&format!("the page says {text}"), async || {
            nobody.get("/status/shop").await.text().contains(text)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_keeps_alarms_quiet_is_visible_and_covers_up_no_split_brain() {
    let scene = Scene::start().await;
    let until = now().plus(Duration::from_secs(3_600)).to_string();
    let work = json!({"clusters": ["lab"], "title": "Upgrade", "text": "One after the other.", "until": until});
    let work = scene.post("/api/v1/status/maintenance", &work).await;
    scene.page_says("The database is under maintenance").await;

    scene.lose_quorum();
    scene.becomes(VerdictState::NoPrimary).await;
    scene
        .page_says("Planned work; it is not available meanwhile.")
        .await;
    // What people tell goes out, after everything that was due before it: the verdict was not.
    let incident = json!({"clusters": ["lab"], "title": "A sign", "text": "Time has passed."});
    scene.post("/api/v1/status/incidents", &incident).await;
    let mut told = vec!["lab is degraded", "Incident opened: A sign"];
    scene.told(&told).await;

    // Nobody plans a split brain: it is told at once, and the page does not call it maintenance.
    scene.split();
    told.push("lab has a split brain: two components are Primary");
    scene.told(&told).await;
    scene.becomes(VerdictState::SplitBrain).await;
    scene
        .page_says("Parts of it take writes apart from each other.")
        .await;

    // Back in the maintenance it is quiet again; what is still bad when that ends is told then.
    scene.lose_quorum();
    scene.becomes(VerdictState::NoPrimary).await;
    scene.page_says("The database is under maintenance").await;
    let end = format!(
        "/api/v1/status/maintenance/{}/end",
        work["id"].as_str().unwrap()
    );
    assert_eq!(scene.receiver.got().len(), told.len());
    scene.post(&end, &json!({})).await;
    told.push("lab has no Primary component");
    scene.told(&told).await;
    scene.page_says("The database is not available").await;
}
