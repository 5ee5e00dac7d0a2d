//! Targets and deliveries as the API returns them, without secrets.

use serde::{Deserialize, Serialize};

use super::{Notification, TargetRules};
use crate::record::audit::EntrySeal;
use crate::timestamp::Timestamp;

/// The kind of channel that a target uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A signed HTTP request in the console's own format.
    Webhook,
    /// An incoming webhook of Slack, Mattermost, Rocket.Chat and others.
    Slack,
    Alertmanager,
    /// E-mail over SMTP.
    Email,
}

impl ChannelKind {
    pub const ALL: [Self; 4] = [Self::Webhook, Self::Slack, Self::Alertmanager, Self::Email];

    /// The kind as in JSON.
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

/// One attempt to deliver a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryAttempt {
    pub at: Timestamp,
    /// Duration in milliseconds.
    pub millis: u64,
    /// HTTP or SMTP status.
    pub status: Option<u16>,
    /// `None` if it succeeded.
    pub error: Option<String>,
    /// The beginning of the receiver's response.
    #[serde(default)]
    pub answer: String,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waiting for the first or another attempt.
    Waiting,
    /// Accepted by the receiver.
    Delivered,
    /// Given up after the last attempt.
    Failed,
}

impl DeliveryState {
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Failed];

    /// The state as in JSON and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// The delivery of a notification to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    pub target: String,
    pub notice: Notification,
    pub state: DeliveryState,
    /// When it was last queued.
    pub queued_at: Timestamp,
    /// When the next attempt is due.
    pub next_at: Option<Timestamp>,
    /// When it was delivered, or failed for good.
    pub ended_at: Option<Timestamp>,
    /// Number of attempts since it was queued.
    pub attempts: u32,
    /// The last attempts, oldest first.
    #[serde(default)]
    pub tries: Vec<DeliveryAttempt>,
    /// Its number among those queued for the target, which only increases; 0 for a test.
    #[serde(default, skip_serializing_if = "is_default")]
    pub number: u64,
    /// Binds the notification and its number to the target, if there is a state secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<EntrySeal>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetView {
    pub id: String,
    /// Display name.
    pub name: String,
    /// Whether notifications are sent to it.
    pub enabled: bool,
    #[serde(rename = "type")]
    pub channel: ChannelKind,
    /// Its URL; for Slack only the host, because the rest is secret.
    pub url: Option<String>,
    /// Whether it has a secret (`secret`, or `authorization`).
    pub has_secret: bool,
    /// Recipients of e-mail.
    #[serde(default)]
    pub to: Vec<String>,
    /// Whether e-mail is sent to the accounts that a notification concerns.
    #[serde(default)]
    pub people: bool,
    #[serde(flatten)]
    pub rules: TargetRules,
    pub changed_at: Timestamp,
    pub changed_by: String,
    /// Must be sent back with a change; a stale revision is refused.
    pub revision: i64,
    /// Number of deliveries waiting.
    pub waiting: usize,
    /// The newest delivery that was attempted.
    pub last: Option<Delivery>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetList {
    /// Sorted by name.
    pub targets: Vec<TargetView>,
    /// Whether the console can send e-mail.
    pub smtp: bool,
}

/// Some deliveries, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryList {
    pub deliveries: Vec<Delivery>,
    /// Number of further matching deliveries.
    pub more: usize,
}
