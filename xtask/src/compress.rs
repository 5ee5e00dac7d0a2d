//! Ahead-of-time compression at the highest level, which is too slow per request.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, GzBuilder};

use crate::site::list_files;

/// Extensions worth compressing; images and fonts already are.
const COMPRESSIBLE: [&str; 8] = [
    "css",
    "html",
    "ico",
    "js",
    "svg",
    "txt",
    "wasm",
    "webmanifest",
];

/// Writes `.br` and `.gz` files next to every file of the site that they make smaller.
pub(crate) fn compress_site(site: &Path) -> Result<()> {
    for file in list_files(site)? {
        let extension = file
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if !COMPRESSIBLE.contains(&extension) {
            continue;
        }
        let bytes = fs::read(&file)?;
        for (suffix, packed) in [("br", brotli(&bytes)?), ("gz", gzip(&bytes)?)] {
            if packed.len() < bytes.len() {
                File::create(compressed_path(&file, suffix))?.write_all(&packed)?;
            }
        }
    }
    Ok(())
}

/// Appends a suffix: `console.js` and `br` give `console.js.br`.
pub(crate) fn compressed_path(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let settings = BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &bytes[..], &mut packed, &settings)?;
    Ok(packed)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    // No name and no mtime, for reproducible output.
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
