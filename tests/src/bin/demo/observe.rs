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

pub(crate) async fn observe(demo: Arc<DemoEnvironment>, output: DemoOutput) {
    let mut seen = LastView::default();
    let mut lost = false;
    loop {
        if let Err(error) = follow(&demo, &mut seen, &mut lost, output).await
            && !lost
        {
            lost = true;
            output.event(&format!("the console is unreachable: {error:#}"));
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn follow(
    demo: &DemoEnvironment,
    seen: &mut LastView,
    lost: &mut bool,
    output: DemoOutput,
) -> Result<()> {
    let api = demo.console.sign_in("viewer").await.context("signing in")?;
    let mut live = api.live().await?;
    live.subscribe(&[&format!("cluster/{}", demo.lab.cluster())])
        .await?;
    if std::mem::take(lost) {
        output.event("the console is reachable again");
    }
    loop {
        if let LiveMessage::Cluster { cluster, .. } = live.next(SILENCE_TIMEOUT).await? {
            seen.report_changes(&cluster, output);
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
    fn report_changes(&mut self, view: &ClusterView, output: DemoOutput) {
        for node in &view.nodes {
            if let Some(before) = self.nodes.insert(node.id.clone(), node.state)
                && before != node.state
            {
                let name = node.name.as_deref().unwrap_or("?");
                output.event(&format!(
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
            output.event(&format!(
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
            output.event(&format!("the registry is {word}"));
        }
    }
}
