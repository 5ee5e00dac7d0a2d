//! Topology of a cluster: one tile for each node, in an order that never changes, with the component that it is in.

mod groups;

use galera::view::{ArbitratorState, ClusterView, NodeView};

use self::groups::{GroupKind, NodeGroup, StateTransfer, node_groups, state_transfers};
use crate::format::{age, lag_text, number};
use crate::links::{cluster_href, node_href, node_label};
use crate::marks::{arbitrator_mark, glyph, tone_class};
use crate::markup::{Content, El, el};

use crate::sides::{mark_of, side_of};

/// The components in one line and a tile for each node; none without nodes.
pub(crate) fn topology(view: &ClusterView, now: Option<galera::Timestamp>) -> Option<El> {
    if view.nodes.is_empty() {
        return None;
    }
    let groups = node_groups(view);
    let transfers = state_transfers(view, &groups);
    let components: Vec<El> = groups
        .iter()
        .map(|group| component_item(view, group))
        .collect();
    let tiles: Vec<El> = view
        .members()
        .map(|node| tile(view, node, &groups, &transfers, now))
        .chain(arbitrators(view))
        .collect();
    let drawing = el("section")
        .class("topology")
        .attr("aria-label", "Topology");
    Some(
        drawing
            .child(el("ul").class("components").child(components))
            .child(el("ul").class("tiles").child(tiles)),
    )
}

/// A component and its members: `Primary n1, n2 · size 2`.
fn component_item(view: &ClusterView, group: &NodeGroup) -> El {
    let name_of = |id: &galera::NodeId| {
        let node = view.nodes.iter().find(|node| node.id == *id);
        node.map_or_else(|| id.to_string(), node_label)
    };
    let members: Vec<String> = group.members.iter().map(name_of).collect();
    let detail = (!group.detail.is_empty()).then(|| {
        el("span")
            .class("quiet")
            .child([" · ", &group.detail].concat())
    });
    el("li")
        .child(
            el("strong")
                .class(kind_class(group.kind, ""))
                .child(group.title),
        )
        .child([" ", &members.join(", ")].concat())
        .child(detail)
}

/// The class of what belongs to a component of this kind.
fn kind_class(kind: GroupKind, tone: &str) -> String {
    let kind = match kind {
        GroupKind::Primary => "primary",
        GroupKind::Rival(0) => "rival t-bad",
        GroupKind::Rival(_) => "rival other t-rival",
        GroupKind::NonPrimary => "non-primary",
        GroupKind::Outside => "outside",
    };
    [kind, " ", tone].concat().trim_end().to_owned()
}

fn tile(
    view: &ClusterView,
    node: &NodeView,
    groups: &[NodeGroup],
    transfers: &[StateTransfer],
    now: Option<galera::Timestamp>,
) -> El {
    let (mark, id, label) = (mark_of(view, node), node.id.to_string(), node_label(node));
    let group = groups.iter().find(|group| group.members.contains(&node.id));
    let class = kind_class(
        group.map_or(GroupKind::Outside, |group| group.kind),
        &tone_class("tile", mark),
    );
    let line = |class: &'static str, first: Content, second: Content| {
        el("span")
            .class(class)
            .child(el("span").child(first))
            .child(el("span").child(second))
    };
    let host = (label != id).then(|| id.clone());
    let segment = node
        .segment
        .filter(|segment| *segment > 0)
        .map(|segment| ["segment ", &segment.to_string()].concat());
    let state = el("strong")
        .class(["t-", mark.tone].concat())
        .child(mark.label);
    let seqno = node
        .position
        .as_ref()
        .map(|position| number(position.seqno));
    let place = group.map_or("", |group| group.short_title());
    let note = transfer_note(view, node, transfers).or_else(|| position_note(view, node, now));
    let link = el("a")
        .class(class)
        .attr("href", node_href(&view.name, &node.id))
        .child(
            el("span")
                .class("line name")
                .child(el("strong").child(label))
                .child(
                    el("span")
                        .class(["t-", mark.tone].concat())
                        .child(glyph(mark)),
                ),
        )
        .child(line("line quiet", host.into(), segment.into()))
        .child(line("line", state.into(), seqno.into()))
        .child(line("line quiet", place.into(), note.into()));
    el("li").attr("id", ["tile-", &id].concat()).child(link)
}

/// A tile for each arbitrator that an agent reports, which leads to the list of arbitrators. One that only the size of a component
/// shows has none: it comes and goes with members that are not known yet.
fn arbitrators(view: &ClusterView) -> impl Iterator<Item = El> {
    let reported = view.arbitrators.iter();
    reported.filter_map(|arbitrator| {
        let (name, mark) = (arbitrator.name.as_ref()?, arbitrator_mark(arbitrator.state));
        let kind = match arbitrator.state {
            ArbitratorState::Member => GroupKind::Primary,
            ArbitratorState::NonPrimary => GroupKind::NonPrimary,
            _ => GroupKind::Outside,
        };
        let line = |class: &'static str, first: Content| {
            let first = el("span").child(first);
            el("span").class(class).child(first).child(el("span"))
        };
        let tone = ["t-", mark.tone].concat();
        let state = el("strong").class(tone.clone()).child(mark.label);
        let head = line("line name", el("strong").child(name.clone()).into());
        let link = el("a")
            .class(kind_class(kind, &tone_class("tile", mark)))
            .attr("href", [&cluster_href(&view.name), "#arbitrators"].concat())
            .child(head.child(el("span").class(tone).child(glyph(mark))))
            .child(line("line quiet", arbitrator.address.clone().into()))
            .child(line("line", state.into()))
            .child(line("line quiet", "arbitrator, no data".into()));
        Some(el("li").child(link))
    })
}

/// The state transfer that the node takes part in.
fn transfer_note(
    view: &ClusterView,
    node: &NodeView,
    transfers: &[StateTransfer],
) -> Option<String> {
    let name_of = |id: &galera::NodeId| {
        let node = view.nodes.iter().find(|node| node.id == *id);
        node.map_or_else(|| id.to_string(), node_label)
    };
    transfers.iter().find_map(|transfer| {
        let perhaps = if transfer.certain { "" } else { "perhaps " };
        if transfer.joiner == node.id {
            let percent = node.transfer.as_ref().and_then(|transfer| transfer.percent);
            let percent = percent.map(|percent| [", ", &percent.to_string(), " %"].concat());
            let percent = percent.unwrap_or_default();
            return Some([perhaps, "from ", &name_of(&transfer.donor), &percent].concat());
        }
        (transfer.donor == node.id).then(|| [perhaps, "to ", &name_of(&transfer.joiner)].concat())
    })
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

#[cfg(test)]
mod tests {
    use galera::view::NodeState;

    use super::*;
    use crate::fixtures;

    fn draw(view: &ClusterView) -> String {
        topology(view, Some(fixtures::fixed_now())).unwrap().html()
    }

    /// The text of a node's tile.
    fn tile_text(view: &ClusterView, id: &str) -> String {
        let html = draw(view);
        let tile = html.split(&format!("id=\"tile-{id}\"")).nth(1).unwrap();
        let tile = tile.split("</li>").next().unwrap();
        let mut text = String::new();
        for part in tile.split('<') {
            text.push_str(part.split('>').nth(1).unwrap_or_default());
            text.push(' ');
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn arbitrators_that_are_reported_have_tiles_after_the_nodes() {
        let mut view = fixtures::healthy("lab", 90_000);
        let inferred = galera::view::ArbitratorView {
            name: None,
            ..fixtures::arbitrator("", ArbitratorState::Inferred)
        };
        view.arbitrators = vec![
            fixtures::arbitrator("garb<1>", ArbitratorState::Member),
            fixtures::arbitrator("garb2", ArbitratorState::NonPrimary),
            inferred,
        ];
        let html = draw(&view);
        let tiles = html.split("href=\"/clusters/lab#arbitrators\"").skip(1);
        let tiles: Vec<&str> = tiles
            .map(|tile| tile.split("</li>").next().unwrap())
            .collect();
        assert_eq!(tiles.len(), 2, "{html}");
        assert!(tiles[0].contains("garb&lt;1&gt;") && tiles[0].contains("Votes"));
        assert!(tiles[1].contains("No quorum"), "{}", tiles[1]);
        assert!(html.find("garb2") > html.find("tile-127.0.0.3"), "{html}");
    }

    #[test]
    fn a_tile_leads_to_its_node_and_says_what_it_does() {
        let view = fixtures::state_transfer("lab", 90_000);
        assert!(draw(&view).contains("href=\"/clusters/lab/nodes/127.0.0.3\""));
        for (id, expected) in [
            ("127.0.0.1", "n1 127.0.0.1 Synced 90 000 Primary up to date"),
            ("127.0.0.2", "n2 127.0.0.2 Donor 90 000 Primary to n3"),
            ("127.0.0.3", "n3 127.0.0.3 Joining 89 100 Primary from n2"),
            (
                "127.0.0.4",
                "n4 127.0.0.4 Unreachable 85 000 no component 3 min 5 s old",
            ),
        ] {
            assert_eq!(tile_text(&view, id), expected);
        }
    }

    #[test]
    fn a_tile_shows_how_far_its_transfer_is() {
        let mut view = fixtures::state_transfer("lab", 90_000);
        view.nodes[2].transfer = Some(fixtures::transfer());
        assert!(tile_text(&view, "127.0.0.3").ends_with("Primary from n2, 8 %"));
        assert!(tile_text(&view, "127.0.0.2").ends_with("Primary to n3"));
    }

    #[test]
    fn tiles_keep_their_order_when_components_change() {
        let order = |view: &ClusterView| {
            let html = draw(view);
            let ids = html.split("id=\"tile-").skip(1);
            ids.map(|tile| tile.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let mut view = fixtures::healthy("lab", 90_000);
        let before = order(&view);
        view.components[0].members.reverse();
        let gone = view.components[0].members.pop();
        assert!(gone.is_some());
        assert_eq!(order(&view), before);
    }

    #[test]
    fn each_of_many_nodes_has_a_tile() {
        let html = draw(&fixtures::large_cluster("lab", 200, 90_000));
        assert_eq!(html.matches("id=\"tile-").count(), 200);
    }

    #[test]
    fn components_differ_in_word_and_class() {
        let html = draw(&fixtures::no_primary("lab", 90_000));
        for expected in [
            "non-primary tile",
            "outside tile",
            ">non-Primary<",
            ">Not in any component<",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains(" style="), "{html}");
    }

    #[test]
    fn the_sides_of_a_split_brain_differ_and_are_not_green() {
        let html = draw(&fixtures::split_brain("lab", 90_000));
        for expected in [
            "rival t-bad tile",
            "rival other t-rival tile",
            ">side A<",
            ">side B<",
            "</strong> n1, n2",
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
        assert!(tile_text(&view, "127.0.0.1").ends_with("perhaps to n3"));
    }
}
