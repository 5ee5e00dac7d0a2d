//! Compare-and-act.

use registry::CreateOutcome;
use testing::etcd::EtcdCluster;

use crate::text;

#[tokio::test]
async fn of_eight_racers_exactly_one_creates() {
    let etcd = EtcdCluster::cluster(3).await;
    let racers = (0..8).map(|racer| {
        let registry = etcd.registry();
        tokio::spawn(async move {
            (
                racer,
                registry
                    .create("/founder", format!("n{racer}"), None)
                    .await
                    .unwrap(),
            )
        })
    });
    let mut winners = Vec::new();
    let mut seen = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            (racer, CreateOutcome::Created { .. }) => winners.push(format!("n{racer}")),
            (_, CreateOutcome::Exists(entry)) => seen.push(text(&entry.value)),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(seen, vec![winners[0].clone(); 7]);
}
