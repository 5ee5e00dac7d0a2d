//! What cargo alone cannot build: `cargo run -p xtask -- site` makes the directory that the console serves to browsers.

mod assets;
mod compress;
mod site;
mod size_budget;
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the build.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// The tasks there are.
#[derive(Debug, Subcommand)]
enum Task {
    /// Builds the site: WebAssembly, its glue, style sheets and public files, compressed and named by content.
    Site(SiteArgs),
}

/// Where the site comes from and goes to.
#[derive(Debug, clap::Args)]
pub(crate) struct SiteArgs {
    /// The directory to replace with the built site.
    #[arg(long)]
    out: PathBuf,
    /// Cargo's profile for the WebAssembly.
    #[arg(long, default_value = "wasm-release")]
    profile: String,
    /// Cargo's target directory; the WebAssembly goes to `wasm/` below it.
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target_dir: PathBuf,
    /// The directory of this package, in the workspace to build. Cargo tells it at run time; what it was at compile time
    /// may be another clone, which uses the same target directory.
    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true)]
    package_dir: PathBuf,
}

fn main() -> ExitCode {
    let Task::Site(args) = Cli::parse().task;
    match site::build(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
