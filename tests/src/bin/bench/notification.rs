//! How long a change of a verdict takes to reach a webhook.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acceptance::lab::console::LabConsole;
use acceptance::lab::receivers::{HttpReceiver, ReceivedMessage};
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};
use galera::Timestamp;
use mysql_async::prelude::Queryable;
use rand::Rng;
use serde_json::json;

use crate::figures::{DurationSample, MeasuredFigure};

const TIMEOUT: Duration = Duration::from_secs(20);
const CHANGES: usize = 60;

/// A node leaves the state Synced and returns, which changes the verdict each time. No minimum duration or window
/// delays the notification.
pub(crate) async fn measure(lab: &Lab) -> Result<Vec<MeasuredFigure>> {
    let hook = HttpReceiver::start().await?;
    let mut settings = lab.console_settings();
    settings
        .extra_arguments
        .extend(["--notify-allow", "127.0.0.1"].map(str::to_owned));
    let console = LabConsole::start(settings).await?;
    target(&console, &hook).await?;
    // One persistent connection: connecting is not part of the figure.
    let mut connection = lab.node(1).root().await?;
    let (mut whole, mut seen) = (DurationSample::default(), DurationSample::default());
    for number in 0..CHANGES {
        let word = if number % 2 == 0 { "ON" } else { "OFF" };
        let before = hook.messages().len();
        let (began, at) = (SystemTime::now(), Instant::now());
        connection
            .query_drop(format!("SET GLOBAL wsrep_desync={word}"))
            .await?;
        let message = eventually("the change to be delivered", TIMEOUT, async || {
            let messages = hook.messages();
            messages.get(before).cloned().context("nothing came")
        })
        .await?;
        ensure!(at.elapsed() < TIMEOUT);
        whole.add(message.at.duration_since(began)?);
        seen.add(notification_delay(&message)?);
        let pause = Duration::from_millis(rand::rng().random_range(200..1_200));
        tokio::time::sleep(pause).await;
    }
    println!(
        "    {} changes; from the change itself: p50 {:?}, p99 {:?}; from its observation by the console: p50 {:?}",
        whole.len(),
        whole.quantile(0.5),
        whole.quantile(0.99),
        seen.quantile(0.5)
    );
    Ok(vec![
        MeasuredFigure::duration_without_limit(
            "SQL-only change to webhook, p99 (poll interval 1 s)",
            whole.quantile(0.99),
        ),
        MeasuredFigure::duration(
            "change seen to webhook sent, p99",
            seen.quantile(0.99),
            Duration::from_secs(1),
        ),
    ])
}

/// From the change as observed by the console to the delivery.
fn notification_delay(message: &ReceivedMessage) -> Result<Duration> {
    let at = message.json()?["at"]
        .as_str()
        .and_then(Timestamp::parse)
        .context("no time")?;
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(at.unix_millis())?);
    Ok(message.at.duration_since(at)?)
}

async fn target(console: &LabConsole, hook: &HttpReceiver) -> Result<()> {
    let admin = console.sign_in("admin").await?;
    eventually("a healthy cluster on record", TIMEOUT, async || {
        let events: serde_json::Value = admin.get("/api/v1/clusters/lab/events?limit=20").await?;
        let events = events["events"].as_array().context("no events")?.clone();
        let verdict = events.iter().find(|event| event["kind"] == "verdict");
        ensure!(
            verdict.is_some_and(|event| event["to"] == "healthy"),
            "{events:?}"
        );
        Ok(())
    })
    .await?;
    let body = json!({
        "name": "bench", "type": "webhook", "url": hook.url(), "secret": "0123456789abcdef",
        "minimum_seconds": 0, "window_seconds": 0,
    });
    let answer = admin
        .request(reqwest::Method::POST, "/api/v1/notifications/targets")
        .json(&body)
        .send()
        .await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}
