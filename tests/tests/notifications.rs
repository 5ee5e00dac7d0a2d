//! A whole outage as seen by notification targets: by webhook, by e-mail, and through Alertmanager.

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::api::ConsoleClient;
use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::node::NodeStart;
use acceptance::lab::receivers::{Alertmanager, HttpReceiver, ReceivedMail, SmtpReceiver, titles};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::shared;
use acceptance::recovery_team::{RecoveryTeam, attest_stopped};

/// Longest wait for a notification: the change itself, its minimum duration, and the delivery.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(120);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn an_episode_is_delivered_once_and_in_order_to_every_receiver() -> Result<()> {
    let lab = shared::lab().await?;
    let directory = lab.lab.directory();
    let (hook, alerts) = (HttpReceiver::start().await?, HttpReceiver::start().await?);
    let smtp = SmtpReceiver::start(directory).await?;
    let alertmanager = Alertmanager::start(directory, alerts.url()).await?;
    let mut settings = lab.lab.console_settings();
    let port = smtp.port().to_string();
    settings.extra_arguments.extend(
        [
            "--notify-allow",
            "127.0.0.1",
            "--smtp-host",
            "127.0.0.1",
            "--smtp-port",
            &port,
            "--smtp-tls",
            "none",
        ]
        .map(str::to_owned),
    );
    settings.extra_arguments.extend([
        "--smtp-from".to_owned(),
        "Galera Console <console@example.org>".to_owned(),
    ]);
    let console = LabConsole::start(settings).await?;
    let team = RecoveryTeam::sign_in(&console).await?;
    for name in ["approver", "both"] {
        let address = format!("{name}@example.org");
        console
            .user_command(&["email", name, &address], None)
            .await?;
    }
    let admin = console.sign_in("admin").await?;
    let rules = json!({"minimum_seconds": 1, "window_seconds": 0});
    let target = async |fields: Value| add_target(&admin, &rules, &fields).await;
    target(json!({"name": "hook", "type": "webhook", "url": hook.url(), "secret": SECRET})).await?;
    target(json!({"name": "team", "type": "email", "to": ["dba@example.org"]})).await?;
    let actions = ["action_requested", "action_decided", "action_ended"];
    target(json!({"name": "people", "type": "email", "people": true, "kinds": actions})).await?;
    target(json!({"name": "alerts", "type": "alertmanager", "url": alertmanager.url()})).await?;
    wait_until_recorded_healthy(&admin).await?;

    lab.lab.node(2).kill();
    wait_for_title(&hook, "lab is degraded", 1).await?;
    lab.lab.node(3).kill();
    wait_for_title(&hook, "lab has no Primary component", 1).await?;
    let lost = attest_stopped(&[lab.lab.node(2).id().clone(), lab.lab.node(3).id().clone()]);
    let plan = team.executable_plan("bootstrap", &lost).await?;
    let action = team.request("bootstrap", &plan, &lost).await?;
    wait_for_title(
        &hook,
        "lab: bootstrap requested by both; waiting for approval",
        1,
    )
    .await?;
    team.act(&team.approver, &action, "approve").await?;
    wait_for_title(&hook, "lab: bootstrap succeeded", 1).await?;
    wait_for_title(&hook, "lab is degraded", 2).await?;
    for number in [2, 3] {
        lab.lab.node(number).start(NodeStart::Join).await?;
    }
    wait_for_title(&hook, "lab is healthy again", 1).await?;

    let notified = titles(&hook.messages())?;
    let (requested, approved) = (
        index_of(&notified, "requested")?,
        index_of(&notified, "approved")?,
    );
    ensure!(notified.len() == 7, "{notified:#?}");
    ensure!(
        index_of(&notified, "is degraded")? == 0 && index_of(&notified, "no Primary")? == 1,
        "{notified:#?}"
    );
    ensure!((requested, approved) == (2, 3), "{notified:#?}");
    ensure!(notified[6] == "lab is healthy again", "{notified:#?}");
    check_mail(&smtp, &notified).await?;
    check_alertmanager(&alerts, action.action.id.as_str()).await
}

/// The team gets everything that the webhook got; users get what concerns them.
async fn check_mail(smtp: &SmtpReceiver, notified: &[String]) -> Result<()> {
    let mails = eventually("every e-mail", NOTIFICATION_TIMEOUT, async || {
        let mails = smtp.mails()?;
        ensure!(
            mails.len() >= notified.len() + 3,
            "{} of {}",
            mails.len(),
            notified.len() + 3
        );
        Ok(mails)
    })
    .await?;
    let to = |who: &str| -> Vec<String> {
        let subject = |mail: &ReceivedMail| {
            let subject = &mail.subject;
            subject
                .split_once("] ")
                .map_or(subject.clone(), |(_, title)| title.to_owned())
        };
        mails
            .iter()
            .filter(|mail| mail.to == who)
            .map(subject)
            .collect()
    };
    ensure!(
        to("dba@example.org") == notified,
        "{:#?}",
        to("dba@example.org")
    );
    ensure!(
        to("approver@example.org") == [notified[2].clone()],
        "{mails:#?}"
    );
    let ends = [
        "lab: bootstrap approved by approver",
        "lab: bootstrap succeeded",
    ];
    ensure!(to("both@example.org") == ends, "{mails:#?}");
    ensure!(mails.len() == notified.len() + 3, "{mails:#?}");
    let ids: std::collections::BTreeSet<&str> = mails.iter().map(|mail| mail.id.as_str()).collect();
    ensure!(ids.len() == mails.len(), "{mails:#?}");
    Ok(())
}

/// What Alertmanager forwards for each alert: firing and resolved, once each.
async fn check_alertmanager(alerts: &HttpReceiver, action: &str) -> Result<()> {
    let expected = BTreeMap::from([
        // Before the loss of quorum and after the bootstrap.
        ("degraded".to_owned(), (2, 2)),
        ("no_primary".to_owned(), (1, 1)),
        (action.to_owned(), (1, 1)),
        // An alert about a single event resolves automatically, later.
        ("succeeded".to_owned(), (1, 0)),
    ]);
    eventually(
        "Alertmanager to forward everything",
        NOTIFICATION_TIMEOUT,
        async || {
            let mut seen: BTreeMap<String, (u32, u32)> = BTreeMap::new();
            for message in alerts.messages() {
                let message = message.json()?;
                for alert in message["alerts"].as_array().context("no alerts")? {
                    let labels = &alert["labels"];
                    let what = ["verdict", "action", "state"]
                        .iter()
                        .find_map(|label| labels[label].as_str());
                    let count = seen
                        .entry(what.with_context(|| labels.to_string())?.to_owned())
                        .or_default();
                    match alert["status"].as_str() {
                        Some("firing") => count.0 += 1,
                        _ => count.1 += 1,
                    }
                }
            }
            ensure!(seen == expected, "{seen:#?}");
            Ok(())
        },
    )
    .await
}

async fn add_target(admin: &ConsoleClient, rules: &Value, fields: &Value) -> Result<()> {
    let mut body = rules.clone();
    for (name, value) in fields.as_object().context("no object")? {
        body[name] = value.clone();
    }
    let answer = admin
        .request(Method::POST, "/api/v1/notifications/targets")
        .json(&body)
        .send()
        .await?;
    let status = answer.status();
    ensure!(status.is_success(), "{status}: {}", answer.text().await?);
    Ok(())
}

/// Waits until the console has recorded the cluster as healthy, so that later changes are notified.
async fn wait_until_recorded_healthy(admin: &ConsoleClient) -> Result<()> {
    eventually(
        "a healthy cluster on record",
        NOTIFICATION_TIMEOUT,
        async || {
            let events: Value = admin.get("/api/v1/clusters/lab/events?limit=20").await?;
            let events = events["events"].as_array().context("no events")?.clone();
            let verdict = events.iter().find(|event| event["kind"] == "verdict");
            ensure!(
                verdict.is_some_and(|event| event["to"] == "healthy"),
                "{events:?}"
            );
            Ok(())
        },
    )
    .await
}

/// Waits until `title` was delivered `times` times.
async fn wait_for_title(hook: &HttpReceiver, title: &str, times: usize) -> Result<()> {
    eventually(
        &format!("{title:?} to be delivered"),
        NOTIFICATION_TIMEOUT,
        async || {
            let notified = titles(&hook.messages())?;
            let count = notified
                .iter()
                .filter(|notified| *notified == title)
                .count();
            ensure!(count >= times, "{notified:#?}");
            Ok(())
        },
    )
    .await
}

fn index_of(notified: &[String], part: &str) -> Result<usize> {
    notified
        .iter()
        .position(|title| title.contains(part))
        .with_context(|| format!("{part}: {notified:#?}"))
}
