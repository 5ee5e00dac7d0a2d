//! Delivery to receivers: once, in order, and despite failures.

use aws_lc_rs::hmac;
use console_core::audit::AuditTrail;
use console_core::keyspace;
use galera::ReplicaId;
use galera::publish::notification::delivery::{Delivery, DeliveryList, DeliveryState, TargetView};
use galera::record::audit::{AuditEvent, AuditRecord, append};
use galera::recover::action::ActionState;
use http::Method;
use registry::{Transaction, WriteOp};
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually, free_ports};
use crate::fake_cluster::FakeCluster;
use crate::notification_targets::{WEBHOOK_SECRET, add_target, webhook};
use crate::test_console::{ConsoleOptions, STATE_PREFIX, TestConsole};
use crate::webhook_receiver::{ReceivedRequest, ReceiverReply, WebhookReceiver};

/// The first notification of a new target: the cluster of these consoles is down from the beginning.
async fn first_notification(receiver: &WebhookReceiver) -> ReceivedRequest {
    eventually("the receiver is notified of the cluster", async || {
        !receiver.requests().is_empty()
    })
    .await;
    receiver.requests()[0].clone()
}

fn titles(receiver: &WebhookReceiver) -> Vec<String> {
    receiver
        .requests()
        .iter()
        .map(ReceivedRequest::title)
        .collect()
}

async fn deliveries(client: &TestClient, target: &TargetView) -> DeliveryList {
    let path = format!("/api/v1/notifications/deliveries?target={}", target.id);
    client.get(&path).await.json()
}

#[tokio::test]
async fn a_webhook_is_signed_and_sent_once() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let receiver = WebhookReceiver::start([]).await;
    let target = add_target(&fixture.admin, &webhook(&receiver.url())).await;
    let received = first_notification(&receiver).await;
    let message = received.json();
    assert_eq!(received.path, "/hook?of=us");
    assert_eq!(message["kind"], "verdict", "{message}");
    assert_eq!(message["problem"]["verdict"], "down", "{message}");
    assert_eq!(message["problem"]["phase"], "opened");
    assert_eq!(message["cluster"], "lab");
    assert_eq!(message["url"], "/clusters/lab");
    assert_eq!(
        received.headers["galera-console-id"],
        message["id"].as_str().unwrap()
    );
    verify_signature(&received);
    let id = fixture.request(&fixture.operator).await.action.id;
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    eventually("the end is received", async || {
        receiver.requests().len() >= 4
    })
    .await;
    let expected = [
        "lab is down",
        "lab: bootstrap requested by olga; waiting for approval",
        "lab: bootstrap approved by adam",
        "lab: bootstrap succeeded",
    ];
    assert_eq!(titles(&receiver), expected);
    // A delivery is recorded after the receiver accepted it.
    eventually("every delivery is recorded", async || {
        let list = deliveries(&fixture.operator, &target).await;
        let delivered = |delivery: &Delivery| delivery.state == DeliveryState::Delivered;
        list.deliveries.len() == 4 && list.deliveries.iter().all(delivered)
    })
    .await;
    let list = deliveries(&fixture.operator, &target).await;
    for delivery in &list.deliveries {
        assert_eq!(
            (delivery.state, delivery.attempts),
            (DeliveryState::Delivered, 1)
        );
        assert_eq!(delivery.tries[0].status, Some(200));
        assert_eq!(delivery.tries[0].answer, "status 200");
    }
}

/// Verifies the signature as docs/notifications.md describes it.
pub(crate) fn verify_signature(received: &ReceivedRequest) {
    let header = received.headers["galera-console-signature"]
        .to_str()
        .unwrap();
    let (time, signature) = header.split_once(',').unwrap();
    let (time, signature) = (
        time.strip_prefix("t=").unwrap(),
        signature.strip_prefix("v1=").unwrap(),
    );
    let signed = [time.as_bytes(), b".", &received.body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    let tag: Vec<u8> = (0..signature.len() / 2)
        .map(|place| u8::from_str_radix(&signature[2 * place..2 * place + 2], 16).unwrap())
        .collect();
    hmac::verify(&key, &signed, &tag).unwrap();
}

#[tokio::test]
async fn a_failing_receiver_gets_everything_in_order_and_delays_no_other() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let bad = WebhookReceiver::start([ReceiverReply::Status(500), ReceiverReply::Hang]).await;
    let good = WebhookReceiver::start([]).await;
    add_target(&fixture.admin, &webhook(&bad.url())).await;
    add_target(&fixture.admin, &webhook(&good.url())).await;
    first_notification(&good).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    assert_eq!(
        apply_verb(&fixture.operator, &id, "cancel").await.status,
        200
    );
    eventually("the good receiver has everything", async || {
        good.requests().len() == 3
    })
    .await;
    // The bad receiver has not accepted the first notification by then, and still gets everything after it.
    assert!(bad.requests().len() <= 2, "{:?}", titles(&bad));
    eventually("the bad receiver has everything", async || {
        bad.requests().len() == 5
    })
    .await;
    let ids: Vec<String> = bad.requests().iter().map(ReceivedRequest::id).collect();
    assert_eq!(
        (&ids[0], &ids[0]),
        (&ids[1], &ids[2]),
        "repeated with the same ID"
    );
    let once: Vec<String> = ids[2..].to_vec();
    assert_eq!(
        once,
        good.requests()
            .iter()
            .map(ReceivedRequest::id)
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_next_leader_sends_waiting_deliveries() {
    let etcd = TestEtcd::in_memory();
    let first = TestConsole::start(&etcd).await;
    first.add_user("root", &[galera::access::Role::Admin]).await;
    let [port] = free_ports();
    let admin = first.sign_in("root").await;
    let target = add_target(&admin, &webhook(&format!("http://127.0.0.1:{port}/"))).await;
    // Nothing listens there: the delivery is in the outbox when the leader dies.
    eventually("the first attempt fails", async || {
        deliveries(&admin, &target)
            .await
            .deliveries
            .iter()
            .any(|one| one.attempts > 0)
    })
    .await;
    drop(first);
    let receiver = WebhookReceiver::at(([127, 0, 0, 1], port).into(), []).await;
    let second = TestConsole::start_with(
        &etcd,
        ConsoleOptions {
            replica: ReplicaId::new("r2"),
            ..ConsoleOptions::default()
        },
    )
    .await;
    let admin = second.sign_in("root").await;
    first_notification(&receiver).await;
    eventually("it is recorded", async || {
        let list = deliveries(&admin, &target).await.deliveries;
        list.iter().any(|one| {
            one.notice.id == receiver.requests()[0].id() && one.state == DeliveryState::Delivered
        })
    })
    .await;
    // Whatever the takeover itself adds: nothing is sent twice.
    let ids: Vec<String> = receiver
        .requests()
        .iter()
        .map(ReceivedRequest::id)
        .collect();
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[tokio::test]
async fn a_missing_audit_entry_stops_no_notifications() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let receiver = WebhookReceiver::start([]).await;
    add_target(&fixture.admin, &webhook(&receiver.url())).await;
    first_notification(&receiver).await;
    // The head moves by two entries, of which the first is not there.
    let trail = AuditTrail::new(etcd.registry(), STATE_PREFIX);
    let record = AuditRecord {
        at: console_core::clock::now(),
        actor: "ann".to_owned(),
        event: AuditEvent::SIGNED_IN,
        cluster: None,
        subject: None,
        detail: Default::default(),
    };
    let newest = trail.newest_sequence().await.unwrap();
    let newest = trail.entry(newest).await.unwrap().unwrap();
    let missing = append(Some(&newest.anchor()), record.clone(), None);
    let next = append(Some(&missing.anchor()), record, None);
    let value = serde_json::to_vec(&next).unwrap();
    let key = keyspace::audit_entry(STATE_PREFIX, next.sequence / 100, next.sequence);
    let writes =
        [keyspace::audit_head(STATE_PREFIX), key].map(|key| WriteOp::put(key, value.clone(), None));
    etcd.registry()
        .transact(&Transaction::new().then(writes))
        .await
        .unwrap();
    fixture.request(&fixture.operator).await;
    eventually("the request is notified", async || {
        let mut requests = receiver.requests().into_iter();
        requests.any(|request| request.json()["kind"] == "action_requested")
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_attempt_is_repeated_with_the_same_id() {
    let etcd = TestEtcd::in_memory();
    let first = TestConsole::start(&etcd).await;
    first.add_user("root", &[galera::access::Role::Admin]).await;
    let receiver = WebhookReceiver::start([ReceiverReply::Hang]).await;
    let admin = first.sign_in("root").await;
    add_target(&admin, &webhook(&receiver.url())).await;
    let received = first_notification(&receiver).await;
    drop(first);
    let second = TestConsole::start_with(
        &etcd,
        ConsoleOptions {
            replica: ReplicaId::new("r2"),
            ..ConsoleOptions::default()
        },
    )
    .await;
    eventually("it is sent again", async || receiver.requests().len() >= 2).await;
    assert_eq!(receiver.requests()[1].id(), received.id());
    drop(second);
}

#[tokio::test]
async fn special_use_addresses_are_not_contacted() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user("root", &[galera::access::Role::Admin])
        .await;
    let admin = console.sign_in("root").await;
    let inner = WebhookReceiver::at("127.0.0.2:0".parse().unwrap(), []).await;
    let (secret, port) = (format!("http://{}/", inner.address), inner.address.port());
    let outer = WebhookReceiver::start([
        ReceiverReply::Redirect(secret.clone()),
        ReceiverReply::LargeBody(50_000_000),
    ])
    .await;
    let result = async |url: &str| {
        let mut body = webhook(url);
        // Only the test is sent to it.
        body["enabled"] = false.into();
        let target = add_target(&admin, &body).await;
        send_test(&admin, &target).await
    };
    for (url, expected) in [
        (secret.clone(), "127.0.0.2 (loopback)"),
        (format!("http://[::1]:{port}/"), "::1 (loopback)"),
        (format!("http://[::ffff:127.0.0.2]:{port}/"), "(loopback)"),
        (format!("http://0.0.0.0:{port}/"), "(unspecified)"),
        (
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "(link-local)",
        ),
        ("http://nowhere.invalid/".to_owned(), "cannot be resolved"),
    ] {
        let tested = result(&url).await;
        let error = tested["tries"][0]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{url}: {tested}"));
        assert!(error.contains(expected), "{url}: {error}");
        assert_eq!(tested["state"], "failed", "{url}");
    }
    // A redirect is reported and not followed.
    let tested = result(&outer.url()).await;
    let error = tested["tries"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("redirect") && error.contains(&secret),
        "{error}"
    );
    // Only the beginning of a large response is read.
    let tested = result(&outer.url()).await;
    assert_eq!(tested["state"], "delivered");
    assert!(
        tested["tries"][0]["answer"]
            .as_str()
            .unwrap()
            .chars()
            .count()
            <= 300
    );
    assert_eq!(outer.requests().len(), 2);
    assert!(inner.requests().is_empty());
}

#[tokio::test]
async fn a_name_that_resolves_to_this_host_is_blocked() {
    let etcd = TestEtcd::in_memory();
    let mut options = ConsoleOptions::default();
    options.allowed_networks.clear();
    let console = TestConsole::start_with(&etcd, options).await;
    console
        .add_user("root", &[galera::access::Role::Admin])
        .await;
    let admin = console.sign_in("root").await;
    let receiver = WebhookReceiver::start([]).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    let target = add_target(&admin, &webhook(&url)).await;
    let tested = send_test(&admin, &target).await;
    assert!(
        tested["tries"][0]["error"]
            .as_str()
            .unwrap()
            .contains("localhost resolves to "),
        "{tested}"
    );
    eventually("the leader's attempt was blocked as well", async || {
        deliveries(&admin, &target)
            .await
            .deliveries
            .iter()
            .any(|one| one.state == DeliveryState::Waiting && one.attempts > 0)
    })
    .await;
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_hanging_receiver_times_out() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user("root", &[galera::access::Role::Admin])
        .await;
    let admin = console.sign_in("root").await;
    let receiver = WebhookReceiver::start([ReceiverReply::Hang]).await;
    let mut body = webhook(&receiver.url());
    body["enabled"] = false.into();
    let target = add_target(&admin, &body).await;
    let tested = send_test(&admin, &target).await;
    assert_eq!(tested["tries"][0]["error"], "no response within 10 s");
}

pub(crate) async fn send_test(admin: &TestClient, target: &TargetView) -> Value {
    let path = format!("/api/v1/notifications/targets/{}/test", target.id);
    let answer = admin.post(&path, "application/json", "{}").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn finished_deliveries_can_be_sent_again() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let receiver = WebhookReceiver::start([
        ReceiverReply::Status(400),
        ReceiverReply::Status(400),
        ReceiverReply::Status(400),
        ReceiverReply::Status(400),
    ])
    .await;
    let target = add_target(&fixture.admin, &webhook(&receiver.url())).await;
    // A rejected message fails soon, and the next one is sent.
    eventually("it has failed", async || {
        deliveries(&fixture.operator, &target)
            .await
            .deliveries
            .iter()
            .any(|one| one.state == DeliveryState::Failed)
    })
    .await;
    assert_eq!(receiver.requests().len(), 4);
    let notification = receiver.requests()[0].id();
    let path = format!(
        "/api/v1/notifications/deliveries/{}/{notification}/redeliver",
        target.id
    );
    let answer = fixture.operator.post(&path, "application/json", "{}").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    eventually("it is delivered", async || {
        deliveries(&fixture.operator, &target)
            .await
            .deliveries
            .iter()
            .any(|one| one.state == DeliveryState::Delivered)
    })
    .await;
    assert_eq!(receiver.requests().len(), 5);
    assert_eq!(receiver.requests()[4].id(), notification);
    // And again, although it was delivered.
    receiver.script_replies([]);
    assert_eq!(
        fixture
            .operator
            .post(&path, "application/json", "{}")
            .await
            .status,
        200
    );
    eventually("it is sent again", async || receiver.requests().len() == 6).await;
    let audit = fixture.viewer.get("/api/v1/audit?actor=olga").await.text();
    assert!(
        audit.contains(AuditEvent::NOTICE_REDELIVERED.as_str()),
        "{audit}"
    );
}

#[tokio::test]
async fn slack_and_alertmanager_get_their_own_formats() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user("root", &[galera::access::Role::Admin])
        .await;
    let admin = console.sign_in("root").await;
    let receiver = WebhookReceiver::start([]).await;
    let base = json!({"name": "x", "minimum_seconds": 0, "window_seconds": 0});
    let with = |fields: Value| {
        let mut body = base.clone();
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    add_target(
        &admin,
        &with(json!({"type": "slack", "url": receiver.url()})),
    )
    .await;
    let received = first_notification(&receiver).await.json();
    assert_eq!(received["text"], "Critical: lab is down", "{received}");
    assert_eq!(received["blocks"][0]["text"]["type"], "mrkdwn");
    let alerts = WebhookReceiver::start([]).await;
    let url = format!("http://{}/am/", alerts.address);
    let alertmanager = json!({"type": "alertmanager", "url": url, "authorization": "Bearer 123"});
    add_target(&admin, &with(alertmanager)).await;
    let received = first_notification(&alerts).await;
    assert_eq!(received.path, "/am/api/v2/alerts");
    assert_eq!(received.headers["authorization"], "Bearer 123");
    let alert = &received.json()[0];
    assert_eq!(alert["labels"]["alertname"], "GaleraClusterNotHealthy");
    assert_eq!(alert["labels"]["verdict"], "down");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert!(alert["startsAt"].as_str().unwrap() < alert["endsAt"].as_str().unwrap());
}

#[tokio::test]
async fn a_target_that_is_removed_leaves_nothing() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user("root", &[galera::access::Role::Admin])
        .await;
    let admin = console.sign_in("root").await;
    let [port] = free_ports();
    let target = add_target(&admin, &webhook(&format!("http://127.0.0.1:{port}/"))).await;
    send_test(&admin, &target).await;
    eventually("something waits and something was logged", async || {
        let list = deliveries(&admin, &target).await.deliveries;
        list.iter().any(|one| one.state == DeliveryState::Waiting) && list.len() > 1
    })
    .await;
    let request = admin.request(
        Method::DELETE,
        &format!("/api/v1/notifications/targets/{}", target.id),
    );
    let answer = admin
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    eventually("no key refers to it any longer", async || {
        let keys = console
            .registry
            .list("/state/notify/")
            .await
            .unwrap()
            .entries;
        let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&target.id);
        !keys
            .iter()
            .any(|entry| names(&entry.key) || names(&entry.value))
    })
    .await;
}
