//! Builds the optimized WebAssembly module and the script that loads it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::site::SiteTools;

const PACKAGE: &str = "console-hydrate";
const TARGET: &str = "wasm32-unknown-unknown";

/// Features supported by every browser that Leptos supports; wasm-opt needs the list of those it may use.
const WASM_OPT: [&str; 7] = [
    "-Oz",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-multivalue",
];

/// The WebAssembly module and its loader script.
pub(crate) struct WasmBindings {
    pub(crate) wasm: PathBuf,
    pub(crate) js: PathBuf,
}

/// Compiles the module and returns its path.
pub(crate) fn compile(root: &Path, profile: &str, target_dir: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    if let Some(toolchain) = toolchain(root)? {
        cargo.arg(toolchain);
    }
    // Variables set by the outer cargo must not leak into the inner one.
    for (name, _) in std::env::vars_os() {
        let inherited = name.to_string_lossy();
        if inherited.starts_with("CARGO_PKG_")
            || inherited.starts_with("CARGO_MANIFEST_")
            || inherited == "CARGO"
        {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(root).args([
        "build",
        "--locked",
        "--lib",
        "--package",
        PACKAGE,
        "--target",
        TARGET,
    ]);
    cargo
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target_dir);
    run_command(&mut cargo)?;
    // Cargo writes the output of profile `dev` to `debug`.
    let dir = if profile == "dev" { "debug" } else { profile };
    let module = target_dir
        .join(TARGET)
        .join(dir)
        .join(PACKAGE.replace('-', "_"))
        .with_extension("wasm");
    ensure!(
        module.is_file(),
        "cargo did not produce {}",
        module.display()
    );
    Ok(module)
}

/// The `+name` of a toolchain that has the target, or `None` if the default one does.
fn toolchain(root: &Path) -> Result<Option<String>> {
    let found = Command::new(root.join("scripts/wasm-toolchain"))
        .output()
        .context("cannot run scripts/wasm-toolchain")?;
    ensure!(
        found.status.success(),
        "no toolchain can build for {TARGET}: run scripts/setup"
    );
    let name = String::from_utf8(found.stdout)?;
    Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty()))
}

/// Generates the loader script and the module in the form that it expects.
pub(crate) fn generate_bindings(module: &Path, dir: &Path) -> Result<WasmBindings> {
    Bindgen::new()
        .input_path(module)
        .out_name("console")
        .web(true)?
        .typescript(false)
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(dir)
        .context("wasm-bindgen failed")?;
    Ok(WasmBindings {
        wasm: dir.join("console_bg.wasm"),
        js: dir.join("console.js"),
    })
}

/// Optimizes the module for size, in place.
pub(crate) fn optimize(tools: &SiteTools, wasm: &Path) -> Result<()> {
    run_command(
        Command::new(&tools.wasm_opt)
            .args(WASM_OPT)
            .arg(wasm)
            .arg("-o")
            .arg(wasm),
    )
}

/// Runs a command and fails unless it succeeds.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}
