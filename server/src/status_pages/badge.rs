//! `render_badge.svg`: a state or an uptime as a small picture for a README or a wiki.

use galera::publish::status_pages::{PublicPage, PublicState};

use super::feed::escape_xml;

/// What a badge shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadgeSubject {
    /// One cluster, by its identity on the page; the whole page when none is named.
    pub cluster: Option<String>,
    /// The uptime over so many days, or the state.
    pub days: Option<u32>,
}

/// The picture; `None` when the page shows no such cluster.
pub(super) fn render_badge(told: &PublicPage, of: &BadgeSubject) -> Option<String> {
    let (name, state) = match &of.cluster {
        None => (told.title.clone(), told.overall),
        Some(id) => {
            let cluster = told
                .clusters
                .iter()
                .find(|c| c.id == *id || c.name == *id)?;
            (cluster.name.clone(), cluster.state)
        }
    };
    let Some(days) = of.days else {
        return Some(render_svg(
            &name,
            &state.label().to_lowercase(),
            color(state),
        ));
    };
    let shown = told.clusters.iter().filter(|c| match &of.cluster {
        None => true,
        Some(id) => c.id == *id || c.name == *id,
    });
    let figures = shown.map(|cluster| match days {
        7 => cluster.uptime.week,
        30 => cluster.uptime.month,
        _ => cluster.uptime.quarter,
    });
    // Of several clusters the worst: an average would hide it.
    let worst = figures.flatten().min();
    let (value, colour) = match worst {
        None => ("not known".to_owned(), color(PublicState::Unknown)),
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
    Some(render_svg(&format!("{name} {days} days"), &value, colour))
}

/// White on these is at least 4.5 to 1.
const fn color(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "#1a6b45",
        PublicState::Maintenance => "#1f5d99",
        PublicState::Unknown => "#5d656c",
        PublicState::Degraded => "#8a5300",
        PublicState::Outage => "#ab1f1a",
    }
}

fn render_svg(name: &str, value: &str, colour: &str) -> String {
    let name: String = name.chars().take(60).collect();
    let (left, right) = (text_width(&name), text_width(value));
    let (whole, middle) = (left + right, left + right / 2);
    let (name, value) = (escape_xml(&name), escape_xml(value));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"20\" role=\"img\" aria-label=\"{name}: {value}\">\
         <title>{name}: {value}</title>\
         <rect width=\"{left}\" height=\"20\" fill=\"#1b2126\"/><rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{colour}\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
         <text x=\"{}\" y=\"14\" textLength=\"{}\">{name}</text><text x=\"{middle}\" y=\"14\" textLength=\"{}\">{value}</text></g></svg>",
        left / 2,
        left - 12,
        right - 12,
    )
}

/// About as wide as the text is; `textLength` makes it exactly so wherever the font differs.
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
