//! Requests that create or change a target, and their validation.

use std::collections::BTreeSet;

use galera::publish::notification::delivery::ChannelKind;
use galera::publish::notification::{NotificationKind, TargetRules};
use galera::{ClusterName, Timestamp};
use lettre::Address;
use registry::Secret;
use serde::Deserialize;

use super::target::{StoredSecret, TargetChannel, TargetRecord, shown_url};
use super::webhook_client::{ReceiverUrl, sensitive_header_value};

/// Maximum length of a name, in characters.
const NAME_MAX: usize = 80;
/// Length of a webhook secret, in characters.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// Whether `text` can sign webhooks: 16 to 256 printable ASCII characters.
#[must_use]
pub fn is_webhook_secret(text: &str) -> bool {
    SECRET_LENGTH.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
const RECIPIENTS_MAX: usize = 50;
const CLUSTERS_MAX: usize = 500;
/// Maximum minimum duration and grouping window, in seconds.
const SECONDS_MAX: u32 = 86_400;

/// An invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidTarget {
    pub field: &'static str,
    /// Why it is invalid, and what is expected.
    pub reason: String,
}

fn invalid(field: &'static str, reason: impl Into<String>) -> InvalidTarget {
    InvalidTarget {
        field,
        reason: reason.into(),
    }
}

/// A create or patch request for a target. Omitted fields keep their value, or take the default on creation.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetRequest {
    /// Display name.
    pub name: Option<String>,
    /// Whether notifications are sent to it.
    pub enabled: Option<bool>,
    /// Kind of channel; cannot be changed later.
    #[serde(rename = "type")]
    pub channel: Option<ChannelKind>,
    /// URL of the receiver.
    pub url: Option<String>,
    /// Signing secret of a webhook.
    pub secret: Option<String>,
    /// The `Authorization` header for Alertmanager; empty for none.
    pub authorization: Option<String>,
    /// Fixed recipients of e-mail.
    pub to: Option<Vec<String>>,
    /// Whether e-mail is sent to the accounts that a notification concerns.
    pub people: Option<bool>,
    /// Kinds of events to notify of.
    pub kinds: Option<BTreeSet<NotificationKind>>,
    /// Clusters to notify of; empty for all.
    pub clusters: Option<BTreeSet<ClusterName>>,
    /// How long a verdict must last before it is notified of, in seconds.
    pub minimum_seconds: Option<u32>,
    /// Grouping window: changes this soon after a notification are combined into one, in seconds.
    pub window_seconds: Option<u32>,
    /// Revision of the target that the change is based on; the request is refused when the target was changed since.
    pub revision: Option<i64>,
}

impl TargetRequest {
    /// Creates a target from this request.
    ///
    /// # Errors
    /// When a field is missing or invalid.
    pub fn new_target(&self, by: &str, now: Timestamp) -> Result<TargetRecord, InvalidTarget> {
        let kind = self.channel.ok_or_else(|| {
            invalid(
                "type",
                "is missing; expected webhook, slack, alertmanager or email",
            )
        })?;
        let rules = TargetRules {
            kinds: NotificationKind::DEFAULT.into(),
            clusters: BTreeSet::new(),
            minimum_seconds: 15,
            window_seconds: 30,
        };
        Ok(TargetRecord {
            name: parse_name(self.name.as_deref().unwrap_or_default())?,
            enabled: self.enabled.unwrap_or(true),
            channel: self.merged_channel(kind, None)?,
            rules: self.merged_rules(rules)?,
            changed_at: now,
            changed_by: by.to_owned(),
        })
    }

    /// Returns `target` with this request applied.
    ///
    /// # Errors
    /// When a field is invalid.
    pub fn apply_to(
        &self,
        target: &TargetRecord,
        by: &str,
        now: Timestamp,
    ) -> Result<TargetRecord, InvalidTarget> {
        let kind = target.channel.kind();
        if self.channel.is_some_and(|requested| requested != kind) {
            return Err(invalid(
                "type",
                "cannot be changed; add another target and remove this one",
            ));
        }
        Ok(TargetRecord {
            name: match &self.name {
                Some(text) => parse_name(text)?,
                None => target.name.clone(),
            },
            enabled: self.enabled.unwrap_or(target.enabled),
            channel: self.merged_channel(kind, Some(&target.channel))?,
            rules: self.merged_rules(target.rules.clone())?,
            changed_at: now,
            changed_by: by.to_owned(),
        })
    }

    fn merged_rules(&self, before: TargetRules) -> Result<TargetRules, InvalidTarget> {
        let rules = TargetRules {
            kinds: self.kinds.clone().unwrap_or(before.kinds),
            clusters: self.clusters.clone().unwrap_or(before.clusters),
            minimum_seconds: self.minimum_seconds.unwrap_or(before.minimum_seconds),
            window_seconds: self.window_seconds.unwrap_or(before.window_seconds),
        };
        if rules.kinds.is_empty() || rules.kinds.contains(&NotificationKind::Test) {
            let names: Vec<&str> = NotificationKind::SELECTABLE
                .iter()
                .map(|kind| kind.as_str())
                .collect();
            return Err(invalid(
                "kinds",
                format!("name at least one of {}", names.join(", ")),
            ));
        }
        if rules.clusters.len() > CLUSTERS_MAX {
            return Err(invalid(
                "clusters",
                format!("name at most {CLUSTERS_MAX} clusters, or none for all"),
            ));
        }
        for (field, seconds) in [
            ("minimum_seconds", rules.minimum_seconds),
            ("window_seconds", rules.window_seconds),
        ] {
            if seconds > SECONDS_MAX {
                return Err(invalid(
                    field,
                    format!("must be 0 to {SECONDS_MAX} seconds"),
                ));
            }
        }
        Ok(rules)
    }

    fn merged_channel(
        &self,
        kind: ChannelKind,
        current: Option<&TargetChannel>,
    ) -> Result<TargetChannel, InvalidTarget> {
        self.reject_foreign_fields(kind)?;
        let empty;
        let current = match current {
            Some(current) => current,
            None => {
                empty = TargetChannel::empty(kind);
                &empty
            }
        };
        Ok(match current {
            TargetChannel::Webhook { url, secret } => TargetChannel::Webhook {
                url: self.url_or_current(url)?,
                secret: match &self.secret {
                    Some(text) => parse_webhook_secret(text)?,
                    None if secret.0.expose().is_empty() => return Err(invalid_secret()),
                    None => secret.clone(),
                },
            },
            TargetChannel::Slack { url } => {
                let current = url.0.expose();
                // What answers show of it stands for all of it.
                let url = match (&self.url, shown_url(current)) {
                    (Some(given), Some(shown)) if given.trim() == shown => current.to_owned(),
                    _ => self.url_or_current(current)?,
                };
                TargetChannel::Slack {
                    url: StoredSecret(Secret::new(url)),
                }
            }
            TargetChannel::Alertmanager { url, authorization } => TargetChannel::Alertmanager {
                url: self.url_or_current(url)?,
                authorization: match self.authorization.as_deref().map(str::trim) {
                    None => authorization.clone(),
                    Some("") => None,
                    Some(text) if sensitive_header_value(text).is_some() && text.len() <= 1_000 => {
                        Some(StoredSecret(Secret::new(text)))
                    }
                    Some(_) => return Err(invalid("authorization", "is not a valid header value")),
                },
            },
            TargetChannel::Email { to, people } => {
                let to = match &self.to {
                    Some(texts) => parse_recipients(texts)?,
                    None => to.clone(),
                };
                let people = self.people.unwrap_or(*people);
                if to.is_empty() && !people {
                    return Err(invalid(
                        "to",
                        "name a recipient, or set people to reach the accounts that a notification concerns",
                    ));
                }
                TargetChannel::Email { to, people }
            }
        })
    }

    /// Refuses fields that do not apply to the channel and would have no effect.
    fn reject_foreign_fields(&self, kind: ChannelKind) -> Result<(), InvalidTarget> {
        let given = [
            ("url", self.url.is_some(), kind != ChannelKind::Email),
            (
                "secret",
                self.secret.is_some(),
                kind == ChannelKind::Webhook,
            ),
            (
                "authorization",
                self.authorization.is_some(),
                kind == ChannelKind::Alertmanager,
            ),
            // Answers have both for every channel, empty and off.
            (
                "to",
                self.to.as_ref().is_some_and(|to| !to.is_empty()),
                kind == ChannelKind::Email,
            ),
            (
                "people",
                self.people == Some(true),
                kind == ChannelKind::Email,
            ),
        ];
        match given
            .into_iter()
            .find(|(_, is_given, applies)| *is_given && !applies)
        {
            Some((field, ..)) => Err(invalid(
                field,
                format!("does not apply to {}", kind.as_str()),
            )),
            None => Ok(()),
        }
    }

    fn url_or_current(&self, current: &str) -> Result<String, InvalidTarget> {
        let text = self.url.as_deref().unwrap_or(current).trim();
        let url: ReceiverUrl = text
            .parse()
            .map_err(|reason: String| invalid("url", reason))?;
        Ok(url.to_string())
    }
}

fn parse_name(text: &str) -> Result<String, InvalidTarget> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > NAME_MAX || text.chars().any(char::is_control) {
        return Err(invalid(
            "name",
            format!("must be 1 to {NAME_MAX} characters on one line"),
        ));
    }
    Ok(text.to_owned())
}

fn parse_webhook_secret(text: &str) -> Result<StoredSecret, InvalidTarget> {
    let text = text.trim();
    if is_webhook_secret(text) {
        Ok(StoredSecret(Secret::new(text)))
    } else {
        Err(invalid_secret())
    }
}

fn invalid_secret() -> InvalidTarget {
    invalid(
        "secret",
        format!(
            "must be {} to {} printable ASCII characters, e.g. the output of `openssl rand -hex 32`",
            SECRET_LENGTH.start(),
            SECRET_LENGTH.end()
        ),
    )
}

fn parse_recipients(texts: &[String]) -> Result<Vec<String>, InvalidTarget> {
    if texts.len() > RECIPIENTS_MAX {
        return Err(invalid(
            "to",
            format!("name at most {RECIPIENTS_MAX} recipients"),
        ));
    }
    let mut found = Vec::new();
    for text in texts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        let address = parse_email_address(text).map_err(|reason| invalid("to", reason))?;
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// Parses an e-mail address.
///
/// # Errors
/// When `text` is not a valid address; the message quotes it.
pub fn parse_email_address(text: &str) -> Result<String, String> {
    let shown: String = text.chars().take(100).collect();
    if text.len() > 254 {
        return Err(format!("{shown:?} is longer than 254 characters"));
    }
    match text.trim().parse::<Address>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!(
            "{shown:?} is not a valid e-mail address; expected e.g. dba@example.org"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(0);

    fn request(json: serde_json::Value) -> TargetRequest {
        serde_json::from_value(json).unwrap()
    }

    fn webhook_body() -> serde_json::Value {
        serde_json::json!({
            "name": "pager", "type": "webhook", "url": "https://example.org/hook", "secret": "0123456789abcdef",
        })
    }

    #[test]
    fn secrets_are_stored_and_never_shown() {
        let target = request(webhook_body()).new_target("ada", NOW).unwrap();
        let shown = serde_json::to_string(&target.to_view("t1", 7)).unwrap();
        assert!(
            !shown.contains("0123456789abcdef")
                && !format!("{target:?}").contains("0123456789abcdef")
        );
        let kept = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<TargetRecord>(&kept).unwrap(), target);
        // Changing the name does not require the secret.
        let renamed = request(serde_json::json!({"name": "other"}))
            .apply_to(&target, "bob", NOW)
            .unwrap();
        assert_eq!(renamed.channel, target.channel);
        let slack = serde_json::json!({"name": "s", "type": "slack", "url": "https://hooks.slack.com/services/T0/B0/xyz"});
        let slack = request(slack)
            .new_target("ada", NOW)
            .unwrap()
            .to_view("t2", 1);
        assert_eq!(slack.url.as_deref(), Some("https://hooks.slack.com"));
    }

    #[test]
    fn errors_name_the_invalid_field() {
        let with = |field: &str, value: serde_json::Value| {
            let mut body = webhook_body();
            body[field] = value;
            request(body).new_target("ada", NOW).unwrap_err().field
        };
        let json = |value: &str| serde_json::Value::from(value);
        assert_eq!(with("name", json(" ")), "name");
        assert_eq!(with("name", json("a\nb")), "name");
        assert_eq!(with("url", json("ftp://example.org")), "url");
        assert_eq!(with("secret", json("short")), "secret");
        assert_eq!(with("secret", serde_json::Value::Null), "secret");
        assert_eq!(with("to", serde_json::json!(["a@b.c"])), "to");
        assert_eq!(with("kinds", serde_json::json!([])), "kinds");
        assert_eq!(with("kinds", serde_json::json!(["test"])), "kinds");
        assert_eq!(
            with("minimum_seconds", serde_json::json!(90_000)),
            "minimum_seconds"
        );
        assert_eq!(with("type", serde_json::Value::Null), "type");
        let target = request(webhook_body()).new_target("ada", NOW).unwrap();
        let other = request(serde_json::json!({"type": "slack"})).apply_to(&target, "ada", NOW);
        assert_eq!(other.unwrap_err().field, "type");
    }

    #[test]
    fn what_is_shown_of_a_secret_url_stands_for_all_of_it() {
        let url = "https://hooks.example.org/services/T000/B000/xxxx";
        let slack = request(serde_json::json!({"name": "s", "type": "slack", "url": url}));
        let target = slack.new_target("ada", NOW).unwrap();
        let shown = target.to_view("s", 1).url.unwrap();
        assert!(!shown.contains("services"), "{shown}");
        let changed = |url: &str| {
            let change = request(serde_json::json!({"url": url, "to": [], "people": false}));
            change.apply_to(&target, "ada", NOW).unwrap().channel
        };
        assert_eq!(changed(&shown), target.channel);
        for other in [
            "https://other.example.org",
            "https://hooks.example.org/services/new",
        ] {
            assert_ne!(changed(other), target.channel, "{other}");
        }
    }

    #[test]
    fn e_mail_needs_a_recipient() {
        let mail = |to: &[&str], people: bool| {
            request(serde_json::json!({"name": "m", "type": "email", "to": to, "people": people}))
                .new_target("ada", NOW)
        };
        assert_eq!(mail(&[], false).unwrap_err().field, "to");
        assert_eq!(mail(&["not an address"], true).unwrap_err().field, "to");
        assert_eq!(
            mail(&["a@example.org\r\nBcc: x@example.org"], true)
                .unwrap_err()
                .field,
            "to"
        );
        let two = mail(&["a@example.org", " a@example.org", ""], false).unwrap();
        assert_eq!(two.to_view("m", 1).to, ["a@example.org"]);
    }
}
