//! Prints what the console sees, as a page would show it, from a live connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use galera::id::NodeId;
use galera::publish::api::LiveMessage;
use galera::view::{ClusterView, NodeState};

use crate::environment::DemoEnvironment;
use crate::output::DemoOutput;

const RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// The server sends a ping every 15 s and a view every second; silence this long means a dead connection.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn observe(stage: Arc<DemoEnvironment>, say: DemoOutput) {
    let mut seen = LastView::default();
    let mut lost = false;
    loop {
        if let Err(error) = follow(&stage, &mut seen, &mut lost, say).await
            && !lost
        {
            lost = true;
            say.event(&format!("the console is unreachable: {error:#}"));
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn follow(
    stage: &DemoEnvironment,
    seen: &mut LastView,
    lost: &mut bool,
    say: DemoOutput,
) -> Result<()> {
    let api = stage
        .console
        .sign_in("viewer")
        .await
        .context("signing in")?;
    let mut live = api.live().await?;
    live.subscribe(&[&format!("cluster/{}", stage.lab.cluster())])
        .await?;
    if std::mem::take(lost) {
        say.event("the console is reachable again");
    }
    loop {
        if let LiveMessage::Cluster { cluster, .. } = live.next(SILENCE_TIMEOUT).await? {
            seen.report_changes(&cluster, say);
        }
    }
}

#[derive(Default)]
struct LastView {
    verdict: Option<String>,
    registry: Option<bool>,
    nodes: BTreeMap<NodeId, NodeState>,
}

impl LastView {
    fn report_changes(&mut self, view: &ClusterView, say: DemoOutput) {
        for node in &view.nodes {
            if let Some(before) = self.nodes.insert(node.id.clone(), node.state)
                && before != node.state
            {
                let name = node.name.as_deref().unwrap_or("?");
                say.event(&format!(
                    "{name} ({}): {} → {}",
                    node.id,
                    before.as_str(),
                    node.state.as_str()
                ));
            }
        }
        let reasons: Vec<_> = view
            .verdict
            .reasons
            .iter()
            .map(|reason| reason.message.as_str())
            .collect();
        let state = format!("{:?}", view.verdict.state);
        if self.verdict.as_ref() != Some(&state) {
            say.event(&format!(
                "{} is {state}: {}",
                view.name,
                reasons.join(" · ")
            ));
            self.verdict = Some(state);
        }
        if self
            .registry
            .replace(view.registry.reachable)
            .is_some_and(|before| before != view.registry.reachable)
        {
            let word = if view.registry.reachable {
                "reachable again"
            } else {
                "unreachable"
            };
            say.event(&format!("the registry is {word}"));
        }
    }
}
