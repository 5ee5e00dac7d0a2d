//! Which clusters are monitored, with scripted events of the registry.

use std::time::Duration;

use console_core::address_policy::AddressPolicy;
use registry::EtcdSettings;

use super::*;
use crate::key_index::LISTED_KEYS_MAX;
use crate::mysql::{MysqlSettings, Tls};

const MAX_CLUSTERS: usize = 20;

fn discovery(clusters: &[&str]) -> ClusterDiscovery {
    // Never contacted: the tests inject the watch events.
    let registry = Registry::connect(EtcdSettings::new(["127.0.0.1:1"])).unwrap();
    discovery_in(registry, clusters)
}

fn discovery_in(registry: Registry, clusters: &[&str]) -> ClusterDiscovery {
    let settings = MonitorSettings {
        clusters: clusters
            .iter()
            .map(|name| (name.parse().unwrap(), BTreeSet::new()))
            .collect(),
        labels: console_core::current_labels::CurrentLabels::default(),
        registry_prefix: "/galera".to_owned(),
        state_prefix: "/galera-console".to_owned(),
        mysql: MysqlSettings {
            user: "console".to_owned(),
            password: registry::Secret::new(""),
            port: 3306,
            tls: Tls::Off,
            resolver: console_core::resolver::Resolver::default(),
            probe_policy: AddressPolicy::default(),
        },
        reserve: None,
        poll_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_secs(3),
        max_clusters: MAX_CLUSTERS,
        v2: None,
    };
    let probes = Arc::new(ProbeSettings {
        pinned: settings.pinned_members(),
        mysql: settings.mysql.clone(),
        reserve: None,
        poll_interval: settings.poll_interval,
        timeout: settings.probe_timeout,
        schedule_start: tokio::time::Instant::now(),
    });
    ClusterDiscovery::new(
        Arc::new(settings),
        registry,
        Arc::new(ViewPublisher::new()),
        Arc::default(),
        TaskTracker::new(),
        CancellationToken::new(),
        probes,
    )
}

fn entry(key: &str) -> RegistryEntry {
    RegistryEntry {
        key: key.into(),
        value: b"Synced".to_vec(),
        create_revision: 1,
        mod_revision: 2,
        version: 1,
        lease: 0,
    }
}

fn put(key: &str) -> WatchEvent {
    WatchEvent::Changes {
        revision: 2,
        changes: vec![KeyChange::Put(entry(key))],
    }
}

fn delete(key: &str) -> WatchEvent {
    WatchEvent::Changes {
        revision: 3,
        changes: vec![KeyChange::Delete {
            key: key.into(),
            revision: 3,
        }],
    }
}

fn names(discovery: &ClusterDiscovery) -> Vec<String> {
    discovery
        .monitored
        .keys()
        .map(ToString::to_string)
        .collect()
}

async fn published_notices(discovery: &ClusterDiscovery) -> Vec<String> {
    discovery.publisher.publish_overview();
    discovery
        .publisher
        .overview()
        .borrow()
        .value
        .notices
        .clone()
}

#[tokio::test]
async fn clusters_appear_and_disappear_with_their_keys() {
    let mut discovery = discovery(&["configured"]);
    discovery.start_monitoring(&"configured".parse().unwrap());
    discovery
        .on_registrations(put("/galera/found/db1/wsrep_ready"))
        .await;
    assert_eq!(names(&discovery), ["configured", "found"]);
    discovery
        .on_registrations(delete("/galera/found/db1/wsrep_ready"))
        .await;
    assert_eq!(names(&discovery), ["configured"]);
}

#[tokio::test]
async fn a_cluster_that_was_seen_primary_outlives_its_keys() {
    let mut discovery = discovery(&[]);
    let mut record = entry("/galera-console/expected/lab");
    record.value = br#"{"members":["db1"]}"#.to_vec();
    discovery
        .on_registrations(put("/galera/lab/db1/wsrep_ready"))
        .await;
    discovery
        .on_expected_members(WatchEvent::Reset {
            revision: 2,
            entries: vec![record],
        })
        .await;
    discovery
        .on_registrations(WatchEvent::Reset {
            revision: 3,
            entries: Vec::new(),
        })
        .await;
    assert_eq!(names(&discovery), ["lab"]);
    discovery
        .on_expected_members(delete("/galera-console/expected/lab"))
        .await;
    assert!(names(&discovery).is_empty());
}

#[tokio::test]
async fn an_invalid_cluster_name_is_a_notice_until_its_key_is_removed() {
    let mut discovery = discovery(&[]);
    let bad = "/galera/<script>alert(1)</script>/db1/wsrep_ready";
    discovery.on_registrations(put(bad)).await;
    assert!(names(&discovery).is_empty());
    let notices = published_notices(&discovery).await;
    assert!(
        notices.len() == 1 && notices[0].contains("is ignored"),
        "{notices:?}"
    );
    discovery.on_registrations(delete(bad)).await;
    assert!(published_notices(&discovery).await.is_empty());
}

#[tokio::test]
async fn the_number_of_clusters_and_notices_is_bounded() {
    let mut discovery = discovery(&[]);
    let keys = (0..MAX_CLUSTERS + 7).map(|number| format!("/galera/c{number}/db1/phase"));
    let bad = (0..50).map(|number| format!("/galera/a b{number}/db1/phase"));
    let entries = keys.chain(bad).map(|key| entry(&key)).collect();
    discovery
        .on_registrations(WatchEvent::Reset {
            revision: 2,
            entries,
        })
        .await;
    assert_eq!(discovery.monitored.len(), MAX_CLUSTERS);
    let notices = published_notices(&discovery).await;
    assert_eq!(notices.len(), LISTED_KEYS_MAX + 2);
    assert!(
        notices.iter().any(|notice| notice
            .starts_with("Not monitored, state unknown: 7 clusters: ")
            && notice.contains(" and 2 more. At most 20 are monitored (--max-clusters)")),
        "{notices:?}"
    );
    assert!(
        notices
            .iter()
            .any(|notice| notice.starts_with("40 more registry keys")),
        "{notices:?}"
    );
}

#[tokio::test]
async fn a_pinned_cluster_is_monitored_beyond_the_limit() {
    let pinned: Vec<String> = (0..MAX_CLUSTERS + 3).map(|n| format!("p{n}")).collect();
    let pinned: Vec<&str> = pinned.iter().map(String::as_str).collect();
    let mut discovery = discovery(&pinned);
    discovery
        .on_registrations(put("/galera/first/db1/phase"))
        .await;
    for name in pinned {
        discovery.start_monitoring(&name.parse().unwrap());
    }
    assert_eq!(discovery.monitored.len(), MAX_CLUSTERS + 4);
    discovery
        .on_registrations(put("/galera/late/db1/phase"))
        .await;
    assert_eq!(discovery.monitored.len(), MAX_CLUSTERS + 4);
    let notices = published_notices(&discovery).await;
    assert!(notices[0].contains("1 cluster: late."), "{notices:?}");
}

#[tokio::test]
async fn a_cluster_beyond_the_limit_is_monitored_once_there_is_room() {
    let store = registry::memory::MemoryEtcd::new();
    let registry = store.registry();
    let mut discovery = discovery_in(registry.clone(), &[]);
    for number in 0..MAX_CLUSTERS + 2 {
        let key = format!("/galera/c{number:02}/db1/phase");
        let write = registry::WriteOp::put(key.clone(), "Synced", None);
        let transaction = registry::Transaction::new().then([write]);
        registry.transact(&transaction).await.unwrap();
        discovery.on_registrations(put(&key)).await;
    }
    let mut record = entry("/galera-console/expected/c21");
    record.value = br#"{"members":["db1"]}"#.to_vec();
    let recorded = WatchEvent::Reset {
        revision: 2,
        entries: vec![record],
    };
    discovery.on_expected_members(recorded).await;
    assert!(!names(&discovery).contains(&"c21".to_owned()));
    discovery
        .on_registrations(delete("/galera/c03/db1/phase"))
        .await;
    let monitored = names(&discovery);
    assert!(monitored.contains(&"c21".to_owned()), "recorded ones first");
    assert!(!monitored.contains(&"c20".to_owned()));
    let notices = published_notices(&discovery).await;
    assert!(notices[0].contains("1 cluster: c20."), "{notices:?}");
    discovery
        .on_registrations(delete("/galera/c20/db1/phase"))
        .await;
    assert!(published_notices(&discovery).await.is_empty());
}

#[tokio::test]
async fn losing_the_registry_keeps_every_cluster_and_reports_the_time() {
    let mut discovery = discovery(&[]);
    discovery
        .on_registrations(WatchEvent::Reset {
            revision: 2,
            entries: vec![entry("/galera/lab/db1/wsrep_ready")],
        })
        .await;
    assert!(discovery.publisher.health().borrow().reachable);
    let since = now();
    discovery
        .on_registrations(WatchEvent::Unreachable {
            since,
            error: registry::Error::Unavailable {
                endpoints: "e1:2379".to_owned(),
                cause: "refused".to_owned(),
            },
        })
        .await;
    let health = discovery.publisher.health().borrow().clone();
    assert_eq!((health.reachable, health.since), (false, since));
    assert!(health.error.unwrap().contains("e1:2379"));
    assert_eq!(names(&discovery), ["lab"]);
    discovery.on_registrations(WatchEvent::Reachable).await;
    assert!(discovery.publisher.health().borrow().reachable);
}
