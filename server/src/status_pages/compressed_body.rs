//! Response bodies with their compressed encodings, each made once however many clients request it.

use std::io::Write;
use std::sync::OnceLock;

use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Uncompressed.
    Plain,
    Brotli,
    Gzip,
}

impl ContentEncoding {
    /// The smallest encoding that a client accepts.
    #[must_use]
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut best = Self::Plain;
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        for item in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let (name, quality) = item.split_once(';').unwrap_or((item, ""));
            if is_zero_quality(quality) {
                continue;
            }
            match name.trim() {
                "br" => return Self::Brotli,
                "gzip" => best = Self::Gzip,
                _ => {}
            }
        }
        best
    }

    /// Value of the header `Content-Encoding`.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
        }
    }
}

/// Whether a quality like `q=0` excludes an encoding.
fn is_zero_quality(quality: &str) -> bool {
    let value = quality.trim().strip_prefix("q=");
    value.is_some_and(|value| value.trim().parse::<f32>() == Ok(0.0))
}

/// A body and its encodings.
#[derive(Debug)]
pub struct CompressedBody {
    pub media_type: &'static str,
    /// Hash of the content; the same for every encoding, hence weak.
    pub etag: HeaderValue,
    plain: Bytes,
    brotli: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl CompressedBody {
    #[must_use]
    pub fn new(media_type: &'static str, text: String) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let tag: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            media_type,
            etag: HeaderValue::from_str(&format!("W/\"{tag}\""))
                .unwrap_or(HeaderValue::from_static("W/\"\"")),
            plain: Bytes::from(text),
            brotli: OnceLock::new(),
            gzip: OnceLock::new(),
        }
    }

    /// The body in `encoding`, compressed on the first call.
    #[must_use]
    pub fn body(&self, encoding: ContentEncoding) -> Bytes {
        match encoding {
            ContentEncoding::Plain => self.plain.clone(),
            ContentEncoding::Brotli => self.brotli.get_or_init(|| brotli(&self.plain)).clone(),
            ContentEncoding::Gzip => self.gzip.get_or_init(|| gzip(&self.plain)).clone(),
        }
    }

    /// Whether `If-None-Match` lists this body's tag.
    #[must_use]
    pub fn is_not_modified(&self, headers: &HeaderMap) -> bool {
        let weak = self.etag.to_str().unwrap_or_default();
        let strong = weak.trim_start_matches("W/");
        let values = headers.get_all(http::header::IF_NONE_MATCH).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == strong)
    }
}

/// Balances speed for a page that changes every second against size for one that is read a thousand times.
const BROTLI_QUALITY: i32 = 6;

fn brotli(plain: &Bytes) -> Bytes {
    let settings = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: 18,
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::new();
    match brotli::BrotliCompress(&mut &plain[..], &mut compressed, &settings) {
        Ok(_) => compressed.into(),
        // Writing to memory does not fail; if it did, an empty body would be noticed.
        Err(error) => {
            tracing::error!(%error, "Could not compress a status page: {error}");
            Bytes::new()
        }
    }
}

fn gzip(plain: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    match encoder.write_all(plain).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(error) => {
            tracing::error!(%error, "Could not compress a status page: {error}");
            Bytes::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn every_encoding_has_the_same_content() {
        let text = "a status page ".repeat(100);
        let body = CompressedBody::new("text/html", text.clone());
        let mut brotli = String::new();
        brotli::Decompressor::new(&body.body(ContentEncoding::Brotli)[..], 4096)
            .read_to_string(&mut brotli)
            .unwrap();
        let mut gzip = String::new();
        flate2::read::GzDecoder::new(&body.body(ContentEncoding::Gzip)[..])
            .read_to_string(&mut gzip)
            .unwrap();
        assert_eq!(
            (brotli.as_str(), gzip.as_str()),
            (text.as_str(), text.as_str())
        );
        assert_eq!(
            body.body(ContentEncoding::Brotli).as_ptr(),
            body.body(ContentEncoding::Brotli).as_ptr()
        );
    }

    #[test]
    fn the_smallest_accepted_encoding_is_chosen() {
        for (given, expected) in [
            ("gzip, deflate, br, zstd", ContentEncoding::Brotli),
            ("gzip;q=1.0, identity", ContentEncoding::Gzip),
            ("br;q=0, gzip", ContentEncoding::Gzip),
            ("identity", ContentEncoding::Plain),
            ("broken", ContentEncoding::Plain),
            ("", ContentEncoding::Plain),
        ] {
            let headers = headers(ACCEPT_ENCODING, given);
            assert_eq!(ContentEncoding::negotiate(&headers), expected, "{given}");
        }
    }

    #[test]
    fn a_matching_etag_is_not_modified() {
        let body = CompressedBody::new("text/html", "a".to_owned());
        let tag = body.etag.to_str().unwrap().to_owned();
        let mut known = HeaderMap::new();
        let list = format!("\"other\", {tag}");
        known.insert(http::header::IF_NONE_MATCH, list.parse().unwrap());
        assert!(body.is_not_modified(&known));
        assert!(body.is_not_modified(&headers(http::header::IF_NONE_MATCH, "*")));
        assert!(!body.is_not_modified(&headers(http::header::IF_NONE_MATCH, "\"other\"")));
        assert!(!body.is_not_modified(&HeaderMap::new()));
        assert_ne!(
            body.etag,
            CompressedBody::new("text/html", "b".to_owned()).etag
        );
    }
}
