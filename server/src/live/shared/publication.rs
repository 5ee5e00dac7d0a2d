//! One publication of a topic and its frames, each serialized and compressed once for all viewers.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use galera::publish::live::{FrameEncoding, TopicDocument, TopicFrame};

/// Former documents to which a patch is made; a viewer that is further behind gets a full frame.
const BASES_MAX: usize = 4;
/// Shorter frames are not compressed, in bytes.
const COMPRESSED_MIN: usize = 256;

/// What a topic has to show.
pub(crate) enum TopicContent {
    /// Nothing yet.
    Pending,
    /// The cluster is neither configured nor registered.
    UnknownCluster,
    Document(Arc<TopicDocument>),
}

/// A value of a topic.
pub(crate) struct TopicPublication {
    topic: String,
    /// Increases with each publication of this topic.
    pub(crate) revision: u64,
    pub(crate) content: TopicContent,
    full: OnceLock<SerializedFrame>,
    /// Former documents, oldest first, and the patch from each.
    bases: VecDeque<PatchBase>,
}

struct PatchBase {
    revision: u64,
    document: Arc<TopicDocument>,
    patch: OnceLock<SerializedFrame>,
}

impl TopicPublication {
    /// Before the first value of the topic `text`.
    pub(super) fn pending(text: &str) -> Self {
        Self {
            topic: text.to_owned(),
            revision: 0,
            content: TopicContent::Pending,
            full: OnceLock::new(),
            bases: VecDeque::new(),
        }
    }

    /// The publication after this one.
    pub(super) fn next(&self, content: TopicContent) -> Self {
        let kept = self
            .bases
            .iter()
            .map(|base| (base.revision, &base.document));
        let newest = match &self.content {
            TopicContent::Document(document) => Some((self.revision, document)),
            _ => None,
        };
        // No document precedes one after which the cluster was unknown.
        let continues = newest.is_some() && matches!(content, TopicContent::Document(_));
        let mut bases: VecDeque<_> = kept
            .chain(newest)
            .filter(|_| continues)
            .map(|(revision, document)| PatchBase {
                revision,
                document: Arc::clone(document),
                patch: OnceLock::new(),
            })
            .collect();
        while bases.len() > BASES_MAX {
            bases.pop_front();
        }
        Self {
            topic: self.topic.clone(),
            revision: self.revision + 1,
            content,
            full: OnceLock::new(),
            bases,
        }
    }

    /// The frame for a viewer whose latest is of revision `sent`; `None` if there is nothing to send.
    pub(crate) fn frame_since(&self, sent: Option<u64>) -> Option<&SerializedFrame> {
        let TopicContent::Document(document) = &self.content else {
            return None;
        };
        if sent == Some(self.revision) {
            return None;
        }
        let base = self.bases.iter().find(|base| Some(base.revision) == sent);
        Some(match base {
            Some(base) => base.patch.get_or_init(|| {
                SerializedFrame::of(&TopicFrame::Patch {
                    topic: self.topic.clone(),
                    revision: self.revision,
                    base: base.revision,
                    rows: document.change_since(&base.document).patch,
                })
            }),
            None => self.full.get_or_init(|| {
                SerializedFrame::of(&TopicFrame::Full {
                    topic: self.topic.clone(),
                    revision: self.revision,
                    rows: document.to_value(),
                })
            }),
        })
    }
}

/// A serialized frame.
pub(crate) struct SerializedFrame {
    text: Utf8Bytes,
    compressed: OnceLock<Option<Bytes>>,
}

impl SerializedFrame {
    pub(crate) fn of(frame: &TopicFrame) -> Self {
        Self {
            // Strings and numbers only, which always serialize.
            text: Utf8Bytes::from(serde_json::to_string(frame).unwrap_or_default()),
            compressed: OnceLock::new(),
        }
    }

    /// The message for a viewer that asked for `encoding`.
    pub(crate) fn message(&self, encoding: Option<FrameEncoding>) -> Message {
        let compressed = match encoding {
            Some(FrameEncoding::Deflate) => self.compressed.get_or_init(|| deflate(&self.text)),
            None => &None,
        };
        match compressed {
            Some(bytes) => Message::Binary(bytes.clone()),
            None => Message::Text(self.text.clone()),
        }
    }
}

/// `None` for text that is not worth it.
fn deflate(text: &str) -> Option<Bytes> {
    if text.len() < COMPRESSED_MIN {
        return None;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
