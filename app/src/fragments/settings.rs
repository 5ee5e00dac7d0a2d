//! The settings in force, by section of the configuration file.

use galera::publish::settings::{SettingList, SettingView};

use crate::format::{code, quiet, sub};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 3] = ["Setting", "Value", "Source"];
/// The section of settings whose key has none.
const GENERAL: &str = "General";

pub(super) fn page(list: &SettingList) -> El {
    let mut sections: Vec<(&str, Vec<&SettingView>)> = Vec::new();
    for setting in &list.settings {
        let section = setting.key.split_once('.');
        let section = section.map_or(GENERAL, |(section, _)| section);
        match sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, settings)) => settings.push(setting),
            None => sections.push((section, vec![setting])),
        }
    }
    let intro = format!(
        "Version {}. The settings of the replica that rendered this page; they are changed where they come from, and others may differ. \
         Secrets are files, and only their names are shown.",
        list.version
    );
    let waiting = list.settings.iter();
    let waiting = waiting.filter(|setting| setting.after_restart.is_some());
    let waiting: Vec<&str> = waiting.map(|setting| setting.flag.as_str()).collect();
    let notice = (!waiting.is_empty()).then(|| {
        el("p").class("notice").child(format!(
            "Changed in their source, and in force after a restart: {}.",
            waiting.join(", ")
        ))
    });
    el("div")
        .class("page")
        .child(el("h1").child("Settings"))
        .child(el("p").class("quiet").child(intro))
        .child(notice)
        .child(sections.iter().map(section).collect::<Vec<_>>())
}

fn section((name, settings): &(&str, Vec<&SettingView>)) -> El {
    let rows = settings
        .iter()
        .map(|setting| setting_row(setting))
        .collect();
    el("section")
        .child(el("h2").child((*name).to_owned()))
        .child(data_table(
            "ledger",
            format!("Settings of {name}"),
            &COLUMNS,
            rows,
        ))
}

fn setting_row(setting: &SettingView) -> El {
    let value: Content = match &setting.value {
        Some(value) => code(value.clone()).into(),
        None => quiet(setting.default.clone()).into(),
    };
    let after = setting
        .after_restart
        .as_ref()
        .map(|value| sub(format!("after a restart: {value}")));
    let without_effect = setting.without_effect.clone().map(sub);
    let source = match setting.source.as_str() {
        "default" => quiet("default").into(),
        source => Content::from(code(source.to_owned())),
    };
    row(el("span")
        .child(code(setting.flag.clone()))
        .child(sub(setting.help.clone())))
    .child(cell(COLUMNS[1], value).child(without_effect).child(after))
    .child(cell(COLUMNS[2], source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_by_section_and_name_what_waits_for_a_restart() {
        let setting =
            |flag: &str, key: &str, value: Option<&str>, after: Option<&str>| SettingView {
                flag: flag.to_owned(),
                key: key.to_owned(),
                value: value.map(str::to_owned),
                default: "none of <them>".to_owned(),
                source: "default".to_owned(),
                after_restart: after.map(str::to_owned),
                without_effect: value.map(|_| "no effect: set <it>".to_owned()),
                help: "One sentence.".to_owned(),
            };
        let list = SettingList {
            version: "1.2.3".to_owned(),
            settings: vec![
                setting("listen", "listen", Some("127.0.0.1:1"), None),
                setting("etcd-user", "etcd.user", None, None),
                setting("poll-interval", "poll_interval", Some("1s"), Some("2s")),
            ],
        };
        let html = page(&list).html();
        for expected in [
            "Settings of General",
            "Settings of etcd",
            "none of &lt;them&gt;",
            "after a restart: 2s",
            "no effect: set &lt;it&gt;",
            "in force after a restart: poll-interval.",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert_eq!(html.matches("<table").count(), 2, "{html}");
    }
}
