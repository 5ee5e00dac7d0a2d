//! Layout of the topology diagram, in pixels.

use galera::NodeId;
use galera::view::{ClusterStatus, ClusterView, Component, NodeState};

use crate::sides::{side_label, side_of};

/// Width of a node where a row is full.
const TILE_WIDTH: u32 = 176;
/// What a node may be wider where a row is not full: three of them fill a row of six.
const MAX_GROWTH: u32 = 220;
pub(super) const TILE_HEIGHT: u32 = 82;
/// Horizontal gap between nodes, with room for an arrow.
const GAP_X: u32 = 34;
/// Vertical gap between rows, with room for an arrow's bend.
const GAP_Y: u32 = 26;
const PADDING: u32 = 12;
const TITLE_HEIGHT: u32 = 32;
/// Room for arrows below the last row.
const BOTTOM_MARGIN: u32 = 16;
const FRAME_GAP: u32 = 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A component with quorum.
    Primary,
    /// A side of a split brain.
    Rival(usize),
    /// A component without quorum.
    NonPrimary,
    /// Nodes in no component: stopped, unreachable, absent.
    Outside,
}

/// A box around a group of nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupFrame {
    pub(super) kind: FrameKind,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A node in the diagram.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeTile {
    pub(super) id: NodeId,
    pub(super) x: u32,
    pub(super) y: u32,
    /// Index of its frame.
    pub(super) frame: usize,
}

/// An arrow from a donor to a joiner.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TransferArrow {
    pub(super) donor: NodeId,
    pub(super) joiner: NodeId,
    /// Whether this is the component's only donor.
    pub(super) certain: bool,
    /// SVG path of the shaft.
    pub(super) shaft: String,
    /// SVG path of the head.
    pub(super) head: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TopologyLayout {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Width of every node.
    pub(super) tile_width: u32,
    pub(super) frames: Vec<GroupFrame>,
    pub(super) tiles: Vec<NodeTile>,
    pub(super) transfers: Vec<TransferArrow>,
}

#[cfg(any(feature = "hydrate", test))]
/// Number of nodes per row in `width` pixels.
pub(crate) fn columns_for(width: u32) -> usize {
    let room = width.saturating_sub(2 * PADDING) + GAP_X;
    // At least two: on phones the diagram is scaled down rather than made very tall.
    usize::try_from(room / (TILE_WIDTH + GAP_X))
        .unwrap_or(2)
        .max(2)
}

struct NodeGroup {
    kind: FrameKind,
    title: &'static str,
    detail: String,
    members: Vec<NodeId>,
}

impl TopologyLayout {
    /// Places every node of `view`, at most `columns` per row, and uses the width of that many.
    pub(super) fn of(view: &ClusterView, columns: usize) -> Self {
        let columns = columns.max(1);
        let mut layout = Self::default();
        let widest = layout.place_groups(view, columns, TILE_WIDTH);
        let room = 2 * PADDING + to_u32(columns) * (TILE_WIDTH + GAP_X) - GAP_X;
        let spare = room.saturating_sub(layout.width) / widest.max(1);
        layout.place_groups(view, columns, TILE_WIDTH + spare.min(MAX_GROWTH));
        layout.equalize_heights();
        layout.add_transfers(view);
        // Room for the strokes at the edge.
        layout.width += 1;
        layout.height += 1;
        layout
    }

    /// Places frames and nodes; the number of nodes in the fullest row.
    fn place_groups(&mut self, view: &ClusterView, columns: usize, tile_width: u32) -> u32 {
        let layout = self;
        *layout = Self {
            tile_width,
            ..Self::default()
        };
        let (mut x, mut y, mut used, mut line_height, mut widest) = (0, 0, 0, 0, 0);
        for group in node_groups(view) {
            let across = group.members.len().clamp(1, columns);
            if used > 0 && used + across > columns {
                (x, used) = (0, 0);
                y += line_height + FRAME_GAP;
                line_height = 0;
            }
            let (width, height) = layout.place_group(group, across, x, y);
            x += width + FRAME_GAP;
            used += across;
            widest = widest.max(used);
            line_height = line_height.max(height);
            layout.width = layout.width.max(x - FRAME_GAP);
            layout.height = layout.height.max(y + height);
        }
        to_u32(widest)
    }

    fn place_group(&mut self, group: NodeGroup, across: usize, x: u32, y: u32) -> (u32, u32) {
        let frame = self.frames.len();
        let (columns, rows) = (to_u32(across), to_u32(group.members.len().div_ceil(across)));
        for (index, id) in group.members.into_iter().enumerate() {
            self.tiles.push(NodeTile {
                id,
                x: x + PADDING + to_u32(index % across) * (self.tile_width + GAP_X),
                y: y + TITLE_HEIGHT + to_u32(index / across) * (TILE_HEIGHT + GAP_Y),
                frame,
            });
        }
        let width = 2 * PADDING + columns * self.tile_width + (columns - 1) * GAP_X;
        let height =
            TITLE_HEIGHT + rows * TILE_HEIGHT + rows.saturating_sub(1) * GAP_Y + BOTTOM_MARGIN;
        self.frames.push(GroupFrame {
            kind: group.kind,
            title: group.title,
            detail: group.detail,
            x,
            y,
            width,
            height,
        });
        (width, height)
    }

    /// Gives frames in the same row the same height.
    fn equalize_heights(&mut self) {
        for index in 0..self.frames.len() {
            let y = self.frames[index].y;
            let tallest = self
                .frames
                .iter()
                .filter(|f| f.y == y)
                .map(|f| f.height)
                .max();
            self.frames[index].height = tallest.unwrap_or(0);
        }
    }

    fn add_transfers(&mut self, view: &ClusterView) {
        let state_of = |id: &NodeId| {
            view.nodes
                .iter()
                .find(|node| node.id == *id)
                .map(|node| node.state)
        };
        for frame in 0..self.frames.len() {
            if self.frames[frame].kind == FrameKind::Outside {
                continue;
            }
            let within = |state| {
                let members = self.tiles.iter().filter(move |tile| tile.frame == frame);
                members
                    .filter(move |tile| state_of(&tile.id) == Some(state))
                    .collect::<Vec<_>>()
            };
            let (donors, joiners) = (within(NodeState::Donor), within(NodeState::Joining));
            let certain = donors.len() == 1;
            let pairs = joiners
                .iter()
                .flat_map(|joiner| donors.iter().map(move |donor| (donor, joiner)));
            let transfers: Vec<TransferArrow> = pairs
                .map(|(donor, joiner)| transfer_arrow(donor, joiner, self.tile_width, certain))
                .collect();
            self.transfers.extend(transfers);
        }
    }
}

fn node_groups(view: &ClusterView) -> Vec<NodeGroup> {
    let uuid = |component: &Component| component.state_uuid.clone();
    let several = view
        .components
        .iter()
        .any(|one| uuid(one) != view.components.first().and_then(uuid));
    let group = |one: &Component| {
        let side = one.members.first().and_then(|node| side_of(view, node));
        component_group(one, several, side)
    };
    let mut groups: Vec<NodeGroup> = view.components.iter().map(group).collect();
    let placed = |id: &NodeId| {
        view.components
            .iter()
            .any(|component| component.members.contains(id))
    };
    let outside: Vec<NodeId> = view
        .members()
        .map(|node| &node.id)
        .filter(|id| !placed(id))
        .cloned()
        .collect();
    if !outside.is_empty() {
        groups.push(NodeGroup {
            kind: FrameKind::Outside,
            title: "Not in any component",
            detail: String::new(),
            members: outside,
        });
    }
    groups
}

/// A component. `history` adds its state UUID, where components differ in it.
fn component_group(component: &Component, history: bool, side: Option<usize>) -> NodeGroup {
    let known = u64::try_from(component.members.len()).unwrap_or(u64::MAX);
    let mut detail = match component.size {
        Some(size) if size > known => {
            [&known.to_string(), " of ", &size.to_string(), " seen"].concat()
        }
        Some(size) => ["size ", &size.to_string()].concat(),
        None => String::new(),
    };
    if let Some(uuid) = component.state_uuid.as_deref().filter(|_| history) {
        // Beside its title a frame of one node has room for one of both.
        if known <= 1 {
            detail.clear();
        } else {
            detail.push_str(" · ");
        }
        detail.push_str(uuid.get(..8).unwrap_or(uuid));
    }
    let (kind, title) = match (component.status, side) {
        (_, Some(side)) => (FrameKind::Rival(side), side_label(side)),
        (status, None) => component_kind(status),
    };
    NodeGroup {
        kind,
        title,
        detail,
        members: component.members.clone(),
    }
}

fn component_kind(status: ClusterStatus) -> (FrameKind, &'static str) {
    match status {
        ClusterStatus::Primary => (FrameKind::Primary, "Primary"),
        ClusterStatus::NonPrimary => (FrameKind::NonPrimary, "non-Primary"),
        ClusterStatus::Disconnected => (FrameKind::NonPrimary, "Disconnected"),
    }
}

fn transfer_arrow(donor: &NodeTile, joiner: &NodeTile, tile: u32, certain: bool) -> TransferArrow {
    let (line, head) = if donor.y == joiner.y && donor.x.abs_diff(joiner.x) == tile + GAP_X {
        straight_arrow(donor, joiner, tile)
    } else {
        bent_arrow(donor, joiner, tile)
    };
    TransferArrow {
        donor: donor.id.clone(),
        joiner: joiner.id.clone(),
        certain,
        shaft: line,
        head,
    }
}

/// An arrow through the gap between two neighbours.
fn straight_arrow(donor: &NodeTile, joiner: &NodeTile, tile: u32) -> (String, String) {
    let y = donor.y + TILE_HEIGHT / 2;
    let (from, to, base) = if donor.x < joiner.x {
        (donor.x + tile + 2, joiner.x - 3, joiner.x - 12)
    } else {
        (donor.x - 2, joiner.x + tile + 3, joiner.x + tile + 12)
    };
    let line = svg_path(&[("M", from, y), ("L", base, y)]);
    let head = svg_path(&[("M", to, y), ("L", base, y - 6), ("L", base, y + 6)]);
    (line, head)
}

/// An arrow along the gaps between rows and next to the joiner's column.
fn bent_arrow(donor: &NodeTile, joiner: &NodeTile, tile: u32) -> (String, String) {
    const CLEARANCE: u32 = 12;
    let (from_x, to_x) = (donor.x + tile / 2, joiner.x + tile / 2);
    let lane = joiner.x.saturating_sub(9);
    let enters_below = joiner.y <= donor.y;
    let (from_y, leave) = if joiner.y < donor.y {
        (donor.y - 1, donor.y - CLEARANCE)
    } else {
        (donor.y + TILE_HEIGHT + 1, donor.y + TILE_HEIGHT + CLEARANCE)
    };
    let (tip, base, enter) = if enters_below {
        let edge = joiner.y + TILE_HEIGHT;
        (edge + 2, edge + 10, edge + CLEARANCE)
    } else {
        (joiner.y - 2, joiner.y - 10, joiner.y - (GAP_Y - CLEARANCE))
    };
    let mut steps = vec![("M", from_x, from_y), ("L", from_x, leave)];
    if leave != enter {
        steps.extend([("L", lane, leave), ("L", lane, enter)]);
    }
    steps.extend([("L", to_x, enter), ("L", to_x, base)]);
    let head = svg_path(&[
        ("M", to_x, tip),
        ("L", to_x - 6, base),
        ("L", to_x + 6, base),
    ]);
    (svg_path(&steps), head)
}

fn svg_path(steps: &[(&str, u32, u32)]) -> String {
    let parts = steps
        .iter()
        .map(|(command, x, y)| [command, x.to_string().as_str(), " ", &y.to_string()].concat());
    parts.collect()
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn nodes_never_overlap_and_stay_in_their_frame() {
        for count in 1..=15 {
            for columns in 1..=7 {
                let layout =
                    TopologyLayout::of(&fixtures::large_cluster("many", count, 2_881), columns);
                assert_eq!(layout.tiles.len(), count);
                for (index, tile) in layout.tiles.iter().enumerate() {
                    let frame = &layout.frames[tile.frame];
                    assert!(
                        tile.x >= frame.x && tile.x + layout.tile_width <= frame.x + frame.width
                    );
                    assert!(tile.y >= frame.y && tile.y + TILE_HEIGHT <= frame.y + frame.height);
                    let apart = |other: &NodeTile| {
                        tile.x.abs_diff(other.x) >= layout.tile_width
                            || tile.y.abs_diff(other.y) >= TILE_HEIGHT
                    };
                    assert!(
                        layout.tiles[index + 1..].iter().all(apart),
                        "{count} nodes, {columns} columns"
                    );
                }
            }
        }
    }

    #[test]
    fn frames_never_overlap_and_stay_in_the_diagram() {
        for columns in 1..=7 {
            let layout = TopologyLayout::of(&fixtures::no_primary("lab", 2_881), columns);
            let [component, outside] = layout.frames.as_slice() else {
                panic!("two frames");
            };
            let beside = component.x + component.width <= outside.x;
            assert!(
                beside || component.y + component.height <= outside.y,
                "{columns} columns"
            );
            for frame in &layout.frames {
                assert!(
                    frame.x + frame.width <= layout.width
                        && frame.y + frame.height <= layout.height
                );
            }
        }
    }

    #[test]
    fn every_joiner_gets_an_arrow_from_the_donor() {
        for columns in 1..=4 {
            let layout = TopologyLayout::of(&fixtures::state_transfer("lab", 90_000), columns);
            let [transfer] = layout.transfers.as_slice() else {
                panic!("one transfer");
            };
            assert_eq!(
                (transfer.donor.to_string(), transfer.joiner.to_string()),
                ("127.0.0.2".into(), "127.0.0.3".into())
            );
            assert!(transfer.certain);
        }
    }

    #[test]
    fn members_out_of_sight_are_counted() {
        let mut view = fixtures::healthy("lab", 2_881);
        view.components[0].size = Some(4);
        assert_eq!(TopologyLayout::of(&view, 4).frames[0].detail, "3 of 4 seen");
    }

    #[test]
    fn different_histories_show_their_uuid() {
        let mut view = fixtures::split_brain("lab", 90_000);
        view.components[1].state_uuid = Some("11111111-c7b1-11f0-9a3e-6f0d3a1b2c4d".to_owned());
        let details: Vec<String> = TopologyLayout::of(&view, 4)
            .frames
            .into_iter()
            .map(|frame| frame.detail)
            .collect();
        assert_eq!(details, ["size 2 · 8f3c1c52", "11111111"]);
    }

    #[test]
    fn few_nodes_use_the_width_of_many() {
        for count in 1..=15 {
            for columns in 2..=7 {
                let view = fixtures::large_cluster("many", count, 2_881);
                let layout = TopologyLayout::of(&view, columns);
                let room = 25 + to_u32(columns) * (TILE_WIDTH + GAP_X) - GAP_X;
                assert!(layout.width <= room, "{count} nodes, {columns} columns");
                let full = layout.tile_width == TILE_WIDTH + MAX_GROWTH || layout.width + 16 > room;
                assert!(full, "{count} nodes, {columns} columns: {}", layout.width);
            }
        }
    }

    #[test]
    fn columns_depend_on_the_width() {
        assert_eq!(
            [
                columns_for(0),
                columns_for(358),
                columns_for(900),
                columns_for(1376)
            ],
            [2, 2, 4, 6]
        );
    }
}
