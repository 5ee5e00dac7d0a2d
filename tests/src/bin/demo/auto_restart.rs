//! Starts dead nodes again after a while, so that their return can be watched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use acceptance::lab::node::NodeStart;

use crate::environment::DemoEnvironment;
use crate::output::DemoOutput;

const POLL_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn restart_dead_nodes(demo: Arc<DemoEnvironment>, output: DemoOutput) {
    let mut dead: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let patience = Duration::from_secs(demo.revive_after.load(Ordering::Relaxed));
        for node in demo.lab.nodes() {
            if node.pid().is_some() {
                dead.remove(&node.name());
                continue;
            }
            let since = *dead.entry(node.name()).or_insert_with(|| {
                let then = if patience.is_zero() {
                    format!("type: start {}", node.name())
                } else {
                    format!("restarting it in {} s", patience.as_secs())
                };
                output.event(&format!("{} is dead; {then}", node.name()));
                Instant::now()
            });
            if patience.is_zero() || since.elapsed() < patience {
                continue;
            }
            dead.remove(&node.name());
            match node.launch(NodeStart::Join).await {
                Ok(()) => {
                    let pid = node.pid().unwrap_or_default();
                    output.event(&format!("{} restarted (pid {pid})", node.name()));
                }
                Err(error) => output.event(&format!("could not start {}: {error:#}", node.name())),
            }
        }
    }
}
