//! Anchors of the audit trail reach a webhook outside etcd, and pages show when they do not.

use galera::record::audit::{AuditAnchor, check_anchors, find_anchors};
use notify::AnchorWebhookSettings;
use registry::Secret;

use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::notification_delivery::verify_signature;
use crate::notification_targets::WEBHOOK_SECRET;
use crate::test_console::{ConsoleOptions, TestConsole};
use crate::webhook_receiver::{ReceiverReply, WebhookReceiver};

async fn start(etcd: &TestEtcd, receiver: &WebhookReceiver) -> TestConsole {
    let webhook = AnchorWebhookSettings::new(&receiver.url(), Secret::new(WEBHOOK_SECRET));
    let options = ConsoleOptions {
        anchor_entries: 2,
        anchor_webhook: Some(webhook.unwrap()),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(etcd, options).await;
    console
        .add_user("vera", &[galera::access::Role::Viewer])
        .await;
    console
}

async fn metric(client: &TestClient, name: &str) -> u64 {
    let text = client.get("/metrics").await.text();
    let prefix = format!("galera_console_audit_anchor_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .parse()
        .unwrap()
}

fn anchors(receiver: &WebhookReceiver) -> Vec<AuditAnchor> {
    let requests = receiver.requests();
    let bodies: Vec<u8> = requests
        .iter()
        .flat_map(|request| request.body.to_vec())
        .collect();
    find_anchors(&String::from_utf8(bodies).unwrap()).collect()
}

#[tokio::test]
async fn anchors_are_sent_signed_and_verify_the_trail() {
    let etcd = TestEtcd::in_memory();
    let receiver = WebhookReceiver::start([]).await;
    let console = start(&etcd, &receiver).await;
    let client = console.anonymous();
    for entries in [2, 4] {
        eventually("an anchor is sent", async || {
            if console
                .state
                .actions
                .trail()
                .newest_sequence()
                .await
                .unwrap()
                < entries
            {
                console.sign_in("vera").await;
            }
            anchors(&receiver)
                .iter()
                .any(|anchor| anchor.sequence >= entries)
        })
        .await;
    }
    for request in receiver.requests() {
        verify_signature(&request);
        let message = request.json();
        assert_eq!(
            (&message["kind"], &message["version"]),
            (&"audit_anchor".into(), &1.into())
        );
        assert_eq!(request.headers["galera-console-id"], request.id());
    }
    let (entries, _) = console.state.actions.trail().read_all().await.unwrap();
    let hash_of = |sequence: u64| {
        let entry = entries.iter().find(|entry| entry.sequence == sequence)?;
        Some(entry.hash.clone())
    };
    let end = entries.last().unwrap().sequence;
    let matched = check_anchors(&anchors(&receiver), 1, end, hash_of).unwrap();
    assert!(matched.matching >= 2, "{matched:?}");
    eventually("the delivery is counted", async || {
        metric(&client, "delivered_entry").await >= 4
    })
    .await;
    assert_eq!(metric(&client, "undelivered").await, 0);
    assert_eq!(metric(&client, "send_failures_total").await, 0);
}

#[tokio::test]
async fn anchors_that_do_not_arrive_are_shown_and_block_nothing() {
    let etcd = TestEtcd::in_memory();
    let replies = [
        ReceiverReply::Status(500),
        ReceiverReply::Redirect("http://127.0.0.1:1/".to_owned()),
        ReceiverReply::Status(400),
    ];
    let receiver = WebhookReceiver::start(replies).await;
    let console = start(&etcd, &receiver).await;
    let viewer = console.sign_in("vera").await;
    console.sign_in("vera").await;
    eventually("pages say that anchors do not arrive", async || {
        let page = viewer.get("/api/v1/clusters").await.text();
        page.contains("Anchors of the audit trail have not reached http://127.0.0.1")
            && page.contains("the receiver returned 400")
    })
    .await;
    assert_eq!(metric(&viewer, "undelivered").await, 1);
    // Entries are written meanwhile, and the newest anchor replaces those that did not arrive.
    console.sign_in("vera").await;
    console.sign_in("vera").await;
    let newest = console
        .state
        .actions
        .trail()
        .newest_sequence()
        .await
        .unwrap();
    eventually(
        "the newest anchor arrives, and the notice ends",
        async || {
            let page = viewer.get("/api/v1/clusters").await.text();
            metric(&viewer, "delivered_entry").await + 2 > newest && !page.contains("Anchors of")
        },
    )
    .await;
    assert_eq!(metric(&viewer, "send_failures_total").await, 3);
    let page = viewer.get("/api/v1/clusters").await.text();
    assert!(
        !page.contains("of=us"),
        "the path of the URL may be secret: {page}"
    );
}
