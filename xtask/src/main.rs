//! Tasks that cargo alone cannot do: `cargo run -p xtask -- site` builds the directory that the console serves to browsers,
//! `-- prose` checks wording, `-- arrows` checks what depends on what.

mod arrows;
mod assets;
mod compress;
mod prose;
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
    /// Checks the wording of text that users read, and the numbers of the invariants.
    Prose(ProseArgs),
    /// Checks that packages depend on each other as Cargo.toml allows, and modules without circles.
    Arrows(ArrowsArgs),
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

/// What to check.
#[derive(Debug, clap::Args)]
struct ProseArgs {
    /// The directory of this package, in the workspace to check.
    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true)]
    package_dir: PathBuf,
}

/// What to check.
#[derive(Debug, clap::Args)]
struct ArrowsArgs {
    /// The directory of this package, in the workspace to check.
    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true)]
    package_dir: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Site(args) => site::build(&args),
        Task::Prose(args) => prose::check(&args.package_dir.join("..")),
        Task::Arrows(args) => arrows::check(&args.package_dir.join("..")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
