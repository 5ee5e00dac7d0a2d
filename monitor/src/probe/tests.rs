//! Probes against misbehaving TCP peers.

use console_core::address_policy::AddressPolicy;
use console_core::resolver::Resolver;
use galera::observe::observation::ProbeErrorKind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::mysql::Tls;
use registry::Secret;
use sql_client::hostile::{HostileServer, Misbehavior, PASSWORD};

fn settings(timeout: Duration) -> Arc<ProbeSettings> {
    Arc::new(ProbeSettings {
        mysql: MysqlSettings {
            user: "console".to_owned(),
            password: Secret::new("s3cret"),
            port: 3306,
            tls: Tls::Off,
            resolver: Resolver::default(),
            // The servers of these tests listen on loopback.
            probe_policy: AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]),
        },
        reserve: None,
        pinned: BTreeMap::new(),
        poll_interval: Duration::from_millis(50),
        timeout,
        schedule_start: Instant::now(),
    })
}

fn test_probe(host: &str, port: u16, timeout: Duration) -> NodeProbe {
    let node = NodeId::new(host, Some(port)).unwrap();
    NodeProbe::new("lab".parse().unwrap(), node, settings(timeout))
}

async fn silent_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn an_unresponsive_database_times_out_within_the_deadline() {
    let (_listener, port) = silent_listener().await;
    let limit = Duration::from_millis(200);
    let error = test_probe("127.0.0.1", port, limit)
        .read()
        .await
        .unwrap_err();
    assert_eq!(error.kind, ProbeErrorKind::TimedOut);
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (listener, port) = silent_listener().await;
    drop(listener);
    let error = test_probe("127.0.0.1", port, Duration::from_secs(2))
        .read()
        .await
        .unwrap_err();
    assert_eq!(error.kind, ProbeErrorKind::Refused);
}

#[tokio::test]
async fn an_unknown_host_name_is_unresolvable() {
    let error = test_probe("no-such-host.invalid", 3306, Duration::from_secs(5))
        .read()
        .await
        .unwrap_err();
    assert_eq!(error.kind, ProbeErrorKind::Unresolvable);
    assert!(
        error.message.contains("no-such-host.invalid"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_closed_connection_differs_from_another_protocol() {
    for (bytes, kind) in [
        (&b""[..], ProbeErrorKind::Closed),
        (
            &b"\x16\x00\x00\x00SSH-2.0-OpenSSH_9.2 hello"[..],
            ProbeErrorKind::Protocol,
        ),
    ] {
        let (listener, port) = silent_listener().await;
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
        };
        let mut probe = test_probe("127.0.0.1", port, Duration::from_secs(2));
        let (outcome, ()) = tokio::join!(probe.read(), peer);
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[tokio::test]
async fn attempts_never_overlap_and_stay_on_schedule() {
    let (listener, port) = silent_listener().await;
    let node = NodeId::new("127.0.0.1", Some(port)).unwrap();
    let (reports, mut received) = mpsc::channel(16);
    let cancel = CancellationToken::new();
    // Each attempt takes longer than two intervals.
    let task = run(
        "lab".parse().unwrap(),
        node,
        settings(Duration::from_millis(120)),
        reports,
        Arc::default(),
        Arc::default(),
        cancel.clone(),
    );
    let peers = async {
        let mut open = Vec::new();
        for round in 1..=3_usize {
            open.push(listener.accept().await.unwrap());
            let report = received.recv().await.unwrap();
            assert_eq!(report.outcome.unwrap_err().kind, ProbeErrorKind::TimedOut);
            assert_eq!(open.len(), round);
            let early = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
            assert!(
                early.is_err(),
                "a second attempt began before the first one ended"
            );
        }
        cancel.cancel();
    };
    tokio::join!(task, peers);
}

#[tokio::test]
async fn a_requested_reading_is_immediate_and_happens_once() {
    let (listener, port) = silent_listener().await;
    let node = NodeId::new("127.0.0.1", Some(port)).unwrap();
    let (reports, mut received) = mpsc::channel(16);
    let (cancel, probe_now) = (CancellationToken::new(), Arc::<Notify>::default());
    let slow = ProbeSettings {
        poll_interval: Duration::from_secs(3_600),
        ..(*settings(Duration::from_secs(1))).clone()
    };
    let task = run(
        "lab".parse().unwrap(),
        node,
        Arc::new(slow),
        reports,
        Arc::default(),
        Arc::clone(&probe_now),
        cancel.clone(),
    );
    let peers = async {
        drop(listener.accept().await.unwrap());
        received.recv().await.unwrap();
        let began = Instant::now();
        for _ in 0..100 {
            probe_now.notify_one();
        }
        drop(listener.accept().await.unwrap());
        received.recv().await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited for the schedule"
        );
        let again = tokio::time::timeout(READING_GAP_MIN * 4, received.recv()).await;
        assert!(again.is_err(), "one reading for all requests");
        cancel.cancel();
    };
    tokio::join!(task, peers);
}

#[tokio::test]
async fn a_hostile_database_gets_no_password_and_ends_no_probe() {
    for &misbehavior in Misbehavior::ALL {
        let server = HostileServer::start(misbehavior);
        let (host, port) = ("127.0.0.1", server.address().port());
        let mut settings = (*settings(Duration::from_millis(500))).clone();
        settings.mysql.password = Secret::new(PASSWORD);
        let node = NodeId::new(host, Some(port)).unwrap();
        let mut probe = NodeProbe::new("lab".parse().unwrap(), node, Arc::new(settings));
        // Twice: the second reading must not use what is left of the first.
        for _ in 0..2 {
            let error = probe.read().await.unwrap_err();
            // Never a kind that says that no server runs.
            assert!(
                matches!(
                    error.kind,
                    ProbeErrorKind::Protocol
                        | ProbeErrorKind::TimedOut
                        | ProbeErrorKind::Closed
                        | ProbeErrorKind::AccessDenied
                        | ProbeErrorKind::TlsFailed
                        | ProbeErrorKind::ServerError
                ),
                "{misbehavior:?}: {} {error}",
                error.kind.as_str()
            );
            let timed_out = misbehavior.waits() || misbehavior.answers();
            assert_eq!(
                error.kind == ProbeErrorKind::TimedOut,
                timed_out,
                "{misbehavior:?}: {error}"
            );
        }
        assert!(!server.has_password(), "{misbehavior:?}");
    }
}

/// A probe of `host` under the default policy, by the same name `pinned` or not.
fn restricted_probe(host: &str, port: u16, pinned: bool) -> NodeProbe {
    let mut all = (*settings(Duration::from_secs(2))).clone();
    all.mysql.probe_policy = AddressPolicy::default();
    let node = NodeId::new(host, Some(port)).unwrap();
    if pinned {
        let pin = BTreeSet::from([node.clone()]);
        all.pinned = BTreeMap::from([("lab".parse().unwrap(), pin)]);
    }
    NodeProbe::new("lab".parse().unwrap(), node, Arc::new(all))
}

#[tokio::test]
async fn a_registration_cannot_aim_a_probe_at_the_consoles_own_host() {
    let (listener, port) = silent_listener().await;
    for host in ["127.0.0.1", "localhost", "169.254.169.254"] {
        let error = restricted_probe(host, port, false)
            .read()
            .await
            .unwrap_err();
        assert_eq!(error.kind, ProbeErrorKind::Blocked, "{host}: {error}");
        assert!(error.message.contains("--probe-allow"), "{error}");
    }
    assert!(
        listener.accept().now_or_never().is_none(),
        "no connection was made"
    );
    let error = restricted_probe("127.0.0.1", port, true)
        .read()
        .await
        .unwrap_err();
    assert_eq!(
        error.kind,
        ProbeErrorKind::TimedOut,
        "a pinned node is probed"
    );
}

#[test]
fn clusters_are_read_at_different_times_and_each_at_its_own() {
    let interval = Duration::from_secs(1);
    let offset = |number: u32| {
        let cluster = format!("cluster-{number}").parse().unwrap();
        schedule_offset(&cluster, interval)
    };
    let mut tenths = [0; 10];
    for number in 0..1_000 {
        assert_eq!(offset(number), offset(number));
        tenths[usize::try_from(offset(number).as_millis() / 100).unwrap()] += 1;
    }
    assert!(
        tenths.iter().all(|count| (60..150).contains(count)),
        "{tenths:?}"
    );
}
