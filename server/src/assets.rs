//! The built site: located and verified at start, so that the console never serves pages without style and script.

use std::path::{Path, PathBuf};

use serde::Deserialize;

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
    /// Its directory.
    pub root: PathBuf,
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
        Ok(Self {
            root: root.to_owned(),
            assets: app::SiteAssets { js, wasm, css },
            status_js,
            status_css,
        })
    }
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
