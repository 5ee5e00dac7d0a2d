//! What a first load costs a browser. The project promises a figure; a build that breaks the promise fails.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::assets::{MANIFEST, STATUS_STEM};
use crate::compress::compressed_path;
use crate::site::list_files;

/// The promise for the first load of the cluster page, everything, brotli: 200 kB.
const FIRST_LOAD_BYTES: u64 = 200_000;
/// Kept free for the page itself, which the server renders: a cluster of some dozen nodes.
const PAGE_BYTES: u64 = 9_000;
/// What is left for script, module, style sheet and icons.
const ASSET_BYTES: u64 = FIRST_LOAD_BYTES - PAGE_BYTES;

/// The promise for a whole status page, brotli: 20 kB.
const STATUS_BYTES: u64 = 20_000;
/// Kept free for the page itself: a dozen clusters with ninety days each, and some incidents. A test of the server holds
/// pages to it.
const STATUS_PAGE_BYTES: u64 = 14_000;

/// Prints the size of each asset; fails when together they exceed what was promised.
pub(crate) fn check_budget(site: &Path) -> Result<()> {
    println!(
        "{:<40} {:>10} {:>10} {:>10}",
        "asset", "raw", "gzip", "brotli"
    );
    let (mut total, mut status) = (AssetSizes::default(), AssetSizes::default());
    for file in list_files(site)? {
        let extension = file.extension().unwrap_or_default();
        if extension == "br" || extension == "gz" || file.ends_with(MANIFEST) {
            continue;
        }
        let sizes = AssetSizes::of(&file)?;
        sizes.print(&file.strip_prefix(site)?.display().to_string());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(STATUS_STEM) {
            status.add(&sizes);
        } else {
            total.add(&sizes);
        }
        // Every page has it.
        if name == "favicon.svg" {
            status.add(&sizes);
        }
    }
    total.print("together");
    println!("{:<40} {:>10} {:>10} {ASSET_BYTES:>10}", "at most", "", "");
    ensure!(
        total.brotli <= ASSET_BYTES,
        "a first load needs {} bytes of assets; {ASSET_BYTES} are allowed ({FIRST_LOAD_BYTES} with the page itself)",
        total.brotli
    );
    let left = STATUS_BYTES - STATUS_PAGE_BYTES;
    status.print("a status page's files");
    println!("{:<40} {:>10} {:>10} {left:>10}", "at most", "", "");
    ensure!(
        status.brotli <= left,
        "a status page needs {} bytes of files; {left} are allowed ({STATUS_BYTES} with the page itself)",
        status.brotli
    );
    Ok(())
}

/// Bytes of one file, as it is and packed; a file that packing would not make smaller counts as it is.
#[derive(Default)]
struct AssetSizes {
    raw: u64,
    gzip: u64,
    brotli: u64,
}

impl AssetSizes {
    fn of(file: &Path) -> Result<Self> {
        let raw = fs::metadata(file)?.len();
        let packed =
            |suffix| fs::metadata(compressed_path(file, suffix)).map_or(raw, |data| data.len());
        Ok(Self {
            raw,
            gzip: packed("gz"),
            brotli: packed("br"),
        })
    }

    fn add(&mut self, other: &Self) {
        self.raw += other.raw;
        self.gzip += other.gzip;
        self.brotli += other.brotli;
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<40} {:>10} {:>10} {:>10}",
            self.raw, self.gzip, self.brotli
        );
    }
}
