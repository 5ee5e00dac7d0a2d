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
        at: now(),
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

/// A replica whose registry is `registry`, and what another one publishes there.
struct TwoReplicas {
    registry: Registry,
    keys: ActionKeys,
    settings: ActionSettings,
    approvals: ReplicaApprovals,
    lease: Lease,
}

impl TwoReplicas {
    async fn start() -> Self {
        let registry = MemoryEtcd::new().connect().registry();
        let lease = registry.grant(PUBLICATION_TTL).await.unwrap();
        Self {
            registry,
            keys: ActionKeys::new("/s"),
            settings: settings("b"),
            approvals: ReplicaApprovals::default(),
            lease,
        }
    }

    fn key(&self) -> String {
        publication_key(&self.keys, self.lease.id())
    }

    async fn put(&self, value: impl Into<Vec<u8>>, lease: Option<LeaseId>) {
        let put = self.registry.put(self.key(), value.into(), lease);
        put.await.unwrap();
    }

    async fn publish(&self, published: &PublishedApprovals) {
        self.put(encode(published).unwrap(), Some(self.lease.id()))
            .await;
    }

    async fn refresh(&self) -> Result<(), ActionError> {
        self.approvals
            .refresh(&self.registry, &self.keys, &self.settings)
            .await
    }

    fn needed(&self) -> u32 {
        let cluster = "lab".parse().unwrap();
        let limits = ActionLimits::default();
        self.approvals
            .raised(limits, KIND, &cluster)
            .approvals_needed
    }

    fn notices(&self) -> Vec<String> {
        self.approvals.notices().borrow().clone()
    }
}

fn two_approvals() -> PublishedApprovals {
    PublishedApprovals {
        default: 2,
        ..published("a")
    }
}

#[tokio::test]
async fn unreadable_settings_refuse_and_name_the_key() {
    let replicas = TwoReplicas::start().await;
    replicas.put("{", Some(replicas.lease.id())).await;
    let error = replicas.refresh().await.unwrap_err();
    assert!(matches!(error, ActionError::OtherSettings(_)), "{error}");
    assert!(error.to_string().contains(&replicas.key()), "{error}");

    replicas.publish(&two_approvals()).await;
    replicas.refresh().await.unwrap();
    assert_eq!(replicas.needed(), 2);
    assert_eq!(replicas.approvals.count(KIND, 1), 2);
    let notices = replicas.notices();
    assert!(
        notices[0].contains("settings of a differ from those of b"),
        "{notices:?}"
    );
    let same = PublishedApprovals {
        replica: ReplicaId::new("a"),
        ..PublishedApprovals::of(&replicas.settings)
    };
    replicas.publish(&same).await;
    replicas.refresh().await.unwrap();
    assert_eq!(replicas.notices(), [""; 0]);
}

/// The seal of a former publication stays valid; only its lease proves that the replica runs.
#[tokio::test]
async fn a_publication_without_its_lease_does_not_count_and_is_named() {
    let replicas = TwoReplicas::start().await;
    let other = replicas.registry.grant(PUBLICATION_TTL).await.unwrap();
    for lease in [None, Some(other.id())] {
        for value in [encode(&two_approvals()).unwrap(), b"{".to_vec()] {
            replicas.put(value, lease).await;
            replicas.refresh().await.unwrap();
            assert_eq!(replicas.needed(), ActionLimits::default().approvals_needed);
            let notices = replicas.notices();
            assert!(
                notices.len() == 1 && notices[0].starts_with(&replicas.key()),
                "{notices:?}"
            );
        }
    }
    // Its replica writes it again.
    replicas.publish(&two_approvals()).await;
    replicas.refresh().await.unwrap();
    assert_eq!(replicas.needed(), 2);
}

#[tokio::test]
async fn a_clock_that_differs_is_named() {
    let replicas = TwoReplicas::start().await;
    for minutes in [59, 60] {
        let ahead = PublishedApprovals {
            replica: ReplicaId::new("a"),
            at: now().plus(Duration::from_secs(60 * minutes)),
            ..PublishedApprovals::of(&replicas.settings)
        };
        replicas.publish(&ahead).await;
        replicas.refresh().await.unwrap();
    }
    let notices = replicas.notices();
    assert!(
        notices.len() == 1 && notices[0].starts_with("The clock of a is"),
        "{notices:?}"
    );
    let lease = replicas.lease.id();
    replicas.registry.revoke(lease).await.unwrap();
    replicas.refresh().await.unwrap();
    assert_eq!(replicas.notices(), [""; 0]);
}
