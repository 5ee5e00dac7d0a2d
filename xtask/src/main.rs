//! Tasks that cargo alone cannot do: `cargo run -p xtask -- site` builds the directory served to browsers,
//! `-- book` the documents as a site,
//! `-- prose` checks wording, `-- arrows` dependencies between packages and modules, `-- links` the links of the documents.

mod arrows;
mod assets;
mod book;
mod compress;
mod links;
mod prose;
mod site;
mod size_budget;
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build tasks.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the site: WebAssembly, JavaScript, style sheets and public files, compressed and named by content hash
    Site(SiteArgs),
    /// Check the wording of user-facing text, the numbers of the invariants and the tests of the threat model
    Prose(ProseArgs),
    /// Checks that packages depend on each other as Cargo.toml allows, and modules without circles.
    Arrows(ArrowsArgs),
    /// Check the links and anchors of Markdown pages, and pages that messages and comments name
    Links(LinksArgs),
    /// Build the documents as a site with mdBook
    Book(BookArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SiteArgs {
    /// Directory to replace with the built site
    #[arg(long)]
    out: PathBuf,
    /// Cargo profile for the WebAssembly module
    #[arg(long, default_value = "wasm-release")]
    profile: String,
    /// Cargo's target directory; the WebAssembly build uses `wasm/` below it
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target_dir: PathBuf,
    /// The directory of this package in the workspace to build. Read at run time: the compile-time value may belong to
    /// another clone that shares the target directory.
    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true)]
    package_dir: PathBuf,
}

/// What to check.
#[derive(Debug, clap::Args)]
struct ProseArgs {
    /// The directory of this package in the workspace to check
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

/// What to check.
#[derive(Debug, clap::Args)]
struct LinksArgs {
    /// The directory of this package in the workspace to check
    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true)]
    package_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct BookArgs {
    /// Directory to replace with the site
    #[arg(long)]
    out: PathBuf,
    /// The directory of this package in the workspace to build
    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true)]
    package_dir: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Site(args) => site::build(&args),
        Task::Prose(args) => prose::check(&args.package_dir.join("..")),
        Task::Arrows(args) => arrows::check(&args.package_dir.join("..")),
        Task::Book(args) => book::build(&args.package_dir.join(".."), &args.out),
        Task::Links(args) => links::check(&args.package_dir.join("..")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
