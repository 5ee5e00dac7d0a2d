//! How long a change takes to reach a browser.

use std::time::{Duration, Instant};

use acceptance::Lab;
use acceptance::api::ConsoleClient;
use acceptance::live::LiveClient;
use anyhow::{Context, Result};
use galera::id::NodeId;
use galera::view::{ClusterView, SourceKind};
use mysql_async::prelude::Queryable;
use rand::Rng;
use registry::{Transaction, WriteOp};

use crate::figures::{DurationSample, MeasuredFigure};

const PATIENCE: Duration = Duration::from_secs(10);
const CHANGES: u64 = 200;
const COMMITS: u64 = 60;

/// Publishes a node that exists only in the registry, so that only the registry changes its state.
pub(crate) async fn registry(lab: &Lab, api: &ConsoleClient) -> Result<Vec<MeasuredFigure>> {
    let registry = lab.registry()?;
    let lease = registry.grant(Duration::from_secs(300)).await?;
    let node: NodeId = "127.0.0.77".parse()?;
    let mut live = subscribed(api, lab).await?;
    let (mut whole, mut commit, mut frame) = (
        DurationSample::default(),
        DurationSample::default(),
        DurationSample::default(),
    );
    for number in 1..=CHANGES {
        let key = format!("/galera/{}/{node}/wsrep_local_state_comment", lab.cluster());
        let comment = match number % 2 {
            0 => "Synced",
            _ => "Donor/Desynced",
        };
        let write = WriteOp::put(key, comment, Some(lease.id()));
        let began = Instant::now();
        // The frame may arrive before etcd's response, so both are awaited together.
        let change = async {
            registry.transact(&Transaction::new().then([write])).await?;
            anyhow::Ok(began.elapsed())
        };
        let seen = async {
            live.wait_for("the change", PATIENCE, |view| {
                registered(view, &node) == Some(comment)
            })
            .await?;
            anyhow::Ok(began.elapsed())
        };
        let (committed, seen) = tokio::try_join!(change, seen)?;
        whole.add(seen);
        commit.add(committed);
        frame.add(seen.saturating_sub(committed));
        pause(20..80).await;
    }
    lease.revoke().await?;
    println!(
        "    {} changes; from sending the put: p50 {:?}, p99 {:?}",
        whole.len(),
        whole.quantile(0.5),
        whole.quantile(0.99)
    );
    println!(
        "    of which etcd's own commit: p50 {:?}, p99 {:?}",
        commit.quantile(0.5),
        commit.quantile(0.99)
    );
    let limit = Duration::from_millis(50);
    Ok(vec![
        MeasuredFigure::duration_without_limit(
            "registry change to frame, from sending the put, p50",
            whole.quantile(0.5),
        ),
        MeasuredFigure::duration(
            "registry change to frame, from sending the put, p99",
            whole.quantile(0.99),
            limit,
        ),
        MeasuredFigure::duration_without_limit(
            "registry change to frame, from etcd's answer, p99",
            frame.quantile(0.99),
        ),
    ])
}

/// A commit that only the next poll can show; numbers are published once a poll interval.
pub(crate) async fn sql(
    lab: &Lab,
    api: &ConsoleClient,
    poll_interval: Duration,
) -> Result<Vec<MeasuredFigure>> {
    let id = lab.node(1).id().clone();
    let mut connection = lab.node(1).app().await?;
    connection
        .query_drop("CREATE TABLE IF NOT EXISTS ticks (id INT AUTO_INCREMENT PRIMARY KEY)")
        .await?;
    let mut live = subscribed(api, lab).await?;
    let mut sample = DurationSample::default();
    for _ in 0..COMMITS {
        let before = lab.node(1).wsrep().await?.remove("wsrep_last_committed");
        let before: u64 = before.context("no wsrep_last_committed")?.parse()?;
        connection.query_drop("INSERT INTO ticks VALUES ()").await?;
        let began = Instant::now();
        live.wait_for("the commit", PATIENCE, |view| {
            position(view, &id) > Some(before)
        })
        .await?;
        sample.add(began.elapsed());
        pause(100..900).await;
    }
    println!(
        "    {} commits: p50 {:?}, p99 {:?}",
        sample.len(),
        sample.quantile(0.5),
        sample.quantile(0.99)
    );
    let limit = poll_interval * 2 + Duration::from_millis(50);
    Ok(vec![
        MeasuredFigure::duration_without_limit(
            "SQL-only change to frame, p50",
            sample.quantile(0.5),
        ),
        MeasuredFigure::duration(
            "SQL-only change to frame, p99",
            sample.quantile(0.99),
            limit,
        ),
    ])
}

async fn subscribed(api: &ConsoleClient, lab: &Lab) -> Result<LiveClient> {
    let mut live = api.live().await?;
    live.subscribe(&[&format!("cluster/{}", lab.cluster())])
        .await?;
    live.wait_for("the first view", PATIENCE, |_| true).await?;
    Ok(live)
}

fn registered<'a>(view: &'a ClusterView, id: &NodeId) -> Option<&'a str> {
    let node = view.nodes.iter().find(|node| node.id == *id)?;
    node.sources
        .iter()
        .find(|source| source.kind == SourceKind::Registry)?
        .state
        .as_deref()
}

fn position(view: &ClusterView, id: &NodeId) -> Option<u64> {
    let node = view.nodes.iter().find(|node| node.id == *id)?;
    node.position.as_ref().map(|position| position.seqno)
}

/// Some time, so that changes do not fall into step with the console.
async fn pause(millis: std::ops::Range<u64>) {
    let pause = Duration::from_millis(rand::rng().random_range(millis));
    tokio::time::sleep(pause).await;
}
