//! What a browser with an empty cache loads for the cluster page, as sent over the network.

use std::collections::BTreeSet;
use std::fmt::Write;

use acceptance::api::ConsoleClient;
use anyhow::{Result, ensure};
use reqwest::{Method, header};

use crate::figures::MeasuredFigure;

/// Bytes that everything may have, in kilobytes.
const LIMIT: f64 = 110.0;

/// What was loaded.
pub(crate) struct FirstLoad {
    /// Path, encoding, bytes.
    files: Vec<(String, String, usize)>,
}

pub(crate) async fn measure(api: &ConsoleClient, cluster: &str) -> Result<FirstLoad> {
    let page = format!("/clusters/{cluster}");
    let html = api.get_text(&page).await?;
    let mut files = vec![load(api, &page).await?];
    for path in references(&html) {
        files.push(load(api, &path).await?);
    }
    ensure!(
        files.iter().any(|(path, ..)| path.ends_with(".wasm")),
        "the page names no wasm"
    );
    Ok(FirstLoad { files })
}

/// The console's own files that the page references.
fn references(html: &str) -> BTreeSet<String> {
    let attributes = html
        .split("href=\"")
        .skip(1)
        .chain(html.split("src=\"").skip(1));
    let paths = attributes.filter_map(|rest| rest.split('"').next());
    let assets = [".js", ".wasm", ".css", ".svg", ".woff2", ".png"];
    paths
        .filter(|path| path.starts_with('/') && assets.iter().any(|end| path.ends_with(end)))
        .map(str::to_owned)
        .collect()
}

async fn load(api: &ConsoleClient, path: &str) -> Result<(String, String, usize)> {
    let request = api
        .request(Method::GET, path)
        .header(header::ACCEPT_ENCODING, "br, gzip");
    let answer = request.send().await?.error_for_status()?;
    let encoding = answer
        .headers()
        .get(header::CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let encoding = encoding.unwrap_or("none").to_owned();
    // This client decodes nothing: these are the bytes of the wire, headers excepted.
    let bytes = answer.bytes().await?.len();
    Ok((path.to_owned(), encoding, bytes))
}

impl FirstLoad {
    fn total(&self) -> usize {
        self.files.iter().map(|(.., bytes)| bytes).sum()
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<48} {:>8} {:>10}\n", "first load", "encoding", "bytes");
        for (path, encoding, bytes) in &self.files {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{path:<48} {encoding:>8} {bytes:>10}");
        }
        let _ = writeln!(text, "{:<48} {:>8} {:>10}", "everything", "", self.total());
        text
    }

    pub(crate) fn figure(&self) -> MeasuredFigure {
        MeasuredFigure::kilobytes(
            "first load of the cluster page, everything",
            self.total(),
            LIMIT,
        )
    }
}
