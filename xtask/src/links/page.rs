//! What links need of a Markdown page: its links and its anchors.

use std::collections::{BTreeSet, HashMap};

use pulldown_cmark::{BrokenLink, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

/// A link, or the source of a picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MarkdownLink {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    pub(crate) target: String,
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct MarkdownPage {
    pub(crate) links: Vec<MarkdownLink>,
    pub(crate) anchors: BTreeSet<String>,
    /// The first heading of the first level.
    pub(crate) title: Option<String>,
}

/// Marks a reference that the page does not define.
const UNDEFINED: &str = "undefined reference";

impl MarkdownPage {
    /// Parses a page with the extensions that the host of the repository has.
    pub(crate) fn parse(text: &str) -> Self {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_FOOTNOTES;
        // `[x]` alone is text; `[x][y]` is meant as a link.
        let undefined = |link: BrokenLink<'_>| {
            (link.link_type != LinkType::Shortcut)
                .then(|| (CowStr::from(UNDEFINED), CowStr::from("")))
        };
        let mut page = Self::default();
        let mut lines = LineCounter::new(text);
        let mut used = HashMap::new();
        let mut heading: Option<(bool, String)> = None;
        let parser = Parser::new_with_broken_link_callback(text, options, Some(undefined));
        for (event, range) in parser.into_offset_iter() {
            let line = lines.line_at(range.start);
            match event {
                Event::Start(Tag::Link {
                    link_type: LinkType::Email,
                    ..
                }) => {}
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let target = percent_decoded(&dest_url);
                    page.links.push(MarkdownLink { line, target });
                }
                Event::Start(Tag::Heading { level, .. }) => {
                    heading = Some((level == pulldown_cmark::HeadingLevel::H1, String::new()));
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some((_, words)) = &mut heading {
                        words.push_str(&part);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let Some((first_level, words)) = heading.take() else {
                        continue;
                    };
                    page.anchors.insert(unique(&mut used, anchor(&words)));
                    if first_level && page.title.is_none() {
                        page.title = Some(words);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    for name in ["href", "src", "srcset"] {
                        let targets = attribute(&html, name).map(str::to_owned);
                        page.links
                            .extend(targets.map(|target| MarkdownLink { line, target }));
                    }
                    for name in ["id", "name"] {
                        page.anchors
                            .extend(attribute(&html, name).map(str::to_owned));
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// Why there is no `anchor`, with the one that is spelled most like it.
    pub(super) fn nearest(&self, anchor: &str) -> String {
        let similar = |name: &&String| (strsim::jaro_winkler(name, anchor) * 1000.0) as u32;
        match self.anchors.iter().max_by_key(similar) {
            Some(name) => format!("the page has no such anchor; the nearest is #{name}"),
            None => "the page has no anchors".to_owned(),
        }
    }
}

/// The anchor of a heading: lower case, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

/// Headings with the same words are numbered.
fn unique(used: &mut HashMap<String, u32>, anchor: String) -> String {
    let count = used.entry(anchor.clone()).or_default();
    *count += 1;
    match *count {
        1 => anchor,
        count => format!("{anchor}-{}", count - 1),
    }
}

/// The values of an attribute in a piece of HTML.
pub(crate) fn attribute<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let wanted = format!("{name}=\"");
    let starts: Vec<_> = html
        .match_indices(&wanted)
        .filter(|(at, _)| html[..*at].ends_with(char::is_whitespace))
        .map(|(at, _)| at + wanted.len())
        .collect();
    starts
        .into_iter()
        .filter_map(|at| html[at..].split_once('"').map(|(value, _)| value))
}

/// The target without percent-encoding, as the file system has it.
pub(crate) fn percent_decoded(target: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = target;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match digits {
            Some(byte) => {
                bytes.push(byte);
                &after[2..]
            }
            None => {
                bytes.push(b'%');
                after
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Counts lines up to offsets that mostly increase.
struct LineCounter<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> LineCounter<'a> {
    fn new(text: &'a str) -> Self {
        let (at, line) = (0, 1);
        Self { text, at, line }
    }

    fn line_at(&mut self, offset: usize) -> usize {
        if offset < self.at {
            *self = Self::new(self.text);
        }
        let passed = self.text.as_bytes()[self.at..offset].iter();
        self.line += passed.filter(|byte| **byte == b'\n').count();
        self.at = offset;
        self.line
    }
}
