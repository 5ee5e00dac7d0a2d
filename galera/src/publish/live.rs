//! Version 2 of the WebSocket protocol: a topic is a document, of which a client receives all once and then the changes.
//!
//! A document has no `null` member: a member that is absent is unknown. Changes are therefore exact JSON merge patches
//! (RFC 7396), which remove a member by `null`. The schema is docs/live-protocol-2.schema.json.

mod document;
pub mod merge_patch;
mod window;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use document::{DocumentChange, TopicDocument};
pub use window::{
    FILTER_MAX, LABEL_FILTER_MAX, OverviewQuery, OverviewRow, OverviewSort, WINDOW_MAX,
    head_document,
};

/// The versions of the WebSocket protocol that `hello` announces.
pub const LIVE_VERSIONS: [u32; 2] = [super::api::LIVE_VERSION, 2];

/// A client's message in version 2; replaces its previous subscription, also one of version 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TopicSubscribeRequest {
    /// 2.
    pub version: u32,
    /// Topics: `head`, `overview`, `overview?PARAMETERS`, `cluster/NAME`, `actions`. Each is answered with a full frame.
    pub subscribe: Vec<String>,
    /// How long frames are compressed; not at all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<FrameEncoding>,
}

/// How frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FrameEncoding {
    /// As in HTTP: the zlib format (RFC 1950), in binary messages. Short frames stay text.
    Deflate,
}

/// The server's messages about topics in version 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TopicFrame {
    /// The whole document; replaces what the client has.
    Full {
        /// As in the subscription.
        topic: String,
        /// Increases with each publication of the topic; comparable only within one connection.
        revision: u64,
        rows: Value,
    },
    /// What has changed since `base`, as a JSON merge patch.
    Patch {
        topic: String,
        revision: u64,
        /// The revision that the patch applies to. A client that has another one subscribes again.
        base: u64,
        rows: Value,
    },
    /// An invalid subscription, or a topic that cannot be served now.
    Error {
        code: String,
        /// The topic concerned; absent if it is the whole message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
        /// The cause and the remedy.
        detail: String,
    },
}
