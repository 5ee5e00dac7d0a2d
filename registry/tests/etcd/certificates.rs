//! Certificates as bad input: what is wrong is named with its file or date, and a renewed one needs no restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use registry::{Error, EtcdSettings, Registry};
use tempfile::TempDir;
use testing::certificates::{
    EXPIRED, FUTURE, TestAuthority, TestCertificate, VALID, unusable_client_certificates,
    write_private,
};
use testing::etcd::{EtcdCluster, loopback_address};

/// An etcd with TLS, and files for its clients.
struct EncryptedEtcd {
    directory: TempDir,
    authority: TestAuthority,
    ca: PathBuf,
    etcd: EtcdCluster,
}

impl EncryptedEtcd {
    /// One whose certificate is made by `certificate` for its address; `further` arguments follow.
    fn start(
        certificate: impl FnOnce(&TestAuthority, &str) -> TestCertificate,
        further: &[&str],
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("etcd");
        let ca = write_private(directory.path(), "ca.pem", authority.pem());
        let address = loopback_address();
        let own = certificate(&authority, &address.to_string());
        let (cert, key) = own.write(directory.path(), "server");
        let files = [
            ("--cert-file", cert),
            ("--key-file", key),
            ("--trusted-ca-file", ca.clone()),
        ];
        let mut arguments = Vec::new();
        for (flag, path) in &files {
            arguments.extend([*flag, path.to_str().unwrap()]);
        }
        arguments.extend(further);
        let etcd = EtcdCluster::spawn_at(address, 1, "https", &arguments);
        Self {
            directory,
            authority,
            ca,
            etcd,
        }
    }

    fn settings(&self, client: Option<(PathBuf, PathBuf)>) -> EtcdSettings {
        let (cert, key) = client.unzip();
        EtcdSettings {
            ca: Some(self.ca.clone()),
            cert,
            key,
            deadline: Duration::from_secs(2),
            ..EtcdSettings::new(self.etcd.endpoints())
        }
    }

    /// What a client says that is refused, or refuses, once etcd accepts connections.
    async fn refusal(&self, settings: EtcdSettings) -> String {
        refusal(settings).await
    }
}

/// The error of a client with `settings`, once there is an answer.
async fn refusal(settings: EtcdSettings) -> String {
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        // A connection that etcd accepted while it started may never be answered.
        let registry = Registry::connect(settings.clone()).unwrap();
        let error = registry.get("/x").await.unwrap_err();
        assert!(
            matches!(error, Error::Unavailable { .. }),
            "a replaced certificate is tried again: {error}"
        );
        let text = error.to_string();
        let unanswered = [
            "refused (os error",
            "did not answer within",
            "no answer within",
        ];
        if unanswered.iter().all(|words| !text.contains(words)) {
            return text;
        }
        assert!(tokio::time::Instant::now() < end, "{text}");
    }
}

#[tokio::test]
async fn a_certificate_of_etcd_that_is_refused_is_explained() {
    let expired = |authority: &TestAuthority, name: &str| authority.issue(name, EXPIRED);
    let future = |authority: &TestAuthority, name: &str| authority.issue(name, FUTURE);
    let named = |authority: &TestAuthority, _: &str| authority.issue("etcd.other", VALID);
    let foreign = |_: &TestAuthority, name: &str| TestAuthority::new("other").issue(name, VALID);
    type Certify = fn(&TestAuthority, &str) -> TestCertificate;
    let cases: [(Certify, &str); 4] = [
        (
            expired,
            "its certificate expired at 2021-01-01T00:00:00Z; renew it",
        ),
        (
            future,
            "its certificate is not valid before 2089-01-01T00:00:00Z; compare the clocks",
        ),
        (
            named,
            "its certificate is for etcd.other, not for that name",
        ),
        (
            foreign,
            "is signed by an unknown authority; if it is yours, add it with",
        ),
    ];
    for (certificate, words) in cases {
        let etcd = EncryptedEtcd::start(certificate, &[]);
        let text = etcd.refusal(etcd.settings(None)).await;
        assert!(text.contains(words), "{words} is missing in: {text}");
        let endpoint = etcd.etcd.endpoints().remove(0);
        assert!(text.contains(&endpoint), "{text}");
        if words.contains("authority") {
            assert!(text.contains(etcd.ca.to_str().unwrap()), "{text}");
        }
    }
}

#[tokio::test]
async fn a_client_certificate_that_etcd_refuses_is_explained_and_a_renewed_one_is_used() {
    let etcd = EncryptedEtcd::start(
        |authority, name| authority.issue(name, VALID),
        &["--client-cert-auth"],
    );
    let text = etcd.refusal(etcd.settings(None)).await;
    assert!(text.contains("requires a client certificate"), "{text}");

    let foreign = TestAuthority::new("other").issue("client", VALID);
    let files = foreign.write(etcd.directory.path(), "foreign");
    let text = etcd.refusal(etcd.settings(Some(files))).await;
    assert!(text.contains("client certificate"), "{text}");

    let expired = etcd.authority.issue("client", EXPIRED);
    let files = expired.write(etcd.directory.path(), "client");
    let settings = etcd.settings(Some(files));
    let text = etcd.refusal(settings.clone()).await;
    assert!(text.contains("client.pem expired at 2021-01-01"), "{text}");

    // Renewed while the program runs; between the two files the pair does not fit.
    let registry = Registry::connect(settings).unwrap();
    registry.get("/x").await.unwrap_err();
    let renewed = etcd.authority.issue("client", VALID);
    write_private(etcd.directory.path(), "client.pem", &renewed.certificate);
    registry.get("/x").await.unwrap_err();
    write_private(etcd.directory.path(), "client.key", &renewed.key);
    etcd.etcd.wait_until_ready(&registry).await;
}

#[tokio::test]
async fn a_server_without_tls_and_a_client_without_tls_are_explained() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let plain = EtcdCluster::single().await;
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("etcd");
    let settings = EtcdSettings {
        ca: Some(write_private(directory.path(), "ca.pem", authority.pem())),
        deadline: Duration::from_secs(2),
        ..EtcdSettings::new([format!("https://{}", plain.address(0))])
    };
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        // A server may also close the connection without an answer, which does not tell why.
        let text = refusal(settings.clone()).await;
        if text.contains("it may serve http only") {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{text}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("etcd");
    let ca = write_private(directory.path(), "ca.pem", authority.pem());
    let settings = |ca: &Path, certificate: &Path, key: &Path| EtcdSettings {
        ca: Some(ca.to_owned()),
        cert: Some(certificate.to_owned()),
        key: Some(key.to_owned()),
        ..EtcdSettings::new(["https://etcd1"])
    };
    for (certificate, key, words) in unusable_client_certificates(directory.path(), &authority) {
        let error = settings(&ca, &certificate, &key).check_tls_files();
        let text = error.unwrap_err().to_string();
        for words in words {
            assert!(text.contains(words), "{words} is missing in: {text}");
        }
    }
    let (certificate, key) = authority
        .issue("client", VALID)
        .write(directory.path(), "own");
    settings(&ca, &certificate, &key).check_tls_files().unwrap();
    let error = settings(&key, &certificate, &key).check_tls_files();
    let text = error.unwrap_err().to_string();
    assert!(text.contains("own.key has no CA certificate"), "{text}");
    assert!(Registry::connect(settings(&key, &certificate, &key)).is_err());
}
