//! `render_feed.atom`: incidents, maintenance and announcements for feed readers (RFC 4287).

use std::fmt::Write;

use galera::Timestamp;
use galera::publish::status_pages::{
    PublicAnnouncement, PublicIncident, PublicMaintenance, PublicPage,
};

/// The feed; `page` leads from the feed's address to the page's.
pub(super) fn render_feed(told: &PublicPage, page: &str, created_at: Timestamp) -> String {
    let mut entries: Vec<FeedEntry> = told.incidents.iter().map(incident_entry).collect();
    entries.extend(told.maintenance.iter().map(maintenance_entry));
    entries.extend(told.announcements.iter().map(announcement_entry));
    entries.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
    // Of the entries alone: a feed has nothing new while there is no new entry.
    let updated = entries.iter().map(|entry| entry.updated).max();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <id>{id}</id>\n<title>{title}</title>\n<updated>{updated}</updated>\n\
         <author><name>{title}</name></author>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{page}\"/>\n\
         <link rel=\"self\" type=\"application/atom+xml\" href=\"feed.atom\"/>\n",
        id = tag_uri(told, ""),
        title = escape_xml(&told.title),
        updated = updated.unwrap_or(created_at),
    );
    for entry in &entries {
        // Writing to a string does not fail.
        let _ = write!(
            xml,
            "<entry>\n<id>{}</id>\n<title>{}</title>\n<published>{}</published>\n<updated>{}</updated>\n\
             <link rel=\"alternate\" type=\"text/html\" href=\"{page}{}\"/>\n<content type=\"text\">{}</content>\n</entry>\n",
            tag_uri(told, &entry.id),
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

/// A name that stays the same wherever the console moves (RFC 4151).
fn tag_uri(told: &PublicPage, rest: &str) -> String {
    format!("tag:galera-console,2026:{}{rest}", told.slug)
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
    let concerned = incident.clusters.join(", ");
    FeedEntry {
        id: format!("/incident/{}", incident.id),
        title: format!("{} ({})", incident.title, incident.state.as_str()),
        published: incident.opened_at,
        updated: newest,
        anchor: format!("#incident-{}", incident.id),
        content: format!("{concerned}\n\n{}", updates.join("\n\n")),
    }
}

fn maintenance_entry(maintenance: &PublicMaintenance) -> FeedEntry {
    let concerned = maintenance.clusters.join(", ");
    let (from, until, words) = (maintenance.from, maintenance.until, &maintenance.text);
    FeedEntry {
        id: format!("/maintenance/{}", maintenance.id),
        title: format!("Maintenance: {}", maintenance.title),
        published: maintenance.planned_at,
        updated: maintenance.planned_at,
        anchor: String::new(),
        content: format!("{concerned}\n{from} to {until}\n\n{words}"),
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

/// Text within XML. What XML cannot hold is left out.
pub(super) fn escape_xml(plain: &str) -> String {
    let mut xml = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' | '\t' => xml.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => xml.push(c),
        }
    }
    xml
}
