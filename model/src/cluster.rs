//! Three database nodes with Galera's quorum rules, as far as they decide who is Primary.

pub const NODES: usize = 3;

/// A set of nodes, one bit each.
pub(crate) type NodeSet = u8;

/// Every partition of three nodes: for each node, the lowest node that it sees.
pub(crate) const PARTITIONS: [[u8; NODES]; 5] =
    [[0, 0, 0], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SimulatedCluster {
    /// For each node, the lowest node that it sees.
    pub partition: [u8; NODES],
    pub running: NodeSet,
    /// Which nodes report Primary.
    pub primary: NodeSet,
    /// The members of each node's last Primary view; empty after a restart.
    pub last_primary_view: [NodeSet; NODES],
    /// The number of that view.
    pub view_number: [u8; NODES],
    /// Which nodes the console can reach.
    pub reachable: NodeSet,
    /// Number of view changes, each of which takes Galera some time.
    pub view_changes: u8,
}

impl SimulatedCluster {
    /// All nodes in one Primary component.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            partition: [0; NODES],
            running: 0b111,
            primary: 0b111,
            last_primary_view: [0b111; NODES],
            view_number: [1; NODES],
            reachable: 0b111,
            view_changes: 0,
        }
    }

    /// Every node isolated, none Primary.
    #[must_use]
    pub fn isolated() -> Self {
        Self {
            partition: [0, 1, 2],
            primary: 0,
            ..Self::healthy()
        }
    }

    /// The running nodes that `node` sees, including itself; empty if it does not run.
    #[must_use]
    pub fn component_of(&self, node: usize) -> NodeSet {
        if self.running & 1 << node == 0 {
            return 0;
        }
        let together = (0..NODES).filter(|&other| self.partition[other] == self.partition[node]);
        together.fold(0, |set, other| set | 1 << other) & self.running
    }

    #[must_use]
    pub fn components(&self) -> Vec<NodeSet> {
        let mut groups: Vec<NodeSet> = (0..NODES)
            .map(|node| self.component_of(node))
            .filter(|&set| set != 0)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Number of components that report Primary.
    #[must_use]
    pub fn primary_component_count(&self) -> usize {
        self.components()
            .iter()
            .filter(|&&group| group & self.primary != 0)
            .count()
    }

    /// Recomputes views after a partition, a crash or a start.
    pub fn update_views(&mut self) {
        self.view_changes += 1;
        let before = self.primary;
        self.primary &= self.running;
        for group in self.components() {
            self.apply_quorum(group, before & self.running);
        }
    }

    /// Decides the quorum of a component, given which nodes were Primary `before`.
    fn apply_quorum(&mut self, group: NodeSet, before: NodeSet) {
        let newest =
            members(group).max_by_key(|&node| (before & 1 << node != 0, self.view_number[node]));
        let Some(newest) = newest else {
            return;
        };
        let last = self.last_primary_view[newest];
        let quorum = if before & 1 << newest != 0 {
            // A Primary keeps quorum with more than half of its last view.
            2 * (group & last).count_ones() > last.count_ones()
        } else {
            // Without a Primary, quorum returns only when all members of the newest view are together.
            last != 0 && group & last == last
        };
        if quorum {
            self.install_view(group);
        } else {
            self.primary &= !group;
        }
    }

    fn install_view(&mut self, group: NodeSet) {
        let view = self.view_number.iter().max().copied().unwrap_or(0) + 1;
        for node in members(group) {
            // A view that did not change is not installed again.
            if self.primary & group == group && self.last_primary_view[node] == group {
                continue;
            }
            self.last_primary_view[node] = group;
            self.view_number[node] = view;
        }
        self.primary |= group;
    }

    /// `pc.bootstrap` arrives at `node`: ignored in a Primary component, else the whole component becomes Primary.
    pub fn bootstrap(&mut self, node: usize) {
        let group = self.component_of(node);
        if group != 0 && group & self.primary == 0 {
            self.install_view(group);
        }
    }

    /// Starts a server, without its last view.
    pub fn start(&mut self, node: usize) {
        self.running |= 1 << node;
        self.last_primary_view[node] = 0;
        self.view_number[node] = 0;
        self.update_views();
    }

    pub fn kill(&mut self, node: usize) {
        self.running &= !(1 << node);
        self.update_views();
    }
}

pub(crate) fn members(set: NodeSet) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |node| set & 1 << node != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitioned(mut cluster: SimulatedCluster, part: [u8; NODES]) -> SimulatedCluster {
        cluster.partition = part;
        cluster.update_views();
        cluster
    }

    #[test]
    fn the_majority_stays_primary() {
        let cluster = partitioned(SimulatedCluster::healthy(), [0, 1, 1]);
        assert_eq!(cluster.primary, 0b110);
        assert_eq!(cluster.last_primary_view, [0b111, 0b110, 0b110]);
    }

    #[test]
    fn only_all_members_together_heal() {
        let isolated = partitioned(SimulatedCluster::healthy(), [0, 1, 2]);
        assert_eq!(isolated.primary, 0);
        assert_eq!(partitioned(isolated, [0, 0, 2]).primary, 0);
        assert_eq!(partitioned(isolated, [0, 0, 0]).primary, 0b111);
    }

    #[test]
    fn a_bootstrap_is_ignored_in_a_primary_and_fatal_beside_one() {
        let mut cluster = SimulatedCluster::isolated();
        cluster.bootstrap(0);
        assert_eq!(cluster.primary_component_count(), 1);
        let once = cluster;
        cluster.bootstrap(0);
        assert_eq!(cluster, once);
        cluster.bootstrap(1);
        assert_eq!(cluster.primary_component_count(), 2);
    }

    #[test]
    fn a_killed_majority_leaves_no_primary() {
        let mut cluster = SimulatedCluster::healthy();
        cluster.partition = [0, 1, 2];
        cluster.running = 0b001;
        cluster.update_views();
        assert_eq!((cluster.primary, cluster.primary_component_count()), (0, 0));
    }
}
