//! The files of a site: bundled, minified and named by their content, so that browsers may keep them for ever.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::site::{SiteTools, list_files};
use crate::wasm::{WasmBindings, run_command};

/// The file that tells the server the names of the others.
pub(crate) const MANIFEST: &str = "manifest.json";

/// What the files of status pages are called: readers of those load nothing of the console.
pub(crate) const STATUS_STEM: &str = "status";

/// The name by which wasm-bindgen's script asks for its module.
const MODULE_IN_GLUE: &str = "console_bg.wasm";

/// Content, reduced to a name.
#[derive(Default)]
pub(crate) struct ContentHash(Sha256);

impl ContentHash {
    /// Adds one more piece; where it ends makes a difference.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes.len().to_le_bytes());
        self.0.update(bytes);
    }

    /// 64 bits of the digest, in hexadecimal.
    pub(crate) fn short(self) -> String {
        self.0
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Copies the files that are served under the name that they have.
pub(crate) fn copy_public(public: &Path, site: &Path) -> Result<()> {
    for file in list_files(public)? {
        let to = site.join(file.strip_prefix(public)?);
        fs::create_dir_all(to.parent().context("a file without a directory")?)?;
        fs::copy(&file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// Bundles script and style sheets, writes them and the module to `pkg/`, and names them all in the manifest.
pub(crate) fn bundle_assets(
    tools: &SiteTools,
    glue: &WasmBindings,
    root: &Path,
    site: &Path,
) -> Result<()> {
    let pkg = site.join("pkg");
    fs::create_dir_all(&pkg)?;
    let wasm = write_hashed(&pkg, "wasm", &fs::read(&glue.wasm)?)?;

    // The script names its module, hence must know the hashed name before its own content is hashed.
    let script = fs::read_to_string(&glue.js)?;
    ensure!(
        script.matches(MODULE_IN_GLUE).count() == 1,
        "wasm-bindgen's script does not name {MODULE_IN_GLUE} once"
    );
    fs::write(&glue.js, script.replace(MODULE_IN_GLUE, &wasm))?;
    let js = write_hashed(&pkg, "js", &esbuild(tools, &glue.js, "js")?)?;
    let style = |name: &str| esbuild(tools, &root.join("style").join(name), "css");
    let css = write_hashed(&pkg, "css", &style("main.css")?)?;
    let status_css = write_hashed_as(&pkg, STATUS_STEM, "css", &style("status.css")?)?;
    let status_js = esbuild(tools, &root.join("app/status/live.js"), "js")?;
    let status_js = write_hashed_as(&pkg, STATUS_STEM, "js", &status_js)?;

    let manifest = serde_json::json!({
        "js": format!("/pkg/{js}"), "wasm": format!("/pkg/{wasm}"), "css": format!("/pkg/{css}"),
        "status_js": format!("/pkg/{status_js}"), "status_css": format!("/pkg/{status_css}"),
    });
    fs::write(site.join(MANIFEST), format!("{manifest:#}\n"))?;
    Ok(())
}

/// Writes a file named by its content; returns the name.
fn write_hashed(pkg: &Path, extension: &str, bytes: &[u8]) -> Result<String> {
    write_hashed_as(pkg, "console", extension, bytes)
}

fn write_hashed_as(pkg: &Path, stem: &str, extension: &str, bytes: &[u8]) -> Result<String> {
    let mut hash = ContentHash::default();
    hash.add(bytes);
    let name = format!("{stem}.{}.{extension}", hash.short());
    fs::write(pkg.join(&name), bytes)?;
    Ok(name)
}

/// One minified file of an entry file and everything that it imports. What is addressed by an absolute URL stays.
fn esbuild(tools: &SiteTools, entry: &Path, extension: &str) -> Result<Vec<u8>> {
    let out = tempfile::Builder::new()
        .suffix(&format!(".{extension}"))
        .tempfile()?;
    let mut outfile = std::ffi::OsString::from("--outfile=");
    outfile.push(out.path());
    run_command(Command::new(&tools.esbuild).arg(entry).arg(outfile).args([
        "--bundle",
        "--minify",
        "--format=esm",
        "--external:/pkg/*",
        "--log-level=warning",
        "--allow-overwrite",
    ]))?;
    fs::read(out.path()).with_context(|| format!("esbuild made nothing of {}", entry.display()))
}
