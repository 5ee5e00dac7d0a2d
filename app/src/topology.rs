//! Topology diagram of a cluster: nodes grouped by component, and state transfers.

mod layout;

use galera::view::{ClusterView, NodeState, NodeView};

use self::layout::{FrameKind, GroupFrame, NodeTile, TILE_HEIGHT, TopologyLayout, TransferArrow};
use crate::format::{age, lag_text, truncate_middle};
use crate::marks::{StateMark, node_mark, tone_class};
use crate::markup::{El, el};
use crate::sides::{mark_of, side_label, side_of};

#[cfg(feature = "hydrate")]
pub(crate) use self::layout::columns_for;

/// Width of a character in the widest common typefaces, in pixels.
const NAME_CHAR_WIDTH: u32 = 10;
const HOST_CHAR_WIDTH: u32 = 7;
/// Width that a name has not: its margin and the shape of the state.
const NAME_MARGIN: u32 = 26;

/// The diagram with at most `columns` nodes per row, and a text alternative for screen readers.
pub(crate) fn topology(
    view: &ClusterView,
    columns: usize,
    now: Option<galera::Timestamp>,
) -> Option<El> {
    let layout = TopologyLayout::of(view, columns);
    if layout.frames.is_empty() {
        return None;
    }
    let (width, height) = (layout.width.to_string(), layout.height.to_string());
    let drawing = el("svg")
        .class("topology")
        .attr("role", "img")
        .attr("aria-label", description(view, &layout))
        .attr("viewBox", ["0 0 ", &width, " ", &height].concat())
        .attr("width", width)
        .attr("height", height)
        .child(layout.frames.iter().map(draw_frame).collect::<Vec<_>>())
        .child(
            layout
                .tiles
                .iter()
                .map(|tile| draw_tile(tile, layout.tile_width, view, now))
                .collect::<Vec<_>>(),
        )
        .child(
            layout
                .transfers
                .iter()
                .map(draw_transfer)
                .collect::<Vec<_>>(),
        );
    Some(drawing)
}

fn svg_text(class: &'static str, x: u32, y: u32, content: impl Into<crate::markup::Content>) -> El {
    el("text")
        .class(class)
        .attr("x", x.to_string())
        .attr("y", y.to_string())
        .child(content)
}

fn draw_frame(frame: &GroupFrame) -> El {
    let class = match frame.kind {
        FrameKind::Primary => "frame primary",
        FrameKind::Rival(0) => "frame rival t-bad",
        FrameKind::Rival(_) => "frame rival other t-rival",
        FrameKind::NonPrimary => "frame non-primary",
        FrameKind::Outside => "frame outside",
    };
    let outline = el("rect")
        .attr("x", frame.x.to_string())
        .attr("y", frame.y.to_string())
        .attr("width", frame.width.to_string())
        .attr("height", frame.height.to_string());
    let detail = svg_text(
        "detail",
        frame.x + frame.width - 12,
        frame.y + 20,
        frame.detail.clone(),
    );
    el("g")
        .class(class)
        .child(outline)
        .child(svg_text("title", frame.x + 12, frame.y + 20, frame.title))
        .child(detail.attr("text-anchor", "end"))
}

fn draw_tile(
    tile: &NodeTile,
    width: u32,
    view: &ClusterView,
    now: Option<galera::Timestamp>,
) -> El {
    let node = view.nodes.iter().find(|node| node.id == tile.id);
    let id = tile.id.to_string();
    let name = node
        .and_then(|node| node.name.clone())
        .unwrap_or_else(|| id.clone());
    let mark = node.map_or(node_mark(NodeState::Unknown), |node| mark_of(view, node));
    let host = if name == id {
        String::new()
    } else {
        truncate_middle(&id, chars_in(width, HOST_CHAR_WIDTH))
    };
    let translate =
        |x: u32, y: u32| ["translate(", &x.to_string(), " ", &y.to_string(), ")"].concat();
    let box_of = |class: &'static str, width: u32| {
        el("rect")
            .class(class)
            .attr("width", width.to_string())
            .attr("height", TILE_HEIGHT.to_string())
    };
    let shape = el("path")
        .class("shape")
        .attr("transform", translate(width - 27, 9))
        .attr("fill-rule", "evenodd")
        .attr("d", mark.shape);
    let position = node.and_then(|node| node.position.as_ref());
    let seqno = position.map(|position| position.seqno.to_string());
    let note = node.and_then(|node| position_note(view, node, now));
    let right = |class: &'static str, y: u32, content: Option<String>| {
        svg_text(class, width - 12, y, content).attr("text-anchor", "end")
    };
    el("g")
        .attr("id", ["tile-", &id].concat())
        .class(tone_class("tile", mark))
        .attr("transform", translate(tile.x, tile.y))
        .child([box_of("body", width), box_of("edge", 3)])
        .child(svg_text(
            "name",
            14,
            20,
            truncate_middle(&name, chars_in(width, NAME_CHAR_WIDTH)),
        ))
        .child(svg_text("host", 14, 36, host))
        .child(svg_text("word", 14, 58, mark.label))
        .child(shape)
        .child(right("seqno", 58, seqno))
        .child(right("host", 73, note))
}

/// Characters of `each` pixels that fit a node of `width` pixels.
fn chars_in(width: u32, each: u32) -> usize {
    usize::try_from((width - NAME_MARGIN) / each).unwrap_or(0)
}

fn draw_transfer(transfer: &TransferArrow) -> El {
    let class = if transfer.certain {
        "transfer"
    } else {
        "transfer perhaps"
    };
    let part = |class: &'static str, path: &str| el("path").class(class).attr("d", path.to_owned());
    el("g")
        .class(class)
        .child([part("line", &transfer.shaft), part("head", &transfer.head)])
}

/// How far the node is behind, or how old its position is.
fn position_note(
    view: &ClusterView,
    node: &NodeView,
    now: Option<galera::Timestamp>,
) -> Option<String> {
    let position = node.position.as_ref()?;
    if node.position_fresh {
        // Rival histories are not behind each other.
        let torn = side_of(view, &node.id).is_some();
        return node.behind.filter(|_| !torn).map(lag_text);
    }
    // Only the source of the position determines its age; the other one may have reported something else since.
    let reports_position =
        |source: &&galera::view::SourceView| source.seqno == Some(position.seqno);
    let last = node
        .sources
        .iter()
        .filter(reports_position)
        .filter_map(|source| source.observed_at)
        .max();
    let known = last.zip(now);
    Some(known.map_or_else(
        || "old".to_owned(),
        |(last, now)| [&age(now.unix_millis() - last.unix_millis()), " old"].concat(),
    ))
}

fn description(view: &ClusterView, layout: &TopologyLayout) -> String {
    let name_of = |id: &galera::NodeId| {
        let node = view.nodes.iter().find(|node| node.id == *id);
        node.and_then(|node| node.name.clone())
            .unwrap_or_else(|| id.to_string())
    };
    let mut text = String::new();
    for (index, frame) in layout.frames.iter().enumerate() {
        let parts = match frame.kind {
            FrameKind::Primary => ["Primary component", ""],
            FrameKind::Rival(side) => ["Primary component, ", side_label(side)],
            FrameKind::NonPrimary => ["non-Primary component", ""],
            FrameKind::Outside => ["Not in any component", ""],
        };
        text.push_str(&parts.concat());
        text.push_str(": ");
        let members = layout.tiles.iter().filter(|tile| tile.frame == index);
        let listed: Vec<String> = members
            .map(|tile| node_description(view, tile, &name_of(&tile.id)))
            .collect();
        text.push_str(&listed.join(", "));
        text.push_str(". ");
    }
    for transfer in &layout.transfers {
        let verb = if transfer.certain {
            " is sending its state to "
        } else {
            " may be sending its state to "
        };
        text.push_str(
            &[
                &name_of(&transfer.donor),
                verb,
                &name_of(&transfer.joiner),
                ". ",
            ]
            .concat(),
        );
    }
    text.truncate(text.trim_end().len());
    text
}

fn node_description(view: &ClusterView, tile: &NodeTile, name: &str) -> String {
    let node = view.nodes.iter().find(|node| node.id == tile.id);
    let StateMark { label, .. } = node_mark(node.map_or(NodeState::Unknown, |node| node.state));
    let position = node.and_then(|node| node.position.as_ref());
    match position {
        Some(position) => [name, " ", label, " at ", &position.seqno.to_string()].concat(),
        None => [name, " ", label].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn draw(view: &ClusterView) -> String {
        topology(view, 4, Some(fixtures::fixed_now()))
            .unwrap()
            .html()
    }

    #[test]
    fn has_a_text_alternative() {
        let html = draw(&fixtures::state_transfer("lab", 90_000));
        for expected in [
            "Primary component: n1 Synced at 90000, n2 Donor at 90000, n3 Joining at 89100.",
            "Not in any component: n4 Unreachable at 85000.",
            "n2 is sending its state to n3.",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(
            html.contains("role=\"img\"") && !html.contains(" style="),
            "{html}"
        );
    }

    #[test]
    fn components_differ_in_label_and_frame() {
        let html = draw(&fixtures::no_primary("lab", 90_000));
        assert!(
            html.contains("frame non-primary") && html.contains(">non-Primary<"),
            "{html}"
        );
        assert!(
            html.contains("frame outside") && html.contains(">Not in any component<"),
            "{html}"
        );
    }

    #[test]
    fn the_sides_of_a_split_brain_differ_and_are_not_green() {
        let html = draw(&fixtures::split_brain("lab", 90_000));
        for expected in [
            "frame rival t-bad",
            "frame rival other t-rival",
            ">side A<",
            ">side B<",
            "Primary component, side A: n1 Synced at 90000, n2 Synced at 90000.",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(
            !html.contains("t-ok") && !html.contains("up to date"),
            "{html}"
        );
    }

    #[test]
    fn two_donors_make_the_transfer_uncertain() {
        let mut view = fixtures::state_transfer("lab", 90_000);
        view.nodes[0].state = NodeState::Donor;
        let html = draw(&view);
        assert!(
            html.contains("n1 may be sending its state to n3.")
                && html.contains("transfer perhaps"),
            "{html}"
        );
    }

    #[test]
    fn an_old_position_shows_its_age() {
        assert!(draw(&fixtures::state_transfer("lab", 90_000)).contains("3 min 5 s old"));
    }
}
