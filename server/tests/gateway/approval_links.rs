//! Links of notifications by which approvers open a request.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use console_core::approval_link::{ApprovalLink, ApprovalLinkSeals, PresentedLink};
use console_core::state_secret;
use galera::access::{Role, RoleGrant};
use galera::publish::api::{ActionView, AuditPage};
use galera::publish::notification::delivery::{Delivery, DeliveryList, DeliveryState};
use galera::record::audit::AuditEvent;
use galera::recover::action::{Action, ActionState};
use galera_console::config::StateSecretConfig;
use http::header::{ACCEPT, CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::forged_records::secret_in;
use crate::forms::submit;
use crate::limited_accounts::scope;
use crate::notification_targets::{add_target, webhook};
use crate::step_up::age_proof;
use crate::test_console::ConsoleOptions;
use crate::webhook_receiver::WebhookReceiver;

const START: &str = "http://console.test/approve/";

/// A console whose notifications have links, and a webhook for requests.
struct LinkFixture {
    fixture: ActionFixture,
    receiver: WebhookReceiver,
    target: String,
    folder: tempfile::TempDir,
}

/// Adds the target `body` at `receiver`, and waits until it is notified of the state of the cluster: what was requested before is
/// not sent to it.
async fn add_request_target(
    fixture: &ActionFixture,
    receiver: &WebhookReceiver,
    body: &Value,
) -> String {
    let before = receiver.requests().len();
    let target = add_target(&fixture.admin, body).await;
    eventually("the target is notified", async || {
        receiver.requests().len() > before
    })
    .await;
    target.id
}

/// The messages about requests.
fn requests(receiver: &WebhookReceiver) -> Vec<Value> {
    let messages = receiver.requests().into_iter().map(|sent| sent.json());
    messages
        .filter(|message| message["kind"] == "action_requested")
        .collect()
}

/// The state secret in `folder`, made if there is none.
fn secret_of(folder: &Path) -> StateSecretConfig {
    let file = folder.join("state-secret");
    match state_secret::read_file(&file) {
        Ok(secrets) => StateSecretConfig {
            secrets: Some(secrets),
            file,
            migration: Default::default(),
            seen_records: None,
        },
        Err(_) => secret_in(folder),
    }
}

fn with_links(folder: &Path) -> impl FnOnce(&mut ConsoleOptions) + use<> {
    let secret = secret_of(folder);
    move |options| {
        options.state_secret = Some(secret);
        options.public_url = true;
        options.approval_links = true;
    }
}

fn requests_only(url: &str) -> Value {
    let mut target = webhook(url);
    target["kinds"] = json!(["verdict", "action_requested"]);
    target
}

impl LinkFixture {
    async fn start(etcd: &TestEtcd, nodes: &Arc<FakeCluster>) -> Self {
        Self::start_with(etcd, nodes, |_| {}).await
    }

    async fn start_with(
        etcd: &TestEtcd,
        nodes: &Arc<FakeCluster>,
        alter: impl FnOnce(&mut ConsoleOptions),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let links = with_links(folder.path());
        let fixture = ActionFixture::start_with(etcd, nodes, |options| {
            links(options);
            alter(options);
        })
        .await;
        let receiver = WebhookReceiver::start([]).await;
        let target = add_request_target(&fixture, &receiver, &requests_only(&receiver.url())).await;
        Self {
            fixture,
            receiver,
            target,
            folder,
        }
    }

    /// Requests a bootstrap, and returns it with the token of the link that was received.
    async fn request(&self) -> (Action, String) {
        let before = requests(&self.receiver).len();
        let action = self.fixture.request(&self.fixture.operator).await.action;
        eventually("the notification is received", async || {
            requests(&self.receiver).len() > before
        })
        .await;
        let message = requests(&self.receiver).swap_remove(before);
        let link = message["approval_url"].as_str().unwrap();
        let token = link.strip_prefix(START).unwrap().to_owned();
        (action, token)
    }

    fn seals(&self) -> ApprovalLinkSeals {
        link_seals(self.folder.path())
    }

    /// Stops the console; returns the folder of its secret.
    fn stop(self) -> tempfile::TempDir {
        self.folder
    }
}

fn link_seals(folder: &Path) -> ApprovalLinkSeals {
    ApprovalLinkSeals::with(secret_of(folder).secrets.unwrap())
}

async fn get(client: &TestClient, token: &str) -> TestResponse {
    let path = format!("/approve/{token}");
    let request = client
        .request(Method::GET, &path)
        .header(ACCEPT, "text/html");
    client.send(request.body(Default::default()).unwrap()).await
}

async fn open(client: &TestClient, token: &str) -> TestResponse {
    submit(client, "/approve", format!("token={token}"), "text/html").await
}

/// Both the page and the form refuse with this status, cause and way out.
async fn assert_refused(client: &TestClient, token: &str, status: u16, cause: &str, way: &str) {
    for answer in [get(client, token).await, open(client, token).await] {
        let text = answer.text();
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(cause), "{cause:?} in {text}");
        assert!(text.contains(&format!("<a href=\"{way}\">")), "{text}");
        assert!(!text.contains("<form"), "{text}");
        assert_eq!(answer.header(CACHE_CONTROL), "no-store");
    }
}

fn location(answer: &TestResponse) -> &str {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    answer.header(LOCATION)
}

#[tokio::test]
async fn a_link_leads_to_the_request_once_and_the_approval_names_it() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start(&etcd, &nodes).await;
    let fixture = &links.fixture;
    let (action, token) = links.request().await;
    let page = format!("/actions/{}", action.id);
    // Scanners of mail and previews of chat services fetch every link, without a session or with that of a reader.
    let anonymous = fixture.console.anonymous();
    for _ in 0..20 {
        let answer = get(&anonymous, &token).await;
        let sign_in = format!("/sign-in?next=/approve/{token}");
        assert_eq!(location(&answer), sign_in);
        let answer = get(&fixture.approver, &token).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header(REFERRER_POLICY), "no-referrer");
        assert_eq!(answer.header(CACHE_CONTROL), "no-store");
        for shown in [
            "Bootstrap of lab is waiting for approval",
            "two hosts lost power",
            "olga",
            "n2 is stopped",
            "Possible data loss",
            "<form",
        ] {
            assert!(answer.text().contains(shown), "{shown}: {}", answer.text());
        }
        let head = anonymous.request(Method::HEAD, &format!("/approve/{token}"));
        anonymous.send(head.body(Default::default()).unwrap()).await;
    }
    assert_eq!(fixture.get(&action.id).await.action, action);
    // Without a session the form leads back to the link.
    let answer = open(&anonymous, &token).await;
    assert!(location(&answer).ends_with(&format!("next=/approve/{token}")));
    // Who could not approve does not use it up.
    let viewer = &fixture.viewer;
    assert_refused(viewer, &token, 403, "approver role", &page).await;
    let own = &fixture.operator;
    assert_refused(own, &token, 403, "approver role", &page).await;
    assert!(fixture.get(&action.id).await.action.opened_links.is_empty());
    assert_eq!(location(&open(&fixture.approver, &token).await), page);
    // The same person, another one with the same link, and a replay.
    let used = "You used this link at";
    assert_refused(&fixture.approver, &token, 409, used, &page).await;
    let other = &fixture.second_approver;
    assert_refused(other, &token, 409, "adam used this link at", &page).await;
    let opened = fixture.get(&action.id).await.action.opened_links;
    assert_eq!(opened.len(), 1);
    assert_eq!(
        (opened[0].target.as_str(), opened[0].by.as_str()),
        (links.target.as_str(), "adam")
    );
    // The approval needs what it needs without a link.
    age_proof(&fixture.console, &fixture.approver).await;
    let refused = apply_verb(&fixture.approver, &action.id, "approve").await;
    assert_eq!(refused.problem().code, "step_up_required");
    let proof = json!({"password": crate::test_console::PASSWORD});
    let step_up = "/api/v1/session/step-up";
    let answer = fixture.approver.send_json(Method::POST, step_up, &proof);
    assert_eq!(answer.await.status, 200);
    let approved = apply_verb(&fixture.approver, &action.id, "approve").await;
    let approved: ActionView = approved.json();
    let approval = &approved.action.approvals[0];
    assert_eq!(approval.notification_target.as_deref(), Some("hook"));
    fixture
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
    let ended = "The request no longer waits for approval; its state is succeeded.";
    assert_refused(&fixture.approver, &token, 409, ended, &page).await;
    let audit: AuditPage = fixture.admin.get("/api/v1/audit").await.json();
    for event in [AuditEvent::ACTION_LINK_OPENED, AuditEvent::ACTION_APPROVED] {
        let mut entries = audit.entries.iter().map(|entry| &entry.record);
        let record = entries.find(|record| record.event == event).unwrap();
        assert_eq!(record.actor, "adam");
        assert_eq!(record.detail["notification_target"], "hook", "{event}");
        let everything = format!("{record:?}");
        assert!(!everything.contains(token.rsplit('.').next().unwrap()));
    }
}

#[tokio::test]
async fn an_approval_without_a_link_names_none() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start(&etcd, &nodes).await;
    let fixture = &links.fixture;
    let (action, token) = links.request().await;
    location(&open(&fixture.approver, &token).await);
    let other = &fixture.second_approver;
    let approved: ActionView = apply_verb(other, &action.id, "approve").await.json();
    assert_eq!(approved.action.approvals[0].notification_target, None);
    assert_eq!(approved.action.approvals[0].by, "ada");
}

#[tokio::test]
async fn links_that_were_not_sent_for_this_are_refused() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start(&etcd, &nodes).await;
    let fixture = &links.fixture;
    let (action, token) = links.request().await;
    let page = format!("/actions/{}", action.id);
    let approver = &fixture.approver;
    let seals = links.seals();
    let genuine = ApprovalLink {
        action: action.id.clone(),
        target: links.target.clone(),
        expires_at: action.expires_at.unwrap(),
    };
    let digest = &action.plan.digest;
    assert_eq!(seals.token(&genuine, digest).unwrap(), token);
    let later = ApprovalLink {
        expires_at: genuine.expires_at.plus(Duration::from_secs(3_600)),
        ..genuine.clone()
    };
    let other_action = ApprovalLink {
        action: "01a1ee565e01-00000000".parse().unwrap(),
        ..genuine.clone()
    };
    let tag = token.rsplit('.').next().unwrap();
    let with_tag = |link: &ApprovalLink| {
        let made = seals.token(link, digest).unwrap();
        format!("{}.{tag}", made.rsplit_once('.').unwrap().0)
    };
    let other_plan = galera::recover::plan::PlanDigest::new("0".repeat(64));
    let invalid = [
        "x".to_owned(),
        token[..token.len() - 1].to_owned(),
        token.to_uppercase(),
        with_tag(&later),
        with_tag(&other_action),
        seals.token(&other_action, digest).unwrap(),
        seals.token(&genuine, &other_plan).unwrap(),
        with_tag(&ApprovalLink {
            target: "000000000000".to_owned(),
            ..genuine.clone()
        }),
    ];
    for token in invalid {
        let answer = get(approver, &token).await;
        assert_eq!(answer.status, 404, "{token}");
        let opened = open(approver, &token).await;
        assert_eq!(opened.status, 404, "{token}");
        assert!(answer.text().contains("<a href=\"/actions\">"));
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let others = ApprovalLinkSeals::with(secret_of(elsewhere.path()).secrets.unwrap());
    let foreign = others.token(&genuine, digest).unwrap();
    let cause = "a state secret that this console does not have";
    assert_refused(approver, &foreign, 404, cause, "/actions").await;
    let expired = ApprovalLink {
        expires_at: console_core::clock::now().minus(Duration::from_millis(1)),
        ..genuine.clone()
    };
    let expired = seals.token(&expired, digest).unwrap();
    assert_refused(approver, &expired, 410, "This link has expired", &page).await;
    // The requester, although an approver.
    let both = &fixture.operator_approver;
    assert_eq!(
        apply_verb(&fixture.operator, &action.id, "cancel")
            .await
            .status,
        200
    );
    assert_refused(approver, &token, 409, "its state is cancelled", &page).await;
    let own = fixture.request(both).await.action;
    let own_link = ApprovalLink {
        action: own.id.clone(),
        expires_at: own.expires_at.unwrap(),
        ..genuine.clone()
    };
    let own_token = seals.token(&own_link, &own.plan.digest).unwrap();
    let page = format!("/actions/{}", own.id);
    assert_refused(both, &own_token, 403, "You requested this action", &page).await;
    // A target that was removed, for example because its channel became public.
    let path = format!("/api/v1/notifications/targets/{}", links.target);
    let removed = fixture.admin.request(Method::DELETE, &path);
    let removed = fixture
        .admin
        .send(removed.body(Default::default()).unwrap());
    assert_eq!(removed.await.status, 204);
    assert_refused(approver, &own_token, 409, "was removed", &page).await;
    assert!(fixture.get(&own.id).await.action.opened_links.is_empty());
}

#[tokio::test]
async fn a_person_without_roles_on_the_cluster_learns_nothing() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start(&etcd, &nodes).await;
    let console = &links.fixture.console;
    let (_, token) = links.request().await;
    let grants = vec![RoleGrant::of(vec![Role::Approver], scope(&["prod-*"]))];
    console
        .add_user_with_grants("lisa", &[Role::Approver], grants)
        .await;
    let limited = console.sign_in("lisa").await;
    let answer = get(&limited, &token).await;
    assert_eq!(answer.status, 404);
    let unknown = get(&limited, "x").await;
    assert_eq!(answer.text(), unknown.text());
    assert_eq!(open(&limited, &token).await.status, 404);
}

#[tokio::test]
async fn a_link_survives_one_rotation_of_the_state_secret() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start(&etcd, &nodes).await;
    let (action, token) = links.request().await;
    let page = format!("/actions/{}", action.id);
    // A replica that does not know the new secret must not run beside those that seal with it.
    let folder = links.stop();
    let file = secret_of(folder.path()).file;
    state_secret::rotate_file(&file).unwrap();
    let replica = ActionFixture::replica_with(&etcd, &nodes, with_links(folder.path())).await;
    assert_eq!(get(&replica.approver, &token).await.status, 200);
    assert_eq!(location(&open(&replica.approver, &token).await), page);
    let other = &replica.second_approver;
    assert_refused(other, &token, 409, "adam used this link", &page).await;
    // Of two rotations a link survives one.
    state_secret::rotate_file(&file).unwrap();
    let seals = link_seals(folder.path());
    let presented = PresentedLink::parse(&token).unwrap();
    assert!(!seals.know_secret_of(&presented));
}

#[tokio::test]
async fn nothing_has_a_link_unless_a_setting_a_secret_and_an_address_allow_it() {
    for missing in ["setting", "secret", "address"] {
        let etcd = TestEtcd::in_memory();
        let nodes = FakeCluster::two_lost(etcd.registry());
        let folder = tempfile::tempdir().unwrap();
        let links = with_links(folder.path());
        let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
            links(options);
            match missing {
                "setting" => options.approval_links = false,
                "secret" => options.state_secret = None,
                _ => options.public_url = false,
            }
        })
        .await;
        let receiver = WebhookReceiver::start([]).await;
        add_request_target(&fixture, &receiver, &requests_only(&receiver.url())).await;
        fixture.request(&fixture.operator).await;
        eventually("the notification is received", async || {
            !requests(&receiver).is_empty()
        })
        .await;
        let message = requests(&receiver).swap_remove(0);
        assert!(
            message.get("approval_url").is_none(),
            "{missing}: {message}"
        );
        let answer = get(&fixture.approver, "x").await;
        assert_eq!(answer.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn every_channel_has_the_link_and_no_log_keeps_it() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start(&etcd, &nodes).await;
    let fixture = &links.fixture;
    let echoing = WebhookReceiver::echoing().await;
    let mut slack = requests_only(&echoing.url());
    slack["type"] = "slack".into();
    slack["name"] = "chat".into();
    slack.as_object_mut().unwrap().remove("secret");
    let mut alerts = slack.clone();
    alerts["type"] = "alertmanager".into();
    alerts["name"] = "alerts".into();
    let slack = add_request_target(fixture, &echoing, &slack).await;
    let alerts = add_request_target(fixture, &echoing, &alerts).await;
    let (_, own) = links.request().await;
    let tokens = || -> Vec<String> {
        let received = echoing.requests().into_iter();
        let links = received.filter_map(|request| {
            let text = request.json().to_string();
            let (_, rest) = text.split_once(START)?;
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-')?;
            Some(rest[..end].to_owned())
        });
        links.collect()
    };
    eventually("both targets are notified", async || tokens().len() == 2).await;
    let tokens = tokens();
    assert_ne!(tokens[0], tokens[1]);
    assert!(!tokens.contains(&own));
    // The links of several targets are used one by one.
    assert_eq!(get(&fixture.approver, &tokens[0]).await.status, 200);
    location(&open(&fixture.approver, &tokens[0]).await);
    location(&open(&fixture.second_approver, &tokens[1]).await);
    for target in [&slack, &alerts] {
        let path = format!("/api/v1/notifications/deliveries?target={target}");
        eventually("the delivery is recorded", async || {
            let list: DeliveryList = fixture.admin.get(&path).await.json();
            let delivered = |delivery: &Delivery| delivery.state == DeliveryState::Delivered;
            list.deliveries.len() == 2 && list.deliveries.iter().all(delivered)
        })
        .await;
        let text = fixture.admin.get(&path).await.text();
        for token in &tokens {
            let tag = token.rsplit('.').next().unwrap();
            assert!(!text.contains(tag), "{text}");
        }
        assert!(text.contains("[token]"), "{text}");
    }
    let stored = fixture.console.registry.list("/state/").await.unwrap();
    for entry in stored.entries {
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        for token in tokens.iter().chain([&own]) {
            let tag = token.rsplit('.').next().unwrap();
            assert!(
                !value.contains(tag),
                "{:?}",
                String::from_utf8_lossy(&entry.key)
            );
        }
    }
}

#[tokio::test]
async fn a_link_lasts_no_longer_than_a_session_would() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let links = LinkFixture::start_with(&etcd, &nodes, |options| {
        options.session_idle_timeout = Some(Duration::from_secs(120));
    })
    .await;
    let (action, token) = links.request().await;
    let millis: i64 = token.split('.').nth(3).unwrap().parse().unwrap();
    let requested = action.requested_at.unix_millis();
    assert_eq!(millis - requested, 120_000);
    assert!(action.expires_at.unwrap().unix_millis() > millis);
}
