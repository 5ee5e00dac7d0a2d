//! Fields of forms that set many things at once.

use crate::markup::{Child, El, el};

/// A labelled line with what it holds now.
pub(super) fn line(
    id: String,
    name: &'static str,
    label: &'static str,
    value: impl Into<String>,
) -> El {
    typed("text", id, name, label, value)
}

/// A labelled input of another type.
pub(super) fn typed(
    kind: &'static str,
    id: String,
    name: &'static str,
    label: &'static str,
    value: impl Into<String>,
) -> El {
    let input = el("input")
        .at("type", kind)
        .at("id", id.clone())
        .at("name", name)
        .at("value", value.into())
        .at("autocomplete", "off")
        .at("maxlength", "2000");
    labelled(id, label, input)
}

/// A labelled text of some lines with what it holds now.
pub(super) fn prose(
    id: String,
    name: &'static str,
    label: &'static str,
    value: impl Into<String>,
    rows: usize,
) -> El {
    let area = el("textarea")
        .class("prose")
        .at("id", id.clone())
        .at("name", name)
        .at("rows", rows.to_string())
        .at("maxlength", "8000")
        .with(value.into());
    labelled(id, label, area)
}

/// One of some words.
pub(super) fn choice(
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
                .at("value", *value)
                .maybe("selected", (*value == chosen).then_some(""))
                .with(*text)
        })
        .collect();
    let select = el("select")
        .at("id", id.clone())
        .at("name", name)
        .with(options);
    labelled(id, label, select)
}

/// Something that is so or not.
pub(super) fn tick(
    name: &'static str,
    value: impl Into<String>,
    label: impl Into<Child>,
    on: bool,
) -> El {
    let input = el("input")
        .at("type", "checkbox")
        .at("name", name)
        .at("value", value.into())
        .maybe("checked", on.then_some(""));
    el("label").class("tick").with(input).with(" ").with(label)
}

/// Fields that belong together.
pub(super) fn group(legend: &'static str, fields: impl Into<Child>) -> El {
    el("fieldset")
        .class("field")
        .with(el("legend").with(legend))
        .with(fields)
}

/// What is said about a field.
pub(super) fn note(text: &'static str) -> El {
    el("p").class("quiet").with(text)
}

fn labelled(id: String, label: &'static str, field: El) -> El {
    el("div")
        .class("field")
        .with(el("label").at("for", id).with(label))
        .with(field)
}
