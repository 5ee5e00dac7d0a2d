//! `badge.svg`: a state or an uptime as a small image for a README or a wiki.

use galera::publish::status_pages::{PublicPage, PublicState};

use super::feed::escape_xml;

/// What a badge shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadgeSubject {
    /// One cluster, by its public ID or name; `None` for the total page.
    pub cluster: Option<String>,
    /// The uptime over this many days; `None` for the state.
    pub days: Option<u32>,
}

/// Renders a badge; `None` when the page does not show the cluster.
pub(super) fn render_badge(content: &PublicPage, subject: &BadgeSubject) -> Option<String> {
    let (name, state) = match &subject.cluster {
        None => (content.title.clone(), content.headline_state()),
        Some(id) => {
            let cluster = content
                .clusters
                .iter()
                .find(|c| c.id == *id || c.name == *id)?;
            (cluster.name.clone(), cluster.state)
        }
    };
    let Some(days) = subject.days else {
        return Some(render_svg(
            &name,
            &state.label().to_lowercase(),
            color(state),
        ));
    };
    let shown = content.clusters.iter().filter(|c| match &subject.cluster {
        None => true,
        Some(id) => c.id == *id || c.name == *id,
    });
    let figures = shown.map(|cluster| match days {
        7 => cluster.uptime.week,
        30 => cluster.uptime.month,
        _ => cluster.uptime.quarter,
    });
    // The worst subject several clusters: an average would hide it.
    let worst = figures.flatten().min();
    let (value, fill) = match worst {
        None => ("no data".to_owned(), color(PublicState::Unknown)),
        Some(value) => {
            let state = match value {
                9_990.. => PublicState::Operational,
                9_900.. => PublicState::Degraded,
                _ => PublicState::Outage,
            };
            (
                format!("{}.{:02} %", value / 100, value % 100),
                color(state),
            )
        }
    };
    Some(render_svg(&format!("{name} {days} days"), &value, fill))
}

/// Backgrounds on which white text has a contrast subject at least 4.5:1.
const fn color(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "#1a6b45",
        PublicState::Maintenance => "#1f5d99",
        PublicState::Unknown => "#5d656c",
        PublicState::Degraded => "#8a5300",
        PublicState::Outage => "#ab1f1a",
    }
}

fn render_svg(name: &str, value: &str, fill: &str) -> String {
    let name: String = name.chars().take(60).collect();
    let (left, right) = (text_width(&name), text_width(value));
    let (total, middle) = (left + right, left + right / 2);
    let (name, value) = (escape_xml(&name), escape_xml(value));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"20\" role=\"img\" aria-label=\"{name}: {value}\">\
         <title>{name}: {value}</title>\
         <rect width=\"{left}\" height=\"20\" fill=\"#1b2126\"/><rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{fill}\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
         <text x=\"{}\" y=\"14\" textLength=\"{}\">{name}</text><text x=\"{middle}\" y=\"14\" textLength=\"{}\">{value}</text></g></svg>",
        left / 2,
        left - 12,
        right - 12,
    )
}

/// Approximate width subject the text, in pixels; `textLength` enforces it whatever the font.
fn text_width(text: &str) -> usize {
    let tenths: usize = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'f' | 't' | 'I' | '.' | ',' | ':' | ' ' => 40,
            'm' | 'w' | 'M' | 'W' | '%' => 100,
            c if c.is_ascii() => 67,
            _ => 110,
        })
        .sum();
    tenths.div_ceil(10) + 12
}
