//! Says what the console sees, as a page would: it signs in and listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use galera::id::NodeId;
use galera::publish::api::LiveMessage;
use galera::view::{ClusterView, NodeState};

use crate::say::Say;
use crate::stage::Stage;

const AGAIN: Duration = Duration::from_secs(1);
/// The server sends a ping every 15 s and a view every second; silence this long means a dead connection.
const SILENCE: Duration = Duration::from_secs(20);

pub(crate) async fn observe(stage: Arc<Stage>, say: Say) {
    let mut seen = Seen::default();
    let mut lost = false;
    loop {
        if let Err(error) = follow(&stage, &mut seen, &mut lost, say).await
            && !lost
        {
            lost = true;
            say.event(&format!("the console cannot be reached: {error:#}"));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow(stage: &Stage, seen: &mut Seen, lost: &mut bool, say: Say) -> Result<()> {
    let api = stage
        .console
        .sign_in("viewer")
        .await
        .context("signing in")?;
    let mut live = api.live().await?;
    live.subscribe(&[&format!("cluster/{}", stage.lab.cluster())])
        .await?;
    if std::mem::take(lost) {
        say.event("the console is back");
    }
    loop {
        if let LiveMessage::Cluster { cluster, .. } = live.next(SILENCE).await? {
            seen.compare(&cluster, say);
        }
    }
}

#[derive(Default)]
struct Seen {
    verdict: Option<String>,
    registry: Option<bool>,
    nodes: BTreeMap<NodeId, NodeState>,
}

impl Seen {
    fn compare(&mut self, view: &ClusterView, say: Say) {
        for node in &view.nodes {
            if let Some(before) = self.nodes.insert(node.id.clone(), node.state)
                && before != node.state
            {
                let name = node.name.as_deref().unwrap_or("?");
                say.event(&format!(
                    "{name} ({}): {} → {}",
                    node.id,
                    before.word(),
                    node.state.word()
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
