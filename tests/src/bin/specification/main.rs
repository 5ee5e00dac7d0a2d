//! Plays scripts on the Galera specification and on real servers, and compares them after each step: the simulation is worth
//! as much as its specification is true. `make test-specification` plays all of them and random ones.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Instant;

use acceptance::lab::script::play_script;
use acceptance::lab::{network, program_directory};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use futures::future::join_all;
use galera_specification::script::GaleraScript;
use rustix::process::getuid;
use tokio::signal::unix::{SignalKind, signal};

/// Play scripts on the Galera specification and on real servers, and compare what both show.
#[derive(Parser)]
struct SpecificationArguments {
    /// Scripts to play: names, or random:SEED; by default all named ones
    #[arg(value_name = "SCRIPT")]
    names: Vec<String>,
    /// Random scripts to play besides
    #[arg(long, default_value_t = 0)]
    random: u64,
    /// Seed of the first random script; a new one by default
    #[arg(long)]
    seed: Option<u64>,
    /// Scripts that are played in parallel; two for each core by default, since they mostly wait
    #[arg(long, value_name = "LABS")]
    parallel: Option<usize>,
    /// List the named scripts with their steps, and end
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = SpecificationArguments::parse();
    let outcome = scripts(&arguments).and_then(|scripts| {
        if arguments.list {
            for script in &scripts {
                println!("{}", script.name);
                for step in &script.steps {
                    println!("    {step}");
                }
            }
            return Ok(());
        }
        if !network::in_own_namespace() {
            ensure!(
                getuid().is_root(),
                "partitions need network namespaces, and creating these requires root"
            );
            // Does not return on success: the program runs again in a namespace that disappears with this process.
            return Err(network::reexec_in_namespace());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(interruptible(scripts, arguments.parallel))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn scripts(arguments: &SpecificationArguments) -> Result<VecDeque<GaleraScript>> {
    let mut scripts = VecDeque::new();
    for name in &arguments.names {
        let script = GaleraScript::by_name(name);
        scripts
            .push_back(script.with_context(|| format!("no script is named {name}; see --list"))?);
    }
    if arguments.names.is_empty() {
        scripts.extend(GaleraScript::named());
    }
    let first = arguments.seed.unwrap_or_else(|| rand::random::<u64>() >> 1);
    let random = (0..arguments.random).map(|number| format!("random:{}", first + number));
    scripts.extend(random.filter_map(|name| GaleraScript::by_name(&name)));
    Ok(scripts)
}

async fn interruptible(scripts: VecDeque<GaleraScript>, parallel: Option<usize>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = play(scripts, parallel) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    }
}

async fn play(scripts: VecDeque<GaleraScript>, parallel: Option<usize>) -> Result<()> {
    let count = scripts.len();
    let cores = available_parallelism().map_or(1, usize::from);
    let labs = parallel.unwrap_or(2 * cores).clamp(1, count.max(1));
    let logs = program_directory()?.join("failed-scripts");
    let (waiting, failed) = (Mutex::new(scripts), Mutex::new(Vec::new()));
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    };
    let work = async || {
        while let Some(script) = next() {
            let began = Instant::now();
            let report = |step: &str| println!("{}: {step}", script.name);
            let played = play_script(&script, &logs, report).await;
            let seconds = began.elapsed().as_secs_f64();
            match played {
                Ok(()) => println!("{}: the servers agree, {seconds:.0} s", script.name),
                Err(error) => {
                    println!("{}: FAILED after {seconds:.0} s: {error:#}", script.name);
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push(script.name);
                }
            }
        }
    };
    let began = Instant::now();
    join_all((0..labs).map(|_| work())).await;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} of {count} script(s) agree with real servers, in {:.0} s",
        count - failed.len(),
        began.elapsed().as_secs_f64()
    );
    ensure!(failed.is_empty(), "differences in: {}", failed.join(" "));
    Ok(())
}
