//! What the clusters of the overview are filtered by, rendered in the server.

use galera::publish::live::FILTER_MAX;

use crate::format::link;
use crate::markup::{El, el};
use crate::overview_window::OverviewSelection;

/// What selects and sorts, and as hidden fields the rest of the selection. Applied while typing by the script, and on submission without it.
pub(super) fn form(selection: &OverviewSelection) -> El {
    let input = el("input")
        .attr("id", "q")
        .attr("name", "q")
        .attr("type", "search")
        .attr("autocomplete", "off")
        .attr("maxlength", FILTER_MAX.to_string())
        .attr("placeholder", "Cluster, node or address")
        .attr("value", selection.text.clone());
    let option = |value: &'static str, label: &'static str| {
        let here = (selection.sort == value).then_some("");
        el("option")
            .attr("value", value)
            .optional_attr("selected", here)
            .child(label)
    };
    let sort = el("select")
        .attr("id", "sort")
        .attr("name", "sort")
        .child(option("", "Worst status first"))
        .child(option("name", "Name"))
        .child(option("commits", "Commits per second"));
    let kept = [
        ("verdict", selection.verdict_name()),
        ("label", &selection.label),
        ("group", &selection.group),
    ];
    let kept = kept.into_iter().filter(|(_, value)| !value.is_empty());
    let kept = kept.map(|(name, value)| {
        el("input")
            .attr("type", "hidden")
            .attr("name", name)
            .attr("value", value.to_owned())
    });
    el("form")
        .class("filter")
        .attr("method", "get")
        .attr("role", "search")
        .child(el("label").attr("for", "q").child("Search"))
        .child(input)
        .child(el("label").attr("for", "sort").child("Sort by"))
        .child(sort)
        .child(kept.collect::<Vec<_>>())
        .child(el("button").attr("type", "submit").child("Filter"))
}

/// The labels that are selected, with a link that removes them.
pub(super) fn selected_labels(selection: &OverviewSelection) -> Option<El> {
    let labels: Vec<&str> = selection.label.split(',').map(str::trim).collect();
    let noun = if labels.len() == 1 { "label" } else { "labels" };
    (!selection.label.is_empty()).then(|| {
        el("p")
            .attr("id", "label-filter")
            .child(format!("Only clusters with the {noun} "))
            .child(el("strong").child(el("bdi").child(labels.join(", "))))
            .child(". ")
            .child(link(selection.with("label", ""), "Show all"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(label: &str, group: &str) -> String {
        let selection = OverviewSelection {
            text: "lab".to_owned(),
            label: label.to_owned(),
            group: group.to_owned(),
            verdict: Some(galera::view::VerdictState::Down),
            ..OverviewSelection::default()
        };
        let selected = selected_labels(&selection).map(|labels| labels.html());
        form(&selection).html() + &selected.unwrap_or_default()
    }

    #[test]
    fn what_filters_is_shown_and_can_be_removed() {
        let shown = html("env=test, team=web", "env");
        for expected in [
            "Only clusters with the labels ",
            "env=test, team=web</bdi>",
            "href=\"/?q=lab&amp;verdict=down&amp;group=env\"",
            "type=\"hidden\" name=\"verdict\" value=\"down\"",
            "type=\"hidden\" name=\"label\" value=\"env=test, team=web\"",
            "type=\"hidden\" name=\"group\" value=\"env\"",
        ] {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        assert!(html("env=test", "").contains("the label <strong>"));
        let hostile = html("\"><script>alert(1)</script>", "<b>");
        assert!(
            !hostile.contains("<script") && !hostile.contains("<b>"),
            "{hostile}"
        );
    }

    #[test]
    fn without_labels_there_is_no_field_of_them() {
        let shown = html("", "");
        for absent in ["label-filter", "\"label\"", "\"group\""] {
            assert!(!shown.contains(absent), "{absent} in {shown}");
        }
    }
}
