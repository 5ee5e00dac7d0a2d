//! Random rounds: nodes, network, etcd and consoles fail at random while clients write. Then the cluster is recovered
//! through the console alone and all guarantees are checked. `make test-recovery` runs two hundred rounds.

mod checks;
mod conditions;
mod faults;
mod journal;
mod kind;
mod operators;
mod promise;
mod restore;
mod round;
mod rounds_lab;
mod script;
mod staged;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::available_parallelism;
use std::time::Instant;

use acceptance::lab::{network, program_directory};
use anyhow::{Result, anyhow};
use clap::Parser;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::getuid;
use tokio::signal::unix::{SignalKind, signal};

use journal::FailureJournals;
use kind::{RoundKind, RoundName};
use round::{Round, RoundReport};
use rounds_lab::RoundsLab;

/// Inject random faults and check that recovery through the console makes nothing worse.
#[derive(Parser)]
struct RoundsArguments {
    /// Number of rounds
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// First rounds, as KIND:SEED or SEED; later seeds derive from the last one. Every round prints its name, so that it
    /// can be repeated: `--seed NAME --rounds 1`
    #[arg(long = "seed", value_name = "[KIND:]SEED")]
    names: Vec<RoundName>,
    /// Kinds of the rounds whose seeds are derived; all by default
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<RoundKind>,
    /// Labs that run rounds in parallel; two for each core by default, since a round mostly waits
    #[arg(long, value_name = "LABS")]
    parallel: Option<usize>,
    /// Where the journals of failed rounds are kept; by default beside the programs
    #[arg(long, value_name = "DIR")]
    journals: Option<PathBuf>,
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
    let last = arguments
        .names
        .last()
        .map_or_else(rand::random, |name| name.seed);
    let mut first = arguments.names.clone();
    if first.is_empty() {
        first.push(RoundName::of_seed(last, &arguments.kinds));
    }
    println!("Seed {last}, {} round(s)", arguments.rounds);
    let mut further = StdRng::seed_from_u64(last);
    let further = std::iter::from_fn(move || Some(further.random()))
        .map(|seed| RoundName::of_seed(seed, &arguments.kinds));
    let names = first.into_iter().chain(further).take(arguments.rounds);
    let waiting = Mutex::new(names.collect::<VecDeque<RoundName>>());
    let cores = available_parallelism().map_or(1, usize::from);
    let labs = arguments
        .parallel
        .unwrap_or(2 * cores)
        .clamp(1, arguments.rounds.max(1));
    let journals = match &arguments.journals {
        Some(directory) => directory.clone(),
        None => program_directory()?.join("failed-rounds"),
    };
    let rounds = Rounds {
        waiting,
        journals: FailureJournals::in_directory(journals),
        verbose: arguments.tell,
    };
    let began = Instant::now();
    let labs = join_all((1..=labs).map(|number| rounds.play_on_lab(number))).await;
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
    let names: Vec<String> = failures.iter().map(RoundName::to_string).collect();
    Err(anyhow!(
        "{} round(s) failed; play one again with --rounds 1 --seed {}",
        failures.len(),
        names.join(" or --seed ")
    ))
}

/// Rounds that are yet to be played.
struct Rounds {
    waiting: Mutex<VecDeque<RoundName>>,
    journals: FailureJournals,
    verbose: bool,
}

impl Rounds {
    /// Plays rounds on one lab until none are left; a lab that failed is replaced. Returns the reports and the names of
    /// the failed rounds.
    async fn play_on_lab(&self, number: usize) -> (Vec<RoundReport>, Vec<RoundName>) {
        let (mut reports, mut failures) = (Vec::new(), Vec::new());
        let mut lab: Option<RoundsLab> = None;
        while let Some(name) = self.next() {
            match self.play(&mut lab, name).await {
                Ok(report) => reports.push(report),
                Err(error) => {
                    eprintln!("Round {name} FAILED on lab {number}: {error:#}");
                    failures.push(name);
                    lab = None;
                }
            }
        }
        (reports, failures)
    }

    fn next(&self) -> Option<RoundName> {
        self.waiting.lock().ok()?.pop_front()
    }

    async fn play(&self, lab: &mut Option<RoundsLab>, name: RoundName) -> Result<RoundReport> {
        let clocks = name.kind.sets_clocks();
        let ready = match lab.take() {
            Some(ready) if ready.has_clocks == clocks => ready,
            other => {
                drop(other);
                RoundsLab::start(clocks).await?
            }
        };
        let ready = lab.insert(ready);
        let report = Round::play(ready, name, self.verbose, &self.journals).await?;
        println!("Round {name}: {report}");
        Ok(report)
    }
}
