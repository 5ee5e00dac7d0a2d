//! The acceptance test of the container images: real containers of `docker stack deploy`, killed, scaled and restarted,
//! observed by asking every node directly. `make test-swarm` builds the images and runs it.

mod container_observer;
mod docker;
mod load;
mod scenario_context;
mod scenarios;
mod stack;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use docker::docker;
use scenario_context::ScenarioRunner;
use scenarios::Scenario;

/// Name of the stack; leftovers of a killed earlier run are removed first.
const STACK: &str = "galera-test";

/// Run the scenarios on the images built by `make images`.
#[derive(Parser)]
struct SwarmArguments {
    /// Scenarios to run, in this order [default: all]
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Runs of the start scenario
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Determines which nodes are killed; printed, so that a failure can be repeated
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the stack if a scenario fails
    #[arg(long)]
    keep: bool,
    /// Directory with stack.yaml
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"))]
    deploy: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = SwarmArguments::parse();
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            eprintln!("cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = tokio::select! {
        outcome = run_scenarios(&arguments) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            if !arguments.keep {
                // A scenario that ended has removed its own; this is for one that was interrupted.
                docker(["stack", "rm", STACK]).await.ok();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run_scenarios(arguments: &SwarmArguments) -> Result<()> {
    let runner = ScenarioRunner {
        deploy: std::path::absolute(&arguments.deploy)?,
        name: STACK.to_owned(),
        rounds: arguments.rounds,
        keep: arguments.keep,
    };
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    println!("Seed {seed}");
    stack::Stack::leftover(&runner.deploy, STACK)
        .remove()
        .await?;
    let secrets = NewSecrets::make(&runner).await?;
    let mut lines = Vec::new();
    for scenario in scenarios {
        println!("==> {scenario:?}");
        let began = Instant::now();
        let played = scenario.run(&runner, &mut random).await;
        let line = format!(
            "{scenario:?}: passed in {:.0} s",
            began.elapsed().as_secs_f64()
        );
        played.with_context(|| format!("{scenario:?}, with --seed {seed}"))?;
        lines.push(line);
    }
    secrets.remove().await?;
    println!("\n{}", lines.join("\n"));
    Ok(())
}

/// The secrets of the Swarm that were not there before.
struct NewSecrets(Vec<String>);

impl NewSecrets {
    async fn make(runner: &ScenarioRunner) -> Result<Self> {
        let mut command = Command::new(runner.deploy.join("secrets"));
        let output = docker::run(command.arg("swarm")).await?;
        let made = output
            .lines()
            .filter_map(|line| line.strip_prefix("created "));
        Ok(Self(made.map(ToOwned::to_owned).collect()))
    }

    async fn remove(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let arguments = ["secret".to_owned(), "rm".to_owned()];
        docker(arguments.into_iter().chain(self.0)).await.map(drop)
    }
}
