//! etcd lost in part and as a whole, and the console restarted: nothing turns red because of it.

use std::time::{Duration, Instant};

use acceptance::eventually;
use anyhow::{Context, Result, ensure};
use galera::view::{NodeState, ReasonCode, VerdictState};

use crate::shared;
use crate::views::{self, PATIENCE};

/// Longer than any request to a member of etcd may take.
const REQUEST_TIME: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_sql_monitoring_continues_and_no_verdict_worsens() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    lab.lab.etcd().kill_all();
    let calm = |view: &galera::view::ClusterView| {
        assert!(
            views::has_verdict(view, VerdictState::Healthy),
            "{}",
            views::describe(view)
        );
        assert!(
            view.nodes
                .iter()
                .all(|node| node.state == NodeState::Synced),
            "{}",
            views::describe(view)
        );
    };
    let view = live
        .wait_for("the registry to be unreachable", PATIENCE, |view| {
            calm(view);
            !view.registry.reachable
        })
        .await?;
    let since = view.registry.since;
    ensure!(view.registry.error.is_some());
    ensure!(
        views::has_reason(&view, ReasonCode::RegistryUnreachable),
        "{}",
        views::describe(&view)
    );
    let before = views::seqnos(&view).context("no sequence numbers")?;
    // Longer than the TTL of every registration.
    let end = Instant::now() + lab.lab.ttl() + REQUEST_TIME;
    let view = live
        .wait_for(
            "SQL facts to go on for longer than a TTL",
            PATIENCE,
            |view| {
                calm(view);
                assert!(
                    !view.registry.reachable && view.registry.since == since,
                    "{:?}",
                    view.registry
                );
                Instant::now() > end
            },
        )
        .await?;
    let after = views::seqnos(&view).context("no sequence numbers")?;
    ensure!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| after > before),
        "{before:?} {after:?}"
    );

    lab.lab.etcd().start_all().await?;
    live.wait_for("the registry to be back", PATIENCE, |view| {
        calm(view);
        view.registry.reachable && !views::has_reason(view, ReasonCode::NodeWithoutRegistration)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_one_of_three_etcd_members_has_no_effect() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let mut live = lab.live().await?;
    for number in [1, 2, 3] {
        let member = lab.lab.etcd().member(number);
        member.kill();
        let end = Instant::now() + REQUEST_TIME;
        while Instant::now() < end {
            let view = live.wait_for("the next view", PATIENCE, |_| true).await?;
            ensure!(
                view.registry.reachable && views::has_verdict(&view, VerdictState::Healthy),
                "{}",
                views::describe(&view)
            );
            api.registry("lab").await?;
        }
        member.restart().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_console_recovers_its_state_and_sessions() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let mut live = lab.live().await?;
    let status = lab.console.stop().await?;
    ensure!(status.success(), "it ended with {status}");
    let code = live.wait_for_close(PATIENCE).await?;
    ensure!(
        code == 1001 || code == 1012,
        "closed with {code}, not with going away or service restart"
    );

    // A change during the restart must be visible afterwards.
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).kill();
    lab.console.launch()?;
    let mut live = eventually("pages to reconnect", PATIENCE, async || api.live().await).await?;
    live.subscribe(&[views::TOPIC]).await?;
    live.wait_for("the truth", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Degraded) && views::any_reason_names(view, &id)
    })
    .await?;
    Ok(())
}
