//! Forms to add, edit and remove a target.

use galera::publish::notification::NotificationKind;
use galera::publish::notification::delivery::{ChannelKind, TargetView};

use super::super::widgets::{button, hidden_field, post_form as sheet, primary_button};
use super::{channel_label, notification_kind_label};
use crate::format::{link, sub};
use crate::markup::{Content, El, el};

pub(super) fn new_target(kind: ChannelKind, smtp: bool, refusal: Option<&str>) -> El {
    let no_smtp = (kind == ChannelKind::Email && !smtp).then(|| {
        el("p").class("notice").child(
            "No SMTP server is configured: start the console with --smtp-host and --smtp-from.",
        )
    });
    let form = sheet("/notifications/targets".to_owned())
        .child(hidden_field("type", kind.as_str().to_owned()))
        .child(target_fields(kind, None))
        .child(primary_button("Add".to_owned(), refusal));
    el("section")
        .attr("id", "form")
        .child(el("h2").child(format!("New target: {}", channel_label(kind))))
        .child(no_smtp)
        .child(form)
}

pub(super) fn edit_target(target: &TargetView, refusal: Option<&str>) -> El {
    let path = format!("/notifications/targets/{}", target.id);
    let form = sheet(path.clone())
        .child(hidden_field("revision", target.revision.to_string()))
        .child(target_fields(target.channel, Some(target)))
        .child(primary_button("Save".to_owned(), refusal));
    let remove = sheet(format!("{path}/remove"))
        .child(el("p").child("This also deletes its queued notifications and its delivery log."))
        .child(button("Remove target".to_owned(), refusal));
    el("section")
        .attr("id", "form")
        .child(el("h2").child(format!(
            "{}: {}",
            channel_label(target.channel),
            target.name
        )))
        .child(el("p").child(link("/notifications".to_owned(), "Close")))
        .child(form)
        .child(remove)
}

fn target_fields(kind: ChannelKind, target: Option<&TargetView>) -> Vec<El> {
    let name = target.map_or("", |target| &target.name);
    let mut fields = vec![text_input("name", "Name", name, Some("80"), None)];
    fields.extend(channel_fields(kind, target));
    fields.push(kind_checkboxes(target));
    let clusters: Vec<&str> = target
        .iter()
        .flat_map(|target| &target.rules.clusters)
        .map(galera::ClusterName::as_str)
        .collect();
    fields.push(list_textarea(
        "clusters",
        "Clusters",
        &clusters,
        "Separate with spaces or commas; blank = all.",
    ));
    let seconds = |name, label, value: Option<u32>, usual: u32, hint| {
        let value = value.unwrap_or(usual).to_string();
        short_input(name, label, &value, hint)
    };
    let rules = target.map(|target| &target.rules);
    fields.push(seconds(
        "minimum_seconds",
        "Minimum duration of a status change (seconds)",
        rules.map(|rules| rules.minimum_seconds),
        15,
        "Shorter changes are ignored. Split brain is sent immediately.",
    ));
    fields.push(seconds(
        "window_seconds",
        "Minimum interval between messages about a cluster (seconds)",
        rules.map(|rules| rules.window_seconds),
        30,
        "Changes within the interval are combined into one message.",
    ));
    let enabled = target.is_none_or(|target| target.enabled);
    fields.push(boolean_select(
        "enabled", "State", enabled, "enabled", "disabled",
    ));
    fields
}

const KEEP_HINT: &str = "Leave blank to keep the current value.";

/// Fields of a channel. Secrets are never shown; a blank field keeps the current one.
fn channel_fields(kind: ChannelKind, target: Option<&TargetView>) -> Vec<El> {
    let has_secret = target.is_some_and(|target| target.has_secret);
    let hint = |hint| Some(if has_secret { KEEP_HINT } else { hint });
    let url = |label| {
        let url = target.and_then(|target| target.url.as_deref());
        text_input("url", label, url.unwrap_or_default(), Some("2000"), None)
    };
    match kind {
        ChannelKind::Webhook => {
            let hint = hint("At least 16 characters, for example from openssl rand -hex 32.");
            vec![
                url("URL"),
                text_input("secret", "Signing secret", "", Some("256"), hint),
            ]
        }
        // Here the URL is the secret.
        ChannelKind::Slack if has_secret => {
            let label = "New incoming webhook URL";
            vec![text_input("url", label, "", Some("2000"), Some(KEEP_HINT))]
        }
        ChannelKind::Slack => vec![text_input(
            "url",
            "Incoming webhook URL",
            "",
            Some("2000"),
            None,
        )],
        ChannelKind::Alertmanager => {
            let (label, hint) = (
                "Authorization header",
                hint("For example Bearer …; blank = none."),
            );
            vec![
                url("URL without /api/v2/alerts"),
                text_input("authorization", label, "", Some("1000"), hint),
            ]
        }
        ChannelKind::Email => email_fields(target),
    }
}

fn email_fields(target: Option<&TargetView>) -> Vec<El> {
    let to: Vec<&str> = target
        .iter()
        .flat_map(|target| &target.to)
        .map(String::as_str)
        .collect();
    vec![
        list_textarea(
            "to",
            "Recipients",
            &to,
            "Separate with spaces or commas. Recipients get every notification of this target.",
        ),
        boolean_select(
            "people",
            "Accounts",
            target.is_some_and(|target| target.people),
            "also notify affected accounts",
            "none",
        ),
    ]
}

fn kind_checkboxes(target: Option<&TargetView>) -> El {
    let boxes: Vec<El> = NotificationKind::SELECTABLE
        .into_iter()
        .map(|kind| {
            let chosen = match target {
                Some(target) => target.rules.kinds.contains(&kind),
                None => NotificationKind::DEFAULT.contains(&kind),
            };
            let input = el("input")
                .attr("type", "checkbox")
                .attr("name", "kinds")
                .attr("value", kind.as_str())
                .optional_attr("checked", chosen.then_some(""));
            el("label")
                .class("tick")
                .child(input)
                .child(format!(" {}", notification_kind_label(kind)))
        })
        .collect();
    el("fieldset")
        .child(el("legend").child("Events"))
        .child(boxes)
}

fn text_input(
    name: &'static str,
    label: &'static str,
    value: &str,
    longest: Option<&'static str>,
    hint: Option<&'static str>,
) -> El {
    let id = format!("target-{name}");
    let input = el("input")
        .attr("id", id.clone())
        .attr("name", name)
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .optional_attr("maxlength", longest)
        .attr("value", value.to_owned());
    labelled_field(id, label, input, hint)
}

fn short_input(name: &'static str, label: &'static str, value: &str, hint: &'static str) -> El {
    el("div")
        .class("short")
        .child(text_input(name, label, value, Some("5"), Some(hint)))
}

fn list_textarea(
    name: &'static str,
    label: &'static str,
    values: &[&str],
    hint: &'static str,
) -> El {
    let id = format!("target-{name}");
    let area = el("textarea")
        .attr("id", id.clone())
        .attr("name", name)
        .attr("rows", "2")
        .attr("spellcheck", "false")
        .child(values.join("\n"));
    labelled_field(id, label, area, Some(hint))
}

fn boolean_select(
    name: &'static str,
    label: &'static str,
    yes: bool,
    if_yes: &'static str,
    if_no: &'static str,
) -> El {
    let id = format!("target-{name}");
    let option = |value: &'static str, chosen: bool, text: &'static str| {
        el("option")
            .attr("value", value)
            .optional_attr("selected", chosen.then_some(""))
            .child(text)
    };
    let select = el("select")
        .attr("id", id.clone())
        .attr("name", name)
        .child(option("true", yes, if_yes))
        .child(option("false", !yes, if_no));
    labelled_field(id, label, select, None)
}

fn labelled_field(
    id: String,
    label: impl Into<Content>,
    control: El,
    hint: Option<&'static str>,
) -> El {
    el("div")
        .class("field")
        .child(el("label").attr("for", id).child(label))
        .child(control)
        .child(hint.map(sub))
}
