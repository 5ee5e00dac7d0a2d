//! The live channel's messages as the browser reads them.
//!
//! One flat structure instead of `galera::publish::api::LiveMessage`: an enum told apart by a field makes serde keep every value
//! in a copy first, which costs the browser time and a tenth of its module. What a newer server adds is ignored.

use galera::Timestamp;
use galera::view::{ClusterSummary, ClusterView};
use serde::Deserialize;

/// Any message of the server; which fields it has depends on its kind.
#[derive(Deserialize)]
pub(super) struct IncomingMessage {
    /// Which message it is.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of `hello`.
    pub(super) version: Option<u32>,
    /// Of `hello`.
    pub(super) server_time: Option<Timestamp>,
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
    /// Of `action`.
    pub(super) action: Option<ActionStatus>,
    /// Of `error`.
    pub(super) detail: Option<String>,
}

/// What the header needs to know of an action; pages get the rest from the server as HTML.
#[derive(Deserialize)]
pub(super) struct ActionStatus {
    /// Its identity.
    pub(super) id: String,
    /// The word of its state.
    pub(super) state: String,
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
    fn reads_every_message_of_the_contract() {
        let hello = read(&LiveMessage::Hello {
            version: 1,
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
    fn ignores_what_it_does_not_know() {
        let message: IncomingMessage =
            serde_json::from_str(r#"{"type":"later","what":{"id":1}}"#).unwrap();
        assert_eq!(message.kind, "later");
    }

    #[test]
    fn reads_of_an_action_only_what_the_header_counts() {
        let text =
            r#"{"type":"action","action":{"id":"a1","state":"pending","plan":{"steps":[]}}}"#;
        let message: IncomingMessage = serde_json::from_str(text).unwrap();
        let action = message.action.unwrap();
        assert_eq!(
            (action.id.as_str(), action.state.as_str()),
            ("a1", "pending")
        );
    }
}
