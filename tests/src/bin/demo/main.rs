//! The demonstration: a console on a real etcd and a real Galera cluster on this machine. Ctrl-C stops everything that
//! it started and nothing else.

mod auto_restart;
mod command;
mod control;
mod environment;
mod observe;
mod output;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use environment::DemoEnvironment;
use output::DemoOutput;

/// Run a console on a real etcd and a real Galera cluster on this machine. Ctrl-C stops it.
#[derive(Parser)]
struct DemoArguments {
    /// Port of the console on 127.0.0.1; the next free one if it is in use. 0 for any free port.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Number of Galera nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Number of etcd members: 1 or 3.
    #[arg(long, default_value_t = 3)]
    etcd: usize,
    /// Seconds after which a dead node is restarted; 0 for never.
    #[arg(long, default_value_t = 20)]
    revive_after: u64,
    /// Print one line of JSON when everything is ready; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// Accept commands over HTTP on a free loopback port, in addition to standard input.
    #[arg(long)]
    control: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = DemoArguments::parse();
    let output = DemoOutput::new(arguments.json);
    match run_demo(&arguments, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.line(&format!("\nThe demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run_demo(arguments: &DemoArguments, output: DemoOutput) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let listener = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(listener);

    // Dropping the unfinished start stops what it has started.
    let demo = tokio::select! {
        () = &mut listener => {
            output.line("\nInterrupted while starting; stopped everything that was started.");
            return Ok(());
        }
        demo = DemoEnvironment::start(arguments, output) => Arc::new(demo?),
    };

    let tasks = TaskTracker::new();
    let quit = CancellationToken::new();
    let control = if arguments.control {
        let commands = control::ControlServer::open(Arc::clone(&demo), quit.clone()).await?;
        let address = commands.address();
        tasks.spawn(stop.clone().run_until_cancelled_owned(commands.serve()));
        Some(address)
    } else {
        None
    };
    tasks.spawn(
        stop.clone()
            .run_until_cancelled_owned(observe::observe(Arc::clone(&demo), output)),
    );
    tasks.spawn(
        stop.clone()
            .run_until_cancelled_owned(auto_restart::restart_dead_nodes(Arc::clone(&demo), output)),
    );
    let typed = run_commands(Arc::clone(&demo), stdin_lines(), quit.clone(), output);
    tasks.spawn(stop.clone().run_until_cancelled_owned(typed));
    demo.print_introduction(output, control.as_deref())?;

    tokio::select! {
        () = listener => {}
        () = quit.cancelled() => {}
    }
    output.line("\nStopping everything that was started …");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    // A clean shutdown for open pages; everything else is killed on drop.
    tokio::time::timeout(Duration::from_secs(3), demo.console.stop())
        .await
        .ok();
    drop(demo);
    output.line("Stopped.");
    Ok(())
}

/// Lines from standard input, read by a dedicated thread, so that the process can exit while it waits.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn run_commands(
    demo: Arc<DemoEnvironment>,
    mut lines: mpsc::Receiver<String>,
    quit: CancellationToken,
    output: DemoOutput,
) {
    while let Some(line) = lines.recv().await {
        if line.trim().is_empty() {
            continue;
        }
        match command::execute(&demo, &line, &quit).await {
            Ok(answer) => output.line(&answer),
            Err(error) => output.line(&format!("{error:#}")),
        }
    }
}
