use console_core::current_labels::CurrentLabels;
use galera::recover::bootstrap::{RecoveryReach, RecoverySettings};
use registry::memory::MemoryEtcd;

use super::*;

const KIND: ActionKind = ActionKind::Bootstrap;

fn settings(replica: &str) -> ActionSettings {
    ActionSettings {
        replica: ReplicaId::new(replica),
        registry_prefix: "/galera".to_owned(),
        state_prefix: "/s".to_owned(),
        plan: RecoverySettings::default(),
        approvals: BTreeMap::from([(KIND, 1)]),
        cluster_approvals: vec!["env=production=1:dba".parse().unwrap()],
        labels: CurrentLabels::default(),
        limits: ActionLimits::default(),
        lock_ttl: Duration::from_secs(10),
        recovery_reach: RecoveryReach::Nowhere,
        order_key: None,
    }
}

fn published(replica: &str) -> PublishedApprovals {
    PublishedApprovals {
        replica: ReplicaId::new(replica),
        default: 1,
        kinds: BTreeMap::new(),
        clusters: Vec::new(),
        labels: Vec::new(),
    }
}

fn raised(by: PublishedApprovals, cluster: &str) -> (u32, String) {
    let required = RequiredApprovals::parse(by).unwrap();
    let mut limits = ActionLimits {
        approvals_needed: 1,
        approver_groups: vec!["sre".parse().unwrap()],
        ..ActionLimits::default()
    };
    required.raise(&mut limits, KIND, &cluster.parse().unwrap());
    let groups: Vec<&str> = limits
        .approver_groups
        .iter()
        .map(|group| group.as_str())
        .collect();
    (limits.approvals_needed, groups.join(" "))
}

#[test]
fn the_strictest_number_and_every_group_count() {
    let one = published("a");
    assert_eq!(raised(one.clone(), "lab"), (1, "sre".to_owned()));
    let of_kind = PublishedApprovals {
        kinds: BTreeMap::from([
            ("bootstrap".to_owned(), 3),
            ("of_a_newer_version".to_owned(), 9),
        ]),
        ..one.clone()
    };
    assert_eq!(raised(of_kind, "lab"), (3, "sre".to_owned()));
    let zero = PublishedApprovals {
        default: 0,
        ..one.clone()
    };
    assert_eq!(raised(zero, "lab"), (1, "sre".to_owned()), "never fewer");
    // By the labels of that replica, not by those of this one.
    let labelled = PublishedApprovals {
        clusters: vec!["env=production=2:dba".to_owned()],
        labels: vec!["prod-*:env=production".to_owned()],
        ..one
    };
    assert_eq!(
        raised(labelled.clone(), "prod-1"),
        (2, "dba sre".to_owned())
    );
    assert_eq!(raised(labelled, "lab"), (1, "sre".to_owned()));
}

#[test]
fn rules_of_another_version_are_not_read() {
    for (clusters, labels) in [
        ("prod-*=2:dba:x", "a:b=c"),
        ("prod-*=2", "a"),
        ("", "a:b=c"),
    ] {
        let other = PublishedApprovals {
            clusters: vec![clusters.to_owned()],
            labels: vec![labels.to_owned()],
            ..published("a")
        };
        assert!(
            RequiredApprovals::parse(other).is_none(),
            "{clusters} {labels}"
        );
    }
}

#[tokio::test]
async fn unreadable_settings_refuse_and_name_the_key() {
    let etcd = MemoryEtcd::new();
    let registry = etcd.connect().registry();
    let keys = ActionKeys::new("/s");
    let settings = settings("b");
    let approvals = ReplicaApprovals::default();
    let key = format!("{}7", keys.approvals_prefix());
    registry.put(key.as_str(), "{", None).await.unwrap();
    let error = approvals
        .refresh(&registry, &keys, &settings)
        .await
        .unwrap_err();
    assert!(matches!(error, ActionError::OtherSettings(_)), "{error}");
    assert!(error.to_string().contains(&key), "{error}");
    let other = PublishedApprovals {
        default: 2,
        ..published("a")
    };
    registry
        .put(key.as_str(), encode(&other).unwrap(), None)
        .await
        .unwrap();
    approvals
        .refresh(&registry, &keys, &settings)
        .await
        .unwrap();
    let cluster = "lab".parse().unwrap();
    let limits = approvals.raised(ActionLimits::default(), KIND, &cluster);
    assert_eq!(limits.approvals_needed, 2);
    assert_eq!(approvals.count(KIND, 1), 2);
    let notice = approvals.notice().borrow().clone().unwrap();
    assert!(
        notice.contains("settings of a differ from those of b"),
        "{notice}"
    );
    let same = PublishedApprovals {
        replica: ReplicaId::new("a"),
        ..PublishedApprovals::of(&settings)
    };
    registry
        .put(key.as_str(), encode(&same).unwrap(), None)
        .await
        .unwrap();
    approvals
        .refresh(&registry, &keys, &settings)
        .await
        .unwrap();
    assert_eq!(*approvals.notice().borrow(), None);
}
