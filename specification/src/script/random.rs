//! Random scripts, the same for the same seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::player::ScriptPlayer;
use super::{GaleraScript, ScriptStep};
use crate::{NodeIndex, ProbeResult};

/// Nodes of a random script.
const NODES: usize = 3;
/// Steps of a random script, without those that a step brings along.
const STEPS: usize = 10;

/// The script of `seed`: steps that have an effect on the specification, so that real servers have one to show.
pub(super) fn script(seed: u64) -> GaleraScript {
    let mut random = StdRng::seed_from_u64(seed);
    let weights: Vec<u64> = (0..NODES)
        .map(|_| if random.random_ratio(1, 8) { 2 } else { 1 })
        .collect();
    let mut script = GaleraScript::new(&format!("random:{seed}"), NODES, []).with_weights(&weights);
    let mut player = ScriptPlayer::new(&script);
    for number in 0..STEPS {
        let possible = possible_steps(&player, number as u64);
        let Some(&step) = possible.choose(&mut random) else {
            break;
        };
        player.apply(step);
        script.steps.push(step);
        // A server that is about to end would do so during one of the next steps.
        let waits = player.cluster().nodes().iter().any(|node| {
            let server = node.server.as_ref();
            server.is_some_and(|server| server.ends_without_primary())
        });
        if waits {
            player.apply(ScriptStep::WaitPrimTimeout);
            script.steps.push(ScriptStep::WaitPrimTimeout);
        }
    }
    script
}

/// The steps that are possible now; one that is listed twice is twice as likely.
fn possible_steps(player: &ScriptPlayer, number: u64) -> Vec<ScriptStep> {
    let cluster = player.cluster();
    let mut steps = Vec::new();
    for (node, own) in cluster.nodes().iter().enumerate() {
        match &own.server {
            None => steps.extend(steps_while_stopped(player, node)),
            Some(server) if server.paused => {
                steps.extend([ScriptStep::Resume(node), ScriptStep::Resume(node)]);
            }
            Some(server) => {
                steps.extend([ScriptStep::Kill(node), ScriptStep::Kill(node)]);
                steps.extend([ScriptStep::Stop(node), ScriptStep::Pause(node)]);
                let others = (node + 1)..cluster.nodes().len();
                let uncut = others.filter(|&other| cluster.cuts().all(|cut| cut != (node, other)));
                steps.extend(uncut.map(|other| ScriptStep::Cut(node, other)));
                if matches!(cluster.probe(node), ProbeResult::Rows(_)) {
                    let write = ScriptStep::Write(node, 100 + number);
                    steps.extend([write, write]);
                    if !server.is_primary() {
                        steps.extend([ScriptStep::Bootstrap(node); 4]);
                    }
                }
            }
        }
    }
    for (one, other) in cluster.cuts() {
        steps.extend([ScriptStep::Mend(one, other); 2]);
    }
    steps
}

fn steps_while_stopped(player: &ScriptPlayer, node: NodeIndex) -> Vec<ScriptStep> {
    let data = &player.cluster().nodes()[node].data;
    let mut steps = vec![ScriptStep::Start(node); 4];
    if data.history.is_some() && data.safe_to_bootstrap {
        steps.extend([ScriptStep::StartNewCluster(node); 2]);
    } else if data.history.is_some() && player.cluster().primary_components().is_empty() {
        steps.push(ScriptStep::SetSafeToBootstrap(node));
    }
    if data.saved_view.is_some() {
        steps.push(ScriptStep::RemoveSavedView(node));
    }
    if data.history.is_some() && !player.cluster().primary_components().is_empty() {
        steps.push(ScriptStep::EmptyData(node));
    }
    steps
}
