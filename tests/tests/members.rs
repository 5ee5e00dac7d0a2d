//! One member: all well, killed, back through a state transfer, silent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use acceptance::lab::console::Console;
use acceptance::lab::node::Start;
use anyhow::{Context, Result, ensure};
use galera::view::{NodeState, ReasonCode, SourceKind, VerdictState};

use crate::shared;
use crate::views::{self, CONSOLE, GALERA, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn three_synced_nodes_show_equal_and_moving_sequence_numbers() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let mut met = BTreeSet::new();
    live.wait_for(
        "equal sequence numbers, three times, each higher",
        LONG,
        |view| {
            let synced = view
                .nodes
                .iter()
                .filter(|node| node.state == NodeState::Synced)
                .count()
                == 3;
            if let Some(seqnos) = views::seqnos(view)
                && synced
                && views::is(view, VerdictState::Healthy)
                && seqnos.windows(2).all(|pair| pair[0] == pair[1])
                && view.nodes.iter().all(|node| node.behind == Some(0))
            {
                met.extend(seqnos);
            }
            met.len() >= 3
        },
    )
    .await?;
    let view = lab.viewer().await?.cluster("lab").await?;
    ensure!(
        view.components.len() == 1 && view.components[0].members.len() == 3,
        "{:?}",
        view.components
    );
    ensure!(
        view.nodes
            .iter()
            .any(|node| node.commit_rate.is_some_and(|rate| rate > 0.0)),
        "nothing moves"
    );
    for id in lab.lab.ids() {
        for kind in [SourceKind::Sql, SourceKind::Registry] {
            ensure!(
                views::heard(&view, &id, kind),
                "{kind:?} of {id}: {:?}",
                views::source(&view, &id, kind)
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_named_in_time_and_its_return_is_shown() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).kill();
    let began = Instant::now();
    let view = live
        .wait_for("degraded, naming the node", CONSOLE + GALERA, |view| {
            views::is(view, VerdictState::Degraded) && views::blames(view, &id)
        })
        .await?;
    println!("named after {:?}", began.elapsed());
    for other in [1, 2] {
        let other = lab.lab.node(other).id();
        ensure!(
            views::state(&view, other) == Some(NodeState::Synced),
            "{}",
            views::describe(&view)
        );
    }

    // Looks often enough to meet states that last for a moment.
    let mut settings = lab.lab.console_settings();
    settings.more = ["--poll-interval", "200ms"].map(str::to_owned).to_vec();
    let watchful = Console::start(settings).await?;
    let mut live = watchful.sign_in("viewer").await?.live().await?;
    live.subscribe(&[views::TOPIC]).await?;
    let mut joiner = BTreeSet::new();
    let mut others = BTreeSet::new();
    lab.lab.node(3).transfer_speed(Some(3_000_000))?;
    lab.lab.node(3).launch(Start::Join).await?;
    live.wait_for("the node to be Synced again", LONG, |view| {
        joiner.extend(views::state(view, &id));
        others.extend(views::others(view, &id));
        views::is(view, VerdictState::Healthy)
    })
    .await
    .with_context(|| format!("seen of it: {joiner:?}, of the others: {others:?}"))?;
    ensure!(
        joiner.contains(&NodeState::Joining) && joiner.contains(&NodeState::Synced),
        "seen of the joiner: {joiner:?}"
    );
    ensure!(
        others.contains(&NodeState::Donor),
        "seen of the others: {others:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_empty_directory_is_shown_joining_during_its_whole_transfer() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).kill();
    live.wait_for("the node to be missed", CONSOLE + GALERA, |view| {
        views::blames(view, &id)
    })
    .await?;
    lab.lab.node(3).wipe()?;
    lab.lab.node(3).launch(Start::Join).await?;
    let mut joiner = BTreeSet::new();
    let mut others = BTreeSet::new();
    live.wait_for("the node to be Synced again", LONG, |view| {
        joiner.extend(views::state(view, &id));
        others.extend(views::others(view, &id));
        views::is(view, VerdictState::Healthy)
    })
    .await
    .with_context(|| format!("seen of it: {joiner:?}, of the others: {others:?}"))?;
    ensure!(
        joiner.contains(&NodeState::Joining),
        "seen of the joiner: {joiner:?}"
    );
    ensure!(
        others.contains(&NodeState::Donor),
        "seen of the others: {others:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_unreachable_with_the_reason_and_holds_nobody_up() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(2).id().clone();
    let others = [lab.lab.node(1).id().clone(), lab.lab.node(3).id().clone()];
    lab.lab.node(2).pause()?;
    // The probe's own deadline comes before the console knows.
    let deadline = GALERA + CONSOLE + CONSOLE;
    let view = live
        .wait_for("unreachable", deadline, |view| {
            // Nobody else may suffer at any time.
            let suffering = others
                .iter()
                .find(|other| !views::heard(view, other, SourceKind::Sql));
            assert_eq!(suffering, None, "{}", views::describe(view));
            views::state(view, &id) == Some(NodeState::Unreachable)
                && views::is(view, VerdictState::Degraded)
        })
        .await?;
    ensure!(
        views::names(&view, ReasonCode::MemberUnreachable, &id),
        "{}",
        views::describe(&view)
    );
    let sql = views::source(&view, &id, SourceKind::Sql).context("no SQL source")?;
    let error = sql.error.as_deref().unwrap_or_default();
    ensure!(
        error.contains("answer") || error.contains("timed out"),
        "the reason is {error:?}"
    );
    ensure!(sql.failing_since.is_some());

    for _ in 0..5 {
        let began = Instant::now();
        api.cluster("lab").await?;
        ensure!(
            began.elapsed() < Duration::from_millis(500),
            "the answer took {:?}",
            began.elapsed()
        );
    }
    let before = views::seqnos(&view).context("no sequence numbers")?[0];
    live.wait_for("the others to go on", CONSOLE * 2, |view| {
        others.iter().all(|id| {
            let position = views::node(view, id).and_then(|node| node.position.as_ref());
            position.is_some_and(|position| position.seqno > before)
        })
    })
    .await?;

    lab.lab.node(2).resume()?;
    live.wait_for("it to be back by itself", LONG, |view| {
        views::is(view, VerdictState::Healthy)
    })
    .await?;
    Ok(())
}
