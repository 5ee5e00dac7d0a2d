//! Targets and deliveries as the API shows them. Secrets are never among it.

use serde::{Deserialize, Serialize};

use super::{Notification, TargetRules};
use crate::timestamp::Timestamp;

/// How a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A signed HTTP request of our own shape.
    Webhook,
    /// An incoming webhook as Slack (Mattermost, Rocket.Chat, …) takes it.
    Slack,
    /// Prometheus Alertmanager.
    Alertmanager,
    /// E-mail by SMTP.
    Email,
}

impl ChannelKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Webhook, Self::Slack, Self::Alertmanager, Self::Email];

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Alertmanager => "alertmanager",
            Self::Email => "email",
        }
    }
}

/// One attempt to deliver a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// The receiver's status: HTTP's, or SMTP's.
    pub status: Option<u16>,
    /// Why it failed; `None` for success.
    pub error: Option<String>,
    /// The beginning of what the receiver answered.
    #[serde(default)]
    pub answer: String,
}

/// What became of a notice for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits to be sent, or to be sent again.
    Waiting,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Failed];

    /// The word in JSON and addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// A notice on its way to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The target's identity.
    pub target: String,
    /// What is told.
    pub notice: Notification,
    /// What became of it.
    pub state: DeliveryState,
    /// When it was handed over to be sent, the last time.
    pub queued_at: Timestamp,
    /// When it is sent next.
    pub next_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// How often it was sent since it was queued.
    pub attempts: u32,
    /// The last attempts, oldest first.
    #[serde(default)]
    pub tries: Vec<DeliveryAttempt>,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Its identity.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Whether anything is told to it.
    pub enabled: bool,
    /// How it is reached.
    #[serde(rename = "type")]
    pub channel: ChannelKind,
    /// Its address; of Slack's only the host, because the rest is the secret.
    pub url: Option<String>,
    /// Whether it has a secret (`secret`, or `authorization`).
    pub has_secret: bool,
    /// Recipients of e-mail.
    #[serde(default)]
    pub to: Vec<String>,
    /// Whether e-mail goes to the accounts that a notice concerns.
    #[serde(default)]
    pub people: bool,
    /// What it is told.
    #[serde(flatten)]
    pub rules: TargetRules,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// Who changed it.
    pub changed_by: String,
    /// What is to be compared by whoever changes it.
    pub revision: i64,
    /// How many notices wait for it.
    pub waiting: usize,
    /// The newest delivery that was tried.
    pub last: Option<Delivery>,
}

/// Every target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetList {
    /// By name.
    pub targets: Vec<TargetView>,
    /// Whether the console can send e-mail.
    pub smtp: bool,
}

/// Some deliveries, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryList {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// How many more there are that match.
    pub more: usize,
}
