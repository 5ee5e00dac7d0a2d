//! The built site: located, verified and read at start, so that the console never serves pages without style and script,
//! and reads no file for a client.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Why the site cannot be served; the message names the path and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The manifest cannot be read.
    #[error(
        "no site found in {root}: {cause}; run `make build`, or set its directory with --site-root"
    )]
    Missing {
        root: PathBuf,
        cause: std::io::Error,
    },
    /// The manifest is invalid or names missing files.
    #[error("invalid site manifest {path}: {cause}; run `make build` again")]
    Damaged { path: PathBuf, cause: String },
}

/// The manifest that the build writes.
#[derive(Clone, Debug, Deserialize)]
struct SiteManifest {
    js: String,
    wasm: String,
    css: String,
    status_js: String,
    status_css: String,
}

/// A verified site.
#[derive(Clone, Debug)]
pub struct Site {
    pub files: Arc<SiteFiles>,
    /// URLs of script, WebAssembly module and style sheet.
    pub assets: app::SiteAssets,
    /// URL of the status pages' script.
    pub status_js: String,
    /// URL of the status pages' style sheet.
    pub status_css: String,
}

impl Site {
    /// Reads the manifest of the site in `root` and checks that every file it names exists.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(root: &Path) -> Result<Self, SiteError> {
        let path = root.join("manifest.json");
        let text = std::fs::read_to_string(&path).map_err(|cause| SiteError::Missing {
            root: root.to_owned(),
            cause,
        })?;
        let damaged = |cause: String| SiteError::Damaged {
            path: path.clone(),
            cause,
        };
        let SiteManifest {
            js,
            wasm,
            css,
            status_js,
            status_css,
        } = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        for url in [&js, &wasm, &css, &status_js, &status_css] {
            let relative = url
                .strip_prefix("/pkg/")
                .filter(|rest| !rest.contains(['/', '\\']) && *rest != "..");
            let file =
                relative.ok_or_else(|| damaged(format!("{url:?} is not a file under /pkg")))?;
            if !root.join("pkg").join(file).is_file() {
                return Err(damaged(format!("{url} does not exist")));
            }
        }
        let files = SiteFiles::load(root).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            files: Arc::new(files),
            assets: app::SiteAssets { js, wasm, css },
            status_js,
            status_css,
        })
    }
}

/// The files of a site by their URL's path.
#[derive(Debug, Default)]
pub struct SiteFiles(HashMap<String, SiteFile>);

/// A file, and its compressed variants if the build made any.
#[derive(Debug)]
pub(crate) struct SiteFile {
    pub(crate) media_type: &'static str,
    /// Of the content; the same for every variant, hence weak.
    pub(crate) etag: HeaderValue,
    pub(crate) content: Bytes,
    pub(crate) brotli: Option<Bytes>,
    pub(crate) gzip: Option<Bytes>,
}

impl SiteFiles {
    /// Reads every file below `root`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn load(root: &Path) -> std::io::Result<Self> {
        let mut contents = HashMap::new();
        read_directory(root, "", &mut contents)?;
        let paths: Vec<String> = contents.keys().cloned().collect();
        let is_variant = |path: &str| {
            [".br", ".gz"]
                .iter()
                .filter_map(|suffix| path.strip_suffix(suffix))
                .any(|original| contents.contains_key(original))
        };
        let mut files = HashMap::new();
        for path in paths.into_iter().filter(|path| !is_variant(path)) {
            let Some(content) = contents.get(&path).cloned() else {
                continue;
            };
            let file = SiteFile {
                media_type: media_type(&path),
                etag: etag(&content),
                brotli: contents.get(&format!("{path}.br")).cloned(),
                gzip: contents.get(&format!("{path}.gz")).cloned(),
                content,
            };
            files.insert(path, file);
        }
        Ok(Self(files))
    }

    /// The file at `path`, which begins with a slash.
    pub(crate) fn get(&self, path: &str) -> Option<&SiteFile> {
        self.0.get(path)
    }
}

fn read_directory(
    directory: &Path,
    path: &str,
    contents: &mut HashMap<String, Bytes>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{path}/{name}");
        // Follows links, such as those of mounted volumes.
        if entry.path().is_dir() {
            read_directory(&entry.path(), &path, contents)?;
        } else {
            contents.insert(path, std::fs::read(entry.path())?.into());
        }
    }
    Ok(())
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn etag(content: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(content);
    let hex: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    HeaderValue::try_from(format!("W/\"{hex}\"")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(manifest: &str, files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("pkg")).unwrap();
        for file in files {
            std::fs::write(root.path().join("pkg").join(file), "x").unwrap();
        }
        std::fs::write(root.path().join("manifest.json"), manifest).unwrap();
        root
    }

    #[test]
    fn reads_the_manifest() {
        let root = site(
            r#"{"js":"/pkg/a.js","wasm":"/pkg/a.wasm","css":"/pkg/a.css","status_js":"/pkg/s.js","status_css":"/pkg/s.css"}"#,
            &["a.js", "a.wasm", "a.css", "s.js", "s.css"],
        );
        let site = Site::load(root.path()).unwrap();
        assert_eq!(site.assets.wasm, "/pkg/a.wasm");
    }

    #[test]
    fn errors_name_what_is_missing_and_the_remedy() {
        let empty = tempfile::tempdir().unwrap();
        let error = Site::load(empty.path()).unwrap_err().to_string();
        assert!(
            error.contains(&empty.path().display().to_string()) && error.contains("make build"),
            "{error}"
        );
        for (manifest, word) in [
            (
                r#"{"js":"/pkg/a.js","wasm":"/pkg/b.wasm","css":"/pkg/a.css","status_js":"/pkg/a.js","status_css":"/pkg/a.css"}"#,
                "/pkg/b.wasm",
            ),
            (
                r#"{"js":"/pkg/../manifest.json","wasm":"/pkg/a.wasm","css":"/pkg/a.css","status_js":"/pkg/a.js","status_css":"/pkg/a.css"}"#,
                "not a file under /pkg",
            ),
            ("[]", "manifest.json"),
        ] {
            let root = site(manifest, &["a.js", "a.wasm", "a.css"]);
            let error = Site::load(root.path()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
