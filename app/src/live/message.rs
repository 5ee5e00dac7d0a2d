//! Messages of the live channel as `app/live-documents.js` passes them on: whole values, as in version 1.
//!
//! A flat struct instead of `galera::publish::api::LiveMessage`: for an internally tagged enum serde buffers every value
//! first, which costs time and a tenth of the WebAssembly module. Unknown fields and kinds of newer servers are ignored.

use galera::Timestamp;
use galera::view::{ClusterSummary, ClusterView};
use serde::Deserialize;

/// A message from the server. Which fields are present depends on `kind`.
#[derive(Deserialize)]
pub(super) struct IncomingMessage {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of `hello`.
    pub(super) version: Option<u32>,
    /// Of `hello`.
    pub(super) server_time: Option<Timestamp>,
    /// As in the subscription; empty in messages that are about no topic.
    #[serde(default)]
    pub(super) topic: String,
    /// Of `overview` and `cluster`.
    #[serde(default)]
    pub(super) revision: u64,
    /// Of `overview`.
    #[serde(default)]
    pub(super) clusters: Vec<ClusterSummary>,
    /// Of `overview`.
    #[serde(default)]
    pub(super) notices: Vec<String>,
    /// Of `cluster`.
    pub(super) cluster: Option<Box<ClusterView>>,
    /// Of `actions`: the number of those that wait for approval.
    #[serde(default)]
    pub(super) pending: usize,
    /// Of `error`.
    pub(super) detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use galera::publish::api::LiveMessage;

    use super::*;
    use crate::fixtures;

    fn read(message: &LiveMessage) -> IncomingMessage {
        serde_json::from_str(&serde_json::to_string(message).unwrap()).unwrap()
    }

    #[test]
    fn decodes_every_message_kind() {
        let hello = read(&LiveMessage::Hello {
            version: 1,
            versions: vec![1, 2],
            server_time: fixtures::fixed_now(),
        });
        assert_eq!(
            (hello.kind.as_str(), hello.version, hello.server_time),
            ("hello", Some(1), Some(fixtures::fixed_now()))
        );

        let view = fixtures::healthy("lab", 2_881);
        let clusters = vec![view.summary()];
        let overview = read(&LiveMessage::Overview {
            revision: 7,
            clusters: clusters.clone(),
            notices: vec!["n".to_owned()],
        });
        assert_eq!(
            (
                overview.kind.as_str(),
                overview.revision,
                overview.clusters.len()
            ),
            ("overview", 7, clusters.len())
        );
        assert_eq!(overview.notices, ["n"]);

        let cluster = read(&LiveMessage::Cluster {
            revision: 8,
            cluster: Box::new(view.clone()),
        });
        assert_eq!((cluster.kind.as_str(), cluster.revision), ("cluster", 8));
        assert_eq!(cluster.cluster.as_deref(), Some(&view));

        let error = read(&LiveMessage::Error {
            code: "c".to_owned(),
            detail: "d".to_owned(),
        });
        assert_eq!(
            (error.kind.as_str(), error.detail.as_deref()),
            ("error", Some("d"))
        );
    }

    #[test]
    fn ignores_unknown_messages() {
        let message: IncomingMessage =
            serde_json::from_str(r#"{"type":"later","what":{"id":1}}"#).unwrap();
        assert_eq!(message.kind, "later");
    }

    #[test]
    fn decodes_the_number_of_pending_actions() {
        let text = r#"{"topic":"actions","type":"actions","revision":3,"pending":2}"#;
        let message: IncomingMessage = serde_json::from_str(text).unwrap();
        assert_eq!((message.kind.as_str(), message.pending), ("actions", 2));
        assert_eq!(message.topic, "actions");
    }
}
