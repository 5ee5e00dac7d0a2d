//! Users, passwords and certificates.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::{Client, Permission};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use registry::{Error, EtcdSettings, Registry, Secret, WatchEvent};
use testing::etcd::{EtcdCluster, loopback_address};

use crate::{next_event, next_reset};

fn connect_as(etcd: &EtcdCluster, user: &str, password: &str) -> Registry {
    let settings = EtcdSettings {
        user: Some(user.to_owned()),
        password: Some(Secret::new(password)),
        ..EtcdSettings::new(etcd.endpoints())
    };
    Registry::connect(settings).unwrap()
}

/// An etcd with the users root:secret and reader:secret, the latter seeing /galera/ only.
async fn etcd_with_accounts() -> EtcdCluster {
    let etcd = EtcdCluster::single().await;
    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    client.role_add("reader").await.unwrap();
    let permission = Permission::read("/galera/").with_prefix();
    client
        .role_grant_permission("reader", permission)
        .await
        .unwrap();
    for (user, role) in [("root", "root"), ("reader", "reader")] {
        client.user_add(user, "secret", None).await.unwrap();
        client.user_grant_role(user, role).await.unwrap();
    }
    client.auth_enable().await.unwrap();
    etcd
}

#[tokio::test]
async fn a_wrong_password_is_distinguished_from_an_outage() {
    let mut etcd = etcd_with_accounts().await;
    let root = connect_as(&etcd, "root", "secret");
    root.put("/galera/x", "1", None).await.unwrap();
    for refused in [
        connect_as(&etcd, "root", "wrong"),
        connect_as(&etcd, "nobody", "secret"),
        etcd.registry(),
    ] {
        let error = refused.get("/galera/x").await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        match next_event(&mut refused.watch("/galera/")).await {
            WatchEvent::Unreachable { error, .. } => {
                assert!(matches!(error, Error::Denied { .. }), "{error}")
            }
            other => panic!("{other:?}"),
        }
    }
    // A restart makes every token invalid; a new one is fetched automatically.
    etcd.kill(0);
    etcd.start(0);
    etcd.wait_until_ready(&root).await;
    assert!(root.get("/galera/x").await.unwrap().is_some());
}

#[tokio::test]
async fn a_role_limits_what_is_seen_and_written() {
    let etcd = etcd_with_accounts().await;
    let reader = connect_as(&etcd, "reader", "secret");
    reader.ready().await.unwrap();
    assert!(reader.list("/galera/").await.unwrap().entries.is_empty());
    next_reset(&mut reader.watch("/galera/")).await;
    for refused in [
        reader.list("/galera-console/").await.map(drop),
        reader.put("/galera/x", "1", None).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
    }
    let mut subscription = reader.watch("/galera-console/");
    assert!(matches!(
        next_event(&mut subscription).await,
        WatchEvent::Unreachable { .. }
    ));
}

/// Writes `ca.pem`, `cert.pem` and `key.pem` for `address` into `dir`.
fn certificates(dir: &Path, address: Ipv4Addr) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_cert = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec![address.to_string()];
    let cert = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("ca.pem"), authority_cert.pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn mutual_tls_is_spoken_and_checked() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (dir.path().join("ours"), dir.path().join("others"));
    let address = loopback_address();
    certificates(&ours, address);
    certificates(&others, address);
    let file = |name: &str| ours.join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let args = [
        "--client-cert-auth",
        "--trusted-ca-file",
        &ca,
        "--cert-file",
        &cert,
        "--key-file",
        &key,
    ];
    let etcd = EtcdCluster::spawn_at(address, 1, "https", &args);
    let settings = |authority: &Path, identity: Option<&Path>| EtcdSettings {
        ca: Some(authority.join("ca.pem")),
        cert: identity.map(|dir| dir.join("cert.pem")),
        key: identity.map(|dir| dir.join("key.pem")),
        ..EtcdSettings::new(etcd.endpoints())
    };
    let good = Registry::connect(settings(&ours, Some(&ours))).unwrap();
    etcd.wait_until_ready(&good).await;
    good.put("/x", "1", None).await.unwrap();
    next_reset(&mut good.watch("/")).await;

    // A refused read is repeated until its deadline.
    let refused = |settings: EtcdSettings| EtcdSettings {
        deadline: Duration::from_secs(2),
        ..settings
    };
    let stranger = Registry::connect(refused(settings(&others, Some(&ours)))).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        // The last attempt before a deadline may have had no time for a handshake.
        let error = stranger.get("/x").await.unwrap_err().to_string();
        if error.contains("certificate") {
            break;
        }
        assert!(Instant::now() < end, "{error}");
    }
    let unknown = Registry::connect(refused(settings(&ours, Some(&others)))).unwrap();
    assert!(unknown.get("/x").await.is_err());
    let nameless = Registry::connect(refused(settings(&ours, None))).unwrap();
    assert!(nameless.get("/x").await.is_err());
    let plain = Registry::connect(refused(EtcdSettings::new([etcd.address(0)]))).unwrap();
    assert!(plain.get("/x").await.is_err());
}
