//! Labelled form fields with current values.

use crate::markup::{Content, El, el};

/// Labels a field of clusters on which roles count.
pub(super) const CLUSTERS_LABEL: &str = "Clusters: names, patterns such as prod-*, or labels such as env=production, separated by commas; blank = all clusters and the console itself";

pub(super) fn text_field(
    id: String,
    name: &'static str,
    label: &'static str,
    value: impl Into<String>,
) -> El {
    input_field("text", id, name, label, value)
}

/// An `input` of any type.
pub(super) fn input_field(
    kind: &'static str,
    id: String,
    name: &'static str,
    label: &'static str,
    value: impl Into<String>,
) -> El {
    let input = el("input")
        .attr("type", kind)
        .attr("id", id.clone())
        .attr("name", name)
        .attr("value", value.into())
        .attr("autocomplete", "off")
        .attr("maxlength", "2000");
    labelled_field(id, label, input)
}

pub(super) fn textarea_field(
    id: String,
    name: &'static str,
    label: &'static str,
    value: impl Into<String>,
    rows: usize,
) -> El {
    let area = el("textarea")
        .class("prose")
        .attr("id", id.clone())
        .attr("name", name)
        .attr("rows", rows.to_string())
        .attr("maxlength", "8000")
        .child(value.into());
    labelled_field(id, label, area)
}

pub(super) fn select_field(
    id: String,
    name: &'static str,
    label: &'static str,
    options: &[(&'static str, &'static str)],
    chosen: &str,
) -> El {
    let options: Vec<El> = options
        .iter()
        .map(|(value, text)| {
            el("option")
                .attr("value", *value)
                .optional_attr("selected", (*value == chosen).then_some(""))
                .child(*text)
        })
        .collect();
    let select = el("select")
        .attr("id", id.clone())
        .attr("name", name)
        .child(options);
    labelled_field(id, label, select)
}

pub(super) fn checkbox(
    name: &'static str,
    value: impl Into<String>,
    label: impl Into<Content>,
    on: bool,
) -> El {
    let input = el("input")
        .attr("type", "checkbox")
        .attr("name", name)
        .attr("value", value.into())
        .optional_attr("checked", on.then_some(""));
    el("label")
        .class("tick")
        .child(input)
        .child(" ")
        .child(label)
}

pub(super) fn fieldset(legend: &'static str, fields: impl Into<Content>) -> El {
    el("fieldset")
        .class("field")
        .child(el("legend").child(legend))
        .child(fields)
}

pub(super) fn hint(text: impl Into<Content>) -> El {
    el("p").class("quiet").child(text)
}

fn labelled_field(id: String, label: &'static str, field: El) -> El {
    el("div")
        .class("field")
        .child(el("label").attr("for", id).child(label))
        .child(field)
}
