//! The form of one target.

use galera::publish::notification::Kind;
use galera::publish::notification::delivery::{ChannelKind, TargetView};

use super::super::parts::{button, form as sheet, hidden_field, main_button};
use super::{channel_word, kind_word};
use crate::format::{link, sub};
use crate::markup::{Child, El, el};

/// Of a new target.
pub(super) fn add(kind: ChannelKind, smtp: bool, refusal: Option<&str>) -> El {
    let no_mail = (kind == ChannelKind::Email && !smtp).then(|| {
        el("p")
            .class("notice")
            .with("The console has no SMTP server yet: start it with --smtp-host and --smtp-from.")
    });
    let form = sheet("/notifications/targets".to_owned())
        .with(hidden_field("type", kind.word().to_owned()))
        .with(fields(kind, None))
        .with(main_button("Add".to_owned(), refusal));
    el("section")
        .at("id", "form")
        .with(el("h2").with(format!("New target: {}", channel_word(kind))))
        .with(no_mail)
        .with(form)
}

/// Of one that there is, with its removal.
pub(super) fn edit(target: &TargetView, refusal: Option<&str>) -> El {
    let path = format!("/notifications/targets/{}", target.id);
    let form = sheet(path.clone())
        .with(hidden_field("revision", target.revision.to_string()))
        .with(fields(target.channel, Some(target)))
        .with(main_button("Save".to_owned(), refusal));
    let remove = sheet(format!("{path}/remove"))
        .with(el("p").with("Removing it removes what waits for it and its log as well."))
        .with(button("Remove this target".to_owned(), refusal));
    el("section")
        .at("id", "form")
        .with(el("h2").with(format!("{}: {}", channel_word(target.channel), target.name)))
        .with(el("p").with(link("/notifications".to_owned(), "Close")))
        .with(form)
        .with(remove)
}

fn fields(kind: ChannelKind, target: Option<&TargetView>) -> Vec<El> {
    let name = target.map_or("", |target| &target.name);
    let mut fields = vec![input("name", "Name", name, Some("80"), None)];
    fields.extend(channel(kind, target));
    fields.push(kinds(target));
    let clusters: Vec<&str> = target
        .iter()
        .flat_map(|target| &target.rules.clusters)
        .map(galera::ClusterName::as_str)
        .collect();
    fields.push(lines(
        "clusters",
        "Clusters",
        &clusters,
        "Separated by spaces or commas; empty for all.",
    ));
    let seconds = |name, label, value: Option<u32>, usual: u32, hint| {
        let value = value.unwrap_or(usual).to_string();
        short(name, label, &value, hint)
    };
    let rules = target.map(|target| &target.rules);
    fields.push(seconds(
        "minimum_seconds",
        "Minimum duration of a verdict, in seconds",
        rules.map(|rules| rules.minimum_seconds),
        15,
        "What passes sooner is not told. Split brain is told at once.",
    ));
    fields.push(seconds(
        "window_seconds",
        "Time between two messages about a cluster, in seconds",
        rules.map(|rules| rules.window_seconds),
        30,
        "Changes within it become one message.",
    ));
    let enabled = target.is_none_or(|target| target.enabled);
    fields.push(choice("enabled", "State", enabled, "enabled", "disabled"));
    fields
}

fn channel(kind: ChannelKind, target: Option<&TargetView>) -> Vec<El> {
    let url = target
        .and_then(|target| target.url.as_deref())
        .unwrap_or_default();
    let known = target.is_some_and(|target| target.has_secret);
    let kept = "Empty leaves it as it is.";
    match kind {
        ChannelKind::Webhook => {
            let hint = if known {
                kept
            } else {
                "At least 16 characters, e.g. what openssl rand -hex 32 prints."
            };
            vec![
                input("url", "Address", url, Some("2000"), None),
                input("secret", "Secret that signs", "", Some("256"), Some(hint)),
            ]
        }
        // The address is the secret, so it is asked for again to be changed, and left out otherwise.
        ChannelKind::Slack if known => {
            vec![input(
                "url",
                "New address of the incoming webhook",
                "",
                Some("2000"),
                Some(kept),
            )]
        }
        ChannelKind::Slack => vec![input(
            "url",
            "Address of the incoming webhook",
            "",
            Some("2000"),
            None,
        )],
        ChannelKind::Alertmanager => {
            let hint = if known {
                kept
            } else {
                "E.g. Bearer …; empty for none."
            };
            vec![
                input(
                    "url",
                    "Address, without /api/v2/alerts",
                    url,
                    Some("2000"),
                    None,
                ),
                input(
                    "authorization",
                    "Authorization header",
                    "",
                    Some("1000"),
                    Some(hint),
                ),
            ]
        }
        ChannelKind::Email => {
            let to: Vec<&str> = target
                .iter()
                .flat_map(|target| &target.to)
                .map(String::as_str)
                .collect();
            let people = target.is_some_and(|target| target.people);
            vec![
                lines(
                    "to",
                    "Recipients",
                    &to,
                    "Separated by spaces or commas. They get everything.",
                ),
                choice(
                    "people",
                    "Accounts",
                    people,
                    "also those that a notice concerns",
                    "none",
                ),
            ]
        }
    }
}

fn kinds(target: Option<&TargetView>) -> El {
    let boxes: Vec<El> = Kind::CHOICES
        .into_iter()
        .map(|kind| {
            let chosen = target.is_none_or(|target| target.rules.kinds.contains(&kind));
            let input = el("input")
                .at("type", "checkbox")
                .at("name", "kinds")
                .at("value", kind.word())
                .maybe("checked", chosen.then_some(""));
            el("label")
                .class("tick")
                .with(input)
                .with(format!(" {}", kind_word(kind)))
        })
        .collect();
    el("fieldset")
        .with(el("legend").with("Told about"))
        .with(boxes)
}

fn input(
    name: &'static str,
    label: &'static str,
    value: &str,
    longest: Option<&'static str>,
    hint: Option<&'static str>,
) -> El {
    let id = format!("target-{name}");
    let input = el("input")
        .at("id", id.clone())
        .at("name", name)
        .at("autocomplete", "off")
        .at("spellcheck", "false")
        .maybe("maxlength", longest)
        .at("value", value.to_owned());
    field(id, label, input, hint)
}

/// A short one.
fn short(name: &'static str, label: &'static str, value: &str, hint: &'static str) -> El {
    el("div")
        .class("short")
        .with(input(name, label, value, Some("5"), Some(hint)))
}

fn lines(name: &'static str, label: &'static str, values: &[&str], hint: &'static str) -> El {
    let id = format!("target-{name}");
    let area = el("textarea")
        .at("id", id.clone())
        .at("name", name)
        .at("rows", "2")
        .at("spellcheck", "false")
        .with(values.join("\n"));
    field(id, label, area, Some(hint))
}

fn choice(
    name: &'static str,
    label: &'static str,
    yes: bool,
    if_yes: &'static str,
    if_no: &'static str,
) -> El {
    let id = format!("target-{name}");
    let option = |value: &'static str, chosen: bool, text: &'static str| {
        el("option")
            .at("value", value)
            .maybe("selected", chosen.then_some(""))
            .with(text)
    };
    let select = el("select")
        .at("id", id.clone())
        .at("name", name)
        .with(option("true", yes, if_yes))
        .with(option("false", !yes, if_no));
    field(id, label, select, None)
}

fn field(id: String, label: impl Into<Child>, control: El, hint: Option<&'static str>) -> El {
    el("div")
        .class("field")
        .with(el("label").at("for", id).with(label))
        .with(control)
        .with(hint.map(sub))
}
