//! Size budget: fails the build when a first load exceeds the promised transfer size.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::assets::{MANIFEST, STATUS_STEM};
use crate::compress::compressed_path;
use crate::site::list_files;

/// Budget for the first load of the cluster page, all requests, brotli: 110 kB.
const FIRST_LOAD_BYTES: u64 = 110_000;
/// Reserved for the server-rendered page: a cluster of nine nodes.
const PAGE_BYTES: u64 = 5_000;
/// What remains for script, module, style sheet and icons.
const ASSET_BYTES: u64 = FIRST_LOAD_BYTES - PAGE_BYTES;

/// Budget for a complete status page, brotli: 20 kB.
const STATUS_BYTES: u64 = 20_000;
/// Reserved for the status page itself: a dozen clusters with ninety days each, and some incidents. A server test
/// enforces it.
const STATUS_PAGE_BYTES: u64 = 14_000;

/// Prints the size of each asset and fails if the total exceeds the budget.
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
        // Loaded by every page.
        if name == "favicon.svg" {
            status.add(&sizes);
        }
    }
    total.print("total");
    println!("{:<40} {:>10} {:>10} {ASSET_BYTES:>10}", "limit", "", "");
    ensure!(
        total.brotli <= ASSET_BYTES,
        "the assets of a first load take {} bytes; the limit is {ASSET_BYTES} ({FIRST_LOAD_BYTES} including the page)",
        total.brotli
    );
    let left = STATUS_BYTES - STATUS_PAGE_BYTES;
    status.print("status page total");
    println!("{:<40} {:>10} {:>10} {left:>10}", "limit", "", "");
    ensure!(
        status.brotli <= left,
        "the assets of a status page take {} bytes; the limit is {left} ({STATUS_BYTES} including the page)",
        status.brotli
    );
    Ok(())
}

/// Raw and compressed sizes in bytes. Where there is no compressed file, the raw size counts.
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
