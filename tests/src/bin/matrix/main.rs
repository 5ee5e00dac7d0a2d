//! Plays every scenario on every database release, and prints how long each took. `make test-matrix` runs it.

mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use acceptance::lab::program_directory;
use acceptance::lab::release::ServerRelease;
use acceptance::version_matrix::{MatrixLab, Scenario};
use anyhow::{Context, Result, bail};
use clap::Parser;

use table::{MatrixColumn, MatrixTable};

/// The rolling upgrades: each release to the next.
const UPGRADES: [(ServerRelease, ServerRelease); 3] = [
    (ServerRelease::Bullseye, ServerRelease::Bookworm),
    (ServerRelease::Bookworm, ServerRelease::Trixie),
    (ServerRelease::Trixie, ServerRelease::Sid),
];

/// Play the scenarios of every database release.
#[derive(Parser)]
struct MatrixArguments {
    /// The releases, by Debian suite; all by default
    #[arg(long = "release", value_name = "SUITE", value_parser = release)]
    releases: Vec<ServerRelease>,
    /// Leave the rolling upgrades out
    #[arg(long)]
    no_upgrade: bool,
    /// Write the answers of each release to status, variables, options and grants here
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Replace the table between the marks in this file
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
}

fn release(suite: &str) -> Result<ServerRelease> {
    let mut all = ServerRelease::UNPACKED.into_iter();
    let found = all.find(|release| release.suite() == Some(suite));
    found.with_context(|| {
        let suites = ServerRelease::UNPACKED.map(|release| release.to_string());
        format!("unknown suite; one of {}", suites.join(", "))
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    match play(&MatrixArguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: &MatrixArguments) -> Result<()> {
    let mut releases = arguments.releases.clone();
    if releases.is_empty() {
        releases.extend(ServerRelease::UNPACKED);
    }
    // Everything must be there before the first minute is spent.
    for release in &releases {
        release.usr()?;
    }
    let mut table = MatrixTable::default();
    for release in releases {
        let mut column = MatrixColumn::new(release)?;
        play_release(release, &Scenario::EVERY_RELEASE, arguments, &mut column).await;
        table.push(column);
    }
    if !arguments.no_upgrade {
        for (from, to) in UPGRADES {
            let mut column = MatrixColumn::upgrade(from, to)?;
            let upgrade = [Scenario::Form, Scenario::Upgrade(to)];
            play_release(from, &upgrade, arguments, &mut column).await;
            table.push(column);
        }
    }
    println!("\n{table}");
    if let Some(file) = &arguments.figures {
        table.write_between_marks(file)?;
    }
    if table.has_failures() {
        bail!("a scenario failed; its error and the ends of the logs are above");
    }
    Ok(())
}

/// Plays the scenarios one after the other on one cluster, until one fails.
async fn play_release(
    release: ServerRelease,
    scenarios: &[Scenario],
    arguments: &MatrixArguments,
    column: &mut MatrixColumn,
) {
    println!("{}", column.title());
    let began = std::time::Instant::now();
    let lab = match MatrixLab::form(release).await {
        Ok(lab) => lab,
        Err(error) => return column.fail(Scenario::Form, &error),
    };
    column.pass(Scenario::Form, began.elapsed());
    for scenario in scenarios
        .iter()
        .filter(|scenario| **scenario != Scenario::Form)
    {
        match lab.play(*scenario).await {
            Ok(time) => column.pass(*scenario, time),
            Err(error) => {
                column.fail(*scenario, &error);
                keep_logs(&lab, release);
                return;
            }
        }
    }
    if let Some(directory) = &arguments.record
        && let Err(error) = lab.record(directory).await
    {
        println!("  not recorded: {error:#}");
    }
    match lab.finish().await {
        Ok(rows) => column.set_rows(rows),
        Err(error) => column.fail_at_end(&error),
    }
}

/// Copies the logs beside the programs, because the lab's directory disappears.
fn keep_logs(lab: &MatrixLab, release: ServerRelease) {
    let kept = || {
        let target = program_directory()?
            .join("failed-matrix")
            .join(release.to_string());
        fs::create_dir_all(&target)?;
        for log in lab.logs() {
            let parts = log.iter().rev().take(2).map(|part| part.to_string_lossy());
            let name: Vec<_> = parts.collect();
            fs::copy(&log, target.join(name.join("-of-")))?;
        }
        anyhow::Ok(target)
    };
    match kept() {
        Ok(target) => println!("  the logs are in {}", target.display()),
        Err(error) => println!("  the logs are lost: {error:#}"),
    }
}
