//! Stop checks: what is answered, and what then happens.

use std::collections::BTreeMap;

use acceptance::api::ConsoleClient;
use acceptance::eventually;
use acceptance::lab::node::NodeStart;
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::view::{ClusterStatus, ClusterView, NodeState, VerdictState};
use serde_json::Value;

use crate::shared::{self, SharedLabGuard};
use crate::views::{self, PATIENCE};

/// What is done to nodes after the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopKind {
    /// Stopped in order, one after the other.
    Stop,
    /// Killed at once.
    Kill,
}

async fn ask(api: &ConsoleClient, nodes: &[&NodeId]) -> Result<Value> {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let path = format!("/api/v1/clusters/lab/stop-check?nodes={}", nodes.join(","));
    api.get(&path).await
}

/// Exit code and output of `galera-agent may-stop` beside a node.
async fn ask_agent(lab: &SharedLabGuard, number: usize) -> Result<(Option<i32>, String)> {
    let output = lab.lab.agent(number).run_command(&["may-stop"]).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code(), text))
}

/// Asks about `numbers`, ends them, and returns whether the others are Primary afterwards.
async fn play(lab: &SharedLabGuard, numbers: &[usize], ending: StopKind) -> Result<(Value, bool)> {
    let api = lab.viewer().await?;
    let ids: Vec<&NodeId> = numbers
        .iter()
        .map(|number| lab.lab.node(*number).id())
        .collect();
    let answer = ask(&api, &ids).await?;
    if let [number] = numbers {
        // The agent asks the members itself, and says the same.
        let (code, text) = ask_agent(lab, *number).await?;
        ensure!(
            code == Some(0) && answer["answer"] == "yes",
            "{text}\n{answer:#}"
        );
        let summary = answer["summary"].as_str().unwrap_or_default();
        ensure!(text.starts_with(summary), "{text}\n{answer:#}");
    }
    for number in numbers {
        match ending {
            StopKind::Stop => lab.lab.node(*number).stop().await?,
            StopKind::Kill => lab.lab.node(*number).kill(),
        }
    }
    let ids: Vec<NodeId> = ids.into_iter().cloned().collect();
    let remaining = 3 - numbers.len();
    let settled = |view: &ClusterView| {
        let ended = ids
            .iter()
            .all(|id| !matches!(views::state(view, id), Some(NodeState::Synced)));
        let component = view.components.iter().find(|component| {
            component.members.len() == remaining && component.size == Some(remaining as u64)
        });
        ended.then_some(())?;
        component.map(|component| component.status == ClusterStatus::Primary)
    };
    let mut live = lab.live().await?;
    let view = live
        .wait_for("the others in one component", PATIENCE, |view| {
            settled(view).is_some()
        })
        .await?;
    let primary = settled(&view).context("the view changed")?;
    Ok((answer, primary))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_stop_check_is_what_then_happens() -> Result<()> {
    let lab = shared::lab().await?;
    for (numbers, ending, expected) in [
        (&[3][..], StopKind::Stop, true),
        (&[1], StopKind::Kill, true),
        (&[2, 3], StopKind::Stop, true),
        (&[1, 2], StopKind::Kill, false),
    ] {
        let (answer, primary) = play(&lab, numbers, ending).await?;
        println!(
            "{numbers:?} {ending:?}: {}, then Primary: {primary}",
            answer["summary"]
        );
        ensure!(answer["answer"] == "yes", "{answer:#}");
        ensure!(primary == expected, "{numbers:?} {ending:?}: {answer:#}");
        if ending == StopKind::Kill {
            ensure!(
                answer["votes"]["primary_if_killed"] == primary,
                "{answer:#}"
            );
        }
        for number in numbers {
            if !primary {
                break;
            }
            lab.lab.node(*number).launch(NodeStart::Join).await?;
            lab.lab.node(*number).wait_until_synced().await?;
        }
        if primary {
            let api = lab.viewer().await?;
            eventually("a healthy cluster", PATIENCE, async || {
                let view = api.cluster("lab").await?;
                ensure!(
                    view.verdict.state == VerdictState::Healthy,
                    "{}",
                    views::describe(&view)
                );
                Ok(())
            })
            .await?;
        }
    }
    // The survivor of the last situation.
    let api = lab.viewer().await?;
    let answer = ask(&api, &[lab.lab.node(3).id()]).await?;
    ensure!(answer["answer"] == "no", "{answer:#}");
    let (code, text) = ask_agent(&lab, 3).await?;
    ensure!(
        code == Some(1) && text.starts_with("No. "),
        "{code:?} {text}"
    );
    let all: Vec<NodeId> = lab.lab.ids();
    let path = format!("/clusters/lab/stop-check?node={}", all[0]);
    let page = api.get_text(&path).await?;
    ensure!(page.contains("Can these nodes be stopped?"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_check_forecasts_an_incremental_transfer() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let id = lab.lab.node(2).id().clone();
    let answer = eventually("a forecast", PATIENCE, async || {
        let path = format!("/api/v1/clusters/lab/nodes/{id}/stop-check");
        let answer: Value = api.get(&path).await?;
        let left = &answer["returns"][0]["transactions_left"];
        ensure!(left.as_u64().is_some_and(|left| left > 0), "{answer:#}");
        Ok(answer)
    })
    .await?;
    ensure!(
        answer["returns"][0]["transfer"] == "incremental",
        "{answer:#}"
    );
    let problem = api
        .problem(api.request(
            reqwest::Method::GET,
            "/api/v1/clusters/lab/nodes/10.9.9.9/stop-check",
        ))
        .await?;
    ensure!(
        problem.status == 404 && problem.code == "unknown_node",
        "{problem:?}"
    );
    let problem = api
        .problem(api.request(reqwest::Method::GET, "/api/v1/clusters/lab/stop-check"))
        .await?;
    ensure!(problem.status == 400, "{problem:?}");
    Ok(())
}

/// A client of etcd can register any address with any state.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_alone_changes_no_answer() -> Result<()> {
    let lab = shared::lab().await?;
    let registry = lab.lab.registry()?;
    let cluster = format!("/galera/{}/", lab.lab.cluster());
    let listing = registry.list(cluster.clone()).await?;
    let mut fields = BTreeMap::new();
    for entry in listing.entries {
        let key = String::from_utf8(entry.key)?;
        let rest = key.strip_prefix(&cluster).unwrap_or_default();
        if let Some((node, field)) = rest.split_once('/')
            && node
                .parse()
                .is_ok_and(|node: NodeId| node.host() == lab.lab.node(2).id().host())
        {
            fields.insert(field.to_owned(), entry.value);
        }
    }
    ensure!(
        fields.contains_key("wsrep_cluster_status"),
        "node 2 reports {:?}",
        fields.keys()
    );
    // Another Primary component with another history, as an agent would report it.
    let history = b"0f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b".to_vec();
    fields.insert("wsrep_cluster_state_uuid".to_owned(), history);
    fields.insert("wsrep_cluster_size".to_owned(), b"1".to_vec());
    let own = b"127.0.0.66:3306".to_vec();
    fields.insert("wsrep_incoming_addresses".to_owned(), own);
    let lease = registry.grant_without_keep_alive(PATIENCE).await?;
    for (field, value) in fields {
        let forged = format!("{cluster}127.0.0.66:3306/{field}");
        registry.put(forged, value, Some(lease)).await?;
    }
    for number in 1..=3 {
        let (code, text) = ask_agent(&lab, number).await?;
        ensure!(
            code == Some(0) && text.starts_with("Yes"),
            "{number}: {text}"
        );
    }
    registry.revoke(lease).await?;
    Ok(())
}
