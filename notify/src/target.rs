//! Targets: who is told, how they are reached, and what they are told. Set by administrators at run time, kept in etcd.

use std::fmt;

use galera::Timestamp;
use galera::publish::notification::Rules;
use galera::publish::notification::delivery::{ChannelKind, TargetView};
use registry::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::post::ReceiverUrl;

/// A secret as it lies in etcd.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Kept(pub(super) Secret);

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a target is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Channel {
    Webhook {
        url: String,
        secret: Kept,
    },
    /// The whole address is the secret.
    Slack {
        url: Kept,
    },
    Alertmanager {
        url: String,
        authorization: Option<Kept>,
    },
    Email {
        to: Vec<String>,
        people: bool,
    },
}

/// A target, at `<state>/notify/targets/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) channel: Channel,
    pub(super) rules: Rules,
    pub(super) changed_at: Timestamp,
    pub(super) changed_by: String,
}

impl Channel {
    pub(super) const fn kind(&self) -> ChannelKind {
        match self {
            Self::Webhook { .. } => ChannelKind::Webhook,
            Self::Slack { .. } => ChannelKind::Slack,
            Self::Alertmanager { .. } => ChannelKind::Alertmanager,
            Self::Email { .. } => ChannelKind::Email,
        }
    }

    /// A channel that nothing was said of yet.
    pub(super) fn empty(kind: ChannelKind) -> Self {
        let nothing = || Kept(Secret::new(""));
        match kind {
            ChannelKind::Webhook => Self::Webhook {
                url: String::new(),
                secret: nothing(),
            },
            ChannelKind::Slack => Self::Slack { url: nothing() },
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

impl Target {
    /// The target as the API shows it; `waiting` and `last` are for the caller to fill in.
    #[must_use]
    pub fn view(&self, id: &str, revision: i64) -> TargetView {
        let (url, has_secret) = match &self.channel {
            Channel::Webhook { url, .. } => (Some(url.clone()), true),
            Channel::Slack { url } => {
                let origin = url
                    .0
                    .expose()
                    .parse::<ReceiverUrl>()
                    .map(|url| url.origin());
                (origin.ok(), true)
            }
            Channel::Alertmanager { url, authorization } => {
                (Some(url.clone()), authorization.is_some())
            }
            Channel::Email { .. } => (None, false),
        };
        let (to, people) = match &self.channel {
            Channel::Email { to, people } => (to.clone(), *people),
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
