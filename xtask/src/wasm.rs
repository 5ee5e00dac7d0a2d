//! From the interface's crate to an optimised WebAssembly module and the script that loads it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::site::SiteTools;

const PACKAGE: &str = "console-hydrate";
const TARGET: &str = "wasm32-unknown-unknown";

/// What every browser with Leptos' other requirements understands; wasm-opt must be told what it may read and write.
const WASM_OPT: [&str; 7] = [
    "-Oz",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-multivalue",
];

/// A module and the script that loads it.
pub(crate) struct WasmBindings {
    pub(crate) wasm: PathBuf,
    pub(crate) js: PathBuf,
}

/// Compiles the module; returns where it is.
pub(crate) fn compile(root: &Path, profile: &str, target_dir: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    if let Some(toolchain) = toolchain(root)? {
        cargo.arg(toolchain);
    }
    // What the cargo that runs this program set for itself must not reach the other one.
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
    // Cargo keeps the output of the profile "dev" in "debug".
    let dir = if profile == "dev" { "debug" } else { profile };
    let module = target_dir
        .join(TARGET)
        .join(dir)
        .join(PACKAGE.replace('-', "_"))
        .with_extension("wasm");
    ensure!(module.is_file(), "cargo left no {}", module.display());
    Ok(module)
}

/// The `+name` of the toolchain that has the target; none when the usual one does.
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

/// Writes the script that loads the module, and the module as that script needs it.
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

/// Makes the module smaller, in place.
pub(crate) fn optimise(tools: &SiteTools, wasm: &Path) -> Result<()> {
    run_command(
        Command::new(&tools.wasm_opt)
            .args(WASM_OPT)
            .arg(wasm)
            .arg("-o")
            .arg(wasm),
    )
}

/// Runs a program to its successful end.
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
