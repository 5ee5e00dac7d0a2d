//! The build script of both programs: what `--version` and the metric `galera_console_build_info` show besides the version.

#![expect(
    clippy::disallowed_methods,
    reason = "Cargo passes what a build script needs in the environment"
)]

use std::env;
use std::path::Path;
use std::process::Command;

/// Names the commit in a build without a git tree, such as one of an archive or in a container.
const COMMIT_VARIABLE: &str = "GALERA_BUILD_COMMIT";
/// Digits of a commit that are shown.
const COMMIT_LENGTH: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=../scripts/build-info.rs");
    println!("cargo::rerun-if-env-changed={COMMIT_VARIABLE}");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let given = variable(COMMIT_VARIABLE);
    let commit = match is_commit(&given) {
        true => given,
        // A development build would be compiled again after each commit.
        false if variable("PROFILE") == "release" => git_commit().unwrap_or_default(),
        false => String::new(),
    };
    let commit: String = commit.chars().take(COMMIT_LENGTH).collect();
    let (version, target) = (variable("CARGO_PKG_VERSION"), variable("TARGET"));
    let mut details = vec![target.clone()];
    if !commit.is_empty() {
        details.insert(0, format!("commit {commit}"));
    }
    if env::var_os("CARGO_FEATURE_OTLP").is_some() {
        details.push("features: otlp".to_owned());
    }
    let text = format!("{version} ({})", details.join(", "));
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=BUILD_TARGET={target}");
    println!("cargo::rustc-env=BUILD_VERSION={text}");
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit of the git tree that contains the package, if there is one.
fn git_commit() -> Option<String> {
    // Not that of a tree in which the sources were merely unpacked.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // Written whenever the commit changes, also in a linked worktree.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "HEAD"]).filter(|text| is_commit(text))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
