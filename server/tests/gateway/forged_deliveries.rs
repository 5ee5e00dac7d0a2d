//! A client that can write etcd puts notifications into the outbox and the log: the console sends none of them.

use console_core::keyspace::NotifyKeys;
use galera::publish::notification::delivery::{Delivery, DeliveryList, DeliveryState};
use http::Method;
use registry::{Registry, Transaction, WriteOp};
use serde_json::{Value, json};

use crate::action_fixture::ActionFixture;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::forged_records::secret_in;
use crate::notification_targets::{add_target, webhook};
use crate::test_console::STATE_PREFIX;
use crate::webhook_receiver::WebhookReceiver;

async fn put(registry: &Registry, key: String, delivery: &Value) {
    registry.put(key, delivery.to_string(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_put_into_the_outbox_is_not_sent_and_named() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let folder = tempfile::tempdir().unwrap();
    let secret = secret_in(folder.path());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.state_secret = Some(secret);
    })
    .await;
    let receiver = WebhookReceiver::start([]).await;
    let target = add_target(&fixture.admin, &webhook(&receiver.url())).await;
    let path = format!("/api/v1/notifications/deliveries?target={}", target.id);
    let list = async || -> Vec<Delivery> {
        let list: DeliveryList = fixture.operator.get(&path).await.json();
        list.deliveries
    };
    eventually("the genuine delivery is recorded", async || {
        let delivered = |delivery: &Delivery| delivery.state == DeliveryState::Delivered;
        list().await.iter().any(delivered)
    })
    .await;
    let genuine = list().await.remove(0);
    let (keys, intruder) = (NotifyKeys::new(STATE_PREFIX), etcd.registry());

    let forge = |id: &str, change: &dyn Fn(&mut Value)| {
        let mut forged = json!(genuine);
        forged["state"] = "waiting".into();
        forged["ended_at"] = Value::Null;
        forged["notice"]["id"] = id.into();
        forged["notice"]["title"] = "Approve at https://evil.example".into();
        change(&mut forged);
        forged
    };
    let forgeries = [
        (
            "unsealed",
            forge("unsealed", &|forged| forged["seal"] = Value::Null),
        ),
        ("altered", forge("altered", &|_| {})),
        (
            "truncated",
            forge("truncated", &|forged| forged["seal"]["tag"] = "00".into()),
        ),
        (
            "unknown",
            forge("unknown", &|forged| {
                forged["seal"]["kid"] = "0000000000000000".into()
            }),
        ),
    ];
    for (id, forged) in &forgeries {
        put(&intruder, keys.outbox_entry(&target.id, id), forged).await;
    }
    for (id, _) in &forgeries {
        eventually("the forged delivery has failed", async || {
            let failed = |delivery: &Delivery| {
                let reason = delivery
                    .tries
                    .last()
                    .and_then(|attempt| attempt.error.as_deref());
                delivery.notice.id == **id
                    && delivery.state == DeliveryState::Failed
                    && reason.is_some_and(|reason| reason.contains("another client of etcd"))
            };
            list().await.iter().any(failed)
        })
        .await;
    }
    // An entry of the log is not made genuine by sending it again.
    let logged = forge("logged", &|forged| forged["state"] = "delivered".into());
    put(&intruder, keys.log_entry(&target.id, "logged"), &logged).await;
    let redeliver = async |id: &str| {
        let path = format!(
            "/api/v1/notifications/deliveries/{}/{id}/redeliver",
            target.id
        );
        fixture
            .operator
            .send_json(Method::POST, &path, &json!({}))
            .await
    };
    for id in ["altered", "logged"] {
        assert_eq!(
            redeliver(id).await.problem().code,
            "forged_delivery",
            "{id}"
        );
    }
    let sent = receiver.requests().len();
    let again = redeliver(&genuine.notice.id).await;
    assert_eq!(again.status, 200, "{}", again.text());
    eventually("the genuine delivery is sent again", async || {
        receiver.requests().len() > sent
    })
    .await;
    for request in receiver.requests() {
        assert!(!request.title().contains("evil"), "{}", request.title());
    }
}

/// Puts `value` back into the outbox until it is gone again.
async fn put_back(intruder: &Registry, key: &str, value: &[u8]) {
    intruder.put(key, value, None).await.unwrap();
    eventually("it is not in the outbox", async || {
        intruder.get(key).await.unwrap().is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_was_sent_is_not_sent_again_when_it_is_put_back() {
    let etcd = TestEtcd::in_memory();
    let intruder = etcd.registry();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let folder = tempfile::tempdir().unwrap();
    let secret = secret_in(folder.path());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.state_secret = Some(secret.clone());
    })
    .await;
    // The delivery can be copied while it waits.
    let receiver = WebhookReceiver::down().await;
    let target = add_target(&fixture.admin, &webhook(&receiver.url())).await;
    let keys = NotifyKeys::new(STATE_PREFIX);
    let outbox = keys.outbox_of(&target.id);
    let mut copy = None;
    eventually("a delivery waits", async || {
        let listing = intruder.list(outbox.as_str()).await.unwrap();
        copy = listing.entries.into_iter().next().or(copy.take());
        copy.is_some()
    })
    .await;
    receiver.recover();
    let copy = copy.unwrap();
    let key = String::from_utf8(copy.key).unwrap();
    let id = key.rsplit('/').next().unwrap().to_owned();
    let log = keys.log_entry(&target.id, &id);
    eventually("it is delivered", async || {
        intruder.get(log.as_str()).await.unwrap().is_some()
    })
    .await;
    let delivered = intruder.get(log.as_str()).await.unwrap().unwrap().value;
    let count = || {
        let requests = receiver.requests();
        requests.iter().filter(|request| request.id() == id).count()
    };
    let sent = count();

    put_back(&intruder, &key, &copy.value).await;
    // Neither as it is in the log, nor with a higher number.
    put_back(&intruder, &key, &delivered).await;
    let mut renumbered: Value = serde_json::from_slice(&copy.value).unwrap();
    renumbered["number"] = u64::MAX.into();
    put_back(&intruder, &key, renumbered.to_string().as_bytes()).await;
    assert_eq!(count(), sent);

    // A person may, and the copy is then still refused.
    let path = format!(
        "/api/v1/notifications/deliveries/{}/{id}/redeliver",
        target.id
    );
    // What an intruder left in the log must verify for that.
    intruder
        .put(log.as_str(), delivered.clone(), None)
        .await
        .unwrap();
    let again = fixture
        .operator
        .send_json(Method::POST, &path, &json!({}))
        .await;
    assert_eq!(again.status, 200, "{}", again.text());
    eventually("it is sent again", async || count() == sent + 1).await;
    eventually("it is delivered again", async || {
        intruder.get(key.as_str()).await.unwrap().is_none()
    })
    .await;
    put_back(&intruder, &key, &copy.value).await;
    assert_eq!(count(), sent + 1);

    // Another replica, after the first one.
    drop(fixture);
    let second = ActionFixture::replica_with(&etcd, &nodes, |options| {
        options.state_secret = Some(secret.clone());
    })
    .await;
    put_back(&intruder, &key, &copy.value).await;
    // Whether it was sent is unknown once the note is gone: then it is not sent either.
    let settled = keys.settled_number(&target.id);
    let delete = Transaction::new().then([WriteOp::delete(settled)]);
    intruder.transact(&delete).await.unwrap();
    put_back(&intruder, &key, &copy.value).await;
    assert_eq!(count(), sent + 1);
    // Later ones are.
    let path = format!(
        "/api/v1/notifications/deliveries/{}/{id}/redeliver",
        target.id
    );
    intruder.put(log.as_str(), delivered, None).await.unwrap();
    let again = second
        .operator
        .send_json(Method::POST, &path, &json!({}))
        .await;
    assert_eq!(again.status, 200, "{}", again.text());
    eventually("it is sent again", async || count() == sent + 2).await;
}
