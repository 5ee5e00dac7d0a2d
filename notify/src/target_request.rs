//! What an administrator wants a target to be, and what is wrong with it: the field, and what to write instead.

use std::collections::BTreeSet;

use galera::publish::notification::delivery::ChannelKind;
use galera::publish::notification::{NotificationKind, TargetRules};
use galera::{ClusterName, Timestamp};
use lettre::Address;
use registry::Secret;
use serde::Deserialize;

use super::target::{StoredSecret, TargetChannel, TargetRecord};
use super::webhook_client::{ReceiverUrl, sensitive_header_value};

/// Longest name, in characters.
const NAME_MAX: usize = 80;
/// Fewest and most characters of a secret.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;
/// Most recipients of a target.
const RECIPIENTS_MAX: usize = 50;
/// Most clusters that a target names.
const CLUSTERS_MAX: usize = 500;
/// Longest minimum duration and window, in seconds.
const SECONDS_MAX: u32 = 86_400;

/// What is wrong with a target that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidTarget {
    /// The field.
    pub field: &'static str,
    /// Why, and what to write.
    pub reason: String,
}

fn invalid(field: &'static str, reason: impl Into<String>) -> InvalidTarget {
    InvalidTarget {
        field,
        reason: reason.into(),
    }
}

/// What somebody wants a target to be. What is missing stays as it was, or gets its default in a new target.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRequest {
    /// Its name for people.
    pub name: Option<String>,
    /// Whether it is told anything.
    pub enabled: Option<bool>,
    /// How it is reached; cannot be changed later.
    #[serde(rename = "type")]
    pub channel: Option<ChannelKind>,
    /// Its address.
    pub url: Option<String>,
    /// What a webhook is signed with.
    pub secret: Option<String>,
    /// The `Authorization` header for Alertmanager; empty for none.
    pub authorization: Option<String>,
    /// Recipients of e-mail.
    pub to: Option<Vec<String>>,
    /// Whether e-mail goes to the accounts that a notice concerns.
    pub people: Option<bool>,
    /// What is told.
    pub kinds: Option<BTreeSet<NotificationKind>>,
    /// Of which clusters; none for all.
    pub clusters: Option<BTreeSet<ClusterName>>,
    /// How long a verdict must last to be told.
    pub minimum_seconds: Option<u32>,
    /// How long after a message further changes wait to become one.
    pub window_seconds: Option<u32>,
    /// The revision of the target that was seen; refused when it was changed since.
    pub revision: Option<i64>,
}

impl TargetRequest {
    /// A new target.
    ///
    /// # Errors
    /// [`InvalidTarget`] names the field.
    pub fn new_target(&self, by: &str, now: Timestamp) -> Result<TargetRecord, InvalidTarget> {
        let kind = self.channel.ok_or_else(|| {
            invalid(
                "type",
                "is missing; write webhook, slack, alertmanager or email",
            )
        })?;
        let rules = TargetRules {
            kinds: NotificationKind::SELECTABLE.into(),
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

    /// `target` changed to this.
    ///
    /// # Errors
    /// [`InvalidTarget`] names the field.
    pub fn apply_to(
        &self,
        target: &TargetRecord,
        by: &str,
        now: Timestamp,
    ) -> Result<TargetRecord, InvalidTarget> {
        let kind = target.channel.kind();
        if self.channel.is_some_and(|wanted| wanted != kind) {
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
            let words: Vec<&str> = NotificationKind::SELECTABLE
                .iter()
                .map(|kind| kind.as_str())
                .collect();
            return Err(invalid(
                "kinds",
                format!("name at least one of {}", words.join(", ")),
            ));
        }
        if rules.clusters.len() > CLUSTERS_MAX {
            return Err(invalid(
                "clusters",
                format!("name at most {CLUSTERS_MAX}, or none for all"),
            ));
        }
        for (field, seconds) in [
            ("minimum_seconds", rules.minimum_seconds),
            ("window_seconds", rules.window_seconds),
        ] {
            if seconds > SECONDS_MAX {
                return Err(invalid(field, format!("write 0 to {SECONDS_MAX} seconds")));
            }
        }
        Ok(rules)
    }

    fn merged_channel(
        &self,
        kind: ChannelKind,
        before: Option<&TargetChannel>,
    ) -> Result<TargetChannel, InvalidTarget> {
        self.reject_foreign_fields(kind)?;
        let fresh;
        let before = match before {
            Some(before) => before,
            None => {
                fresh = TargetChannel::empty(kind);
                &fresh
            }
        };
        Ok(match before {
            TargetChannel::Webhook { url, secret } => TargetChannel::Webhook {
                url: self.url_or_current(url)?,
                secret: match &self.secret {
                    Some(text) => parse_webhook_secret(text)?,
                    None if secret.0.expose().is_empty() => return Err(invalid_secret()),
                    None => secret.clone(),
                },
            },
            TargetChannel::Slack { url } => TargetChannel::Slack {
                url: StoredSecret(Secret::new(self.url_or_current(url.0.expose())?)),
            },
            TargetChannel::Alertmanager { url, authorization } => TargetChannel::Alertmanager {
                url: self.url_or_current(url)?,
                authorization: match self.authorization.as_deref().map(str::trim) {
                    None => authorization.clone(),
                    Some("") => None,
                    Some(text) if sensitive_header_value(text).is_some() && text.len() <= 1_000 => {
                        Some(StoredSecret(Secret::new(text)))
                    }
                    Some(_) => return Err(invalid("authorization", "is no value of a header")),
                },
            },
            TargetChannel::Email { to, people } => {
                let to = match &self.to {
                    Some(wanted) => parse_recipients(wanted)?,
                    None => to.clone(),
                };
                let people = self.people.unwrap_or(*people);
                if to.is_empty() && !people {
                    return Err(invalid(
                        "to",
                        "name a recipient, or set people to reach the accounts that a notice concerns",
                    ));
                }
                TargetChannel::Email { to, people }
            }
        })
    }

    /// Refuses what has no meaning for a channel, so that nobody waits for its effect.
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
            ("to", self.to.is_some(), kind == ChannelKind::Email),
            ("people", self.people.is_some(), kind == ChannelKind::Email),
        ];
        match given
            .into_iter()
            .find(|(_, is_given, has_meaning)| *is_given && !has_meaning)
        {
            Some((field, ..)) => Err(invalid(
                field,
                format!("has no meaning for {}", kind.as_str()),
            )),
            None => Ok(()),
        }
    }

    fn url_or_current(&self, before: &str) -> Result<String, InvalidTarget> {
        let text = self.url.as_deref().unwrap_or(before).trim();
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
            format!("write 1 to {NAME_MAX} characters in one line"),
        ));
    }
    Ok(text.to_owned())
}

fn parse_webhook_secret(text: &str) -> Result<StoredSecret, InvalidTarget> {
    let text = text.trim();
    if SECRET_LENGTH.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(StoredSecret(Secret::new(text)))
    } else {
        Err(invalid_secret())
    }
}

fn invalid_secret() -> InvalidTarget {
    invalid(
        "secret",
        format!(
            "write {} to {} printable ASCII characters, e.g. what `openssl rand -hex 32` prints",
            SECRET_LENGTH.start(),
            SECRET_LENGTH.end()
        ),
    )
}

fn parse_recipients(wanted: &[String]) -> Result<Vec<String>, InvalidTarget> {
    if wanted.len() > RECIPIENTS_MAX {
        return Err(invalid(
            "to",
            format!("name at most {RECIPIENTS_MAX} recipients"),
        ));
    }
    let mut found = Vec::new();
    for text in wanted
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

/// An e-mail address.
///
/// # Errors
/// A sentence that names the text.
pub fn parse_email_address(text: &str) -> Result<String, String> {
    let shown: String = text.chars().take(100).collect();
    if text.len() > 254 {
        return Err(format!("{shown:?} is longer than 254 characters"));
    }
    match text.trim().parse::<Address>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!(
            "{shown:?} is no e-mail address; write e.g. dba@example.org"
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
    fn secrets_are_kept_and_never_shown() {
        let target = request(webhook_body()).new_target("ada", NOW).unwrap();
        let shown = serde_json::to_string(&target.to_view("t1", 7)).unwrap();
        assert!(
            !shown.contains("0123456789abcdef")
                && !format!("{target:?}").contains("0123456789abcdef")
        );
        let kept = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<TargetRecord>(&kept).unwrap(), target);
        // Whoever changes the name need not know the secret.
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
    fn every_fault_is_named() {
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
    fn e_mail_needs_somebody() {
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
