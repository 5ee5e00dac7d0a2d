//! Frames: a document, or what changed since the frame before.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use galera::publish::live::{TopicDocument, merge_patch};
use galera::view::ClusterView;
use serde_json::{Map, Value};

/// Bytes of a decompressed chunk; more is damage.
const CHUNK_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a frame has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FrameContent {
    /// The document, in the first frame of a part and in the first one after a restart.
    Document(Map<String, Value>),
    /// The merge patch to the document of the frame before.
    Patch(Map<String, Value>),
}

/// What was seen of a cluster at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ViewFrame {
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    /// Whether states differ from the frame before.
    pub(crate) states: bool,
    pub(crate) content: FrameContent,
}

impl ViewFrame {
    /// The frame of `view` after `base`, or the first one of a part.
    pub(crate) fn new(at: i64, view: &ClusterView, base: Option<&ClusterView>) -> Self {
        let document = document_of(view);
        match base {
            Some(base) => {
                let change = document.change_since(&document_of(base));
                Self {
                    at,
                    states: change.states,
                    content: FrameContent::Patch(object(change.patch)),
                }
            }
            None => Self {
                at,
                states: true,
                content: FrameContent::Document(object(document.to_value())),
            },
        }
    }
}

/// Without the rates of the last minutes, which charts show.
fn document_of(view: &ClusterView) -> TopicDocument {
    let mut view = view.clone();
    for node in &mut view.nodes {
        node.recent_rates.clear();
    }
    TopicDocument::of_cluster(&view)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// Compresses frames, with a checksum.
pub(crate) fn encode(frames: &[ViewFrame]) -> Vec<u8> {
    let rows: Vec<_> = frames
        .iter()
        .map(|frame| {
            let (whole, value) = match &frame.content {
                FrameContent::Document(document) => (true, document),
                FrameContent::Patch(patch) => (false, patch),
            };
            (frame.at, frame.states, whole, value)
        })
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Neither serializing maps with string keys nor writing to memory fails.
    let written = serde_json::to_writer(&mut encoder, &rows).map_err(std::io::Error::from);
    let compressed = written.and_then(|()| encoder.flush().and_then(|()| encoder.finish()));
    compressed.unwrap_or_default()
}

/// `None` if the bytes are damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<ViewFrame>> {
    let mut json = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(CHUNK_BYTES_MAX);
    decoder.read_to_end(&mut json).ok()?;
    let rows: Vec<(i64, bool, bool, Map<String, Value>)> = serde_json::from_slice(&json).ok()?;
    let frames = rows.into_iter();
    Some(
        frames
            .map(|(at, states, whole, value)| ViewFrame {
                at,
                states,
                content: match whole {
                    true => FrameContent::Document(value),
                    false => FrameContent::Patch(value),
                },
            })
            .collect(),
    )
}

/// The documents of a part, one for each frame, passed to `each` with their frame.
pub(crate) fn replay(frames: &[ViewFrame], mut each: impl FnMut(&ViewFrame, &Map<String, Value>)) {
    let mut document = Map::new();
    for frame in frames {
        match &frame.content {
            FrameContent::Document(whole) => document.clone_from(whole),
            FrameContent::Patch(patch) => merge_patch::apply(&mut document, patch),
        }
        each(frame, &document);
    }
}
