//! Status pages: the list, and one page with its settings and links.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{Overview, SessionView};
use galera::publish::status_pages::{
    Automatic, LinkView, PageList, PageSettings, PageView, Visibility,
};

use super::fields::{choice, group, line as field, note, prose, tick, typed};
use super::parts::{button, facts, form, hidden_field, main_button, press, role_refusal};
use crate::format::{code, counted, link, sub, ticking};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};

const COLUMNS: [&str; 5] = ["Page", "Shown to", "Databases", "Links", "Changed"];
const LINK_COLUMNS: [&str; 5] = ["Link for", "State", "Made", "Ends", "Revoke"];

/// Every page, and the form for another one.
pub(super) fn list(
    pages: &PageList,
    overview: &Overview,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let refusal = role_refusal(session, Operation::ManageShares);
    let rows = pages.pages.iter().map(|page| line(page, now)).collect();
    let content = if pages.pages.is_empty() {
        el("p").class("quiet").with("There is no status page yet.")
    } else {
        ledger("ledger", "Status pages", &COLUMNS, rows)
    };
    let named: Vec<String> = overview
        .clusters
        .iter()
        .map(|cluster| format!("{0} = {0}", cluster.name))
        .collect();
    let fresh = PageSettings {
        automatic: Some(Automatic::default()),
        ..PageSettings::default()
    };
    let new = form("/status-pages".to_owned())
        .with(field(
            "slug".to_owned(),
            "slug",
            "Slug: the last part of the address, lower-case letters, digits and hyphens",
            "",
        ))
        .with(settings(&fresh, &named.join("\n")))
        .with(main_button("Make the page".to_owned(), refusal.as_deref()));
    el("div")
        .class("page")
        .with(el("h1").with("Status pages"))
        .with(el("p").with(
            "A status page tells whoever may read it whether databases work, and nothing else unless you say so.",
        ))
        .with(el("section").with(content))
        .with(
            el("section")
                .at("id", "new")
                .with(el("h2").with("Another page"))
                .with(new),
        )
}

fn line(page: &PageView, now: Timestamp) -> El {
    let valid = page.links.iter().filter(|link| link.valid).count();
    let names: Vec<&str> = page
        .settings
        .clusters
        .iter()
        .map(|listed| listed.name.as_str())
        .collect();
    let head = el("span")
        .with(link(
            format!("/status-pages/{}", page.slug),
            page.settings.title.clone(),
        ))
        .with(sub(page.slug.to_string()));
    row(page.slug.to_string(), head)
        .with(cell(COLUMNS[1], shown_to(page.settings.visibility)))
        .with(cell(COLUMNS[2], names.join(", ")))
        .with(cell(
            COLUMNS[3],
            match page.settings.visibility {
                Visibility::Link => counted(valid, "valid link"),
                _ => "needs none".to_owned(),
            },
        ))
        .with(cell(COLUMNS[4], ticking(page.changed_at, now)))
}

const fn shown_to(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "everybody",
        Visibility::Link => "whoever has a secret link",
        Visibility::Members => "whoever is signed in",
    }
}

/// One page; `fresh` is the secret of a link that was made just now.
pub(super) fn page(
    view: &PageView,
    fresh: Option<&str>,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let refusal = role_refusal(session, Operation::ManageShares);
    let refusal = refusal.as_deref();
    let here = format!("/status-pages/{}", view.slug);
    el("div")
        .class("page")
        .with(el("h1").with(view.settings.title.clone()))
        .with(el("p").with(link("/status-pages".to_owned(), "All status pages")))
        .with(address(view))
        .with(fresh.map(|secret| new_link(view, secret)))
        .with((view.settings.visibility == Visibility::Link).then(|| links(view, refusal, now)))
        .with(change(view, &here, refusal))
        .with(delete(view, &here, refusal))
}

fn address(view: &PageView) -> El {
    let path = format!("/status/{}", view.slug);
    let badge = format!("{}/badge.svg", view.url);
    let mut pairs: Vec<(&'static str, Child)> = vec![
        (
            "Address",
            // Not a page of the interface: the browser has to go there by itself.
            link(path.clone(), view.url.clone())
                .at("rel", "external")
                .into(),
        ),
        ("Shown to", shown_to(view.settings.visibility).into()),
    ];
    if view.settings.visibility == Visibility::Public {
        let markdown = format!("[![{}]({badge})]({})", view.settings.title, view.url);
        pairs.push(("Badge, as Markdown", code(markdown).into()));
        pairs.push(("QR code", picture(&path).into()));
    }
    el("section").with(facts(pairs))
}

/// A QR code of ours; dark on light in either scheme.
fn picture(path: &str) -> El {
    el("img")
        .class("qr")
        .at("src", format!("/api/v1/status/qr.svg?path={path}"))
        .at("alt", "QR code of this address")
        .at("width", "148")
        .at("height", "148")
}

fn new_link(view: &PageView, secret: &str) -> El {
    let path = format!("/s/{secret}/");
    let url = view
        .url
        .strip_suffix(&format!("/status/{}", view.slug))
        .unwrap_or_default();
    el("section")
        .class("sheet")
        .at("id", "fresh")
        .with(el("h2").with("The new link"))
        .with(
            el("p").with(
                "Copy it now. It is shown this once; afterwards only its label is known here.",
            ),
        )
        .with(el("p").with(link(path.clone(), format!("{url}{path}")).at("rel", "external")))
        .with(picture(&path))
}

fn links(view: &PageView, refusal: Option<&str>, now: Timestamp) -> El {
    let rows = view
        .links
        .iter()
        .rev()
        .map(|link| link_line(view, link, refusal, now))
        .collect();
    let known = if view.links.is_empty() {
        el("p")
            .class("quiet")
            .with("There is no link yet, so nobody outside can read the page.")
    } else {
        ledger("ledger", "Links", &LINK_COLUMNS, rows)
    };
    let new = form(format!("/status-pages/{}/links", view.slug))
        .with(field("label".to_owned(), "label", "Whom it is for", ""))
        .with(typed(
            "datetime-local",
            "expires".to_owned(),
            "expires_at",
            "When it ends (UTC); never when left empty",
            "",
        ))
        .with(main_button("Make a link".to_owned(), refusal));
    el("section")
        .at("id", "links")
        .with(el("h2").with("Secret links"))
        .with(known)
        .with(new)
}

fn link_line(view: &PageView, shown: &LinkView, refusal: Option<&str>, now: Timestamp) -> El {
    let state: Child = match (shown.valid, shown.revoked_at, shown.expires_at) {
        (true, ..) => "valid".into(),
        (_, Some(at), _) => Child::Many(vec!["revoked".into(), sub(ticking(at, now)).into()]),
        (_, None, Some(at)) => Child::Many(vec!["expired".into(), sub(ticking(at, now)).into()]),
        (_, None, None) => "ended".into(),
    };
    let ends = shown
        .expires_at
        .map_or_else(|| "when revoked".to_owned(), crate::format::absolute);
    let made = el("span")
        .with(shown.created_by.clone())
        .with(sub(ticking(shown.created_at, now)));
    let revoke = shown.valid.then(|| {
        let action = format!("/status-pages/{}/links/{}/revoke", view.slug, shown.id);
        press(action, "Revoke", refusal)
    });
    row(shown.id.clone(), shown.label.clone())
        .with(cell(LINK_COLUMNS[1], state))
        .with(cell(LINK_COLUMNS[2], made))
        .with(cell(LINK_COLUMNS[3], ends))
        .with(cell(LINK_COLUMNS[4], revoke))
}

fn change(view: &PageView, here: &str, refusal: Option<&str>) -> El {
    let named: Vec<String> = view
        .settings
        .clusters
        .iter()
        .map(|listed| format!("{} = {}", listed.cluster, listed.name))
        .collect();
    let form = form(here.to_owned())
        .with(hidden_field("revision", view.revision.to_string()))
        .with(settings(&view.settings, &named.join("\n")))
        .with(main_button("Change the page".to_owned(), refusal));
    el("section")
        .at("id", "settings")
        .with(el("h2").with("Settings"))
        .with(form)
}

fn settings(settings: &PageSettings, clusters: &str) -> Child {
    let show = settings.show;
    let automatic = settings.automatic;
    let after = automatic.map_or_else(String::new, |rule| rule.after_secs.to_string());
    let embed: Vec<&str> = settings
        .embed
        .iter()
        .map(|origin| origin.as_str())
        .collect();
    let audience = [
        ("public", "everybody who can reach the console"),
        (
            "link",
            "whoever has a secret link, and whoever is signed in",
        ),
        ("members", "whoever is signed in"),
    ];
    Child::Many(vec![
        field(
            "title".to_owned(),
            "title",
            "Title",
            settings.title.clone(),
        )
        .into(),
        prose(
            "clusters".to_owned(),
            "clusters",
            "Databases, one a line in the order of the page: cluster = public name",
            clusters,
            4,
        )
        .into(),
        choice(
            "visibility".to_owned(),
            "visibility",
            "Shown to",
            &audience,
            settings.visibility.word(),
        )
        .into(),
        group(
            "Shown of the nodes; nothing unless ticked",
            [
                tick("show", "hosts", "names", show.hosts),
                tick("show", "addresses", "addresses", show.addresses),
                tick("show", "versions", "server versions", show.versions),
                tick("show", "positions", "positions", show.positions),
            ],
        )
        .into(),
        typed(
            "number",
            "after".to_owned(),
            "after_secs",
            "Open an incident by itself after so many seconds of outage; never when left empty",
            after,
        )
        .into(),
        tick(
            "degraded",
            "true",
            "a degraded database counts as well",
            automatic.is_some_and(|rule: Automatic| rule.degraded),
        )
        .into(),
        prose(
            "embed".to_owned(),
            "embed",
            "Sites that may show the page in a frame, one a line, like https://intranet.example.org",
            embed.join("\n"),
            2,
        )
        .into(),
    ])
}

fn delete(view: &PageView, here: &str, refusal: Option<&str>) -> El {
    let form = form(format!("{here}/delete"))
        .with(note(
            "The page, its feed and its badges are gone at once, and every link to it with them.",
        ))
        .with(field(
            "confirm".to_owned(),
            "confirm",
            "Type the slug to confirm",
            "",
        ))
        .with(button(format!("Delete {}", view.slug), refusal));
    el("section")
        .at("id", "delete")
        .with(el("h2").with("Delete"))
        .with(form)
}
