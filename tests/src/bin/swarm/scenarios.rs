//! The scenarios. Each deploys its own stack, injects faults, and fails unless the result is one cluster with every
//! acknowledged row.

mod crash;
mod discovery;
mod front;
mod grow;
mod restart;
mod start;

use anyhow::Result;
use rand::rngs::StdRng;

use crate::scenario_context::ScenarioRunner;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Three nodes started at the same moment, from nothing.
    Start,
    /// Five nodes and back to three under load.
    Grow,
    /// One killed; all killed; all killed and one kept away.
    Crash,
    /// All stopped in turn and started together; the registry wiped while nodes run.
    Restart,
    /// etcd members killed and returned in every phase.
    Discovery,
    /// HAProxy in front, and a node that dies.
    Front,
}

impl Scenario {
    /// Plays it.
    ///
    /// # Errors
    /// If something does not hold.
    pub(crate) async fn run(self, runner: &ScenarioRunner, random: &mut StdRng) -> Result<()> {
        match self {
            Self::Start => start::run(runner).await,
            Self::Grow => grow::run(runner).await,
            Self::Crash => crash::run(runner, random).await,
            Self::Restart => restart::run(runner).await,
            Self::Discovery => discovery::run(runner, random).await,
            Self::Front => front::run(runner).await,
        }
    }
}
