//! `feed.atom`: incidents, maintenance and announcements for feed readers (RFC 4287).

use std::fmt::Write;

use galera::Timestamp;
use galera::publish::status_pages::{
    PublicAnnouncement, PublicIncident, PublicMaintenance, PublicPage,
};

/// Renders the feed; `page` is the page's URL relative to the feed's.
pub(super) fn render_feed(page_content: &PublicPage, page: &str, created_at: Timestamp) -> String {
    let mut entries: Vec<FeedEntry> = page_content.incidents.iter().map(incident_entry).collect();
    entries.extend(page_content.maintenance.iter().map(maintenance_entry));
    entries.extend(page_content.announcements.iter().map(announcement_entry));
    entries.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
    // From the entries alone: without a new entry, the feed has not changed.
    let updated = entries.iter().map(|entry| entry.updated).max();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <id>{id}</id>\n<title>{title}</title>\n<updated>{updated}</updated>\n\
         <author><name>{title}</name></author>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{page}\"/>\n\
         <link rel=\"self\" type=\"application/atom+xml\" href=\"feed.atom\"/>\n",
        id = tag_uri(page_content, ""),
        title = escape_xml(&page_content.title),
        updated = updated.unwrap_or(created_at),
    );
    for entry in &entries {
        // Writing to a string does not fail.
        let _ = write!(
            xml,
            "<entry>\n<id>{}</id>\n<title>{}</title>\n<published>{}</published>\n<updated>{}</updated>\n\
             <link rel=\"alternate\" type=\"text/html\" href=\"{page}{}\"/>\n<content type=\"text\">{}</content>\n</entry>\n",
            tag_uri(page_content, &entry.id),
            escape_xml(&entry.title),
            entry.published,
            entry.updated,
            entry.anchor,
            escape_xml(&entry.content),
        );
    }
    xml.push_str("</feed>\n");
    xml
}

struct FeedEntry {
    id: String,
    title: String,
    published: Timestamp,
    updated: Timestamp,
    anchor: String,
    content: String,
}

/// A tag URI (RFC 4151): an ID that does not depend on the console's URL.
fn tag_uri(page_content: &PublicPage, rest: &str) -> String {
    format!("tag:galera-console,2026:{}{rest}", page_content.slug)
}

fn incident_entry(incident: &PublicIncident) -> FeedEntry {
    let updates: Vec<String> = incident
        .updates
        .iter()
        .map(|update| format!("{} {}: {}", update.at, update.state.as_str(), update.text))
        .collect();
    let newest = incident
        .updates
        .first()
        .map_or(incident.opened_at, |u| u.at);
    let clusters = incident.clusters.join(", ");
    FeedEntry {
        id: format!("/incident/{}", incident.id),
        title: format!("{} ({})", incident.title, incident.state.as_str()),
        published: incident.opened_at,
        updated: newest,
        anchor: format!("#incident-{}", incident.id),
        content: format!("{clusters}\n\n{}", updates.join("\n\n")),
    }
}

fn maintenance_entry(maintenance: &PublicMaintenance) -> FeedEntry {
    let clusters = maintenance.clusters.join(", ");
    let (from, until, text) = (maintenance.from, maintenance.until, &maintenance.text);
    FeedEntry {
        id: format!("/maintenance/{}", maintenance.id),
        title: format!("Maintenance: {}", maintenance.title),
        published: maintenance.planned_at,
        updated: maintenance.planned_at,
        anchor: String::new(),
        content: format!("{clusters}\n{from} to {until}\n\n{text}"),
    }
}

fn announcement_entry(announcement: &PublicAnnouncement) -> FeedEntry {
    FeedEntry {
        id: format!("/announcement/{}", announcement.id),
        title: announcement.title.clone(),
        published: announcement.at,
        updated: announcement.at,
        anchor: String::new(),
        content: announcement.text.clone(),
    }
}

/// Escapes text for XML content and attributes. Characters that XML does not allow are left out.
pub(super) fn escape_xml(plain: &str) -> String {
    let allowed = |c: char| match c {
        '\n' | '\t' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    };
    let text: String = plain.chars().filter(|c| allowed(*c)).collect();
    html_escape::encode_double_quoted_attribute(&text).into_owned()
}
