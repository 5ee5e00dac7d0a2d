//! After a bootstrap, whoever was left out and comes back is watched (I22).

use galera::publish::api::ActionView;
use galera::recover::action::State;

use crate::etcd::{Etcd, eventually};
use crate::recovery::{Desk, act};
use crate::world::Nodes3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i22_who_comes_back_ahead_is_told_to_keep_its_data_on_every_replica() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let id = desk.request(&desk.operator).await.action.id;
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    desk.becomes(&id, State::Succeeded).await;
    // One comes back behind, which is what a state transfer is for, and one ahead.
    nodes.returns("n2", 99);
    nodes.returns("n3", 130);
    let other = Desk::replica(&etcd, &nodes).await;
    for desk in [&desk, &other] {
        eventually("the warning", async || {
            !desk.get(&id).await.warnings.is_empty()
        })
        .await;
        let view: ActionView = desk.get(&id).await;
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
            nodes.told(),
            std::slice::from_ref(&warning.message),
            "for the overview"
        );
        for path in [
            format!("/actions/{id}"),
            "/clusters/lab/recovery".to_owned(),
        ] {
            let page = desk.viewer.get(&path).await.text();
            assert!(page.contains("Copy its data directory"), "{path}: {page}");
        }
    }
    // The record itself is as it ended: a final state never changes.
    assert_eq!(desk.get(&id).await.action.state, State::Succeeded);
    assert_eq!(nodes.sent(), 1, "nothing is resolved by itself");
    nodes.returns("n3", 90);
    eventually("the warning to go", async || {
        desk.get(&id).await.warnings.is_empty()
    })
    .await;
}
