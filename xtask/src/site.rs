//! The site directory: built once per state of its inputs, then installed as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use crate::{SiteArgs, assets, compress, size_budget, wasm};

/// Number of built sites kept, so that switching between branches needs no rebuild.
const MAX_CACHED_SITES: usize = 3;

/// Builds the site into `args.out`. Fails if it exceeds the size budget.
pub(crate) fn build(args: &SiteArgs) -> Result<()> {
    let root = args
        .package_dir
        .parent()
        .context("xtask is not in a workspace")?;
    let target_dir = std::path::absolute(&args.target_dir)?.join("wasm");
    let module = wasm::compile(root, &args.profile, &target_dir)?;

    let sites = target_dir.join("sites");
    fs::create_dir_all(&sites)?;
    let kept = sites.join(cache_key(root, &module)?);
    if !kept.join(assets::MANIFEST).is_file() {
        let work = tempfile::Builder::new()
            .prefix(".building-")
            .tempdir_in(&sites)?;
        build_uncached(root, &module, work.path())?;
        evict_old_sites(&sites)?;
        // If a concurrent build was faster, its result is identical.
        if fs::rename(work.path(), &kept).is_ok() {
            let _moved = work.keep();
        }
    }
    size_budget::check_budget(&kept)?;
    if !same_contents(&kept, &args.out)? {
        replace_site(&kept, &args.out)?;
    }
    Ok(())
}

/// Builds the site from the compiled module into an empty directory.
fn build_uncached(root: &Path, module: &Path, site: &Path) -> Result<()> {
    let tools = SiteTools::find(root)?;
    let scratch = tempfile::tempdir()?;
    let glue = wasm::generate_bindings(module, scratch.path())?;
    wasm::optimize(&tools, &glue.wasm)?;
    assets::copy_public(&root.join("public"), site)?;
    assets::bundle_assets(&tools, &glue, root, site)?;
    compress::compress_site(site)
}

/// The npm programs installed by `scripts/setup`.
pub(crate) struct SiteTools {
    pub(crate) wasm_opt: PathBuf,
    pub(crate) esbuild: PathBuf,
    /// The library that makes elements of a page equal to HTML.
    pub(crate) idiomorph: PathBuf,
}

impl SiteTools {
    fn find(root: &Path) -> Result<Self> {
        let modules = root.join("scripts/site-tools/node_modules");
        let tool = |name: &str| {
            let path = modules.join(name);
            path.exists()
                .then_some(path)
                .with_context(|| format!("{name} is not installed: run scripts/setup"))
        };
        Ok(Self {
            wasm_opt: tool(".bin/wasm-opt")?,
            esbuild: tool(".bin/esbuild")?,
            idiomorph: tool("idiomorph/dist/idiomorph.esm.js")?,
        })
    }
}

/// Cache key over all inputs, including this program and its tools.
fn cache_key(root: &Path, module: &Path) -> Result<String> {
    let mut inputs = vec![
        module.to_path_buf(),
        root.join("scripts/site-tools/package-lock.json"),
    ];
    inputs.extend(list_files(&root.join(assets::SCRIPTS))?);
    inputs.extend(list_files(&root.join("style"))?);
    inputs.extend(list_files(&root.join("public"))?);
    inputs.extend(list_files(&root.join("app/status"))?);
    let mut hash = assets::ContentHash::default();
    for input in inputs {
        // Relative names, so that clones with the same content share the cache.
        let name = input.strip_prefix(root).unwrap_or(&input);
        hash.add(name.as_os_str().as_encoded_bytes());
        hash.add(&fs::read(&input).with_context(|| format!("cannot read {}", input.display()))?);
    }
    // Hashing the program itself would take longer than everything else.
    let program = fs::metadata(std::env::current_exe()?)?;
    let modified = program.modified()?.duration_since(UNIX_EPOCH)?;
    hash.add(format!("{} {}", program.len(), modified.as_nanos()).as_bytes());
    Ok(hash.short())
}

/// All files below a directory, sorted; empty if the directory does not exist.
pub(crate) fn list_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the oldest cached sites and the remains of killed builds.
fn evict_old_sites(sites: &Path) -> Result<()> {
    let mut finished = Vec::new();
    for entry in fs::read_dir(sites)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            finished.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    finished.sort();
    let surplus = (finished.len() + 1).saturating_sub(MAX_CACHED_SITES);
    for (_, site) in finished.into_iter().take(surplus) {
        fs::remove_dir_all(&site).with_context(|| format!("cannot remove {}", site.display()))?;
    }
    Ok(())
}

/// The files of a site by relative path.
fn contents(site: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    list_files(site)?
        .into_iter()
        .map(|path| Ok((path.strip_prefix(site)?.to_path_buf(), fs::read(&path)?)))
        .collect()
}

fn same_contents(kept: &Path, out: &Path) -> Result<bool> {
    Ok(contents(kept)? == contents(out)?)
}

/// Replaces the site at `out` with a copy of a cached one. Except between two renames, a server reading it sees either
/// the old or the new site.
fn replace_site(kept: &Path, out: &Path) -> Result<()> {
    let out = std::path::absolute(out)?;
    let beside = out
        .parent()
        .context("the site cannot be the root directory")?;
    fs::create_dir_all(beside)?;
    let work = tempfile::Builder::new()
        .prefix(".site-")
        .tempdir_in(beside)?;
    let fresh = work.path().join("new");
    for (name, bytes) in contents(kept)? {
        let path = fresh.join(name);
        fs::create_dir_all(path.parent().context("the file has no parent directory")?)?;
        fs::write(path, bytes)?;
    }
    if out.exists() {
        fs::rename(&out, work.path().join("old"))?;
    }
    fs::rename(&fresh, &out).with_context(|| format!("cannot put the site at {}", out.display()))
}
