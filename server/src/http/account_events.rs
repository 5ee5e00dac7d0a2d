//! What happened to an account, for its owner: on the account page, and after a sign-in.

use axum::response::Response;
use galera::Timestamp;
use galera::publish::accounts::AccountEventView;
use galera::record::audit::{AuditEntry, AuditEvent};
use html_escape::{encode_double_quoted_attribute, encode_text};
use http::StatusCode;

use accounts::IssuedSession;

use super::AppState;
use super::plain_page::{FormTarget, plain_page};
use super::problem::ApiResult;
use super::sign_in::{encode_query, see_other};

/// Entries that the account page shows.
const RECENT_MAX: usize = 20;
/// Longest time between the record of a sign-in and the token that makes its device known.
const ISSUE_DELAY_MAX_MILLIS: i64 = 10_000;
/// Entries that are looked at after a sign-in.
const SINCE_MAX: usize = 50;

/// The latest events of the account `name`, newest first; empty if the trail cannot be read.
pub(super) async fn recent(app: &AppState, name: &str) -> Vec<AccountEventView> {
    entries(app, name, RECENT_MAX)
        .await
        .iter()
        .map(view)
        .collect()
}

async fn entries(app: &AppState, name: &str, limit: usize) -> Vec<AuditEntry> {
    match app.actions.trail().about_account(name, limit).await {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(%error, user = name, "The events of an account could not be read: {error}");
            Vec::new()
        }
    }
}

fn view(entry: &AuditEntry) -> AccountEventView {
    let record = &entry.record;
    let mut detail = record.detail.clone();
    if record.subject.as_deref() != Some(record.actor_account()) {
        // Whence an administrator works is not the owner's concern.
        detail.remove("address");
    }
    AccountEventView {
        sequence: entry.sequence,
        at: record.at,
        actor: record.actor.clone(),
        event: record.event.as_str().to_owned(),
        detail,
    }
}

/// The response to a form that signed in: a redirect to `next`, or first what happened to the account since its owner last
/// signed in on a device that was known.
pub(super) async fn after_sign_in(
    app: &AppState,
    signed_in: &IssuedSession,
    next: &str,
) -> ApiResult<Response> {
    let name = &signed_in.session.principal.username;
    // On a device that is new itself, these could be the events that its user caused.
    let (entries, issued_at) = match signed_in.known_device {
        Some(device) => (entries(app, name, SINCE_MAX).await, device.issued_at),
        None => (Vec::new(), None),
    };
    let since = since_last_sign_in(&entries, issued_at);
    if since.is_empty() {
        return see_other(&first_location(next));
    }
    let now = console_core::clock::now();
    let items: String = grouped(&since)
        .iter()
        .map(|group| group.html(now))
        .collect();
    let next = encode_double_quoted_attribute(next);
    let content = format!(
        "<section class=\"problem\"><h1>Changes to your account</h1>\
         <p>Since you last signed in on a known device:</p><ul class=\"reasons\">{items}</ul>\
         <p>If something here was not you, change your password and sign out everywhere on \
         <a href=\"/account\">your account page</a>, and inform an administrator.</p>\
         <p><a href=\"{next}\">Continue</a></p></section>"
    );
    let title = "Changes to your account";
    Ok(plain_page(
        app,
        StatusCode::OK,
        title,
        &content,
        FormTarget::None,
    ))
}

/// Where a browser goes that has just received its session: to the sign-in page, which redirects to `next`, unless the browser
/// did not keep the cookie. Then the page shows that, instead of another empty form.
pub(super) fn first_location(next: &str) -> String {
    let next = encode_query(next);
    format!("/sign-in?error=session_not_kept&next={next}")
}

/// Of the events of an account, newest first, those that its owner should know of: after the last sign-in on a known device
/// before the newest one. `issued_at`: when this device became known, by the sign-in that is recorded shortly before.
fn since_last_sign_in(entries: &[AuditEntry], issued_at: Option<Timestamp>) -> Vec<&AuditEntry> {
    let is_sign_in = |entry: &AuditEntry| entry.record.event == AuditEvent::SIGNED_IN;
    let is_on_known_device = |entry: &AuditEntry| {
        // Earlier versions did not record it.
        is_sign_in(entry)
            && entry
                .record
                .detail
                .get("device")
                .is_none_or(|device| device == "known")
    };
    let before = match entries.first() {
        Some(newest) if is_sign_in(newest) => &entries[1..],
        _ => entries,
    };
    // Recorded right before the token was issued.
    let made_known = issued_at.and_then(|issued_at| {
        let issued_at = issued_at.unix_millis();
        let earliest = issued_at.saturating_sub(ISSUE_DELAY_MAX_MILLIS);
        before.iter().find(|entry| {
            is_sign_in(entry) && (earliest..=issued_at).contains(&entry.record.at.unix_millis())
        })
    });
    let made_known = made_known.map(|entry| entry.sequence);
    let events = before.iter().take_while(|entry| !is_on_known_device(entry));
    events
        .filter(|entry| is_notable(entry) && made_known != Some(entry.sequence))
        .collect()
}

/// Whether another person may have caused an event: a mistyped password or the end of an own session is routine.
fn is_notable(entry: &AuditEntry) -> bool {
    let record = &entry.record;
    let by_owner = record.subject.as_deref() == Some(record.actor.as_str());
    let routine = [
        AuditEvent::SIGN_IN_FAILED,
        AuditEvent::SESSION_ENDED,
        AuditEvent::SESSIONS_ENDED,
        AuditEvent::ACCOUNT_ADDED,
    ];
    !(routine.contains(&record.event) && (by_owner || record.event == AuditEvent::ACCOUNT_ADDED))
}

/// Equal events as one line: what, how often, and when last.
struct EventGroup {
    text: String,
    count: usize,
    last: Timestamp,
}

/// Groups `entries`, newest first, by what they say apart from their time.
fn grouped(entries: &[&AuditEntry]) -> Vec<EventGroup> {
    let mut groups: Vec<EventGroup> = Vec::new();
    for entry in entries {
        let text = describe(entry);
        match groups.iter_mut().find(|group| group.text == text) {
            Some(group) => group.count += 1,
            None => groups.push(EventGroup {
                text,
                count: 1,
                last: entry.record.at,
            }),
        }
    }
    groups
}

impl EventGroup {
    fn html(&self, now: Timestamp) -> String {
        let text = encode_text(&self.text);
        let time = format!(
            "<time datetime=\"{}\">{}</time>",
            self.last,
            self.last.to_short_string(now)
        );
        match self.count {
            1 => format!("<li>{text}, {time}</li>"),
            count => format!("<li>{text}: {count} times, last {time}</li>"),
        }
    }
}

/// An event without its time: `Signed in from 192.0.2.7, on a new device`.
fn describe(entry: &AuditEntry) -> String {
    let record = &entry.record;
    let event = record.event.as_str().replace('_', " ");
    let mut letters = event.chars();
    let event: String = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default();
    let by_owner = record.subject.as_deref() == Some(record.actor.as_str());
    let by = if by_owner {
        String::new()
    } else {
        format!(" by {}", record.actor)
    };
    let from = match record.detail.get("address") {
        Some(address) if by_owner => format!(" from {address}, on a new device"),
        _ => String::new(),
    };
    format!("{event}{by}{from}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use galera::record::audit::AuditRecord;

    use super::*;

    fn entry(sequence: u64, event: AuditEvent, actor: &str, device: Option<&str>) -> AuditEntry {
        let device = device.map(|device| ("device".to_owned(), device.to_owned()));
        AuditEntry {
            sequence,
            record: AuditRecord {
                at: Timestamp::from_unix_millis(0),
                actor: actor.to_owned(),
                event,
                cluster: None,
                subject: Some("anna".to_owned()),
                detail: BTreeMap::from_iter(device),
            },
            previous: String::new(),
            hash: String::new(),
            seal: None,
        }
    }

    #[test]
    fn what_others_may_have_done_since_the_last_known_sign_in_is_reported() {
        let entries = [
            entry(9, AuditEvent::SIGNED_IN, "anna", Some("known")),
            entry(8, AuditEvent::SIGN_IN_FAILED, "anna", None),
            entry(7, AuditEvent::ACCOUNT_ROLES_CHANGED, "adam", None),
            entry(6, AuditEvent::RECOVERY_CODES_RENEWED, "anna", None),
            entry(5, AuditEvent::SIGNED_IN, "anna", Some("new")),
            entry(4, AuditEvent::SIGNED_IN, "anna", Some("known")),
            entry(3, AuditEvent::FACTOR_RESET, "adam", None),
        ];
        let reported = |entries: &[AuditEntry]| -> Vec<u64> {
            let since = since_last_sign_in(entries, None);
            since.iter().map(|entry| entry.sequence).collect()
        };
        assert_eq!(reported(&entries), [7, 6, 5]);
        // The entry about the sign-in itself may be missing: it is written afterwards.
        assert_eq!(reported(&entries[1..]), [7, 6, 5]);
        assert_eq!(reported(&entries[5..6]), Vec::<u64>::new());
        let of_earlier_version = [
            entry(3, AuditEvent::SIGNED_IN, "anna", Some("known")),
            entry(2, AuditEvent::SIGNED_IN, "anna", None),
            entry(1, AuditEvent::ACCOUNT_ADDED, "root", None),
        ];
        assert_eq!(reported(&of_earlier_version), Vec::<u64>::new());
    }

    #[test]
    fn equal_events_are_one_line_with_their_number_and_the_last_time() {
        let mut entries = [
            entry(4, AuditEvent::SIGNED_IN, "anna", Some("new")),
            entry(3, AuditEvent::FACTOR_RESET, "<adam>", None),
            entry(2, AuditEvent::SIGNED_IN, "anna", Some("new")),
            entry(1, AuditEvent::SIGNED_IN, "anna", Some("new")),
        ];
        for (index, entry) in entries.iter_mut().enumerate() {
            let seconds = 100 - i64::try_from(index).unwrap();
            entry.record.at = Timestamp::from_unix_millis(seconds * 1_000);
            let address = ("address".to_owned(), "192.0.2.7".to_owned());
            entry.record.detail.extend([address]);
        }
        let since: Vec<&AuditEntry> = entries.iter().collect();
        let now = Timestamp::from_unix_millis(200_000);
        let lines: Vec<String> = grouped(&since)
            .iter()
            .map(|group| group.html(now))
            .collect();
        assert_eq!(
            lines,
            [
                "<li>Signed in from 192.0.2.7, on a new device: 3 times, last \
                 <time datetime=\"1970-01-01T00:01:40Z\">00:01:40 UTC</time></li>",
                "<li>Factor reset by &lt;adam&gt;, <time datetime=\"1970-01-01T00:01:39Z\">00:01:39 UTC</time></li>",
            ]
        );
    }

    #[test]
    fn the_sign_in_that_made_this_device_known_is_not_reported_to_it() {
        let entries = [
            entry(3, AuditEvent::SIGNED_IN, "anna", Some("known")),
            entry(2, AuditEvent::SIGNED_IN, "anna", Some("new")),
            entry(1, AuditEvent::ACCOUNT_ADDED, "root", None),
        ];
        let seconds = |seconds: i64| Some(Timestamp::from_unix_millis(seconds * 1_000));
        assert!(since_last_sign_in(&entries, seconds(0)).is_empty());
        assert!(since_last_sign_in(&entries, seconds(3)).is_empty());
        // The token of another device: the sign-in happened elsewhere.
        for other in [seconds(60), seconds(-60), None] {
            assert_eq!(since_last_sign_in(&entries, other).len(), 1, "{other:?}");
        }
    }
}
