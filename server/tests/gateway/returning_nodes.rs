//! After a bootstrap, excluded nodes that return are checked for being ahead (I22).

use galera::publish::api::ActionView;
use galera::recover::action::ActionState;

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i22_every_replica_warns_of_a_returning_node_that_is_ahead() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    // One returns behind, which a state transfer repairs, and one ahead.
    nodes.return_isolated("n2", 99);
    nodes.return_isolated("n3", 130);
    let other = ActionFixture::replica(&etcd, &nodes).await;
    for fixture in [&fixture, &other] {
        eventually("the warning", async || {
            !fixture.get(&id).await.warnings.is_empty()
        })
        .await;
        let view: ActionView = fixture.get(&id).await;
        let [warning] = view.warnings.as_slice() else {
            panic!("{:?}", view.warnings);
        };
        assert_eq!(
            (warning.node.to_string().as_str(), warning.transactions),
            ("n3", 30)
        );
        assert!(
            warning
                .message
                .contains("Copy its data directory before it joins")
        );
        assert_eq!(
            nodes.notices(),
            std::slice::from_ref(&warning.message),
            "for the overview"
        );
        for path in [
            format!("/actions/{id}"),
            "/clusters/lab/recovery".to_owned(),
        ] {
            let page = fixture.viewer.get(&path).await.text();
            assert!(page.contains("Copy its data directory"), "{path}: {page}");
        }
    }
    // The record is unchanged: a final state never changes.
    assert_eq!(fixture.get(&id).await.action.state, ActionState::Succeeded);
    assert_eq!(nodes.sent(), 1, "nothing is resolved automatically");
    nodes.return_isolated("n3", 90);
    eventually("the warning to disappear", async || {
        fixture.get(&id).await.warnings.is_empty()
    })
    .await;
}
