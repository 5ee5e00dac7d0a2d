//! Bootstraps out of sight on their way from actions and forks to the verdict (I43).

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use serde_json::json;

use super::*;

impl MonitorFixture {
    /// A majority answers without a Primary component; `db3` is silent.
    async fn report_no_primary(&self) {
        for node in ["db1", "db2"] {
            let rows = [
                ("wsrep_cluster_status", "non-Primary"),
                ("wsrep_local_state", "0"),
                ("wsrep_local_state_comment", "Initialized"),
                ("wsrep_cluster_size", "1"),
                ("wsrep_connected", "ON"),
            ];
            self.report(node, Ok(WsrepStatus::from_rows(rows))).await;
        }
        let silent = ProbeError {
            kind: ProbeErrorKind::TimedOut,
            message: "no answer".to_owned(),
        };
        self.report("db3", Err(silent)).await;
    }

    async fn report(&self, node: &str, outcome: Result<WsrepStatus, ProbeError>) {
        let report = ProbeReport {
            node: node.parse().unwrap(),
            at: now(),
            took: Duration::from_millis(1),
            connected_to: None,
            outcome,
        };
        self.reports.send(report).await.unwrap();
    }
}

async fn wait_for_verdict(feed: &mut ClusterFeed, state: VerdictState) {
    let reached = feed.wait_for(|view| view.value.verdict.state == state);
    timeout(Duration::from_secs(60), reached)
        .await
        .unwrap_or_else(|_| panic!("never {state:?}"))
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn i43_a_bootstrap_out_of_sight_reaches_the_verdict_from_actions_and_from_forks() {
    let fixture = MonitorFixture::start(&["db1", "db2", "db3"]);
    let mut feed = fixture.feed().await;
    fixture.report_no_primary().await;
    wait_for_verdict(&mut feed, VerdictState::NoPrimary).await;
    let fork = json!({
        "state_uuid": "6f1e27a1-0000-11ef-8a3c-1a2b3c4d5e6f", "seqno": 10, "members": ["db3"], "action_id": "observed",
    });
    fixture.put("forks/1", &fork.to_string(), 0, 2).await;
    wait_for_verdict(&mut feed, VerdictState::Unknown).await;
    let deleted = KeyChange::Delete {
        key: b"/galera/lab/forks/1".to_vec(),
        revision: 3,
    };
    let deleted = MonitorInput::Changes(vec![deleted]);
    fixture.inputs.send(deleted).await.unwrap();
    wait_for_verdict(&mut feed, VerdictState::NoPrimary).await;
    let started = StartedBootstrap {
        history: "6f1e27a1-0000-11ef-8a3c-1a2b3c4d5e6f".parse().unwrap(),
        seqno: 10,
        members: ["db3".parse().unwrap()].into(),
        at: Some(now()),
    };
    let started = [("lab".parse().unwrap(), vec![started])].into();
    fixture.publisher.set_started_bootstraps(started);
    wait_for_verdict(&mut feed, VerdictState::Unknown).await;
    fixture.publisher.set_started_bootstraps(BTreeMap::new());
    wait_for_verdict(&mut feed, VerdictState::NoPrimary).await;
    fixture.stop.cancel();
}
