//! What happens in a round, settled by its name alone before it begins.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::faults::{ClockOwner, Disturbance, RoundFault, TransferEnd};
use crate::kind::{RoundKind, RoundName};
use crate::rounds_lab::{CONSOLES, ETCD_MEMBERS, NODES};

/// Longest pause before a fault, in milliseconds.
const LONGEST_PAUSE: u64 = 2_500;

/// The script of a round.
pub(crate) struct RoundScript {
    /// The faults, each after a pause.
    pub(crate) faults: Vec<(Duration, RoundFault)>,
    /// For each action in turn: the disturbance between request and approval, and the one after the approval.
    pub(crate) disturbances: Vec<(Disturbance, Disturbance)>,
    /// Settles what depends on how things go.
    pub(crate) random: StdRng,
}

impl RoundScript {
    /// Draws a script. Without `network` nothing can be cut there.
    pub(crate) fn draw(name: RoundName, network: bool) -> Self {
        let mut random = StdRng::seed_from_u64(name.seed);
        let faults = match name.kind {
            RoundKind::Mixed => {
                let count = random.random_range(2..=4);
                random_faults(&mut random, count, network)
            }
            kind => {
                let faults = faults_of_kind(kind, &mut random, network);
                faults
                    .into_iter()
                    .map(|fault| (random_pause(&mut random), fault))
                    .collect()
            }
        };
        let pauses = name.kind == RoundKind::Pause;
        let disturbances = (0..8).map(|_| {
            let mut draw = || {
                if pauses && random.random_bool(0.6) {
                    let paused = Duration::from_millis(random.random_range(200..12_000));
                    Disturbance::PauseTarget(paused)
                } else {
                    random_disturbance(&mut random)
                }
            };
            (draw(), draw())
        });
        let disturbances = disturbances.collect();
        Self {
            faults,
            disturbances,
            random,
        }
    }
}

fn random_pause(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(0..LONGEST_PAUSE))
}

fn random_faults(random: &mut StdRng, count: usize, network: bool) -> Vec<(Duration, RoundFault)> {
    let faults = (0..count).map(|_| (random_pause(random), random_fault(random, network)));
    faults.collect()
}

/// The faults of a round that is about one thing: it, what makes it matter, and some others.
fn faults_of_kind(kind: RoundKind, random: &mut StdRng, network: bool) -> Vec<RoundFault> {
    let mut nodes: Vec<usize> = (0..NODES).collect();
    nodes.shuffle(random);
    let (one, two, three) = (nodes[0], nodes[1], nodes[2]);
    // After these, node one is alone, at least among what the console sees.
    let outage = match random.random_range(0..if network { 4 } else { 2 }) {
        0 | 1 => RoundFault::Kill(vec![two, three]),
        2 => RoundFault::Unplug(vec![two, three]),
        _ => RoundFault::Partition(one),
    };
    let (mut first, mut shuffled) = (Vec::new(), Vec::new());
    let mut others = random.random_range(0..=1);
    match kind {
        RoundKind::Mixed => others = 3,
        RoundKind::Identity => {
            if random.random_bool(0.5) {
                first.push(RoundFault::SaveData(one));
                shuffled.push(RoundFault::Rewind(one));
            } else {
                shuffled.push(RoundFault::Replace(one));
            }
            shuffled.push(identity_outage(random, &nodes));
        }
        RoundKind::Ahead => first.push(RoundFault::Ahead(one)),
        RoundKind::Pause => {
            let paused = *nodes.choose(random).unwrap_or(&one);
            shuffled.push(match random.random_range(0..3) {
                0 => RoundFault::PauseAgent(paused),
                1 => RoundFault::PauseServer(paused),
                _ => RoundFault::PauseServer(two),
            });
            shuffled.push(outage);
        }
        RoundKind::Lock => first.extend([RoundFault::Lock(one), outage]),
        RoundKind::Connections => first.extend([RoundFault::Fill(one), outage]),
        RoundKind::Weights => {
            let mut weights: [u8; NODES] = std::array::from_fn(|_| random.random_range(0..=3));
            weights[one] = weights[one].max(1);
            first.push(RoundFault::Weights(weights));
            shuffled.push(outage);
            others += 1;
        }
        RoundKind::Arbitrator => {
            first.push(RoundFault::Arbitrator);
            shuffled.push(outage);
            if random.random_bool(0.4) {
                shuffled.push(RoundFault::KillArbitrator);
            }
        }
        RoundKind::Memory => {
            first.push(RoundFault::SaveEtcd);
            let lost = [
                RoundFault::EmptyEtcd,
                RoundFault::RestoreEtcd,
                RoundFault::DeleteState,
            ];
            shuffled.extend(lost.choose(random).cloned());
            shuffled.push(match random.random_range(0..3) {
                0 => RoundFault::Kill(nodes.clone()),
                1 => outage,
                _ => random_fault(random, network),
            });
        }
        RoundKind::Clock => {
            shuffled.extend((0..=others).map(|_| random_clock(random)));
            shuffled.push(match random.random_range(0..2) {
                0 => RoundFault::Kill(nodes.clone()),
                _ => outage,
            });
        }
        RoundKind::Transfer => {
            let victims = [TransferEnd::Donor, TransferEnd::Joiner];
            let victim = *victims.choose(random).unwrap_or(&TransferEnd::Donor);
            first.push(RoundFault::InterruptTransfer(one, victim));
        }
        RoundKind::Disk => first.push(RoundFault::FullDisk(one)),
    }
    shuffled.extend((0..others).map(|_| random_fault(random, network)));
    shuffled.shuffle(random);
    first.extend(shuffled);
    first
}

/// Nodes that fail beside the one with other data.
fn identity_outage(random: &mut StdRng, nodes: &[usize]) -> RoundFault {
    match random.random_range(0..3) {
        0 => RoundFault::Kill(vec![nodes[1]]),
        1 => RoundFault::Kill(vec![nodes[1], nodes[2]]),
        _ => RoundFault::Kill(nodes.to_vec()),
    }
}

fn random_clock(random: &mut StdRng) -> RoundFault {
    let owner = match random.random_range(0..NODES + CONSOLES) {
        node if node < NODES => ClockOwner::Node(node),
        console => ClockOwner::Console(console - NODES),
    };
    let offsets = [-3_600, -90, 90, 3_600];
    RoundFault::Clock(owner, *offsets.choose(random).unwrap_or(&90))
}

fn random_fault(random: &mut StdRng, network: bool) -> RoundFault {
    let mut nodes: Vec<usize> = (0..NODES).collect();
    nodes.shuffle(random);
    let (one, two) = (nodes[0], nodes[1]);
    match random.random_range(0..if network { 100 } else { 62 }) {
        0..10 => RoundFault::Kill(vec![one]),
        10..20 => RoundFault::Kill(vec![one, two]),
        20..26 => RoundFault::Kill((0..NODES).collect()),
        26..34 => RoundFault::Pause(one),
        34..40 => RoundFault::Isolate(vec![one]),
        40..46 => RoundFault::Isolate((0..NODES).collect()),
        46..52 => RoundFault::Etcd(random.random_range(0..ETCD_MEMBERS)),
        52..55 => RoundFault::EtcdQuorum(random.random_range(0..ETCD_MEMBERS)),
        55..62 => RoundFault::Console(random.random_range(0..CONSOLES)),
        62..72 => RoundFault::Partition(one),
        72..78 => RoundFault::PartitionAll,
        78..85 => RoundFault::Unplug(vec![one]),
        85..93 => RoundFault::Unplug(vec![one, two]),
        _ => RoundFault::Hide(one, two),
    }
}

fn random_disturbance(random: &mut StdRng) -> Disturbance {
    let lost = Duration::from_millis(random.random_range(1_000..6_000));
    let member = random.random_range(0..ETCD_MEMBERS);
    let disturbances = [
        (8, Disturbance::None),
        (3, Disturbance::Console),
        (2, Disturbance::Etcd(member)),
        (2, Disturbance::EtcdQuorum(lost)),
        (1, Disturbance::Return),
        (1, Disturbance::Heal),
    ];
    let drawn = disturbances.choose_weighted(random, |(weight, _)| *weight);
    drawn.map_or(Disturbance::None, |(_, disturbance)| disturbance.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(kind: RoundKind, seed: u64, network: bool) -> RoundScript {
        RoundScript::draw(RoundName { kind, seed }, network)
    }

    fn cuts_network(fault: &RoundFault) -> bool {
        matches!(
            fault,
            RoundFault::Partition(_)
                | RoundFault::PartitionAll
                | RoundFault::Unplug(_)
                | RoundFault::Hide(..)
        )
    }

    #[test]
    fn the_script_is_deterministic_per_name() {
        for (kind, ..) in RoundKind::ALL {
            let (one, same) = (script(kind, 7, true), script(kind, 7, true));
            assert_eq!(one.faults, same.faults);
            assert_eq!(one.disturbances, same.disturbances);
            assert_ne!(one.faults, script(kind, 8, true).faults, "{kind}");
        }
    }

    #[test]
    fn without_a_network_nothing_is_cut() {
        let cuts = |network| {
            let mut rounds =
                (0..200).flat_map(|seed| RoundKind::ALL.map(|(kind, ..)| (kind, seed)));
            rounds.any(|(kind, seed)| {
                let faults = script(kind, seed, network).faults;
                faults.iter().any(|(_, fault)| cuts_network(fault))
            })
        };
        assert!(cuts(true) && !cuts(false));
    }

    /// The seeds of `make test` name these faults.
    #[test]
    fn a_mixed_round_keeps_its_faults() {
        let faults = script(RoundKind::Mixed, 10_570_387_819_446_824_549, true).faults;
        let faults: Vec<String> = faults.iter().map(|(_, fault)| fault.to_string()).collect();
        assert_eq!(
            faults.join(", "),
            "unplug n3, kill n3+n1, kill console 1, hide n3+n1"
        );
    }
}
