//! Random rounds: nodes, network, etcd and consoles fail at random while clients write. Then the cluster is recovered
//! through the console alone and all guarantees are checked. `make test-recovery` runs a hundred rounds.

mod checks;
mod faults;
mod journal;
mod operator;
mod promise;
mod restore;
mod round;
mod rounds_lab;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use acceptance::lab::network;
use anyhow::{Result, anyhow};
use clap::Parser;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::getuid;
use tokio::signal::unix::{SignalKind, signal};

use round::{Round, RoundReport};
use rounds_lab::RoundsLab;

/// Inject random faults and check that recovery through the console makes nothing worse.
#[derive(Parser)]
struct RoundsArguments {
    /// Number of rounds
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Seeds of the first rounds; later seeds derive from the last one. Every round prints its seed, so that it can be
    /// repeated: `--seed N --rounds 1`
    #[arg(long = "seed")]
    seeds: Vec<u64>,
    /// Labs that run rounds in parallel
    #[arg(long, default_value_t = 2)]
    labs: u8,
    /// Print the journal of every round, not only of failed ones
    #[arg(long)]
    tell: bool,
}

fn main() -> ExitCode {
    let arguments = RoundsArguments::parse();
    let mut left_out = None;
    if !network::in_own_namespace() {
        // Does not return on success: the program runs again in a namespace that disappears with this process.
        left_out = Some(if getuid().is_root() {
            format!("{:#}", network::reexec_in_namespace())
        } else {
            "creating network namespaces requires root".to_owned()
        });
    }
    if let Some(why) = left_out {
        println!("Skipping partitions and unplugged nodes: {why}.");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(interruptible(&arguments)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn interruptible(arguments: &RoundsArguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = run_rounds(arguments) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    }
}

async fn run_rounds(arguments: &RoundsArguments) -> Result<()> {
    let mut first = arguments.seeds.clone();
    let last = first.last().copied().unwrap_or_else(rand::random);
    if first.is_empty() {
        first.push(last);
    }
    println!("Seed {last}, {} round(s)", arguments.rounds);
    let mut further = StdRng::seed_from_u64(last);
    let further = std::iter::from_fn(move || Some(further.random()));
    let seeds = first.into_iter().chain(further);
    let waiting = Mutex::new(seeds.take(arguments.rounds).collect::<VecDeque<u64>>());
    let next = || waiting.lock().ok()?.pop_front();
    let began = Instant::now();
    let labs =
        join_all((1..=arguments.labs).map(|number| play_on_lab(number, arguments.tell, &next)))
            .await;
    let mut reports = Vec::new();
    let mut failures = Vec::new();
    for (played, failed) in labs {
        reports.extend(played);
        failures.extend(failed);
    }
    let total = RoundReport::total(&reports);
    println!(
        "\n{} round(s) passed in {:.0} s: {total}",
        reports.len(),
        began.elapsed().as_secs_f64()
    );
    if failures.is_empty() {
        return Ok(());
    }
    let seeds: Vec<String> = failures.iter().map(u64::to_string).collect();
    Err(anyhow!(
        "{} round(s) failed; play one again with --rounds 1 --seed {}",
        failures.len(),
        seeds.join(" or --seed ")
    ))
}

/// Plays rounds on one lab until none are left; a lab that failed is replaced. Returns the reports and the seeds of the
/// failed rounds.
async fn play_on_lab(
    number: u8,
    verbose: bool,
    next: &impl Fn() -> Option<u64>,
) -> (Vec<RoundReport>, Vec<u64>) {
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    let mut lab: Option<RoundsLab> = None;
    while let Some(seed) = next() {
        match play_round(&mut lab, seed, verbose).await {
            Ok(report) => reports.push(report),
            Err(error) => {
                eprintln!("Seed {seed} FAILED on lab {number}: {error:#}");
                failures.push(seed);
                lab = None;
            }
        }
    }
    (reports, failures)
}

async fn play_round(lab: &mut Option<RoundsLab>, seed: u64, verbose: bool) -> Result<RoundReport> {
    let ready = match lab.take() {
        Some(ready) => ready,
        None => RoundsLab::start().await?,
    };
    let ready = lab.insert(ready);
    let report = Round::play(ready, seed, verbose).await?;
    println!("Seed {seed}: {report}");
    Ok(report)
}
