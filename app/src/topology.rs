//! The drawing of a cluster: nodes grouped by component, and who gives whom its state.

mod layout;

use galera::view::{ClusterView, NodeState, NodeView};

use self::layout::{Frame, FrameKind, Layout, TILE_HEIGHT, TILE_WIDTH, Tile, Transfer};
use crate::format::{age, behind, shortened};
use crate::markup::{El, el};
use crate::words::{Mark, node_mark, tone_class};

#[cfg(feature = "hydrate")]
pub(crate) use self::layout::columns_for;

/// As many characters of a name and of an address as a tile is wide in the broadest of the usual typefaces.
const NAME_SHOWN: usize = 15;
const HOST_SHOWN: usize = 22;

/// The drawing, with at most `columns` nodes beside each other, and the same in words for those who cannot see it.
pub(crate) fn topology(
    view: &ClusterView,
    columns: usize,
    now: Option<galera::Timestamp>,
) -> Option<El> {
    let layout = Layout::of(view, columns);
    if layout.frames.is_empty() {
        return None;
    }
    let (width, height) = (layout.width.to_string(), layout.height.to_string());
    let drawing = el("svg")
        .class("topology")
        .at("role", "img")
        .at("aria-label", in_words(view, &layout))
        .at("viewBox", ["0 0 ", &width, " ", &height].concat())
        .at("width", width)
        .at("height", height)
        .with(layout.frames.iter().map(frame).collect::<Vec<_>>())
        .with(
            layout
                .tiles
                .iter()
                .map(|tile| draw_tile(tile, view, now))
                .collect::<Vec<_>>(),
        )
        .with(layout.transfers.iter().map(arrow).collect::<Vec<_>>());
    Some(drawing)
}

fn text(class: &'static str, x: u32, y: u32, content: impl Into<crate::markup::Child>) -> El {
    el("text")
        .class(class)
        .at("x", x.to_string())
        .at("y", y.to_string())
        .with(content)
}

fn frame(frame: &Frame) -> El {
    let class = match frame.kind {
        FrameKind::Primary => "frame primary",
        FrameKind::NonPrimary => "frame non-primary",
        FrameKind::Outside => "frame outside",
    };
    let outline = el("rect")
        .at("x", frame.x.to_string())
        .at("y", frame.y.to_string())
        .at("width", frame.width.to_string())
        .at("height", frame.height.to_string());
    let detail = text(
        "detail",
        frame.x + frame.width - 12,
        frame.y + 20,
        frame.detail.clone(),
    );
    el("g")
        .class(class)
        .with(outline)
        .with(text("title", frame.x + 12, frame.y + 20, frame.title))
        .with(detail.at("text-anchor", "end"))
}

fn draw_tile(tile: &Tile, view: &ClusterView, now: Option<galera::Timestamp>) -> El {
    let node = view.nodes.iter().find(|node| node.id == tile.id);
    let id = tile.id.to_string();
    let name = node
        .and_then(|node| node.name.clone())
        .unwrap_or_else(|| id.clone());
    let mark = node_mark(node.map_or(NodeState::Unknown, |node| node.state));
    let host = if name == id {
        String::new()
    } else {
        shortened(&id, HOST_SHOWN)
    };
    let place = |x: u32, y: u32| ["translate(", &x.to_string(), " ", &y.to_string(), ")"].concat();
    let box_of = |class: &'static str, width: u32| {
        el("rect")
            .class(class)
            .at("width", width.to_string())
            .at("height", TILE_HEIGHT.to_string())
    };
    let shape = el("path")
        .class("shape")
        .at("transform", place(TILE_WIDTH - 27, 9))
        .at("fill-rule", "evenodd")
        .at("d", mark.shape);
    let position = node.and_then(|node| node.position.as_ref());
    let seqno = position.map(|position| position.seqno.to_string());
    let standing = node.and_then(|node| standing(node, now));
    let right = |class: &'static str, y: u32, content: Option<String>| {
        text(class, TILE_WIDTH - 12, y, content).at("text-anchor", "end")
    };
    el("g")
        .key(id)
        .class(tone_class("tile", mark))
        .at("transform", place(tile.x, tile.y))
        .with([box_of("body", TILE_WIDTH), box_of("edge", 3)])
        .with(text("name", 14, 20, shortened(&name, NAME_SHOWN)))
        .with(text("host", 14, 36, host))
        .with(text("word", 14, 58, mark.word))
        .with(shape)
        .with(right("seqno", 58, seqno))
        .with(right("host", 73, standing))
}

fn arrow(transfer: &Transfer) -> El {
    let class = if transfer.certain {
        "transfer"
    } else {
        "transfer perhaps"
    };
    let part = |class: &'static str, path: &str| el("path").class(class).at("d", path.to_owned());
    el("g")
        .class(class)
        .with([part("line", &transfer.line), part("head", &transfer.head)])
}

/// How far the node is behind; an old position says how old.
fn standing(node: &NodeView, now: Option<galera::Timestamp>) -> Option<String> {
    let position = node.position.as_ref()?;
    if node.position_fresh {
        return node.behind.map(behind);
    }
    // Only who gave this position says how old it is; the other source may have spoken since, of something else.
    let gave_it = |source: &&galera::view::SourceView| source.seqno == Some(position.seqno);
    let last = node
        .sources
        .iter()
        .filter(gave_it)
        .filter_map(|source| source.observed_at)
        .max();
    let known = last.zip(now);
    Some(known.map_or_else(
        || "old".to_owned(),
        |(last, now)| [&age(now.unix_millis() - last.unix_millis()), " old"].concat(),
    ))
}

fn in_words(view: &ClusterView, layout: &Layout) -> String {
    let name_of = |id: &galera::NodeId| {
        let node = view.nodes.iter().find(|node| node.id == *id);
        node.and_then(|node| node.name.clone())
            .unwrap_or_else(|| id.to_string())
    };
    let mut text = String::new();
    for (index, frame) in layout.frames.iter().enumerate() {
        text.push_str(match frame.kind {
            FrameKind::Primary => "Primary component: ",
            FrameKind::NonPrimary => "non-Primary component: ",
            FrameKind::Outside => "Not in any component: ",
        });
        let members = layout.tiles.iter().filter(|tile| tile.frame == index);
        let listed: Vec<String> = members
            .map(|tile| node_in_words(view, tile, &name_of(&tile.id)))
            .collect();
        text.push_str(&listed.join(", "));
        text.push_str(". ");
    }
    for transfer in &layout.transfers {
        let how = if transfer.certain {
            " gives its state to "
        } else {
            " may be giving its state to "
        };
        text.push_str(
            &[
                &name_of(&transfer.donor),
                how,
                &name_of(&transfer.joiner),
                ". ",
            ]
            .concat(),
        );
    }
    text.truncate(text.trim_end().len());
    text
}

fn node_in_words(view: &ClusterView, tile: &Tile, name: &str) -> String {
    let node = view.nodes.iter().find(|node| node.id == tile.id);
    let Mark { word, .. } = node_mark(node.map_or(NodeState::Unknown, |node| node.state));
    let position = node.and_then(|node| node.position.as_ref());
    match position {
        Some(position) => [name, " ", word, " at ", &position.seqno.to_string()].concat(),
        None => [name, " ", word].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn draw(view: &ClusterView) -> String {
        topology(view, 4, Some(fixtures::at())).unwrap().html()
    }

    #[test]
    fn the_same_in_words() {
        let html = draw(&fixtures::transfer("lab", 90_000));
        for expected in [
            "Primary component: n1 Synced at 90000, n2 Donor at 90000, n3 Joining at 89100.",
            "Not in any component: n4 Unreachable at 85000.",
            "n2 gives its state to n3.",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(
            html.contains("role=\"img\"") && !html.contains(" style="),
            "{html}"
        );
    }

    #[test]
    fn components_are_told_apart_in_words_and_in_lines() {
        let html = draw(&fixtures::no_primary("lab", 90_000));
        assert!(
            html.contains("frame non-primary") && html.contains(">non-Primary<"),
            "{html}"
        );
        assert!(
            html.contains("frame outside") && html.contains(">Not in any component<"),
            "{html}"
        );
        let html = draw(&fixtures::split("lab", 90_000));
        assert_eq!(html.matches("frame primary").count(), 2, "{html}");
    }

    #[test]
    fn two_donors_leave_it_open_who_gives() {
        let mut view = fixtures::transfer("lab", 90_000);
        view.nodes[0].state = NodeState::Donor;
        let html = draw(&view);
        assert!(
            html.contains("n1 may be giving its state to n3.") && html.contains("transfer perhaps"),
            "{html}"
        );
    }

    #[test]
    fn an_old_position_says_how_old() {
        assert!(draw(&fixtures::transfer("lab", 90_000)).contains("3 min 5 s old"));
    }
}
