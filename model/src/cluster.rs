//! Three database nodes with Galera's quorum rules, as far as they decide who is Primary.

/// How many nodes the cluster has.
pub const NODES: usize = 3;

/// A set of nodes, one bit each.
pub(crate) type Set = u8;

/// Every way to divide three nodes: for each node, the smallest node that it sees.
pub(crate) const PARTITIONS: [[u8; NODES]; 5] =
    [[0, 0, 0], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]];

/// The databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// For each node, the smallest node that it sees.
    pub part: [u8; NODES],
    /// Which servers run.
    pub up: Set,
    /// Who says Primary.
    pub primary: Set,
    /// The members of the last Primary view of each node; nobody after a restart.
    pub last: [Set; NODES],
    /// The number of that view.
    pub view: [u8; NODES],
    /// Which nodes the console can reach.
    pub reachable: Set,
    /// How often views changed: time that Galera needs.
    pub changes: u8,
}

impl Cluster {
    /// All nodes in one Primary component.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            part: [0; NODES],
            up: 0b111,
            primary: 0b111,
            last: [0b111; NODES],
            view: [1; NODES],
            reachable: 0b111,
            changes: 0,
        }
    }

    /// Every node for itself, nobody Primary.
    #[must_use]
    pub fn isolated() -> Self {
        Self {
            part: [0, 1, 2],
            primary: 0,
            ..Self::healthy()
        }
    }

    /// The running nodes that `node` sees, itself included; nobody when it does not run.
    #[must_use]
    pub fn group(&self, node: usize) -> Set {
        if self.up & 1 << node == 0 {
            return 0;
        }
        let together = (0..NODES).filter(|&other| self.part[other] == self.part[node]);
        together.fold(0, |set, other| set | 1 << other) & self.up
    }

    /// The components.
    #[must_use]
    pub fn groups(&self) -> Vec<Set> {
        let mut groups: Vec<Set> = (0..NODES)
            .map(|node| self.group(node))
            .filter(|&set| set != 0)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// How many components say Primary.
    #[must_use]
    pub fn primaries(&self) -> usize {
        self.groups()
            .iter()
            .filter(|&&group| group & self.primary != 0)
            .count()
    }

    /// The network divides the nodes anew, a server dies, or one starts.
    pub fn regroup(&mut self) {
        self.changes += 1;
        let before = self.primary;
        self.primary &= self.up;
        for group in self.groups() {
            self.form(group, before & self.up);
        }
    }

    /// Quorum of a component whose members were Primary as `before` says.
    fn form(&mut self, group: Set, before: Set) {
        let newest = members(group).max_by_key(|&node| (before & 1 << node != 0, self.view[node]));
        let Some(newest) = newest else {
            return;
        };
        let last = self.last[newest];
        let quorum = if before & 1 << newest != 0 {
            // A Primary keeps quorum with more than half of its last view.
            2 * (group & last).count_ones() > last.count_ones()
        } else {
            // Without a Primary, only everybody of the newest view together heals by itself.
            last != 0 && group & last == last
        };
        if quorum {
            self.install(group);
        } else {
            self.primary &= !group;
        }
    }

    fn install(&mut self, group: Set) {
        let view = self.view.iter().max().copied().unwrap_or(0) + 1;
        for node in members(group) {
            // A view that did not change is not installed again.
            if self.primary & group == group && self.last[node] == group {
                continue;
            }
            self.last[node] = group;
            self.view[node] = view;
        }
        self.primary |= group;
    }

    /// `pc.bootstrap` arrives at `node`: ignored in a Primary component, else the whole component becomes Primary.
    pub fn bootstrap(&mut self, node: usize) {
        let group = self.group(node);
        if group != 0 && group & self.primary == 0 {
            self.install(group);
        }
    }

    /// A server starts again: it has forgotten its last view.
    pub fn start(&mut self, node: usize) {
        self.up |= 1 << node;
        self.last[node] = 0;
        self.view[node] = 0;
        self.regroup();
    }

    /// A server dies.
    pub fn kill(&mut self, node: usize) {
        self.up &= !(1 << node);
        self.regroup();
    }
}

/// The nodes of a set.
pub(crate) fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |node| set & 1 << node != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(mut cluster: Cluster, part: [u8; NODES]) -> Cluster {
        cluster.part = part;
        cluster.regroup();
        cluster
    }

    #[test]
    fn the_majority_stays_primary() {
        let cluster = divided(Cluster::healthy(), [0, 1, 1]);
        assert_eq!(cluster.primary, 0b110);
        assert_eq!(cluster.last, [0b111, 0b110, 0b110]);
    }

    #[test]
    fn only_everybody_together_heals() {
        let isolated = divided(Cluster::healthy(), [0, 1, 2]);
        assert_eq!(isolated.primary, 0);
        assert_eq!(divided(isolated, [0, 0, 2]).primary, 0);
        assert_eq!(divided(isolated, [0, 0, 0]).primary, 0b111);
    }

    #[test]
    fn a_bootstrap_is_ignored_in_a_primary_and_fatal_beside_one() {
        let mut cluster = Cluster::isolated();
        cluster.bootstrap(0);
        assert_eq!(cluster.primaries(), 1);
        let once = cluster;
        cluster.bootstrap(0);
        assert_eq!(cluster, once);
        cluster.bootstrap(1);
        assert_eq!(cluster.primaries(), 2);
    }

    #[test]
    fn a_killed_majority_leaves_nobody_primary() {
        let mut cluster = Cluster::healthy();
        cluster.part = [0, 1, 2];
        cluster.up = 0b001;
        cluster.regroup();
        assert_eq!((cluster.primary, cluster.primaries()), (0, 0));
    }
}
