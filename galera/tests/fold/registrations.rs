//! Registry keys: their format in every dialect, and which of them are stale.

use galera::observe::registration::{
    ClusterField, NodeField, ParsedKey, RawKeyValue, RegistryKeys, build_registry_view, parse_key,
    status_from_fields,
};
use galera::view::RegistryKeyView;

use crate::fixture::{FakeServer, FoldFixture, RUNNING_FIELDS, at, id, refused};

fn field_of(prefix: &str, key: &str) -> Option<NodeField> {
    match parse_key(prefix, key.as_bytes()) {
        ParsedKey::Node { field, .. } => Some(field),
        _ => None,
    }
}

#[test]
fn keys_of_nodes_in_every_dialect() {
    let table = [
        ("/galera", "/galera/lab/10.0.0.1/wsrep_local_state_comment"),
        ("/galera", "/galera/lab/10.0.0.1/wsrep_something_new_2"),
        ("/galera", "/galera/lab/10.0.0.1:3307/wsrep_last_committed"),
        ("/galera", "/galera/lab/[::1]:3307/phase"),
        ("/galera", "/galera/lab/fe80::1/registered"),
        ("/galera", "/galera/lab/db1/recovered_position"),
        ("/galera", "/galera/lab/10.0.0.1/seqno"),
        ("/galera", "/galera/lab/10.0.0.1/ipaddress"),
        ("/galera/", "/galera/lab/10.0.0.1/seqno"),
        ("/teams/a/galera", "/teams/a/galera/lab/10.0.0.1/seqno"),
        ("", "/lab/10.0.0.1/seqno"),
        ("/pxc-cluster", "/pxc-cluster/lab/10.0.0.1/ipaddr"),
        (
            "/old/pxc-cluster/",
            "/old/pxc-cluster/lab/10.0.0.1/hostname",
        ),
    ];
    for (prefix, key) in table {
        let kind = parse_key(prefix, key.as_bytes());
        let ParsedKey::Node {
            cluster,
            node,
            field,
        } = kind
        else {
            panic!("{key}: {kind:?}");
        };
        assert_eq!(
            RegistryKeys::new(prefix).node_key(&cluster, &node, field.as_str()),
            key
        );
    }
}

#[test]
fn keys_of_clusters() {
    for (word, expected) in [
        ("founder", ClusterField::Founder),
        ("bootstrap", ClusterField::Bootstrap),
    ] {
        let key = format!("/galera/lab/{word}");
        let ParsedKey::Cluster { cluster, field } = parse_key("/galera", key.as_bytes()) else {
            panic!("{key}");
        };
        assert_eq!((cluster.as_str(), field), ("lab", expected));
        assert_eq!(
            RegistryKeys::new("/galera").cluster_key(&cluster, field),
            key
        );
    }
    assert_eq!(RegistryKeys::new("/galera/").root_prefix(), "/galera/");
    assert_eq!(
        RegistryKeys::new("/galera").cluster_prefix(&"lab".parse().unwrap()),
        "/galera/lab/"
    );
}

#[test]
fn i29_unknown_keys_have_a_reason() {
    let long = format!("/galera/{}/10.0.0.1/seqno", "x".repeat(300));
    let table: [(&str, &[u8], bool, &str); 12] = [
        (
            "/galera",
            b"/galera/lab/10.0.0.1/password",
            true,
            "field \"password\"",
        ),
        (
            "/galera",
            b"/galera/lab/10.0.0.1/ipaddr",
            true,
            "field \"ipaddr\"",
        ),
        (
            "/galera",
            b"/galera/lab/10.0.0.1/WSREP_READY",
            true,
            "field",
        ),
        (
            "/galera",
            b"/galera/lab/10.0.0.1",
            true,
            "neither CLUSTER/NODE/FIELD",
        ),
        (
            "/galera",
            b"/galera/lab/10.0.0.1/a/b",
            true,
            "neither CLUSTER/NODE/FIELD",
        ),
        ("/galera", b"/galera/lab/<script>/seqno", true, "'<'"),
        ("/galera", b"/galera/lab//seqno", true, "empty"),
        ("/galera", b"/galera/my lab/10.0.0.1/seqno", false, "' '"),
        ("/galera", long.as_bytes(), false, "300 characters"),
        ("/galera", b"/galeras/lab/10.0.0.1/seqno", false, "outside"),
        ("/galera", b"/galera/\xff", false, "UTF-8"),
        (
            "/pxc-cluster",
            b"/pxc-cluster/queue/lab/00000000000000000042",
            false,
            "queue",
        ),
    ];
    for (prefix, key, within, fragment) in table {
        match parse_key(prefix, key) {
            ParsedKey::Unknown { cluster, reason } => {
                assert_eq!(cluster.is_some(), within, "{reason}");
                assert!(reason.contains(fragment), "{reason}");
            }
            kind => panic!("{kind:?}"),
        }
    }
    assert_eq!(
        field_of("/pxc-cluster", "/pxc-cluster/lab/10.0.0.1/seqno"),
        None
    );
}

#[test]
fn older_dialects_are_parsed() {
    let fields = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        status_from_fields(&fields(&[("seqno", "12")])).last_committed,
        Some(12)
    );
    assert_eq!(
        status_from_fields(&fields(&[("seqno", "12"), ("wsrep_last_committed", "13")]))
            .last_committed,
        Some(13)
    );
    assert_eq!(
        status_from_fields(&fields(&[
            ("seqno", "12"),
            ("wsrep_last_committed", "garbage")
        ]))
        .last_committed,
        Some(12)
    );
    assert_eq!(
        status_from_fields(&fields(&[("seqno", "-1"), ("ipaddress", "10.0.0.1")])).last_committed,
        None
    );
}

fn raw_key_value(key: &str, lease: i64) -> RawKeyValue {
    RawKeyValue {
        key: key.as_bytes().to_vec(),
        value: b"Synced".to_vec(),
        mod_revision: 7,
        lease,
        ttl: (lease != 0).then_some(8),
    }
}

fn list_keys(fixture: &FoldFixture, raw: &[RawKeyValue]) -> Vec<RegistryKeyView> {
    let view = fixture.view();
    build_registry_view("/galera", &view.name, 42, at(10.0), raw, &view, 3306).keys
}

#[test]
fn stale_keys_have_a_reason() {
    let fixture = FoldFixture::expecting(&["10.0.0.1"])
        .answers("10.0.0.1", FakeServer::synced("db1").view(&["AUTO"], 0))
        .registered("10.0.0.1", 9.0, &RUNNING_FIELDS)
        .durable("10.0.0.1")
        .durable("10.0.0.2")
        .fails("10.0.0.2", 1.0, refused());
    let keys = list_keys(
        &fixture,
        &[
            raw_key_value("/galera/lab/10.0.0.2/registered", 0),
            raw_key_value("/galera/lab/10.0.0.1:3306/wsrep_local_state_comment", 0x3c9),
            raw_key_value("/galera/lab/10.0.0.1/registered", 0),
            raw_key_value("/galera/lab/founder", 0),
            raw_key_value("/galera/lab/queue", 0),
        ],
    );
    let found: Vec<(&str, bool, bool)> = keys
        .iter()
        .map(|key| (key.key.as_str(), key.known, key.stale))
        .collect();
    assert_eq!(
        found,
        [
            ("/galera/lab/10.0.0.1/registered", true, false),
            (
                "/galera/lab/10.0.0.1:3306/wsrep_local_state_comment",
                true,
                false
            ),
            ("/galera/lab/10.0.0.2/registered", true, true),
            ("/galera/lab/founder", true, false),
            ("/galera/lab/queue", false, false),
        ]
    );
    assert_eq!(
        (keys[1].lease.as_deref(), keys[1].ttl),
        (Some("3c9"), Some(8))
    );
    assert_eq!(keys[1].node, Some(id("10.0.0.1")));
    assert!(
        keys[2]
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains("10.0.0.2 is unreachable"))
    );
    assert!(keys[4].reason.is_some());
}

#[test]
fn i18_nothing_is_called_stale_while_the_registry_is_lost() {
    let fixture = FoldFixture::expecting(&["a"])
        .fails("a", 1.0, refused())
        .durable("a")
        .registry_lost(5.0);
    assert!(
        list_keys(&fixture, &[raw_key_value("/galera/lab/a/registered", 0)])
            .iter()
            .all(|key| !key.stale)
    );
}

#[test]
fn values_are_shown_up_to_a_limit() {
    let fixture = FoldFixture::expecting(&["a"]);
    let mut key = raw_key_value("/galera/lab/a/phase", 0);
    key.value = "é".repeat(1_000_000).into_bytes();
    let shown = &list_keys(&fixture, std::slice::from_ref(&key))[0];
    assert_eq!(
        shown.value.chars().count(),
        RegistryKeyView::VALUE_SHOWN_MAX
    );
    assert_eq!((shown.value_bytes, shown.truncated), (2_000_000, true));
    key.value = vec![0xff, b'a'];
    let shown = &list_keys(&fixture, &[key])[0];
    assert_eq!(
        (shown.value.as_str(), shown.truncated),
        ("\u{fffd}a", false)
    );
}
