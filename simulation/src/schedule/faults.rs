//! Single faults.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::counts::FaultKind;
use super::{FaultSchedule, POLL};
use galera_specification::NodeIndex;

impl FaultSchedule {
    pub(super) fn fail(&mut self) {
        let node = self.any_node();
        match self.random.random_range(0..125) {
            0..22 => self.kill(node),
            22..30 => self.stop(node),
            30..50 => {
                self.note(format_args!("start n{}", node + 1));
                self.agents[node].start(&mut self.registry);
            }
            50..58 => self.pause(node),
            58..68 => {
                self.note(format_args!("resume n{}", node + 1));
                self.cluster.set_paused(node, false, self.now);
            }
            68..82 => {
                let other = self.any_node();
                if other != node {
                    self.note(format_args!("cut n{} from n{}", node + 1, other + 1));
                    self.counts.add(FaultKind::Cut);
                    self.cluster.set_cut(node, other, true);
                }
            }
            82..87 => self.mend(),
            87..88 => self.replace(node),
            88..92 => {
                self.note(format_args!("hide n{} from the console", node + 1));
                if self.hide_node(node) {
                    self.counts.add(FaultKind::HiddenNode);
                }
            }
            92..97 => {
                self.note("the console reaches every node");
                self.show_all_nodes();
            }
            97..100 => self.restart_console(),
            100..101 => {
                self.note("etcd loses every key");
                self.counts.add(FaultKind::EmptiedRegistry);
                self.registry.clear();
            }
            101..103 => self.backup = Some(self.registry.backup()),
            103..104 => {
                if let Some(backup) = &self.backup {
                    self.registry.restore(backup);
                    self.counts.add(FaultKind::RestoredRegistry);
                    self.note("the durable keys are restored from a backup");
                }
            }
            104..108 => self.pause_console(),
            108..115 => self.resume_consoles(),
            115..117 => self.step_console_clock(),
            117..119 => self.step_node_clock(node),
            119..122 => self.slow_transfers(),
            _ => self.break_transfer(),
        }
    }

    pub(super) fn kill(&mut self, node: NodeIndex) {
        self.note(format_args!("kill n{}", node + 1));
        if self.agents[node].running {
            self.counts.add(FaultKind::Kill);
        }
        self.cluster.kill(node, 0);
        self.agents[node].kill(self.now);
    }

    fn stop(&mut self, node: NodeIndex) {
        self.note(format_args!("stop n{}", node + 1));
        let server = self.cluster.nodes()[node].server.as_ref();
        if server.is_some_and(|server| !server.paused) {
            self.counts.add(FaultKind::Stop);
            self.cluster.stop(node);
            self.agents[node].stop(&self.cluster, &mut self.registry);
        }
    }

    fn pause(&mut self, node: NodeIndex) {
        self.note(format_args!("pause n{}", node + 1));
        if self.cluster.nodes()[node].server.is_some() {
            self.counts.add(FaultKind::Pause);
        }
        self.cluster.set_paused(node, true, self.now);
    }

    /// Every host reaches every other again, at once.
    pub(super) fn reconnect(&mut self) {
        self.connect_consoles();
        self.cluster.heal();
    }

    /// Every host reaches every other again, one after the other: which nodes meet first is up to them, and a group that became
    /// Primary forgets the others.
    pub(super) fn mend(&mut self) {
        self.connect_consoles();
        let mut cuts: Vec<(NodeIndex, NodeIndex)> = self.cluster.cuts().collect();
        cuts.shuffle(&mut self.meeting_order);
        for (one, other) in cuts {
            self.cluster.set_cut(one, other, false);
            if self.meeting_order.random() {
                self.now += POLL;
                self.turn();
            }
        }
    }

    /// Consoles and etcd reach every node again. Machines that were isolated while Primary are restarted first.
    fn connect_consoles(&mut self) {
        for node in std::mem::take(&mut self.fenced_primaries) {
            self.kill(node);
        }
        self.note("heal");
        self.fenced.clear();
        self.unplugged.clear();
        self.show_all_nodes();
    }

    /// State transfers take longer from now on, or no time.
    fn slow_transfers(&mut self) {
        let millis = *[0, 5_000, 30_000, 120_000]
            .choose(&mut self.random)
            .unwrap_or(&0);
        self.note(format_args!("state transfers take {millis} ms"));
        self.counts.add(FaultKind::SlowTransfer);
        self.cluster.set_transfer_time(millis);
    }

    /// Kills the donor or the joiner of a state transfer, or pauses the donor.
    fn break_transfer(&mut self) {
        let mut nodes = self.cluster.nodes().iter().enumerate();
        let found = nodes.find_map(|(joiner, node)| {
            let transfer = node.server.as_ref()?.transfer.as_ref()?;
            Some((joiner, transfer.donor?))
        });
        let Some((joiner, donor)) = found else {
            return;
        };
        self.counts.add(FaultKind::BrokenTransfer);
        match self.random.random_range(0..3) {
            0 => self.kill(joiner),
            1 => self.kill(donor),
            _ => self.pause(donor),
        }
    }

    /// A new, empty volume for a node that is stopped.
    pub(super) fn replace(&mut self, node: NodeIndex) {
        if !self.agents[node].running {
            self.note(format_args!("n{} has a new, empty volume", node + 1));
            self.counts.add(FaultKind::NewVolume);
            self.replaced += 1;
            self.agents[node].replace(&mut self.cluster, self.replaced);
        }
    }
}
