//! Status pages: the list, and one page with its settings and links.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{Overview, SessionView};
use galera::publish::status_pages::{
    AccessLinkView, AutoIncidentRule, PageSettings, PageVisibility, StatusPageList, StatusPageView,
};

use super::form_fields::{
    checkbox, fieldset, hint, input_field, select_field, text_field as field, textarea_field,
};
use super::widgets::{
    button, button_form, fact_list, hidden_field, post_form, primary_button, role_refusal,
};
use crate::format::{code, link, pluralize, sub, ticking_age};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 5] = ["Page", "Visibility", "Databases", "Links", "Changed"];
const LINK_COLUMNS: [&str; 5] = ["Recipient", "State", "Created", "Expires", "Actions"];

pub(super) fn list_page(
    pages: &StatusPageList,
    overview: &Overview,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let refusal = role_refusal(session, Operation::ManageStatusPages);
    let rows = pages.pages.iter().map(|page| page_row(page, now)).collect();
    let content = if pages.pages.is_empty() {
        el("p").class("quiet").child("No status pages yet.")
    } else {
        data_table("ledger", "Status pages", &COLUMNS, rows)
    };
    let named: Vec<String> = overview
        .clusters
        .iter()
        .map(|cluster| format!("{0} = {0}", cluster.name))
        .collect();
    let fresh = PageSettings {
        automatic: Some(AutoIncidentRule::default()),
        ..PageSettings::default()
    };
    let new = post_form("/status-pages".to_owned())
        .child(field(
            "slug".to_owned(),
            "slug",
            "Slug (last part of the URL; lowercase letters, digits and hyphens)",
            "",
        ))
        .child(settings_fields(&fresh, &named.join("\n")))
        .child(primary_button("Create".to_owned(), refusal.as_deref()));
    el("div")
        .class("page")
        .child(el("h1").child("Status pages"))
        .child(el("p").child(
            "A status page shows whether your databases are available. It reveals nothing else unless you enable it.",
        ))
        .child(el("section").child(content))
        .child(
            el("section")
                .attr("id", "new")
                .child(el("h2").child("New status page"))
                .child(new),
        )
}

fn page_row(page: &StatusPageView, now: Timestamp) -> El {
    let valid = page.links.iter().filter(|link| link.valid).count();
    let listed = page.settings.clusters.iter();
    let listed = listed.map(|listed| listed.name.clone());
    let selected = page.selected.iter();
    let names: Vec<String> = listed
        .chain(selected.map(|cluster| cluster.display_name().into_owned()))
        .collect();
    let head = el("span")
        .child(link(
            format!("/status-pages/{}", page.slug),
            page.settings.title.clone(),
        ))
        .child(sub(page.slug.to_string()));
    row(head)
        .child(cell(COLUMNS[1], visibility_label(page.settings.visibility)))
        .child(cell(COLUMNS[2], names.join(", ")))
        .child(cell(
            COLUMNS[3],
            match page.settings.visibility {
                PageVisibility::Link => pluralize(valid, "valid link"),
                _ => "not needed".to_owned(),
            },
        ))
        .child(cell(COLUMNS[4], ticking_age(page.changed_at, now)))
}

const fn visibility_label(visibility: PageVisibility) -> &'static str {
    match visibility {
        PageVisibility::Public => "everyone",
        PageVisibility::Link => "anyone with a secret link",
        PageVisibility::Members => "signed-in users",
    }
}

/// One page. `fresh` is the secret of a link that was just created.
pub(super) fn detail_page(
    view: &StatusPageView,
    fresh: Option<&str>,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let refusal = role_refusal(session, Operation::ManageStatusPages);
    let refusal = refusal.as_deref();
    let path = format!("/status-pages/{}", view.slug);
    el("div")
        .class("page")
        .child(el("h1").child(view.settings.title.clone()))
        .child(el("p").child(link("/status-pages".to_owned(), "All status pages")))
        .child(address_facts(view))
        .child(fresh.map(|secret| new_link_notice(view, secret)))
        .child(
            (view.settings.visibility == PageVisibility::Link)
                .then(|| links_section(view, refusal, now)),
        )
        .child(settings_section(view, &path, refusal))
        .child(delete_section(view, &path, refusal))
}

fn address_facts(view: &StatusPageView) -> El {
    let path = format!("/status/{}", view.slug);
    let badge = format!("{}/badge.svg", view.url);
    let mut pairs: Vec<(&'static str, Content)> = vec![
        (
            "URL",
            // `external` keeps the router away: this page is not part of the application.
            link(path.clone(), view.url.clone())
                .attr("rel", "external")
                .into(),
        ),
        (
            "Visibility",
            visibility_label(view.settings.visibility).into(),
        ),
    ];
    if view.settings.visibility == PageVisibility::Public {
        let markdown = format!("[![{}]({badge})]({})", view.settings.title, view.url);
        pairs.push(("Badge (Markdown)", code(markdown).into()));
        pairs.push(("QR code", qr_code(&path).into()));
    }
    el("section").child(fact_list(pairs))
}

/// A QR code rendered by the console, dark on light in both color schemes.
fn qr_code(path: &str) -> El {
    el("img")
        .class("qr")
        .attr("src", format!("/api/v1/status/qr.svg?path={path}"))
        .attr("alt", "QR code of this URL")
        .attr("width", "148")
        .attr("height", "148")
}

fn new_link_notice(view: &StatusPageView, secret: &str) -> El {
    let path = format!("/s/{secret}/");
    let url = view
        .url
        .strip_suffix(&format!("/status/{}", view.slug))
        .unwrap_or_default();
    el("section")
        .class("sheet")
        .attr("id", "fresh")
        .child(el("h2").child("New link"))
        .child(el("p").child("Copy it now: it is shown only once."))
        .child(el("p").child(link(path.clone(), format!("{url}{path}")).attr("rel", "external")))
        .child(qr_code(&path))
}

fn links_section(view: &StatusPageView, refusal: Option<&str>, now: Timestamp) -> El {
    let rows = view
        .links
        .iter()
        .rev()
        .map(|link| link_row(view, link, refusal, now))
        .collect();
    let known = if view.links.is_empty() {
        el("p")
            .class("quiet")
            .child("No links yet: only signed-in users can read this page.")
    } else {
        data_table("ledger", "Links", &LINK_COLUMNS, rows)
    };
    let new = post_form(format!("/status-pages/{}/links", view.slug))
        .child(field("label".to_owned(), "label", "Recipient", ""))
        .child(input_field(
            "datetime-local",
            "expires".to_owned(),
            "expires_at",
            "Expires (UTC); blank = never",
            "",
        ))
        .child(primary_button("Create link".to_owned(), refusal));
    el("section")
        .attr("id", "links")
        .child(el("h2").child("Secret links"))
        .child(known)
        .child(new)
}

fn link_row(
    view: &StatusPageView,
    shown: &AccessLinkView,
    refusal: Option<&str>,
    now: Timestamp,
) -> El {
    let state: Content = match (shown.valid, shown.revoked_at, shown.expires_at) {
        (true, ..) => "valid".into(),
        (_, Some(at), _) => Content::Many(vec!["revoked".into(), sub(ticking_age(at, now)).into()]),
        (_, None, Some(at)) => {
            Content::Many(vec!["expired".into(), sub(ticking_age(at, now)).into()])
        }
        (_, None, None) => "ended".into(),
    };
    let ends = shown
        .expires_at
        .map_or_else(|| "never".to_owned(), crate::format::absolute);
    let created = el("span")
        .child(shown.created_by.clone())
        .child(sub(ticking_age(shown.created_at, now)));
    let revoke = shown.valid.then(|| {
        let action = format!("/status-pages/{}/links/{}/revoke", view.slug, shown.id);
        button_form(action, "Revoke", refusal)
    });
    row(shown.label.clone())
        .child(cell(LINK_COLUMNS[1], state))
        .child(cell(LINK_COLUMNS[2], created))
        .child(cell(LINK_COLUMNS[3], ends))
        .child(cell(LINK_COLUMNS[4], revoke))
}

fn settings_section(view: &StatusPageView, path: &str, refusal: Option<&str>) -> El {
    let named: Vec<String> = view
        .settings
        .clusters
        .iter()
        .map(|listed| format!("{} = {}", listed.cluster, listed.name))
        .collect();
    let selected: Vec<String> = view
        .selected
        .iter()
        .map(|cluster| cluster.display_name().into_owned())
        .collect();
    let selected = (!view.settings.labels.is_empty()).then(|| {
        let names = match selected.is_empty() {
            true => "none".to_owned(),
            false => selected.join(", "),
        };
        hint(format!("Selected by labels now: {names}."))
    });
    let form = post_form(path.to_owned())
        .child(selected)
        .child(hidden_field("revision", view.revision.to_string()))
        .child(settings_fields(&view.settings, &named.join("\n")))
        .child(primary_button("Save".to_owned(), refusal));
    el("section")
        .attr("id", "settings")
        .child(el("h2").child("Settings"))
        .child(form)
}

fn settings_fields(settings: &PageSettings, clusters: &str) -> Content {
    let show = settings.show;
    let automatic = settings.automatic;
    let after = automatic.map_or_else(String::new, |rule| rule.after_secs.to_string());
    let embed: Vec<&str> = settings
        .embed
        .iter()
        .map(|origin| origin.as_str())
        .collect();
    let labels: Vec<String> = settings.labels.iter().map(ToString::to_string).collect();
    let audience = [
        ("public", "everyone who can reach the console"),
        ("link", "anyone with a secret link, and signed-in users"),
        ("members", "signed-in users"),
    ];
    Content::Many(vec![
        field(
            "title".to_owned(),
            "title",
            "Title",
            settings.title.clone(),
        )
        .into(),
        textarea_field(
            "clusters".to_owned(),
            "clusters",
            "Databases, one per line in display order: cluster = public name",
            clusters,
            4,
        )
        .into(),
        field(
            "labels".to_owned(),
            "labels",
            "Labels of further databases, shown under their own names, for example env=production",
            labels.join(", "),
        )
        .into(),
        select_field(
            "visibility".to_owned(),
            "visibility",
            "Visibility",
            &audience,
            settings.visibility.as_str(),
        )
        .into(),
        fieldset(
            "Node details to show",
            [
                checkbox("show", "hosts", "names", show.hosts),
                checkbox("show", "addresses", "addresses", show.addresses),
                checkbox("show", "versions", "server versions", show.versions),
                checkbox("show", "positions", "positions", show.positions),
            ],
        )
        .into(),
        input_field(
            "number",
            "after".to_owned(),
            "after_secs",
            "Open an incident automatically after (seconds); blank = never",
            after,
        )
        .into(),
        checkbox(
            "degraded",
            "true",
            "also when degraded",
            automatic.is_some_and(|rule: AutoIncidentRule| rule.degraded),
        )
        .into(),
        textarea_field(
            "embed".to_owned(),
            "embed",
            "Sites allowed to embed the page, one per line, for example https://intranet.example.org",
            embed.join("\n"),
            2,
        )
        .into(),
    ])
}

fn delete_section(view: &StatusPageView, path: &str, refusal: Option<&str>) -> El {
    let form = post_form(format!("{path}/delete"))
        .child(hint(
            "Immediately deletes the page, its feed, its badges and all links to it.",
        ))
        .child(field(
            "confirm".to_owned(),
            "confirm",
            "Type the slug to confirm",
            "",
        ))
        .child(button(format!("Delete {}", view.slug), refusal));
    el("section")
        .attr("id", "delete")
        .child(el("h2").child("Delete"))
        .child(form)
}

#[cfg(test)]
mod tests;
