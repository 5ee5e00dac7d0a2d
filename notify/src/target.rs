//! Targets: receivers of notifications and their rules. Set by administrators at run time, stored in etcd.

use std::fmt;

use galera::Timestamp;
use galera::publish::notification::TargetRules;
use galera::publish::notification::delivery::{ChannelKind, TargetView};
use registry::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::webhook_client::ReceiverUrl;

/// A secret that serializes to plain text for etcd and is hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredSecret(pub(super) Secret);

impl Serialize for StoredSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for StoredSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum TargetChannel {
    Webhook {
        url: String,
        secret: StoredSecret,
    },
    /// The whole URL is secret.
    Slack {
        url: StoredSecret,
    },
    Alertmanager {
        url: String,
        authorization: Option<StoredSecret>,
    },
    Email {
        to: Vec<String>,
        people: bool,
    },
}

/// A target, at `<state>/notify/targets/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRecord {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) channel: TargetChannel,
    pub(super) rules: TargetRules,
    pub(super) changed_at: Timestamp,
    pub(super) changed_by: String,
}

impl TargetChannel {
    pub(super) const fn kind(&self) -> ChannelKind {
        match self {
            Self::Webhook { .. } => ChannelKind::Webhook,
            Self::Slack { .. } => ChannelKind::Slack,
            Self::Alertmanager { .. } => ChannelKind::Alertmanager,
            Self::Email { .. } => ChannelKind::Email,
        }
    }

    /// A channel without any setting.
    pub(super) fn empty(kind: ChannelKind) -> Self {
        let empty = || StoredSecret(Secret::new(""));
        match kind {
            ChannelKind::Webhook => Self::Webhook {
                url: String::new(),
                secret: empty(),
            },
            ChannelKind::Slack => Self::Slack { url: empty() },
            ChannelKind::Alertmanager => Self::Alertmanager {
                url: String::new(),
                authorization: None,
            },
            ChannelKind::Email => Self::Email {
                to: Vec::new(),
                people: false,
            },
        }
    }
}

/// What is shown of a URL that is a secret: its origin.
pub(super) fn shown_url(url: &str) -> Option<String> {
    url.parse::<ReceiverUrl>().ok().map(|url| url.origin())
}

impl TargetRecord {
    /// The target as the API shows it. The caller fills in `waiting` and `last`.
    #[must_use]
    pub fn to_view(&self, id: &str, revision: i64) -> TargetView {
        let (url, has_secret) = match &self.channel {
            TargetChannel::Webhook { url, .. } => (Some(url.clone()), true),
            TargetChannel::Slack { url } => (shown_url(url.0.expose()), true),
            TargetChannel::Alertmanager { url, authorization } => {
                (Some(url.clone()), authorization.is_some())
            }
            TargetChannel::Email { .. } => (None, false),
        };
        let (to, people) = match &self.channel {
            TargetChannel::Email { to, people } => (to.clone(), *people),
            _ => (Vec::new(), false),
        };
        TargetView {
            id: id.to_owned(),
            name: self.name.clone(),
            enabled: self.enabled,
            channel: self.channel.kind(),
            url,
            has_secret,
            to,
            people,
            rules: self.rules.clone(),
            changed_at: self.changed_at,
            changed_by: self.changed_by.clone(),
            revision,
            waiting: 0,
            last: None,
        }
    }
}
