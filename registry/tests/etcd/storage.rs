//! Alarms of etcd, and its space.

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client};
use registry::{Error, Registry, StorageAlarm};
use testing::etcd::EtcdCluster;

/// Bytes of the values that fill the database.
const FILLER: usize = 1024 * 1024;

/// Writes until etcd refuses.
async fn fill(registry: &Registry) -> Error {
    for number in 0..64 {
        let key = format!("/filler/{number}");
        let written = registry.put(key, vec![b'x'; FILLER], None).await;
        // Any other error is a slow disk.
        if let Err(error @ Error::NoSpace { .. }) = written {
            return error;
        }
    }
    panic!("etcd has no quota");
}

#[tokio::test]
async fn an_exhausted_quota_refuses_writes_until_space_is_made_and_the_alarm_disarmed() {
    let etcd = EtcdCluster::spawn(1, "http", &["--quota-backend-bytes=16777216"]);
    let registry = etcd.registry();
    etcd.wait_until_ready(&registry).await;
    registry.put("/x", "1", None).await.unwrap();
    let before = registry.storage_status().await.unwrap();
    assert_eq!(before.alarms, []);
    assert!(before.version.starts_with("3."), "{before:?}");
    let refused = fill(&registry).await;
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    assert_eq!(refused.alarm(), Some(StorageAlarm::NoSpace));
    let text = refused.to_string();
    assert!(
        text.contains("compact and defragment it, then disarm its NOSPACE alarm"),
        "{text}"
    );
    let full = registry.storage_status().await.unwrap();
    assert_eq!(full.alarms, [StorageAlarm::NoSpace]);
    assert!(
        full.database_size > 8 * 1024 * 1024 && full.revision > before.revision,
        "{full:?}"
    );
    // Reading and deleting are possible, and so is every call that needs no new space; leases are not granted.
    assert!(registry.get("/x").await.unwrap().is_some());
    let lease = registry
        .grant_without_keep_alive(std::time::Duration::from_secs(60))
        .await;
    assert!(matches!(lease, Err(Error::NoSpace { .. })), "{lease:?}");

    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    let all = etcd_client::DeleteOptions::new().with_prefix();
    client.delete("/filler/", Some(all)).await.unwrap();
    let revision = registry.storage_status().await.unwrap().revision;
    // Not physical, it would return before the pages are free, and the defragmentation might free none.
    let physical = etcd_client::CompactionOptions::new().with_physical();
    client.compact(revision, Some(physical)).await.unwrap();
    client.defragment().await.unwrap();
    let text = registry.put("/x", "2", None).await.unwrap_err().to_string();
    assert!(
        text.contains("no space left"),
        "the alarm stays until it is disarmed: {text}"
    );
    // As `etcdctl alarm disarm` does: for each member that raised it.
    let raised = client.alarm(AlarmAction::Get, AlarmType::None, None);
    for alarm in raised.await.unwrap().alarms() {
        let mut member = AlarmOptions::new();
        member.with_member(alarm.member_id());
        let (end, kind) = (AlarmAction::Deactivate, AlarmType::Nospace);
        client.alarm(end, kind, Some(member)).await.unwrap();
    }
    registry.put("/x", "2", None).await.unwrap();
    let after = registry.storage_status().await.unwrap();
    assert_eq!(after.alarms, []);
    assert!(after.database_size < full.database_size / 4, "{after:?}");
}

#[tokio::test]
async fn an_etcd_whose_data_differ_refuses_everything_with_the_remedy() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    client
        .alarm(AlarmAction::Activate, AlarmType::Corrupt, None)
        .await
        .unwrap();
    let status = registry.storage_status().await.unwrap();
    assert_eq!(status.alarms, [StorageAlarm::Corrupt]);
    let error = registry.put("/x", "1", None).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("etcdctl endpoint hashkv --cluster"),
        "{error}"
    );
}
