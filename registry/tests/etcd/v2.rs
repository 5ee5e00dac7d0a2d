//! The v2 keys of a real etcd, and of servers that are none.

use std::time::Duration;

use registry::v2::{
    ANSWER_BYTES_MAX, V2Error, V2Event, V2Listing, V2Read, V2Registry, V2Subscription,
};
use registry::{EtcdSettings, Secret};
use testing::certificates::{TestAuthority, VALID, write_private};
use testing::etcd::{EtcdCluster, loopback_address};
use testing::v2::V2Scripts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const WAIT: Duration = Duration::from_secs(120);

async fn etcd_with_v2() -> (EtcdCluster, V2Registry, V2Scripts) {
    let etcd = EtcdCluster::spawn(1, "http", &["--enable-v2=true"]);
    etcd.wait_until_ready(&etcd.registry()).await;
    let registry = V2Registry::connect(EtcdSettings::new(etcd.endpoints())).unwrap();
    let scripts = V2Scripts::new(etcd.address(0));
    (etcd, registry, scripts)
}

async fn listing(registry: &V2Registry) -> V2Listing {
    match registry.list("/galera").await.unwrap() {
        V2Read::Listing(listing) => listing,
        V2Read::Disabled => panic!("v2 is on"),
    }
}

/// The first listing for which `wanted` holds.
async fn listing_where(
    subscription: &mut V2Subscription,
    wanted: impl Fn(&V2Listing) -> bool,
) -> V2Listing {
    let search = async {
        loop {
            match subscription.next().await.unwrap() {
                V2Event::Listing(listing) if wanted(&listing) => return listing,
                _ => {}
            }
        }
    };
    tokio::time::timeout(WAIT, search).await.expect("a listing")
}

fn value<'a>(listing: &'a V2Listing, key: &str) -> Option<&'a str> {
    let entry = listing.entries.iter().find(|entry| entry.key == key)?;
    Some(&entry.value)
}

#[tokio::test]
async fn keys_are_listed_with_their_times_to_live_and_directories_without_keys() {
    let (_etcd, registry, scripts) = etcd_with_v2().await;
    assert_eq!(
        listing(&registry).await.entries,
        [],
        "nothing is registered"
    );
    scripts.register_address("/galera/lab", "10.0.0.1");
    scripts.report_pxc56("/galera/lab", "10.0.0.1", "Synced", 2881, 30);
    scripts.make_directory("/galera/lab/10.0.0.9");
    let listing = listing(&registry).await;
    let keys: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "/galera/lab/10.0.0.1/ipaddress",
            "/galera/lab/10.0.0.1/wsrep_last_committed",
            "/galera/lab/10.0.0.1/wsrep_local_state_comment",
        ]
    );
    assert_eq!(listing.entries[0].ttl, None);
    assert!(
        matches!(listing.entries[2].ttl, Some(1..=30)),
        "{listing:?}"
    );
    assert!(listing.entries[2].modified_index > listing.entries[0].modified_index);
    assert_eq!(listing.empty_directories, ["/galera/lab/10.0.0.9"]);
}

#[tokio::test]
async fn a_watch_reports_writes_and_what_expires() {
    let (_etcd, registry, scripts) = etcd_with_v2().await;
    let mut events = registry.watch("/galera");
    listing_where(&mut events, |listing| listing.entries.is_empty()).await;
    scripts.report_mariadb("/galera/lab", "10.0.0.1", "Synced", 5, 2);
    let key = "/galera/lab/10.0.0.1/wsrep_local_state_comment";
    listing_where(&mut events, |listing| value(listing, key) == Some("Synced")).await;
    let left = listing_where(&mut events, |listing| listing.entries.is_empty()).await;
    assert_eq!(left.empty_directories, ["/galera/lab/10.0.0.1"]);
}

#[tokio::test]
async fn more_changes_than_etcd_remembers_are_not_missed() {
    let (_etcd, registry, scripts) = etcd_with_v2().await;
    scripts.put("/galera/lab/10.0.0.1/seqno", "0", None);
    let mut events = registry.watch("/galera");
    listing_where(&mut events, |listing| !listing.entries.is_empty()).await;
    // Etcd keeps 1,000 events.
    let writes = scripts.clone();
    tokio::task::spawn_blocking(move || {
        for number in 1..=1_200 {
            writes.put("/elsewhere", &number.to_string(), None);
        }
        writes.put("/galera/lab/10.0.0.1/seqno", "1", None);
    })
    .await
    .unwrap();
    let key = "/galera/lab/10.0.0.1/seqno";
    listing_where(&mut events, |listing| value(listing, key) == Some("1")).await;
}

#[tokio::test]
async fn an_etcd_without_v2_is_disabled_and_one_that_dies_is_reported_and_found_again() {
    let off = EtcdCluster::single().await;
    let registry = V2Registry::connect(EtcdSettings::new(off.endpoints())).unwrap();
    assert_eq!(registry.list("/galera").await.unwrap(), V2Read::Disabled);

    let (mut etcd, _, scripts) = etcd_with_v2().await;
    scripts.put("/galera/lab/10.0.0.1/seqno", "7", None);
    let settings = EtcdSettings {
        grace: Duration::from_millis(100),
        deadline: Duration::from_secs(2),
        ..EtcdSettings::new(etcd.endpoints())
    };
    let mut events = V2Registry::connect(settings).unwrap().watch("/galera");
    listing_where(&mut events, |listing| !listing.entries.is_empty()).await;
    etcd.kill(0);
    let outage = async {
        loop {
            if let V2Event::Unreadable { error, .. } = events.next().await.unwrap() {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(WAIT, outage).await.unwrap();
    assert!(matches!(error, V2Error::Unavailable { .. }), "{error}");
    assert!(
        error.to_string().contains("check that etcd runs there"),
        "{error}"
    );
    etcd.start(0);
    listing_where(&mut events, |listing| !listing.entries.is_empty()).await;
}

#[tokio::test]
async fn an_account_is_sent_and_its_absence_is_named() {
    let (etcd, anonymous, scripts) = etcd_with_v2().await;
    scripts.put("/galera/lab/10.0.0.1/seqno", "7", None);
    let json = "application/json";
    let root = r#"{"user":"root","password":"secret"}"#;
    scripts.request("PUT", "/v2/auth/users/root", json, root);
    scripts.request("PUT", "/v2/auth/enable", json, "");
    let as_root = scripts.authorized("Basic cm9vdDpzZWNyZXQ=");
    let revoked = r#"{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}"#;
    as_root.request("PUT", "/v2/auth/roles/guest", json, revoked);
    let refused = anonymous.list("/galera").await.unwrap_err();
    assert!(matches!(refused, V2Error::Denied { .. }), "{refused}");
    assert!(refused.to_string().contains("--etcd-user"), "{refused}");
    let account = |password: &str| EtcdSettings {
        user: Some("root".to_owned()),
        password: Some(Secret::new(password)),
        ..EtcdSettings::new(etcd.endpoints())
    };
    let wrong = V2Registry::connect(account("wrong")).unwrap();
    let refused = wrong.list("/galera").await.unwrap_err();
    assert!(matches!(refused, V2Error::Denied { .. }), "{refused}");
    assert!(!refused.to_string().contains("wrong"), "{refused}");
    let known = V2Registry::connect(account("secret")).unwrap();
    assert_eq!(listing(&known).await.entries.len(), 1);
}

#[tokio::test]
async fn tls_is_verified_by_the_authority_of_etcd() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("etcd");
    let ca = write_private(directory.path(), "ca.pem", authority.pem());
    let other = write_private(directory.path(), "other.pem", TestAuthority::new("x").pem());
    let address = loopback_address();
    let own = authority.issue(&address.to_string(), VALID);
    let (cert, key) = own.write(directory.path(), "server");
    let arguments = [
        "--enable-v2=true",
        "--cert-file",
        cert.to_str().unwrap(),
        "--key-file",
        key.to_str().unwrap(),
    ];
    let etcd = EtcdCluster::spawn_at(address, 1, "https", &arguments);
    let settings = |ca| EtcdSettings {
        ca: Some(ca),
        ..EtcdSettings::new(etcd.endpoints())
    };
    let v3 = registry::Registry::connect(settings(ca.clone())).unwrap();
    etcd.wait_until_ready(&v3).await;
    let trusted = V2Registry::connect(settings(ca)).unwrap();
    assert_eq!(listing(&trusted).await.entries, []);
    let distrusted = V2Registry::connect(settings(other)).unwrap();
    let error = distrusted.list("/galera").await.unwrap_err().to_string();
    assert!(
        error.contains("TLS failed") && error.contains("other.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn ten_thousand_stale_directories_and_odd_names_are_listed() {
    let (_etcd, registry, scripts) = etcd_with_v2().await;
    // 32 bytes, the longest name of a cluster.
    let name = "銀行データ倉庫東京一A1";
    assert_eq!(name.len(), 32);
    scripts.put(
        &format!("/galera/{name}/10.0.0.1/seqno"),
        "\u{1}\"\\ü\n",
        None,
    );
    scripts.put("/galera/leaf-where-a-cluster-is-expected", "x", None);
    scripts.make_directory("/galera/lab/10.0.0.1/seqno");
    let writers = (0..8).map(|writer| {
        let scripts = scripts.clone();
        tokio::task::spawn_blocking(move || {
            for number in 0..1_250 {
                scripts.make_directory(&format!("/galera/lab/10.9.{writer}.{number}"));
            }
        })
    });
    futures::future::join_all(writers)
        .await
        .into_iter()
        .for_each(Result::unwrap);
    let listing = listing(&registry).await;
    assert_eq!(listing.empty_directories.len(), 10_001);
    let keys: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    let key = format!("/galera/{name}/10.0.0.1/seqno");
    assert_eq!(keys, ["/galera/leaf-where-a-cluster-is-expected", &key]);
    assert_eq!(value(&listing, &key), Some("\u{1}\"\\ü\n"));
}

/// A server that answers each connection with `answer` and then stays silent.
async fn server_that_answers(answer: Vec<u8>) -> (V2Registry, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            open.push(stream);
        }
    });
    let settings = EtcdSettings {
        deadline: Duration::from_secs(2),
        ..EtcdSettings::new([address.to_string()])
    };
    (V2Registry::connect(settings).unwrap(), task)
}

fn answer(status: &str, head: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{head}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn what_is_not_etcd_is_named_and_never_an_empty_registry() {
    let index = "X-Etcd-Index: 7\r\n";
    let tree = r#"{"action":"get","node":{"key":"/galera","dir":true}}"#;
    let endless =
        format!("HTTP/1.1 200 OK\r\n{index}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"nod\r\n");
    let huge = format!("{}{}", r#"{"node":{"key":""#, "x".repeat(ANSWER_BYTES_MAX));
    for (name, bytes, expected) in [
        ("nonsense", b"\0\x15SSH-2.0\r\n".to_vec(), "not valid HTTP"),
        (
            "a page",
            answer("200 OK", index, "<html>"),
            "not a key listing",
        ),
        (
            "another tree",
            answer("200 OK", index, r#"{"node":{"key":"/etc","dir":true}}"#),
            "not about /galera",
        ),
        ("no index", answer("200 OK", "", tree), "X-Etcd-Index"),
        (
            "a redirect",
            answer("302 Found", "Location: http://10.0.0.1/\r\n", ""),
            "redirects (status 302)",
        ),
        (
            "a proxy's page",
            answer("404 Not Found", "", "<html>no such site"),
            "status 404",
        ),
        (
            "a failing proxy",
            answer("502 Bad Gateway", "", "oops"),
            "status 502",
        ),
        (
            "an error of etcd",
            answer(
                "500 Error",
                "",
                r#"{"errorCode":300,"message":"Raft Internal Error"}"#,
            ),
            "error 300 (Raft Internal Error)",
        ),
        (
            "no end",
            endless.into_bytes(),
            "no complete answer within 2 s",
        ),
        ("silence", Vec::new(), "no complete answer within 2 s"),
        (
            "too long",
            answer("200 OK", index, &huge),
            "longer than 16 MiB",
        ),
    ] {
        let (registry, server) = server_that_answers(bytes).await;
        let error = registry.list("/galera").await.unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(
            error.contains("127.0.0.1") && error.contains("; check "),
            "{name}: {error}"
        );
        server.abort();
    }
}
